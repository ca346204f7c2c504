import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import Dataset

from calbench.benchmark.backbones import DataConfig
from calbench.benchmark.data.batches import EvalBatches, TrainBatches, Transform, batch_sizes, crop_and_flip
from calbench.datasets import Split


def make_split(count=10, channels=3, size=6, dtype=torch.uint8):
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (count, channels, size, size), generator=generator).to(dtype)
    return Split(images, torch.arange(count))


def config(size=6, **changes):
    return DataConfig(image_size=size, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), **changes)


def train(split, settings, batch_size=4, augment=True, seed=0, **options):
    return TrainBatches(split, settings, batch_size, augment, torch.Generator().manual_seed(seed), "cpu", **options)


def expected_input(images):
    mean = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)
    std = torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    return (images.double() / 255 - mean) / std


def test_evaluation_keeps_order_and_normalises():
    split = make_split()
    batches = list(EvalBatches(split, config(), 4, "cpu"))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(10))
    images = torch.cat([images for images, _ in batches])
    assert images.dtype == torch.float32
    torch.testing.assert_close(images.double(), expected_input(split.images), atol=1e-5, rtol=0)


def test_float_images_are_normalised_on_their_own_scale():
    split = make_split(dtype=torch.float32)
    images, _ = next(iter(EvalBatches(split, config(), 10, "cpu")))
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    torch.testing.assert_close(images, (split.images - mean) / std, rtol=1e-5, atol=1e-3)


def test_an_epoch_gives_every_sample_once_with_its_label():
    split = make_split()
    batches = train(split, config(crop_padding=2, horizontal_flip=True), augment=False)
    seen = list(batches)
    assert len(batches) == len(seen) == 3
    labels = torch.cat([labels for _, labels in seen])
    assert sorted(labels.tolist()) == list(range(10))
    assert labels.tolist() != list(range(10))
    images = torch.cat([images for images, _ in seen])
    torch.testing.assert_close(images.double(), expected_input(split.images[labels]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (1, 4, [1]), (3, 4, [3]), (4, 1, [1, 1, 1, 1])],
)
def test_a_single_left_over_sample_joins_the_last_batch(count, size, sizes):
    assert batch_sizes(count, size) == sizes
    assert [len(labels) for _, labels in train(make_split(count), config(), size)] == sizes


def test_the_generator_decides_everything_and_goes_on():
    split, settings = make_split(), config(crop_padding=2, horizontal_flip=True)
    first, second = train(split, settings), train(split, settings)
    one, two = list(first), list(second)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(one, two, strict=True))
    assert not torch.equal(torch.cat([y for _, y in first]), torch.cat([y for _, y in one]))
    # The state between epochs says where the sequence stands.
    state = first.generator.get_state()
    third = list(first)
    second.generator.set_state(state)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(third, second, strict=True))


def test_crop_and_flip_against_plain_indexing():
    images = make_split(8, size=5).images
    generator = torch.Generator().manual_seed(1)
    offsets = torch.randint(5, (2, 8), generator=generator)
    mirrored = torch.rand(8, generator=generator) < 0.5
    given = crop_and_flip(images, offsets, mirrored, 2)
    padded = F.pad(images, (2, 2, 2, 2))
    for i in range(8):
        row, column = offsets[:, i].tolist()
        plain = padded[i, :, row : row + 5, column : column + 5]
        assert torch.equal(given[i], plain.flip(-1) if mirrored[i] else plain)
    assert torch.equal(crop_and_flip(images, None, torch.ones(8, dtype=torch.bool), 0), images.flip(-1))


def test_augmentation_crops_and_flips_as_the_config_says():
    split = make_split(64)
    plain = torch.cat([x for x, _ in train(split, config(crop_padding=2), augment=False)])
    cropped = torch.cat([x for x, _ in train(split, config(crop_padding=2))])
    assert not torch.equal(plain, cropped)
    flipped = torch.cat([x for x, _ in train(split, config(horizontal_flip=True))])
    same = (flipped == plain).flatten(1).all(1)
    mirrored = (flipped == plain.flip(-1)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 16 < mirrored.sum() < 48


def test_resizing_keeps_the_range_and_the_mean():
    transform = Transform(config(12), torch.uint8, torch.device("cpu"))
    images = make_split().images
    resized = transform(images)
    assert resized.shape == (10, 3, 12, 12)
    low, high = expected_input(torch.zeros(1, 3, 1, 1)), expected_input(torch.full((1, 3, 1, 1), 255))
    assert (resized >= low - 1e-4).all()
    assert (resized <= high + 1e-4).all()
    constant = transform(torch.full((1, 3, 6, 6), 100, dtype=torch.uint8))
    wanted = expected_input(torch.full((1, 3, 12, 12), 100)).float()
    torch.testing.assert_close(constant, wanted, atol=1e-4, rtol=0)


def test_shards_share_every_batch():
    split, settings = make_split(), config(crop_padding=1, horizontal_flip=True)
    whole = list(train(split, settings))
    parts = [list(train(split, settings, shard=(index, 2))) for index in range(2)]
    for (images, labels), *shards in zip(whole, *parts, strict=True):
        for index, (part, part_labels) in enumerate(shards):
            assert torch.equal(part_labels, labels[index::2])
            assert torch.equal(part, images[index::2])


class Streamed(Dataset):
    """Images of several sizes, each of one colour."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return torch.full((3, 20 + index, 24), 20 * index, dtype=torch.uint8)


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_sets_give_the_same_batches_for_any_number_of_workers(workers):
    split = Split(Streamed(), torch.arange(10))
    settings = config(16, horizontal_flip=True, crop_fraction=0.8)
    batches = list(EvalBatches(split, settings, 4, "cpu", workers=workers))
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(10))
    colours = expected_input(20 * torch.arange(10).view(10, 1, 1, 1).expand(10, 3, 16, 16))
    images = torch.cat([images for images, _ in batches])
    torch.testing.assert_close(images.double(), colours, atol=1e-4, rtol=0)
    for images, labels in train(split, settings, workers=workers):
        assert images.shape == (len(labels), 3, 16, 16)
        torch.testing.assert_close(images.double(), colours[labels], atol=1e-4, rtol=0)


class Noise(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return torch.randint(0, 256, (3, 20, 20), generator=torch.Generator().manual_seed(index), dtype=torch.uint8)


def test_streamed_crops_depend_on_the_generator_alone():
    split = Split(Noise(), torch.arange(6))
    alone = torch.cat([x for x, _ in train(split, config(8), workers=0)])
    shared = torch.cat([x for x, _ in train(split, config(8), workers=2)])
    other = torch.cat([x for x, _ in train(split, config(8), workers=0, seed=1)])
    assert torch.equal(alone, shared)
    assert not torch.equal(alone, other)
