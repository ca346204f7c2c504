import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from calbench.benchmark.core.errors import InputError
from calbench.datasets import registry


def arrays(**changes):
    rng = np.random.default_rng(0)
    made = {
        "train_images": rng.integers(0, 256, (6, 3, 4, 4), dtype=np.uint8),
        "train_labels": np.array([0, 1, 2, 0, 1, 2]),
        "test_images": rng.integers(0, 256, (2, 3, 4, 4), dtype=np.uint8),
        "test_labels": np.array([0, 1], dtype=np.int32),
    }
    return {name: value for name, value in (made | changes).items() if value is not None}


def write(tmp_path, **changes):
    np.savez(tmp_path / "data.npz", **arrays(**changes))
    return str(tmp_path / "data.npz")


def test_npz_and_safetensors_give_the_same(tmp_path):
    from_npz = registry.create("array-file", path=write(tmp_path), classes=3)
    save_file(arrays(), tmp_path / "data.safetensors")
    from_tensors = registry.create("array-file", path=str(tmp_path / "data.safetensors"), classes=3)
    assert torch.equal(from_npz.load(tmp_path).train.images, from_tensors.load(tmp_path).train.images)
    assert (from_npz.channels, from_npz.image_size, from_npz.num_classes) == (3, 4, 3)
    pixels = arrays()["train_images"] / 255
    assert np.allclose(from_npz.mean, pixels.mean((0, 2, 3)), atol=1e-6)
    assert np.allclose(from_npz.std, pixels.std((0, 2, 3)), atol=1e-6)
    assert len(pickle.dumps(from_npz)) < 1000


def test_layouts(tmp_path):
    given = arrays()
    last = {name: value.transpose(0, 2, 3, 1) for name, value in given.items() if name.endswith("images")}
    path = write(tmp_path, **last)
    images = registry.create("array-file", path=path, classes=3, layout="nhwc").load(tmp_path).train.images
    assert np.array_equal(images.numpy(), given["train_images"])
    grey = {name: value[:, 0] for name, value in given.items() if name.endswith("images")}
    assert registry.create("array-file", path=write(tmp_path, **grey), classes=3).channels == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_labels": None}, "has no array 'test_labels'"),
        ({"train_labels": np.array([0, 1, 3, 0, 1, 2])}, r"train_labels\[2\] is 3, outside 0..2"),
        ({"train_labels": np.array([0.0, 1, 2, 0, 1, 2])}, "one whole number an image"),
        ({"train_labels": np.array([0, 1])}, "differ in number"),
        ({"train_images": np.zeros((6, 4, 4, 3), np.uint8)}, "no stack of square images in nchw"),
        ({"test_images": np.zeros((2, 1, 4, 4), np.uint8)}, "differ in shape or type"),
        ({"test_images": np.full((2, 3, 4, 4), np.nan)}, "floats without NaN"),
        ({"test_images": np.array([Exception()] * 2)}, "cannot be read"),
    ],
)
def test_wrong_arrays_are_named(tmp_path, changes, message):
    path = write(tmp_path, **changes)
    with pytest.raises(InputError, match=message):
        registry.create("array-file", path=path, classes=3).load(tmp_path)


@pytest.mark.parametrize("name", ["data.npz", "data.safetensors"])
def test_a_cut_file_and_a_missing_file_are_named(tmp_path, name):
    write(tmp_path)
    save_file(arrays(), tmp_path / "data.safetensors")
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=f"{name}: cannot be read"):
        registry.create("array-file", path=str(path), classes=3).load(tmp_path)
    with pytest.raises(InputError, match=r"gone\.npz: No such file"):
        registry.create("array-file", path=str(tmp_path / "gone.npz"), classes=3).fingerprint(tmp_path)


def npz_of(path, **headers):
    """An archive whose arrays declare a shape and type, and have eight bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, (shape, code) in headers.items():
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, {"descr": code, "fortran_order": False, "shape": shape})
            archive.writestr(f"{name}.npy", header.getvalue() + bytes(8))
    return str(path)


def test_an_array_that_declares_more_than_its_file_has_is_refused_before_memory_is_taken(tmp_path):
    path = npz_of(tmp_path / "data.npz", train_images=((10**12, 3, 32, 32), "|u1"))
    with pytest.raises(InputError, match=r"array file data\.npz: damaged: train_images takes 3,072,0"):
        registry.create("array-file", path=path, classes=3).load(tmp_path)


def test_an_archive_that_expands_beyond_its_size_is_refused_and_the_limit_can_be_raised(tmp_path, monkeypatch):
    pixels = np.zeros((2000, 3, 32, 32), np.uint8)
    np.savez_compressed(tmp_path / "data.npz", **arrays(train_images=pixels, train_labels=np.zeros(2000, int)))
    assert (tmp_path / "data.npz").stat().st_size * 200 < pixels.nbytes
    dataset = registry.create("array-file", path=str(tmp_path / "data.npz"), classes=3)
    monkeypatch.setenv("CALBENCH_LIMITS", "0.001")
    with pytest.raises(InputError, match=r"array file data\.npz: it expands to 0\.0 GB, above the limit.*CALBENCH_LIM"):
        dataset.load(tmp_path)
    monkeypatch.delenv("CALBENCH_LIMITS")
    with pytest.raises(InputError, match="differ in shape"):  # read, and then compared with the test images
        dataset.load(tmp_path)
