"""Each form of file that users have is inspected, evaluated and calibrated from the command line: the same numbers.

The forms are those of the issue's section on getting in: text, JSON, Parquet, NumPy, pickles, torch, MATLAB, HDF5.
"""

import gzip
import io
import json
import pickle
from argparse import Namespace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from fast_set import fast_only
from safetensors.numpy import save_file
from scipy.io import savemat

from calbench.benchmark.cli.main import main

RNG = np.random.default_rng(5)
N, K = 60, 4
Z = np.round(3 * RNG.normal(size=(N, K)), 4)
Y = (Z / 2 + RNG.gumbel(size=Z.shape)).argmax(1)
P = np.exp(Z) / np.exp(Z).sum(1, keepdims=True)
NAMES = np.array(["fox", "cat", "emu", "dog"])
PROBS = pd.DataFrame(P, columns=[f"prob_{k}" for k in range(K)]).assign(label=Y)
LOGITS = pd.DataFrame(Z, columns=[f"logit_{k}" for k in range(K)]).assign(label=Y)
NAMED = pd.DataFrame(P, columns=NAMES).assign(true_label=NAMES[Y])
PAIR = {"logits": Z, "labels": Y}
T, L = torch.tensor(Z), torch.tensor(Y)
ROWS = list(zip(Z.tolist(), Y.tolist(), strict=True))


def text(path, content):
    Path(path).write_text(content, encoding="utf-8")


def lines(path, records):
    text(path, "\n".join(map(json.dumps, records)))


def dump(path, value):
    Path(path).write_bytes(pickle.dumps(value))


def of(save, *values, **named):
    """The bytes that a function writes into a file."""
    stream = io.BytesIO()
    save(stream, *values, **named)
    return stream.getvalue()


def packed(path, content):
    Path(path).write_bytes(gzip.compress(content))


def hdf5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            file[name] = value


def by_id(values):
    return {f"{n}.png": value for n, value in enumerate(values)}


