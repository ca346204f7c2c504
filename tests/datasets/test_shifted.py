"""Published shifted sets, read from small files in their true layout."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from calbench.benchmark.core.errors import InputError
from calbench.datasets import registry as datasets
from calbench.datasets.shifted import registry

CORRUPTED = np.random.default_rng(1).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def cifar_c(tmp_path):
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    for name in ("fog", "gaussian_noise"):
        np.save(folder / f"{name}.npy", CORRUPTED)
    np.save(folder / "labels.npy", np.array([8, 9] * 5, dtype=np.uint8))
    return tmp_path


def test_cifar_c_gives_the_rows_of_a_severity(cifar_c):
    shifted, cifar10 = registry.create("cifar10-c", corruptions=["fog"], severities=[1, 5]), datasets.create("cifar10")
    assert shifted.split_names() == ["fog-1", "fog-5"]
    split = shifted.load("fog-5", cifar10, cifar_c)
    assert split.labels.tolist() == [8, 9]
    assert split.images.shape == (2, 3, 32, 32)
    assert split.images[1, 2, 3, 4] == CORRUPTED[9, 3, 4, 2]
    assert shifted.classes(cifar10, cifar_c) is None
    before = shifted.fingerprint(cifar10, cifar_c)
    np.save(cifar_c / "CIFAR-10-C" / "fog.npy", CORRUPTED[::-1])
    assert shifted.fingerprint(cifar10, cifar_c) != before


def test_cifar_c_says_what_is_missing_or_wrong(cifar_c):
    cifar10 = datasets.create("cifar10")
    with pytest.raises(InputError, match=r"CIFAR-10-C/fogg\.npy .*did you mean 'fog'.*zenodo"):
        registry.create("cifar10-c", corruptions=["fogg"]).fingerprint(cifar10, cifar_c)
    with pytest.raises(InputError, match="cifar10-c: option severities"):
        registry.create("cifar10-c", severities=[6])
    with pytest.raises(InputError, match="cifar10-c is a test set of cifar10, not of digits"):
        registry.create("cifar10-c").check(datasets.create("digits"))
    fog = registry.create("cifar10-c", corruptions=["fog"])
    np.save(cifar_c / "CIFAR-10-C" / "labels.npy", np.array([8, 10] * 5))
    with pytest.raises(InputError, match=r"labels outside 0\.\.9"):
        fog.load("fog-1", cifar10, cifar_c)
    np.save(cifar_c / "CIFAR-10-C" / "labels.npy", np.zeros(9, dtype=np.uint8))
    with pytest.raises(InputError, match="10 images and labels.npy 9"):
        fog.load("fog-1", cifar10, cifar_c)
    np.save(cifar_c / "CIFAR-10-C" / "fog.npy", CORRUPTED[:, :16])
    with pytest.raises(InputError, match="no array of 32 x 32 RGB images"):
        fog.load("fog-1", cifar10, cifar_c)


CLASSES = ["n01440764", "n01443537", "n02007558", "n03000134"]


def images(folder, names, size=20):
    """One image in each folder, its red value the number of the folder."""
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (size, size), (number % 256, 0, 0)).save(folder / name / "one.png")


@pytest.fixture
def flowers(tmp_path):
    """A dataset in folders with four of ImageNet's classes."""
    for part in ("train", "test"):
        images(tmp_path / "data" / part, CLASSES)
    return datasets.create("image-folder", path=tmp_path / "data", size=20)


def test_imagenet_c_reads_corruption_and_severity_with_or_without_family_folders(tmp_path, flowers):
    images(tmp_path / "C" / "blur" / "motion_blur" / "3", CLASSES)
    images(tmp_path / "C" / "fog" / "1", CLASSES[:3])
    shifted = registry.create("imagenet-c", path=tmp_path / "C", corruptions=["fog"], severities=[1])
    assert shifted.split_names() == ["fog-1"]
    assert shifted.already_cropped
    assert shifted.load("fog-1", flowers, tmp_path).labels.tolist() == [0, 1, 2]
    assert shifted.load("motion_blur-3", flowers, tmp_path).labels.tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match="imagenet-c: C has no folder snow/2"):
        shifted.load("snow-2", flowers, tmp_path)
    assert str(tmp_path) not in str(shifted.identity()) + shifted.spelled()
    assert len(shifted.fingerprint(flowers, tmp_path)) == 16


@pytest.mark.parametrize("name", ["imagenet-a", "imagenet-r"])
def test_sets_of_some_classes_say_which(tmp_path, flowers, name):
    images(tmp_path / "A", [CLASSES[1], CLASSES[3]])
    (tmp_path / "A" / "README.txt").write_text("not an image")
    shifted = registry.create(name, path=tmp_path / "A")
    shifted.check(flowers)
    assert shifted.classes(flowers, tmp_path) == (1, 3)
    split = shifted.load("", flowers, tmp_path)
    assert split.labels.tolist() == [1, 3]
    assert split.images[1].shape == (3, 20, 20)
    assert "200 of the 1,000 classes" in shifted.note


