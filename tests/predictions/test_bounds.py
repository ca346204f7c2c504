"""Small files that ask for much, or for other files: refused in one line, and only where what they hold is used."""

import gzip
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.files import read_predictions

ROWS = 300_000
LOGITS, LABELS = np.zeros((50, 3)), np.arange(50) % 3


def npz(path):
    np.savez_compressed(path, logits=np.zeros((ROWS, 3)), labels=np.zeros(ROWS, int))


def hdf5(path):
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("logits", (ROWS, 3), "f8", chunks=(1000, 3), compression="gzip", fillvalue=0)
        file["labels"] = LABELS


def gz(path):
    path.write_bytes(gzip.compress(b"label,prob_0,prob_1\n" + b"0,1.0,0.0\n" * ROWS))


def parquet(path):
    import pandas as pd

    zeros = np.zeros(ROWS)
    pd.DataFrame({"label": zeros.astype(int), "prob_0": zeros, "prob_1": zeros + 1}).to_parquet(path)


def mat(path):
    from scipy.io import savemat

    savemat(path, {"logits": np.zeros((ROWS, 3)), "labels": np.zeros(ROWS)}, do_compression=True)


def structure(path):
    from scipy.io import savemat

    savemat(path, {"s": {"logits": np.zeros((ROWS, 3)), "labels": np.zeros(ROWS)}}, do_compression=True)


def feather(path):
    import pandas as pd

    pd.DataFrame(np.zeros((ROWS, 3))).rename(columns=str).to_feather(path, compression="zstd")


def stream(path):
    import pyarrow as pa

    table = pa.table({"label": np.zeros(ROWS, int), "prob_0": np.zeros(ROWS), "prob_1": np.ones(ROWS)})
    with pa.ipc.new_stream(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)


def lists(path):
    import pyarrow as pa
    from pyarrow import parquet

    logits = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(ROWS)), ROWS // 10)
    parquet.write_table(pa.table({"label": np.zeros(10, int), "logits": logits}), path, compression="zstd")


def repeated_text(path):
    import pyarrow as pa
    from pyarrow import parquet

    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(3000, np.int32)), pa.array(["x" * 10_000]))
    table = pa.table({"label": texts, "prob_0": np.zeros(3000), "prob_1": np.ones(3000)})
    parquet.write_table(table, path, compression="zstd", store_schema=False)


def fixed_text(path):
    import h5py

    with h5py.File(path, "w") as file:
        file["logits"] = LOGITS
        kind = h5py.string_dtype("ascii", 100_000)
        file.create_dataset("labels", (50,), kind, chunks=(1,), compression="gzip")


def shared_text(path):
    import h5py

    with h5py.File(path, "w") as file:
        file["logits"] = LOGITS
        file.create_dataset("labels", data=["x" * 10_000] * 50, dtype=h5py.string_dtype())


def one_long_text(path):
    path.write_text("label,prob_0,prob_1\n" + "x" * 20_000 + ",0.5,0.5\n" + "a,0.5,0.5\n" * 20_000)


def one_long_text_in_json(path):
    path.write_text(json.dumps({"labels": ["x" * 20_000] + ["a"] * 20_000, "probs": [[0.5, 0.5]] * 20_001}))


