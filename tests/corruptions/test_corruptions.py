"""What every corruption promises, whatever its formula."""

import numpy as np
import pytest
import torch

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.corruptions import SEVERITIES, corrupt, corruption_names, registry, scale_for

NAMES = list(registry)


def photos(count=6, size=32, channels=3, seed=0):
    """Smooth images with edges, uint8: waves of several lengths and a bright square."""
    generator = np.random.default_rng(seed)
    grid = np.linspace(0, 1, size)
    images = np.zeros((count, channels, size, size))
    for index in np.ndindex(count, channels):
        fx, fy, phase = [*generator.uniform(0.5, 3, 2).tolist(), generator.uniform(0, 6)]
        images[index] = 0.5 + 0.3 * np.sin(6 * (fx * grid[:, None] + fy * grid) + phase)
    images[:, :, size // 4 : size // 2, size // 4 : size // 2] += 0.2
    return torch.from_numpy((images.clip(0, 1) * 255).round().astype(np.uint8))


@pytest.mark.parametrize("name", NAMES)
def test_images_of_any_size_and_type_keep_shape_and_type(name):
    channels = registry[name].channels or (1, 3)
    for size in (8, 28, 32, 96):
        images = photos(2, size, channels[0])
        for severity in (1, 5):
            changed = corrupt(images, name, severity)
            assert changed.shape == images.shape
            assert changed.dtype == torch.uint8
        unit = corrupt(images.float() / 255, name, 3)
        assert unit.dtype == torch.float32
        assert unit.isfinite().all()
        assert unit.min() >= 0
        assert unit.max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_the_same_alone_and_in_a_batch(name):
    images = photos(5)
    whole = corrupt(images, name, 4)
    for index in (0, 3):
        alone = corrupt(images[index : index + 1], name, 4, indices=[index])
        assert torch.equal(alone[0], whole[index])
    assert torch.equal(corrupt(images.flip(0), name, 4, indices=[4, 3, 2, 1, 0]).flip(0), whole)


@pytest.mark.parametrize("name", NAMES)
def test_images_are_changed_and_the_input_is_not(name):
    images = photos(4)
    before = images.clone()
    for severity in (2, 5):
        assert not torch.equal(corrupt(images, name, severity), images)
    assert torch.equal(images, before)


RANDOM = ["elastic-transform", "fog", "gaussian-noise", "glass-blur", "impulse-noise", "motion-blur", "shot-noise",
          "snow", "speckle-noise"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_seed_and_index_decide_what_is_random_and_nothing_else(name):
    images = photos(1).expand(2, -1, -1, -1).contiguous()
    first = corrupt(images, name, 4)
    assert torch.equal(first, corrupt(images, name, 4))
    assert torch.equal(first[0], first[1]) == (name not in RANDOM)
    assert torch.equal(first, corrupt(images, name, 4, seed=1)) == (name not in RANDOM)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"glass-blur", "elastic-transform", "motion-blur", "saturate"}))
def test_images_are_further_from_the_original_at_a_higher_severity(name):
    images = photos(40)
    errors = [(corrupt(images, name, s).float() - images.float()).square().mean().item() for s in SEVERITIES]
    assert errors == sorted(errors)
    assert errors[0] > 0


def test_the_images_of_a_long_stack_are_those_of_its_parts():
    images = photos(3).repeat(200, 1, 1, 1)
    whole = corrupt(images, "gaussian-noise", 3)
    assert torch.equal(whole[450:], corrupt(images[450:], "gaussian-noise", 3, indices=range(450, 600)))


def test_float_images_are_corrupted_in_their_own_range():
    unit = photos(3).float() / 255
    stretched = corrupt(unit * 4 - 2, "snow", 2, value_range=(-2, 2))
    torch.testing.assert_close(stretched, corrupt(unit, "snow", 2) * 4 - 2, rtol=0, atol=1e-5)


def test_the_constants_go_by_the_size_of_the_images():
    assert [scale_for(size) for size in (8, 32, 64, 96, 224, 384)] == [32, 32, 32, 224, 224, 224]
    images = photos(2)
    assert torch.equal(corrupt(images, "fog", 1), corrupt(images, "fog", 1, scale=32))
    assert not torch.equal(corrupt(images, "fog", 1), corrupt(images, "fog", 1, scale=224))


def test_groups_name_the_corruptions():
    common = corruption_names("cifar-c")
    assert len(common) == 14
    assert sorted(corruption_names(["noise", "blur", "weather", "digital"])) == sorted(common)
    assert corruption_names("all") == NAMES
    assert corruption_names(["fog", "weather", "saturate"]) == ["fog", "brightness", "snow", "saturate"]


@pytest.mark.parametrize(
    ("name", "severity", "channels", "message"),
    [
        ("gausian-noise", 1, 3, "did you mean 'gaussian-noise'"),
        ("fog", 6, 3, "corruption fog: severity 6 does not exist; use 1 to 5"),
        ("fog", 0, 3, "severity 0 does not exist"),
        ("saturate", 1, 1, "corruption saturate: images have 1 channel(s), and it is defined for 3"),
        ("jpeg-compression", 1, 4, "defined for 1 or 3"),
    ],
)
def test_bad_input_is_refused_in_one_line(name, severity, channels, message):
    with pytest.raises(InputError) as error:
        corrupt(photos(1, channels=channels), name, severity)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_stack_of_images_is_refused():
    with pytest.raises(InputError, match=r"expected images \(N, C, H, W\), uint8 or float, got shape \(3, 8, 8\)"):
        corrupt(torch.zeros(3, 8, 8), "fog", 1)
    with pytest.raises(InputError, match="int64"):
        corrupt(torch.zeros(1, 3, 8, 8, dtype=torch.int64), "fog", 1)
    with pytest.raises(InputError, match="unknown corruption 'fogg'"):
        corruption_names("fogg")
    assert corrupt(torch.zeros(0, 3, 8, 8, dtype=torch.uint8), "fog", 1).shape == (0, 3, 8, 8)
