"""Every format gives the same numbers, whatever else is in the file."""

import collections
import gzip
import json
import pickle

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.io
import torch
from safetensors.torch import save_file

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.readers import endings, open_contents
from calbench.benchmark.predictions.reading import read_numbers
from calbench.benchmark.predictions.source import Source

RNG = np.random.default_rng(1)
Z = RNG.normal(size=(40, 3)).astype(np.float32)
Y = RNG.integers(0, 3, 40)
FILES = [f"image {n}.png" for n in range(40)]
FRAME = pd.DataFrame({"filename": FILES} | {f"logit_{k}": Z[:, k].astype(float) for k in range(3)} | {"label": Y})
RECORDS = [{"id": f, "logits": [float(v) for v in z], "label": int(y)} for f, z, y in zip(FILES, Z, Y, strict=True)]
STRUCTURED = np.zeros(40, dtype=[("logits", "f4", 3), ("labels", "u1")])
STRUCTURED["logits"], STRUCTURED["labels"] = Z, Y


def read(path, **options):
    notes = []
    return read_numbers(path, Source(**options), notes.append), notes


def check(path, **options):
    splits, notes = read(path, **options)
    [numbers] = splits.values()
    np.testing.assert_allclose(numbers.scores, Z, atol=1e-6)
    np.testing.assert_array_equal(numbers.labels, Y)
    assert numbers.kind == "logits"
    return notes


def as_h5(path):
    with h5py.File(path, "w") as file:
        file["logits"], file["labels"], file["files"], file["model"] = Z, Y, FILES, "a name"
        file.attrs["note"] = "text"
        file["table"] = np.zeros(3, dtype=[("a", "f4"), ("b", "S3")])