@pytest.mark.parametrize("name", ["imagenet-r", "imagenet-sketch"])
def test_a_folder_with_foreign_classes_is_refused(tmp_path, flowers, name):
    images(tmp_path / "R", [CLASSES[0], "n09999999", "n09999998"])
    shifted = registry.create(name, path=tmp_path / "R")
    with pytest.raises(InputError, match=r"'n09999998' of R is no class of .* \(nor are 1 others\)"):
        shifted.fingerprint(flowers, tmp_path)
    with pytest.raises(InputError, match="No such file"):
        registry.create(name, path=tmp_path / "missing").fingerprint(flowers, tmp_path)


def test_imagenet_v2_is_numbered_by_number_not_by_name(tmp_path):
    names = sorted(f"n{number:08d}" for number in range(1000))
    for part in ("train", "val"):
        for name in names:
            (tmp_path / "imagenet" / part / name).mkdir(parents=True)
    imagenet = datasets.create("imagenet", path=tmp_path / "imagenet")
    images(tmp_path / "V2", [str(number) for number in (0, 2, 10, 999)])
    shifted = registry.create("imagenet-v2", path=tmp_path / "V2")
    shifted.check(imagenet)
    split = shifted.load("", imagenet, tmp_path)
    assert dict(zip(split.labels.tolist(), [int(split.images[i][0, 0, 0]) for i in range(4)], strict=True)) == {
        0: 0, 2: 1, 10: 2, 999: 3
    }  # fmt: skip
    images(tmp_path / "A", names[:3])
    with pytest.raises(InputError, match="imagenet-a: A has 3 class folders, expected 200"):
        registry.create("imagenet-a", path=tmp_path / "A").fingerprint(imagenet, tmp_path)


def test_predictions_of_a_partial_set_are_restricted_to_its_classes():
    from calbench.benchmark.evaluation.extra_splits import _restricted
    from calbench.benchmark.predictions.predictions import SplitPredictions

    logits = torch.tensor([[9.0, 1.0, 0.0, 2.0], [0.0, 3.0, 9.0, 1.0]])
    part = _restricted(SplitPredictions(logits, torch.tensor([3, 1])), (1, 3))
    assert part.logits.tolist() == [[1.0, 2.0], [3.0, 1.0]]
    assert part.labels.tolist() == [1, 0]


def huge(path):
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<i8", "fortran_order": False, "shape": (10**11,)})


BAD_FILES = {
    "pickled images": ("fog", np.array([{"a": 1}], object)),
    "pickled labels": ("labels", np.array([{}] * 10, object)),
    "labels in two columns": ("labels", np.zeros((10, 2))),
    "half a label": ("labels", np.full(10, 0.5)),
    "no number": ("labels", np.full(10, np.nan)),
    "a negative label": ("labels", np.full(10, -1)),
    "an unknown label": ("labels", np.full(10, 99)),
    "words": ("labels", np.array(["a"] * 10)),
    "float images": ("fog", CORRUPTED.astype(float)),
    "no images": ("fog", CORRUPTED[:0]),
    "seven images": ("fog", CORRUPTED[:7]),
    "an empty file": ("fog", lambda path: path.write_bytes(b"")),
    "a cut file": ("fog", lambda path: path.write_bytes(path.read_bytes()[:500])),
    "a pipe": ("fog", lambda path: (path.unlink(), os.mkfifo(path))),
    "a device": ("labels", lambda path: (path.unlink(), path.symlink_to("/dev/zero"))),
    "a folder": ("fog", lambda path: (path.unlink(), path.mkdir())),
    "800 GB": ("labels", huge),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_of_cifar_c_are_refused_in_one_line_by_both_ways_of_reading_them(cifar_c, case):
    name, content = BAD_FILES[case]
    path = cifar_c / "CIFAR-10-C" / f"{name}.npy"
    content(path) if callable(content) else np.save(path, content, allow_pickle=True)
    shifted, cifar10 = registry.create("cifar10-c", corruptions=["fog"], severities=[1]), datasets.create("cifar10")
    option = datasets.create("cifar10", corruptions=["fog"], severities=[1])
    for read in (lambda: shifted.load("fog-1", cifar10, cifar_c), lambda: option._shifted(cifar_c)):
        with pytest.raises(InputError, match=rf"CIFAR-10-C/({name}|fog)\.npy") as error:
            read()
        assert "\n" not in str(error.value)
