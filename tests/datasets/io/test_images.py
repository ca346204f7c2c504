"""Tiny-ImageNet, image folders and ImageNet on small files that the tests write."""

import hashlib
import os
import sqlite3
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from calbench.benchmark.core.errors import InputError
from calbench.datasets import registry
from calbench.datasets.imagenet import ImageNet
from calbench.datasets.io import content
from calbench.datasets.io.download import RemoteFile
from calbench.datasets.tiny_imagenet import TinyImageNet


def write_image(path, value, size=(8, 8), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = value if mode == "L" else (value, 0, 255 - value)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes; cats are bright, dogs dark; one image is grey."""
    for i in range(3):
        write_image(tmp_path / f"pets/train/cat/{i}.png", 200 + i)
        write_image(tmp_path / f"pets/train/dog/{i}.png", 10 + i)
    write_image(tmp_path / "pets/test/cat/a.PNG", 220)
    write_image(tmp_path / "pets/test/dog/b.png", 20, mode="L")
    (tmp_path / "pets/test/dog/notes.txt").write_text("no image")
    return tmp_path / "pets"


def test_image_folder_reads_classes_from_the_training_folder(folder, tmp_path):
    pets = registry.create("image-folder", path=str(folder))
    assert (pets.num_classes, pets.image_size, pets.classes) == (2, 8, ["cat", "dog"])
    splits = pets.load(tmp_path / "root")
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert splits.train.images[:, 0, 0, 0].tolist() == [200, 201, 202, 10, 11, 12]
    assert splits.test.images[1, :, 0, 0].tolist() == [20, 20, 20]


def test_image_folder_keeps_decoded_pixels_and_mends_a_damaged_cache(folder, tmp_path):
    pets = registry.create("image-folder", path=str(folder))
    first = pets.load(tmp_path / "root").train.images
    caches = sorted((tmp_path / "root/cache").glob("pixels-*.safetensors"))
    assert len(caches) == 2
    again = pets.load(tmp_path / "root").train.images
    assert torch.equal(first, again)
    for cache in caches:
        cache.write_bytes(cache.read_bytes()[:-3])
    assert torch.equal(pets.load(tmp_path / "root").train.images, first)
    for cache in caches:
        cache.write_bytes(cache.read_bytes()[:-1] + b"?")
    assert torch.equal(pets.load(tmp_path / "root").train.images, first)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_all_files_of_the_cache_have_the_mode_of_the_umask(folder, tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        registry.create("image-folder", path=str(folder)).load(tmp_path / "root")
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "root").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".safetensors", ".sqlite"}
    assert {path.name: path.stat().st_mode & 0o777 for path in files} == {path.name: mode for path in files}


def test_image_folder_fingerprint_follows_the_files(folder, tmp_path):
    before = registry.create("image-folder", path=str(folder)).fingerprint(tmp_path)
    write_image(folder / "train/cat/9.png", 0)
    assert registry.create("image-folder", path=str(folder)).fingerprint(tmp_path) != before


def test_image_folder_fingerprint_and_pixels_follow_the_content(folder, tmp_path):
    """Names and sizes stay the same; so do the times where they are set back, as rsync and unpacking do."""
    for cls, value in (("cat", 220), ("dog", 20)):
        write_image(folder / f"test/{cls}/0.bmp", value)
    root, pets = tmp_path / "root", registry.create("image-folder", path=str(folder))
    before, pixels = pets.fingerprint(root), pets.load(root).test.images
    cat, dog = folder / "test/cat/0.bmp", folder / "test/dog/0.bmp"
    times = [(path.stat().st_atime_ns, path.stat().st_mtime_ns) for path in (cat, dog)]
    content = cat.read_bytes(), dog.read_bytes()
    assert len(content[0]) == len(content[1])
    for path, data, time in zip((cat, dog), reversed(content), times, strict=True):
        path.write_bytes(data)
        os.utime(path, ns=time)
    again = registry.create("image-folder", path=str(folder))
    assert again.fingerprint(root) != before
    swapped = again.load(root).test.images
    assert not torch.equal(swapped, pixels)
    assert torch.equal(swapped[0], pixels[2])


def test_a_file_is_read_again_only_when_it_changed(tmp_path, monkeypatch):
    path, read = tmp_path / "a.bin", []
    path.write_bytes(b"1")
    monkeypatch.setattr(content, "_FRESH_NS", 0)
    monkeypatch.setattr(content, "_read", lambda path, original=content._read: read.append(path) or original(path))
    first = content.digests(tmp_path, [path])
    assert content.digests(tmp_path, [path]) == first == [hashlib.sha256(b"1").digest()]
    assert len(read) == 1
    path.write_bytes(b"2")
    assert content.digests(tmp_path, [path]) == [hashlib.sha256(b"2").digest()]
    (tmp_path / content.CACHE).write_bytes(b"no database at all, but longer than one header of a hundred bytes" * 9)
    assert content.digests(tmp_path, [path]) == [hashlib.sha256(b"2").digest()]
    assert len(read) == 3
    assert content.digests(tmp_path, [path])
    assert len(read) == 3


def test_a_file_that_just_changed_is_not_kept(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"1")
    content.digests(tmp_path, [path])
    with sqlite3.connect(tmp_path / content.CACHE) as cache:
        assert cache.execute("SELECT count(*) FROM content").fetchone() == (0,)


def test_an_empty_class_is_refused_and_nested_images_are_read(folder, tmp_path):
    write_image(folder / "train/cat/session 1/deep/z.png", 77)
    write_image(folder / "train/cat/.hidden/z.png", 78)
    write_image(folder / "train/cat/._z.png", 79)
    (folder / "train/cat/loop").symlink_to(folder / "train/cat")
    splits = registry.create("image-folder", path=str(folder)).load(tmp_path / "root")
    assert splits.train.images[:4, 0, 0, 0].tolist() == [200, 201, 202, 77]
    (folder / "train/__MACOSX").mkdir()
    with pytest.raises(InputError, match="class '__MACOSX' has no images"):
        registry.create("image-folder", path=str(folder)).load(tmp_path / "root")


def test_the_path_stays_out_of_names_and_keys(folder):
    pets = registry.create("image-folder", path=str(folder), size=16)
    assert pets.spelled() == "image-folder(pets, size=16)"
    assert str(folder) not in str(pets.identity())
    assert registry.create("image-folder", path=str(folder), title="Pets").spelled() == "Pets"


def test_images_of_other_sizes_need_the_option(folder, tmp_path):
    write_image(folder / "train/cat/large.png", 5, size=(12, 8))
    with pytest.raises(InputError, match=r"cat/large\.png has 12 x 8 pixels, not 8 x 8"):
        registry.create("image-folder", path=str(folder)).load(tmp_path / "root")
    resized = registry.create("image-folder", path=str(folder), size=4).load(tmp_path / "root")
    assert resized.train.images.shape == (7, 3, 4, 4)


def test_a_damaged_image_and_an_unknown_class_are_named(folder, tmp_path):
    (folder / "train/dog/x.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"image dog/x\.png: cannot be read"):
        registry.create("image-folder", path=str(folder)).load(tmp_path / "root")
    write_image(folder / "test/bird/1.png", 3)
    with pytest.raises(InputError, match="'bird' is no class of the training folder"):
        registry.create("image-folder", path=str(folder)).fingerprint(tmp_path)
    with pytest.raises(InputError, match="nowhere/train: .*expected one sub-folder of images"):
        _ = registry.create("image-folder", path=str(tmp_path / "nowhere")).num_classes


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The archive with three classes; the validation images of all lie in one folder, as in the real one."""
    root, source = tmp_path / "root", tmp_path / "source/tiny-imagenet-200"
    wnids = ["n03", "n01", "n02"]
    for value, wnid in enumerate(wnids):
        write_image(source / f"train/{wnid}/images/{wnid}_0.JPEG", 80 * value, size=(64, 64))
        write_image(source / f"val/images/val_{value}.JPEG", 80 * value, size=(64, 64), mode="L")
    (source / "wnids.txt").write_text("\n".join(wnids) + "\n")
    rows = [f"val_{value}.JPEG\t{wnid}\t0\t0\t62\t62" for value, wnid in enumerate(wnids)]
    (source / "val/val_annotations.txt").write_text("\n".join(rows) + "\n")
    root.mkdir()
    with zipfile.ZipFile(root / "tiny-imagenet-200.zip", "w") as archive:
        for path in sorted(source.rglob("*")):
            archive.write(path, path.relative_to(source.parent))
    digest = hashlib.md5((root / "tiny-imagenet-200.zip").read_bytes()).hexdigest()
    monkeypatch.setattr(TinyImageNet, "archive", RemoteFile("tiny-imagenet-200.zip", digest))
    monkeypatch.setattr(TinyImageNet, "num_classes", 3)
    return root


def test_tiny_imagenet_takes_validation_classes_from_the_annotations(tiny):
    splits = registry.create("tiny-imagenet").load(tiny)
    assert splits.train.labels.tolist() == [0, 1, 2]
    assert splits.test.labels.tolist() == [2, 0, 1]  # n03, n01, n02 in sorted numbering
    assert splits.test.images.shape == (3, 3, 64, 64)
    assert splits.test.images.float().mean((1, 2, 3)).round().tolist() == [0, 80, 160]


def test_tiny_imagenet_fingerprint_is_a_constant_until_a_file_changes(tiny):
    dataset = registry.create("tiny-imagenet")
    before = dataset.fingerprint(tiny)
    dataset.load(tiny)
    assert dataset.fingerprint(tiny) == before == "tiny-imagenet-200"
    write_image(tiny / "tiny-imagenet-200/val/images/val_0.JPEG", 9, size=(64, 64))
    assert dataset.fingerprint(tiny) != before


def test_tiny_imagenet_refuses_annotations_that_leave_the_folder(tiny):
    registry.create("tiny-imagenet").load(tiny)
    (tiny / "tiny-imagenet-200/val/val_annotations.txt").write_text("../../x.JPEG\tn01\t0\t0\t1\t1\n")
    with pytest.raises(InputError, match=r"val_annotations\.txt, line 1"):
        registry.create("tiny-imagenet").load(tiny)


def test_tiny_imagenet_without_archive_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(TinyImageNet, "archive", RemoteFile("tiny-imagenet-200.zip", "0" * 32))
    with pytest.raises(InputError, match=r"tiny-imagenet-200\.zip is not in the data folder"):
        registry.create("tiny-imagenet").load(tmp_path)


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageNet, "num_classes", 2)
    for wnid, value in (("n1", 30), ("n2", 220)):
        for i in range(3):
            write_image(tmp_path / f"ilsvrc/train/{wnid}/{i}.JPEG", value, size=(40 + 8 * i, 50))
        write_image(tmp_path / f"ilsvrc/val/{wnid}/v.JPEG", value, size=(60, 40))
    return registry.create("imagenet", path=str(tmp_path / "ilsvrc"))


def test_imagenet_decodes_when_asked(imagenet, tmp_path):
    splits = imagenet.load(tmp_path)
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert splits.train.images[2].shape == (3, 50, 56)
    subset = splits.train.subset(torch.tensor([5, 0]))
    assert subset.labels.tolist() == [1, 0]
    assert abs(int(subset.images[0][0, 0, 0]) - 220) < 4
    assert np.all([len(p) == 16 for p in imagenet.fingerprint(tmp_path).split("-")])


def test_imagenet_counts_its_classes(imagenet, tmp_path, monkeypatch):
    monkeypatch.setattr(ImageNet, "num_classes", 1000)
    with pytest.raises(InputError, match="train has 2 class folders, expected 1000"):
        imagenet.load(tmp_path)