def as_matlab_73(path):
    """What MATLAB writes: a block of its own before the HDF5 signature, and arrays stored column by column."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file["logits"], file["labels"] = Z.T, Y[None]
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def dumped(value, protocol=4):
    return lambda path: path.write_bytes(pickle.dumps(value, protocol=protocol))


T, L = torch.from_numpy(Z), torch.from_numpy(Y)
WRITERS = {
    "text-in-it.npz": lambda p: np.savez(p, logits=Z, labels=Y, class_names=["a", "b", "c"], epoch=3, name="x"),
    "objects-in-it.npz": lambda p: np.savez(p, logits=Z, labels=Y, files=np.array(FILES, dtype=object), none=None),
    "compressed.npz": lambda p: np.savez_compressed(p, logits=Z, labels=Y),
    "dict.npy": lambda p: np.save(p, {"logits": Z, "labels": Y}, allow_pickle=True),
    "records.npy": lambda p: np.save(p, STRUCTURED),
    "big-endian.npz": lambda p: np.savez(p, logits=Z.astype(">f8"), labels=Y.astype(">i2")),
    "fortran.npz": lambda p: np.savez(p, logits=np.asfortranarray(Z), labels=Y),
    "plain.csv": lambda p: FRAME.to_csv(p, index=False),
    "index.csv": lambda p: FRAME.to_csv(p),
    "semicolon.csv": lambda p: FRAME.to_csv(p, index=False, sep=";"),
    "decimal-comma.csv": lambda p: FRAME.to_csv(p, index=False, sep=";", decimal=","),
    "tab.tsv": lambda p: FRAME.to_csv(p, index=False, sep="\t"),
    "bar.txt": lambda p: FRAME.to_csv(p, index=False, sep="|"),
    "blanks.txt": lambda p: FRAME.drop(columns="filename").to_csv(p, index=False, sep=" "),
    "utf16.csv": lambda p: FRAME.to_csv(p, index=False, encoding="utf-16"),
    "bom.csv": lambda p: FRAME.to_csv(p, index=False, encoding="utf-8-sig"),
    "latin1.csv": lambda p: FRAME.assign(filename="é").to_csv(p, index=False, encoding="latin-1"),
    "trailing.csv": lambda p: p.write_text(FRAME.to_csv(index=False).replace("\n", ",\n")),
    "trailing-in-rows.csv": lambda p: p.write_text(
        FRAME.to_csv(index=False).replace("\n", ",\n").replace(",\n", "\n", 1)
    ),
    "blank-lines.csv": lambda p: p.write_text("\n" + FRAME.to_csv(index=False).replace("\n", "\n\n")),
    "spaces.csv": lambda p: p.write_text(FRAME.to_csv(index=False).replace(",", " , ")),
    "crlf.csv": lambda p: p.write_bytes(FRAME.to_csv(index=False).replace("\n", "\r\n").encode()),
    "row-names.csv": lambda p: p.write_text(FRAME.drop(columns="filename").to_csv().removeprefix(",")),
    "quoted.csv": lambda p: FRAME.assign(filename='a "b", c').to_csv(p, index=False, quoting=2),
    "savetxt.txt": lambda p: np.savetxt(p, np.c_[Z, Y], header="logit_0 logit_1 logit_2 label"),
    "lists.csv": lambda p: pd.DataFrame({"logits": Z.tolist(), "label": Y}).to_csv(p, index=False),
    "arrays.csv": lambda p: pd.DataFrame({"logits": list(Z), "label": Y}).to_csv(p, index=False),
    "packed.csv.gz": lambda p: FRAME.to_csv(p, index=False),
    "plain.parquet": lambda p: FRAME.to_parquet(p),
    "nullable.parquet": lambda p: FRAME.convert_dtypes().to_parquet(p),
    "lists.parquet": lambda p: pd.DataFrame({"logits": list(Z), "label": Y, "filename": FILES}).to_parquet(p),
    "plain.feather": lambda p: FRAME.to_feather(p),
    "lists.feather": lambda p: pd.DataFrame({"logits": list(Z), "label": Y}).to_feather(p),
    "stream.arrow": lambda p: pa.ipc.new_stream(p, (t := pa.Table.from_pandas(FRAME)).schema).write_table(t),
    "dict.json": lambda p: p.write_text(
        json.dumps({"logits": Z.tolist(), "labels": Y.tolist(), "model": "m", "no": None})
    ),
    "records.json": lambda p: p.write_text(json.dumps(RECORDS)),
    "lines.jsonl": lambda p: p.write_text("\n".join(map(json.dumps, RECORDS))),
    "pandas.json": lambda p: FRAME.to_json(p),
    "pandas-split.json": lambda p: FRAME.to_json(p, orient="split"),
    "pandas-records.json": lambda p: FRAME.to_json(p, orient="records"),
    "packed.jsonl.gz": lambda p: p.write_bytes(gzip.compress("\n".join(map(json.dumps, RECORDS)).encode())),
    "dict.pkl": dumped({"logits": Z, "labels": Y, "files": FILES, "epoch": 3}),
    "ordered.pkl": dumped(collections.OrderedDict(logits=Z, labels=Y)),
    "pair.pkl": dumped((Z, Y[:, None])),
    "lists.pkl": dumped({"logits": Z.tolist(), "labels": list(Y)}),
    "tensors.pkl": dumped({"logits": T, "labels": L}),
    "batches.pkl": dumped({"logits": [Z[:16], Z[16:32], Z[32:]], "labels": [Y[:16], Y[16:32], Y[32:]]}),
    "a-pickle.dat": dumped({"logits": Z, "labels": Y}),
    "dict.pt": lambda p: torch.save({"logits": T, "labels": L, "epoch": 3}, p),
    "pair.pth": lambda p: torch.save((T, L), p),
    "numpy.pt": lambda p: torch.save({"logits": Z, "labels": Y}, p),
    "old.pt": lambda p: torch.save({"logits": T, "labels": L}, p, _use_new_zipfile_serialization=False),
    "views.pt": lambda p: torch.save({"logits": T.T.contiguous().T, "labels": L.repeat_interleave(2)[::2]}, p),
    "saved-by-torch.npz": lambda p: torch.save({"logits": T, "labels": L}, p),
    "plain.safetensors": lambda p: save_file({"logits": T, "labels": L}, p, metadata={"a": "b"}),
    "plain.mat": lambda p: scipy.io.savemat(p, {"logits": Z, "labels": Y, "files": np.array(FILES, dtype=object)}),
    "structure.mat": lambda p: scipy.io.savemat(p, {"result": {"logits": Z.astype(float), "labels": Y}}),
    "version-73.mat": as_matlab_73,
    "plain.h5": as_h5,
    "plain.hdf5": as_h5,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same(tmp_path, name):
    WRITERS[name](tmp_path / name)
    assert check(tmp_path / name) == []


def test_half_precision(tmp_path):
    half = T.to(torch.bfloat16)
    torch.save({"logits": half, "labels": L}, tmp_path / "a.pt")
    save_file({"logits": half, "labels": L}, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", logits=Z.astype(np.float16), labels=Y)
    for name, expected in (("a.pt", half.float()), ("a.safetensors", half.float()), ("a.npz", T.half().float())):
        [numbers] = read(tmp_path / name)[0].values()
        assert numbers.scores.dtype == np.float32
        np.testing.assert_array_equal(numbers.scores, expected)


def test_contents_are_read_when_they_are_asked_for(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", logits=Z, labels=Y, huge=np.zeros((10, 10)))
    with open_contents(tmp_path / "a.npz") as contents:
        loaded = []
        monkeypatch.setattr(
            "calbench.benchmark.predictions.readers.numpy_files._load_member", lambda _, name: loaded.append(name) or Y
        )
        assert contents.leaves["huge"].shape == (10, 10)
        contents.leaves["labels"].load()
        assert loaded == ["labels.npy"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", "the file is empty"),
        ("no-rows.csv", b"logit_0,logit_1,label\n", "no rows below the header"),
        ("ragged.csv", b"logit_0,logit_1,label\n1,2,0\n1,2,0,7,8\n", "a row 5"),
        ("bad.json", b'{"logits": [1,', "not JSON"),
        ("bad.jsonl", b'{"label": 1}\n{"label": \n', "line 2 is not JSON"),
        ("deep.json", b"[" * 100_000, "nested too deeply"),
        ("bad.mat", b"nothing", "cannot be read"),
        ("bad.feather", b"nothing", "cannot be read"),
        ("bad.pt", b"nothing", "damaged"),
        ("bad.npz.gz", b"\x1f\x8bnothing", "cannot be read"),
        ("short.safetensors", b"\xff" * 8 + b"{}", "its header is longer than the file"),
        ("sheet.xlsx", b"PK\x03\x04", "a spreadsheet, which is not read"),
        ("sheet.foo", b"PK\x03\x04", "unknown kind of file"),
    ],
)
def test_damaged_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / name)
    assert str(caught.value).startswith(f"{name}: ")
    assert "\n" not in str(caught.value)


def test_objects_of_other_libraries_are_named(tmp_path):
    FRAME.to_pickle(tmp_path / "frame.pkl")
    with pytest.raises(InputError, match=r"frame\.pkl: it contains an object of pandas, .* Parquet or CSV"):
        read(tmp_path / "frame.pkl")
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "model.pt")
    with pytest.raises(InputError, match="asks for torch.nn.modules.linear.Linear"):
        read(tmp_path / "model.pt")


def test_two_columns_of_one_name_are_an_error_only_where_they_are_used(tmp_path):
    text = "logit_0,logit_1,note,note,label\n0.5,1,2,3,0\n0.1,2,3,4,1\n"
    (tmp_path / "a.csv").write_text(text)
    assert read(tmp_path / "a.csv")[0]["all"].labels.tolist() == [0, 1]
    (tmp_path / "b.csv").write_text(text.replace("note", "label", 1))
    with pytest.raises(InputError, match="columns 3 and 5 are both named 'label'"):
        read(tmp_path / "b.csv")


def test_endings_are_those_of_the_modules():
    assert {".npz", ".csv", ".parquet", ".feather", ".mat", ".pt", ".h5", ".jsonl"} <= set(endings())
