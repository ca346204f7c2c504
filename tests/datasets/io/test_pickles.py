import os
import pickle

import numpy as np
import pytest
from examples import at_most
from hypothesis import given
from hypothesis import strategies as st

from calbench.benchmark.core.errors import InputError
from calbench.datasets.io.pickles import load_arrays


class Hostile:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_reads_arrays_and_plain_values(tmp_path, protocol):
    content = {"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "labels": [1, 2], "name": "batch"}
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    found = load_arrays(path)
    assert found["labels"] == [1, 2]
    np.testing.assert_array_equal(found["data"], content["data"])


def test_reads_what_python_2_wrote(tmp_path, python2_pickle):
    images = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)
    (tmp_path / "batch").write_bytes(python2_pickle(images, [3, 0, 9]))
    found = load_arrays(tmp_path / "batch")
    np.testing.assert_array_equal(found["data"], images)
    assert found["labels"] == [3, 0, 9]


@pytest.mark.parametrize(
    "hostile",
    [Hostile(os.system, "touch HACKED"), Hostile(eval, "1+1"), Hostile(np.load, "x"), Hostile(getattr, 1, "real")],
)
def test_refuses_everything_that_runs_code(tmp_path, monkeypatch, hostile):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "batch").write_bytes(pickle.dumps({"data": hostile}))
    with pytest.raises(InputError, match="only NumPy arrays are allowed"):
        load_arrays(tmp_path / "batch")
    assert not (tmp_path / "HACKED").exists()


@at_most(100)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_dict_or_a_clear_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "batch"
    path.write_bytes(content)
    try:
        found = load_arrays(path)
    except InputError:
        return
    assert isinstance(found, dict)