BOMBS = {
    "a.npz": npz, "a.h5": hdf5, "a.csv.gz": gz, "a.parquet": parquet, "a.mat": mat, "structure.mat": structure,
    "a.feather": feather, "a.arrow": stream, "lists.parquet": lists, "text.parquet": repeated_text,
    "fixed.h5": fixed_text, "shared.h5": shared_text, "a.csv": one_long_text, "a.json": one_long_text_in_json,
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")  # torch's word on sparse.pt
def test_what_expands_beyond_the_limit_is_refused(tmp_path, monkeypatch, name):
    BOMBS[name](tmp_path / name)
    monkeypatch.setenv("CALBENCH_LIMITS", "0.0001")
    with pytest.raises(InputError, match=rf"{name}: .*expands to .* above the limit .*CALBENCH_LIMITS=10") as error:
        read_predictions(tmp_path / name)
    assert "\n" not in str(error.value)


def test_what_is_not_used_may_be_too_large(tmp_path, monkeypatch):
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("pixels", (10**9, 1000), "f8", chunks=(1000, 10), fillvalue=0)
        file["logits"], file["labels"] = LOGITS, LABELS
    assert len(read_predictions(tmp_path / "a.h5").labels) == 50


def test_hdf5_reads_no_other_file(tmp_path):
    import h5py

    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.ones(150).tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.ones((50, 3))
    layout = h5py.VirtualLayout((50, 3), float)
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (50, 3))
    for kind in ("external", "virtual", "link"):
        path = tmp_path / f"{kind}.h5"
        with h5py.File(path, "w") as file:
            file["labels"] = LABELS
            if kind == "external":
                file.create_dataset("logits", (50, 3), float, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
            elif kind == "virtual":
                file.create_virtual_dataset("logits", layout)
            else:
                file["logits"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "x")
        with pytest.raises(InputError) as error:
            read_predictions(path)
        if kind != "link":
            assert "lies in another file" in str(error.value)


def test_long_names_and_pipes(tmp_path):
    (tmp_path / "digits.csv").write_text(f"{'1' * 60_000},b\n1,2\n3,4\n")
    with pytest.raises(InputError, match="longer than 1000 characters"):
        read_predictions(tmp_path / "digits.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match=r"pipe\.csv"):
        read_predictions(tmp_path / "pipe.csv")


def many_names(path):
    path.write_text("[" + ",".join(f'{{"k{n}": 1}}' for n in range(4000)) + "]")


def many_columns(path):
    path.write_text("\n".join([",".join(f"c{n}" for n in range(50_001)), "1" + ",1" * 50_000, "2" + ",2" * 50_000]))


def many_dimensions(path):
    header = json.dumps({"logits": {"dtype": "F32", "shape": [99999999] * 10_000, "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))


def short(path):
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**10, 10)})
        file.write(bytes(80))


def outside(path):
    """Offsets of texts that lie outside of their buffer."""
    import pyarrow as pa

    table = pa.table({"label": ["one", "two", "six"], "prob_0": np.zeros(3), "prob_1": np.ones(3)})
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    data, offsets = path.read_bytes(), np.array([0, 3, 6, 9], "<i4").tobytes()
    assert data.count(offsets) == 1
    path.write_bytes(data.replace(offsets, np.array([0, 2**28, 2**29, 2**30], "<i4").tobytes()))


DAMAGED = {
    "a.json": (many_names, "4,000 records with 4,000 different names"),
    "a.csv": (many_columns, "50,001 arrays or columns exceed the limit of 50,000"),
    "a.safetensors": (many_dimensions, "has 10000 dimensions"),
    "a.npy": (short, "its array takes 800,000,000,000 bytes, and 80 are left in the file"),
    "a.arrow": (outside, "cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_asks_for_more_than_it_has_is_refused(tmp_path, name):
    make, message = DAMAGED[name]
    make(tmp_path / name)
    with pytest.raises(InputError, match=message) as error:
        read_predictions(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_line_may_be_longer_than_the_csv_module_allows_a_cell(tmp_path):
    classes = 12_500  # a header of 140,000 characters; the limit is 131,072
    header = ",".join(["label", *(f"logit_{k}" for k in range(classes))])
    (tmp_path / "wide.csv").write_text("\n".join([header, *(f"{y}" + ",0.125" * classes for y in (3, 1))]))
    part = read_predictions(tmp_path / "wide.csv")
    assert part.logits.shape == (2, classes)
    assert part.labels.tolist() == [3, 1]


MUTANTS = """
import os, random, resource, signal, sys
from pathlib import Path
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.reading import read_numbers
from calbench.benchmark.predictions.source import Source
import h5py, pandas, pyarrow.parquet, scipy.io, torch

folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
seeds = sorted(folder.iterdir())
read = refused = 0
for number in range(rounds * len(seeds)):
    seed, chance = seeds[number % len(seeds)], random.Random(number)
    data = bytearray(seed.read_bytes())
    for _ in range(chance.choice((1, 1, 2, 8))):
        data = data or bytearray(b"x")
        place = chance.randrange(len(data))
        match chance.randrange(5):
            case 0: data[place] ^= 1 << chance.randrange(8)
            case 1:
                words = (bytes(8), b"\\xff" * 8, (2**40).to_bytes(8, "little"), chance.randbytes(8))
                data[place:place + 8] = chance.choice(words)
            case 2: del data[place:place + chance.randint(1, 16)]
            case 3: data[place:place] = data[:chance.randint(1, 32)]
            case 4: data = data[:place + 1]
    path = folder.parent / f"mutant{seed.suffix}"
    path.write_bytes(data)
    print(f"{seed.name} {number}", file=sys.stderr, flush=True)
    signal.alarm(60)
    try:
        read_numbers(path, Source(), lambda line: None)
        read += 1
    except InputError as error:
        assert "\\n" not in str(error), error
        refused += 1
print(read, refused)
"""


def seeds(folder):
    import h5py
    import pandas as pd
    import pyarrow as pa
    import torch
    from safetensors.numpy import save_file
    from scipy.io import savemat

    folder.mkdir()
    probs, labels = np.full((20, 3), 1 / 3), np.arange(20) % 3
    arrays = {"probs": probs, "labels": labels}
    frame = pd.DataFrame(probs, columns=["prob_0", "prob_1", "prob_2"]).assign(
        label=labels, name=[f"n{i}" for i in labels]
    )
    np.savez_compressed(folder / "a.npz", **arrays)
    np.save(folder / "a.npy", arrays, allow_pickle=True)
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("probs", data=probs, chunks=(5, 3), compression="gzip")
        file["labels"], file["name"] = labels, [f"n{i}" for i in labels]
        file["record"] = np.zeros(3, dtype=[("a", "f4"), ("b", "S3")])
    savemat(folder / "a.mat", arrays | {"s": {"x": probs}}, do_compression=True)
    savemat(folder / "b.mat", arrays)
    frame.to_parquet(folder / "a.parquet")
    frame.to_feather(folder / "a.feather", compression="zstd")
    with pa.ipc.new_stream(str(folder / "a.arrow"), (table := pa.Table.from_pandas(frame)).schema) as writer:
        writer.write_table(table)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    torch.save(tensors, folder / "a.pt")
    torch.save(tensors, folder / "b.pt", _use_new_zipfile_serialization=False)
    save_file(arrays, folder / "a.safetensors")
    frame.to_csv(folder / "a.csv", index=False)
    (folder / "a.json").write_text(frame.to_json(orient="records"))
    (folder / "a.csv.gz").write_bytes(gzip.compress(frame.to_csv(index=False).encode()))


@pytest.mark.slow
def test_no_mutant_of_any_format_ends_the_interpreter(tmp_path):
    """Every file is read, or refused in one line; a signal, any other error, or a minute is a failure."""
    seeds(tmp_path / "seeds")
    command = [sys.executable, "-c", MUTANTS, tmp_path / "seeds", os.environ.get("CALBENCH_MUTANTS", "20")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, "\n".join(done.stderr.splitlines()[-25:]))
    read, refused = map(int, done.stdout.split())
    assert read > 5
    assert refused > 60
    print(f"{read} of {read + refused} mutants were read, the others refused")
