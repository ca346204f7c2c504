"""Small files that ask for much, or for other files: refused in one line, and only where what they hold is used."""

import gzip
import os

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


BOMBS = {"a.npz": npz, "a.h5": hdf5, "a.csv.gz": gz, "a.parquet": parquet, "a.mat": mat}


@pytest.mark.parametrize("name", BOMBS)
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