FORMS = {
    "a.csv": lambda f: PROBS.to_csv(f, index=False),
    "a.tsv": lambda f: PROBS.to_csv(f, index=False, sep="\t"),
    "a.csv.gz": lambda f: PROBS.to_csv(f, index=False),
    "packed_under_another_name.csv": lambda f: packed(f, PROBS.to_csv(index=False).encode()),
    "semicolon.csv": lambda f: PROBS.to_csv(f, index=False, sep=";", decimal=","),
    "index.csv": lambda f: PROBS.assign(blank=np.nan, file="x.png").to_csv(f),
    "trailing.csv": lambda f: text(f, PROBS.to_csv(index=False).replace("\n", ",\n")),
    "no_header.csv": lambda f: np.savetxt(f, np.c_[P, Y], delimiter=","),
    "class_names.csv": lambda f: NAMED.to_csv(f, index=False),
    "letters.csv": lambda f: pd.DataFrame(P, columns=[*"VFML"]).assign(obs=Y).to_csv(f, index=False),
    "one_dimensional_pred.csv": lambda f: PROBS.assign(pred=P.argmax(1)).to_csv(f, index=False),
    "from_one.csv": lambda f: pd.DataFrame(P, columns=[f"prob_{k}" for k in range(1, 5)]).assign(y=Y + 1).to_csv(f),
    "per_cent.csv": lambda f: PROBS.assign(**{c: 100 * PROBS[c] for c in PROBS.columns[:K]}).to_csv(f, index=False),
    "records.json": lambda f: text(f, json.dumps([{"logits": z, "label": y} for z, y in ROWS])),
    "lists.json.gz": lambda f: packed(f, json.dumps({"logits": Z.tolist(), "labels": Y.tolist()}).encode()),
    "rows.jsonl.gz": lambda f: LOGITS.to_json(f, orient="records", lines=True),
    "two_objects.jsonl": lambda f: lines(f, [{"output": {"logits": z}, "target": {"label": y}} for z, y in ROWS]),
    "two_lines.jsonl": lambda f: lines(f, [{"logits": Z.tolist()}, {"labels": Y.tolist()}]),
    "by_id.json": lambda f: text(
        f, json.dumps({"logits": by_id(Z.tolist()), "labels": dict(reversed(by_id(Y.tolist()).items()))})),
    "matrix.json": lambda f: LOGITS.to_json(f, orient="values"),
    "lists.parquet": lambda f: pd.DataFrame({"logits": Z.tolist(), "label": Y, "text": "x"}).to_parquet(f),
    "nullable.parquet": lambda f: LOGITS.assign(label=LOGITS["label"].astype("Int64"), text="x").to_parquet(f),
    "structs.parquet": lambda f: pd.DataFrame(
        {"output": [{"logits": z} for z, _ in ROWS], "target": [{"label": y} for _, y in ROWS]}).to_parquet(f),
    "a.feather": lambda f: LOGITS.to_feather(f),
    "a.npy": lambda f: np.save(f, Z),
    "a.npy.gz": lambda f: packed(f, of(np.save, Z)),
    "labels_in_a_column.npy": lambda f: np.save(f, np.c_[Z, Y]),
    "more.npz": lambda f: np.savez(f, **PAIR, names=NAMES, epoch=3, train_logits=np.zeros((9, K)), note="x"),
    "positions.npz": lambda f: np.savez(f, Z, Y),
    "objects.npz": lambda f: np.savez(
        f, logits=Z.astype(object), labels=Y.astype(object), options=np.array(Namespace(lr=1), dtype=object)),
    "sparse.npz": lambda f: scipy.sparse.save_npz(f, scipy.sparse.csr_matrix(Z)),
    "sparse_coordinates.npz": lambda f: scipy.sparse.save_npz(f, scipy.sparse.coo_matrix(Z)),
    "a.npz.gz": lambda f: packed(f, of(np.savez, **PAIR)),
    "pickle_under_another_name.npz": lambda f: dump(f, PAIR),
    "nested.pkl": lambda f: dump(f, {"a": {"scores": -Z}, "b": {"scores": Z}, "labels": Y}),
    "apart.pkl": lambda f: dump(f, {"model": {"output": {"logits": Z}}, "data": {"labels": Y}}),
    "masked.pkl": lambda f: dump(f, {"logits": np.ma.array(Z, mask=False), "labels": np.ma.array(Y)}),
    "masked.npy": lambda f: np.ma.array(Z).dump(f),
    "tuple.pth": lambda f: torch.save((T, L), f),
    "dict.pt": lambda f: torch.save({**{"logits": T, "labels": L}, "shape": T.shape, "device": torch.device("cpu")}, f),
    "dict.pt.gz": lambda f: packed(f, of(lambda s: torch.save({"logits": T, "labels": L}, s))),
    "sparse.pt": lambda f: torch.save({"logits": T.to_sparse(), "labels": torch.eye(K)[L].to_sparse()}, f),
    "sparse_rows.pt": lambda f: torch.save({"logits": T.to_sparse_csr(), "labels": L}, f),
    "sparse_columns.pt": lambda f: torch.save({"logits": T.to_sparse_csc(), "labels": L, "dtype": T.dtype}, f),
    "a.mat": lambda f: savemat(f, {"logits": Z, "labels": Y[:, None]}),
    "sparse.mat": lambda f: savemat(f, {"logits": scipy.sparse.csc_matrix(Z), "labels": Y}),
    "text_beside.h5": lambda f: hdf5(f, logits=Z, labels=Y, files=[f"{n}.png" for n in range(N)], about="text"),
    "a.safetensors": lambda f: save_file(PAIR, f),
}  # fmt: skip
LABELS = ["--labels", "y.npy"]
OPTIONS = {
    "no_header.csv": ["--probabilities", "--labels-key", "4"],
    "letters.csv": ["--key", "V,F,M,L", "--probabilities"],
    "per_cent.csv": ["--normalize"],
    "matrix.json": ["--logits", "--labels-key", "4"],
    "a.npy": ["--logits", *LABELS],
    "a.npy.gz": ["--logits", *LABELS],
    "masked.npy": ["--logits", *LABELS],
    "labels_in_a_column.npy": ["--logits", "--labels-key", "4"],
    "positions.npz": ["--logits"],
    "sparse.npz": ["--logits", *LABELS],
    "sparse_coordinates.npz": ["--logits", *LABELS],
    "nested.pkl": ["--key", "b/scores", "--logits"],
}


