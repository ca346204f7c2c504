"""CIFAR, MNIST and SVHN on small files in the real formats; torchvision's checksums are replaced by theirs."""

import gzip
import hashlib
import struct
import tarfile

import numpy as np
import pytest
import torch
import torchvision.datasets as tv
from examples import at_most
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from calbench.benchmark.core.errors import InputError
from calbench.datasets import registry
from calbench.datasets.mnist import read_idx


def md5(content):
    return hashlib.md5(content).hexdigest()


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(url, *args, **kwargs):
        raise OSError("no network in tests")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", refuse)


@pytest.fixture
def cifar(tmp_path, monkeypatch, python2_pickle):
    """Two training batches and a test batch of four images each, unpacked as torchvision leaves them."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 4, 3072), dtype=np.uint8)
    labels = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    listed = []
    for name, part, targets in zip(["data_batch_1", "data_batch_2", "test_batch"], images, labels, strict=True):
        content = python2_pickle(part, targets)
        (folder / name).write_bytes(content)
        listed.append([name, md5(content)])
    monkeypatch.setattr(tv.CIFAR10, "train_list", listed[:2])
    monkeypatch.setattr(tv.CIFAR10, "test_list", listed[2:])
    return tmp_path, images, labels


def test_cifar_reads_planes_of_channels(cifar):
    root, images, labels = cifar
    splits = registry.create("cifar10").load(root)
    assert splits.train.images.shape == (8, 3, 32, 32)
    assert splits.train.labels.tolist() == labels[0] + labels[1]
    # Red comes first, row by row.
    assert splits.test.images[1, 0, 0, 5] == images[2][1][5]
    assert splits.test.images[1, 2, 31, 31] == images[2][1][3071]


def test_cifar_unpacks_its_archive(cifar, monkeypatch):
    root, _, _ = cifar
    folder = root / "cifar-10-batches-py"
    with tarfile.open(root / tv.CIFAR10.filename, "w:gz") as archive:
        archive.add(folder, folder.name)
    monkeypatch.setattr(tv.CIFAR10, "tgz_md5", md5((root / tv.CIFAR10.filename).read_bytes()))
    (folder / "test_batch").unlink()
    assert len(registry.create("cifar10").load(root).test) == 4
    assert not list(root.glob(".unpacking-*"))


def test_cifar_refuses_a_damaged_file_and_says_what_to_do(cifar):
    root, _, _ = cifar
    path = root / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(InputError, match=r"cifar10: cifar-10-python\.tar\.gz is not in the data folder.*by hand"):
        registry.create("cifar10").load(root)


def test_cifar_shifted_and_foreign_splits(cifar, svhn):
    root, _, _ = cifar
    folder = root / "CIFAR-10-C"
    folder.mkdir()
    corrupted = np.random.default_rng(1).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    np.save(folder / "fog.npy", corrupted)
    np.save(folder / "labels.npy", np.array([8, 9] * 5, dtype=np.uint8))
    cifar10 = registry.create("cifar10", corruptions=["fog"], severities=[1, 5], out_of_distribution=["svhn"])
    splits = cifar10.load(root)
    assert list(splits.shifted) == ["fog-1", "fog-5"]
    assert splits.shifted["fog-5"].labels.tolist() == [8, 9]
    assert splits.shifted["fog-5"].images[1, 2, 3, 4] == corrupted[9, 3, 4, 2]
    assert len(splits.out_of_distribution["svhn"]) == 3
    assert cifar10.fingerprint(root) != registry.create("cifar10").fingerprint(root)
    with pytest.raises(InputError, match=r"CIFAR-10-C/fogg\.npy .*did you mean 'fog'.*zenodo"):
        registry.create("cifar10", corruptions=["fogg"]).load(root)
    with pytest.raises(InputError, match="another number of channels"):
        registry.create("cifar10", out_of_distribution=["mnist"])


def test_cifar100_reads_fine_labels(tmp_path, monkeypatch, python2_pickle):
    content = python2_pickle(np.zeros((2, 3072), np.uint8), [99, 0], key=b"fine_labels")
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test"):
        (folder / name).write_bytes(content)
        monkeypatch.setattr(tv.CIFAR100, f"{name}_list", [[name, md5(content)]])
    splits = registry.create("cifar100").load(tmp_path)
    assert splits.train.labels.tolist() == [99, 0]


@pytest.mark.parametrize(
    ("width", "labels", "said"),
    [(3000, [1, 2], "2 images of 3000 numbers and 2 labels"), (3072, [1], "2 images of 3072 numbers and 1 labels")],
)
def test_cifar_names_what_a_file_of_another_shape_has(tmp_path, monkeypatch, python2_pickle, width, labels, said):
    content = python2_pickle(np.zeros((2, width), np.uint8), labels, key=b"fine_labels")
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test"):
        (folder / name).write_bytes(content)
        monkeypatch.setattr(tv.CIFAR100, f"{name}_list", [[name, md5(content)]])
    with pytest.raises(InputError, match=f"cifar100: train has {said}; expected 3072 numbers, and as many labels"):
        registry.create("cifar100").load(tmp_path)


def idx(array):
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.tobytes())


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    rng = np.random.default_rng(2)
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    arrays = [
        rng.integers(0, 256, (5, 28, 28), dtype=np.uint8),
        np.array([0, 1, 2, 3, 9], np.uint8),
        rng.integers(0, 256, (2, 28, 28), dtype=np.uint8),
        np.array([7, 8], np.uint8),
    ]
    names = [name for name, _ in tv.MNIST.resources]
    contents = [idx(array) for array in arrays]
    for name, content in zip(names, contents, strict=True):
        (folder / name).write_bytes(content)
    monkeypatch.setattr(tv.MNIST, "resources", [(n, md5(c)) for n, c in zip(names, contents, strict=True)])
    return tmp_path, arrays


def test_mnist_reads_idx_files(mnist):
    root, arrays = mnist
    splits = registry.create("mnist").load(root)
    assert torch.equal(splits.train.images[:, 0], torch.from_numpy(arrays[0]))
    assert splits.train.labels.tolist() == [0, 1, 2, 3, 9]
    assert splits.test.images.shape == (2, 1, 28, 28)


def test_mnist_without_network_names_the_file(mnist):
    root, _ = mnist
    (root / "MNIST/raw/t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(InputError, match=r"t10k-images-idx3-ubyte\.gz is not in the data folder .*no network in tests"):
        registry.create("mnist").load(root)


def test_mnist_with_another_number_of_labels_is_refused_with_both_shapes(mnist, monkeypatch):
    root, _ = mnist
    content = idx(np.array([1, 2, 3], np.uint8))
    name = tv.MNIST.resources[1][0]
    (root / "MNIST/raw" / name).write_bytes(content)
    monkeypatch.setattr(tv.MNIST, "resources", [(n, md5(content) if n == name else c) for n, c in tv.MNIST.resources])
    message = r"images of shape \(5, 28, 28\) and labels of \(3,\); expected \(N, H, W\) and \(N,\)"
    with pytest.raises(InputError, match=message):
        registry.create("mnist").load(root)


@pytest.mark.parametrize(
    "content",
    [b"", gzip.compress(b"\0\0\x08\x01\0\0\0\x09ab", mtime=0), gzip.compress(b"\0\0\x0d\x01", mtime=0), b"x"],
)
def test_idx_of_another_type_or_cut_short_is_refused(tmp_path, content):
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.gz"):
        read_idx(tmp_path / "x.gz")


@at_most(100)
@given(st.binary(max_size=40), st.integers(0, 60), st.integers(0, 255))
def test_any_idx_file_gives_bytes_or_a_clear_error(tmp_path_factory, content, position, value):
    packed = bytearray(gzip.compress(b"\0\0\x08" + content))
    packed[position % len(packed)] = value
    path = tmp_path_factory.mktemp("fuzz") / "x.gz"
    path.write_bytes(packed)
    try:
        found = read_idx(path)
    except InputError:
        return
    assert found.dtype == torch.uint8


@pytest.fixture
def svhn(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    listed = dict(tv.SVHN.split_list)
    for split, labels in (("train", [10, 1, 2, 9]), ("test", [5, 10, 1])):
        url, name, _ = tv.SVHN.split_list[split]
        pixels = rng.integers(0, 256, (32, 32, 3, len(labels)), dtype=np.uint8)
        savemat(tmp_path / name, {"X": pixels, "y": np.array(labels, np.uint8)[:, None]})
        listed[split] = [url, name, md5((tmp_path / name).read_bytes())]
    monkeypatch.setattr(tv.SVHN, "split_list", listed)
    return tmp_path, pixels


def test_svhn_reads_matlab_files_and_calls_ten_zero(svhn):
    root, pixels = svhn
    splits = registry.create("svhn").load(root)
    assert splits.train.labels.tolist() == [0, 1, 2, 9]
    assert splits.test.images.shape == (3, 3, 32, 32)
    assert splits.test.images[2, 1, 3, 4] == pixels[3, 4, 1, 2]


def test_svhn_with_another_number_of_labels_is_refused_with_both_numbers(svhn, monkeypatch):
    root, pixels = svhn
    url, name, _ = tv.SVHN.split_list["test"]
    savemat(root / name, {"X": pixels, "y": np.array([[1], [2]], np.uint8)})
    listed = {**tv.SVHN.split_list, "test": [url, name, md5((root / name).read_bytes())]}
    monkeypatch.setattr(tv.SVHN, "split_list", listed)
    with pytest.raises(InputError, match=r"uint8 images of shape \(32, 32, 3, 3\) and 2 labels; expected uint8"):
        registry.create("svhn").load(root)


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="svhn: the data folder cannot be used"):
        registry.create("svhn").load(tmp_path / "file" / "data")
