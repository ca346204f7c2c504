"""Images of further splits: streamed ones through the loader's workers, and those of other datasets."""

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from calbench.benchmark.backbones import DataConfig
from calbench.benchmark.config.extra_splits import Corrupted, CorruptedPatch, severity_group
from calbench.benchmark.config.protocol import make_protocol
from calbench.benchmark.config.shift import conversion
from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.corruptions import corrupt
from calbench.benchmark.data import extra_splits
from calbench.benchmark.data.batches import EvalBatches
from calbench.benchmark.evaluation.extra_splits import ExtraEvaluator
from calbench.benchmark.execution.runner import RunOptions, plan_suite
from calbench.benchmark.predictions.predictions import Predictions, SplitPredictions
from calbench.datasets import Split
from calbench.datasets import registry as datasets
from calbench.datasets.io.images import FolderImages, list_images
from calbench.methods import registry

SIZE = 32
CONFIG = DataConfig(SIZE, (0.5,) * 3, (0.5,) * 3)


@pytest.fixture
def folder(tmp_path):
    """Eight photographs' worth of noise in two classes, each of another size."""
    rng = np.random.default_rng(0)
    for number in range(8):
        path = tmp_path / "val" / f"class-{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40 + number, 52, 3), np.uint8)).save(path)
    return tmp_path / "val"


@pytest.fixture
def streamed(folder, monkeypatch):
    """A cell whose test split streams from `folder`, and how often an image was read in this process."""
    listing = list_images(folder, ["class-0", "class-1"])
    split = Split(FolderImages(listing), torch.tensor(listing.labels))
    data = SimpleNamespace(evaluated={"test": split}, config=CONFIG)
    monkeypatch.setattr(extra_splits, "prepare_data", lambda cell, root: data)
    reads, read = [], FolderImages.__getitem__
    monkeypatch.setattr(FolderImages, "__getitem__", lambda self, index: reads.append(index) or read(self, index))
    return SimpleNamespace(dataset=SimpleNamespace(image_size=SIZE)), split, reads


def inputs(split, config, workers):
    return torch.cat([images for images, _ in EvalBatches(split, config, 3, "cpu", workers=workers)])


def test_streamed_images_are_corrupted_one_by_one_by_the_workers(streamed, tmp_path):
    cell, plain, reads = streamed
    extra = Corrupted("shift-gaussian-noise-3", None, False, "gaussian-noise", 3, 32, images=None)
    split, config = extra_splits.load_extra(extra, cell, tmp_path)
    assert not isinstance(split.images, Tensor)
    assert reads == [], "nothing is read before a batch is asked for"
    alone = inputs(split, config, workers=0)
    assert sorted(reads) == list(range(8))
    reads.clear()
    assert torch.equal(inputs(split, config, workers=2), alone)
    assert reads == [], "the workers have read them"
    crop = v2.Compose([v2.Resize(round(SIZE * 256 / 224), antialias=True), v2.CenterCrop(SIZE)])
    for index in range(8):
        expected = corrupt(crop(plain.images[index])[None], "gaussian-noise", 3, scale=32, indices=[index])
        torch.testing.assert_close(alone[index], (expected[0].float() / 255 - 0.5) / 0.5, atol=1e-5, rtol=0)


def test_one_patch_of_a_streamed_image_is_corrupted(streamed, tmp_path):
    cell, plain, _ = streamed
    extra = CorruptedPatch("shift-patch-5", None, False, "impulse-noise", 5, 32, grid=4, position=5)
    split, _ = extra_splits.load_extra(extra, cell, tmp_path)
    crop = v2.Compose([v2.Resize(round(SIZE * 256 / 224), antialias=True), v2.CenterCrop(SIZE)])
    changed = (split.images[2] != crop(plain.images[2])).any(0)
    assert changed[8:16, 8:16].any()
    changed[8:16, 8:16] = False
    assert not changed.any()


def test_the_evaluation_keeps_nothing_of_a_split_but_its_numbers(request):
    generator = torch.Generator().manual_seed(0)

    def part(rows=80):
        logits = 3 * torch.randn(rows, 4, generator=generator)
        return SplitPredictions(logits, torch.randint(4, (rows,), generator=generator))

    base = Predictions({("last", name): part() for name in ("calibration", "test")})
    chains = {"plain": (), "scaled": (registry.create("temperature-scaling"),)}
    protocol = make_protocol({"name": "clean", "bootstrap": 20})
    evaluator, alive, values = ExtraEvaluator(base, chains, protocol, graded=True), [], []
    request.addfinalizer(gc.unfreeze)
    gc.freeze()  # collections look only at what this test makes
    for number in range(6):
        one = part()
        alive.append(weakref.ref(one.logits))
        evaluator.add(Corrupted(f"shift-fog-{number}", severity_group(3)), {"last": one})
        del one
        gc.collect()
        assert [ref() for ref in alive] == [None] * (number + 1)
    rows = evaluator.finish()["scaled"].rows
    values = [row["value"] for row in rows if row["metric"] == "nll" and row["split"].startswith("shift-fog")]
    mean = next(row["value"] for row in rows if row["metric"] == "nll" and row["split"] == severity_group(3))
    assert mean == pytest.approx(np.mean(values))
    assert len(values) == 6


def test_another_dataset_is_resized_and_given_the_channels_which_is_said():
    digits, colour = datasets.create("digits"), datasets.create("cifar10")
    assert conversion(digits, colour) == "resized from 8 to 32 pixels, grey to RGB"
    assert conversion(colour, digits) == "resized from 32 to 8 pixels, RGB to grey"
    grey = torch.full((2, 1, 8, 8), 90, dtype=torch.uint8)
    like = Split(torch.zeros((1, 3, 32, 32), dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    result = extra_splits.converted(Split(grey, torch.zeros(2, dtype=torch.int64)), colour, like)
    assert torch.equal(result.images, torch.full((2, 3, 32, 32), 90, dtype=torch.uint8))
    red = torch.zeros((1, 3, 32, 32), dtype=torch.uint8)
    red[:, 0] = 200
    back = extra_splits.converted(Split(red, torch.zeros(1, dtype=torch.int64)), digits, like)
    assert torch.equal(back.images, torch.full((1, 1, 8, 8), round(0.299 * 200), dtype=torch.uint8))


def test_a_set_with_foreign_classes_is_refused_in_the_plan_before_anything_trains(tmp_path):
    for part, names in (("data/train", "ab"), ("data/test", "ab"), ("R", "ax")):
        for name in names:
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / part / name / "one.png")
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        f"datasets: ['image-folder(path={tmp_path}/data)']\nbackbones: [vit-micro]\nentries: [cross-entropy]\n"
        f"shift: {{sets: ['imagenet-r(path={tmp_path}/R)']}}\n"
    )
    with pytest.raises(InputError, match="'x' of R is no class of"):
        plan_suite(load_suite(str(suite)), RunOptions(results_dir=str(tmp_path / "results")))