ONE_PER_READER = (
    "no_header.csv", "class_names.csv", "per_cent.csv", "two_objects.jsonl", "lists.parquet", "a.npy.gz", "more.npz",
    "nested.pkl", "tuple.pth", "sparse.mat", "text_beside.h5", "a.safetensors",
)  # fmt: skip
"""In the fast set; `predictions/test_forms` reads all forms there, without the commands."""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    np.save("y.npy", Y)


@pytest.mark.filterwarnings("ignore:Sparse CS:UserWarning")
@pytest.mark.parametrize("name", fast_only(ONE_PER_READER, FORMS))
def test_a_form_gets_in(name, capsys):
    FORMS[name](name)
    options = OPTIONS.get(name, [])
    assert main(["inspect", name, *options]) == 0
    assert f"accuracy {100 * (Z.argmax(1) == Y).mean():.2f} %" in " ".join(capsys.readouterr().out.split())
    assert main(["evaluate", name, "--bootstrap", "0", *options]) == 0
    cells = [[cell.strip() for cell in row.split("│")[1:3]] for row in capsys.readouterr().out.splitlines()]
    values = {row[0]: float(row[1]) for row in cells if len(row) == 2}
    assert values["NLL"] == pytest.approx(-np.log(P[np.arange(N), Y]).mean(), abs=1e-4)
    fit = ["-m", "temperature-scaling", "--split", "0.5", "--bootstrap", "0"]
    assert main(["calibrate", name, *options, *fit]) == 0
    assert "temperature-scaling" in capsys.readouterr().out


REFUSED = {
    "a.csv.xz": (lambda f: PROBS.to_csv(f, index=False), "an archive, which is not read; save it as CSV or Parquet"),
    "frame.pkl": (lambda f: LOGITS.to_pickle(f), "an object of pandas, which is not read; save it as Parquet or CSV"),
    "options.pkl": (lambda f: dump(f, {**PAIR, "args": Namespace(lr=1)}), "argparse.Namespace.*its arrays as .npz"),
    "set.pkl": (lambda f: dump(f, {**PAIR, "epochs": {1, 2}}), "other than lists.*save its arrays as .npz"),
    "sparse.pkl": (lambda f: dump(f, {"logits": scipy.sparse.csr_matrix(Z), "labels": Y}), "save its arrays as .npz"),
    "masked.pkl": (lambda f: dump(f, {"logits": np.ma.masked_less(Z, -6), "labels": Y}), "logits: row .* contains NaN"),
    "masked_labels.pkl": (
        lambda f: dump(f, {"logits": Z, "labels": np.ma.masked_where(np.arange(N) == 5, Y)}), "labels: row 5 is nan"),
    "no_names.csv": (lambda f: PROBS.rename(columns=dict(zip(PROBS, "abcde", strict=True))).to_csv(f, index=False),
                     "Add --labels-key NAME or --labels FILE, and --key a,b,c,d .* with --logits or --probabilities"),
    "empty.csv": (lambda f: text(f, ""), "the file is empty"),
    "matrix.npy": (lambda f: np.save(f, Z), "Add --labels-key NAME or --labels FILE, and --logits or --probabilities"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_another_form_is_refused_in_one_line_with_what_to_do(name, capsys):
    write, message = REFUSED[name]
    write(name)
    for words in (["evaluate", name], ["calibrate", name, "--split", "0.5"]):
        assert main(words) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith(f"calbench: {name}: ")
        assert pd.Series([line]).str.contains(message)[0]
