"""Each corruption against its formula: pixel by pixel, or by another library."""

import colorsys
import io
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from calbench.benchmark.core.seeds import seed_for
from calbench.benchmark.corruptions import corrupt, registry
from calbench.benchmark.corruptions._draws import Draws
from calbench.benchmark.corruptions._operators import disk_kernel, motion_blur
from calbench.benchmark.corruptions.blur import _shuffled
from calbench.benchmark.corruptions.digital import _affine
from calbench.benchmark.corruptions.weather import plasma

RNG = np.random.default_rng(1)
IMAGES = torch.from_numpy(RNG.integers(0, 256, (3, 3, 32, 32), dtype=np.uint8))
UNIT = IMAGES.double().numpy() / 255


def close_to_bytes(changed, expected, levels=1):
    """`changed` uint8 is `expected` (in 0..1, float64) rounded down, but for `levels` where rounding is at an edge."""
    off = np.abs(changed.numpy().astype(int) - np.floor(expected.clip(0, 1) * 255 + 1e-6).astype(int))
    assert off.max() <= levels
    assert (off > 0).mean() < 0.01


def grey(value, count=20, channels=3):
    return torch.full((count, channels, 32, 32), value, dtype=torch.uint8)


# Noise: mean and variance of what it does to a grey image


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_gaussian_noise_has_its_sigma(severity):
    sigma = registry["gaussian-noise"].small[severity - 1]
    noise = corrupt(grey(128), "gaussian-noise", severity).double() / 255 - 128 / 255
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    assert noise.mean() == pytest.approx(-0.5 / 255, abs=4 * sigma / math.sqrt(noise.numel()))  # rounded down
    channels = noise.transpose(0, 1).flatten(1)
    assert np.abs(np.corrcoef(channels)[np.triu_indices(3, 1)]).max() < 0.03


@pytest.mark.parametrize("severity", [1, 5])
def test_shot_noise_is_poisson(severity):
    photons = registry["shot-noise"].small[severity - 1]
    unit = corrupt(torch.full((40, 1, 32, 32), 0.4), "shot-noise", severity).double()
    counts = unit * photons
    torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-3)
    assert counts.mean() == pytest.approx(0.4 * photons, rel=0.01)
    assert counts.var() == pytest.approx(0.4 * photons, rel=0.03)


def test_impulse_noise_replaces_its_share_by_black_and_white():
    changed = corrupt(grey(100), "impulse-noise", 5)
    assert set(changed.unique().tolist()) == {0, 100, 255}
    for value in (0, 255):
        assert (changed == value).double().mean() == pytest.approx(0.035, rel=0.1)


def test_speckle_noise_grows_with_the_value():
    for value in (50, 120):
        noise = corrupt(grey(value), "speckle-noise", 3).double() / 255
        assert noise.std() == pytest.approx(0.12 * value / 255, rel=0.03)


# Blur


def test_the_disk_of_a_radius_below_one_is_its_smoothing():
    kernel = disk_kernel(0.5, 0.6).numpy()
    line = np.exp(-(np.array([-1, 0, 1]) ** 2) / (2 * 0.6**2))
    np.testing.assert_allclose(kernel, np.outer(line, line) / line.sum() ** 2, rtol=1e-6)
    assert (disk_kernel(1.5, 0.1) > 1e-6).sum() == 9
    assert (disk_kernel(10, 0.01) > 1e-6).sum() == sum(
        x * x + y * y <= 100 for x in range(-10, 11) for y in range(-10, 11)
    )


@pytest.mark.parametrize(("severity", "scale"), [(3, 32), (5, 32), (2, 224)])
def test_defocus_blur_is_a_correlation_with_the_disk(severity, scale):
    corruption = registry.create("defocus-blur")
    kernel = disk_kernel(*corruption.constants(severity, scale)).double().numpy()
    expected = np.stack([[ndimage.correlate(c, kernel, mode="mirror") for c in image] for image in UNIT])
    close_to_bytes(corrupt(IMAGES, "defocus-blur", severity, scale=scale), expected)


def test_gaussian_blur_is_scipys():
    expected = ndimage.gaussian_filter(UNIT, (0, 0, 0.8, 0.8), mode="nearest")
    close_to_bytes(corrupt(IMAGES, "gaussian-blur", 4), expected)


@pytest.mark.parametrize("reach", [1, 2, 4])
def test_the_shuffling_of_glass_blur_is_the_authors_loop(reach):
    size = 20
    images = torch.arange(2 * size * size).view(2, 1, size, size).double()
    shuffled = _shuffled(images, reach, Draws(11, [0, 1]))
    inner = range(reach + 1, size - reach + 1)
    shift = Draws(11, [0, 1]).integers(2, len(inner), len(inner), low=-reach, high=reach).numpy()
    for image in range(2):
        expected = images[image, 0].numpy().copy()
        for row in reversed(inner):
            for column in reversed(inner):
                dy, dx = shift[image, :, row - reach - 1, column - reach - 1]
                if row < size and column < size:
                    expected[row, column] = expected[min(row + dy, size - 1), min(column + dx, size - 1)]
        np.testing.assert_array_equal(shuffled[image, 0].numpy(), expected)


def test_motion_blur_follows_its_line_pixel_by_pixel():
    images, angle, radius, sigma = IMAGES[:1].double() / 255, 30.0, 3, 1.7
    weights = [math.exp(-(k**2) / (2 * sigma**2)) for k in range(2 * radius + 1)]
    expected = np.zeros((32, 32))
    for y in range(32):
        for x in range(32):
            for k, weight in enumerate(weights):
                down = math.ceil(k * math.sin(math.radians(angle)) - 0.5)
                right = math.ceil(k * math.cos(math.radians(angle)) - 0.5)
                source = images[0, 0, min(max(y + down, 0), 31), min(max(x + right, 0), 31)]
                expected[y, x] += weight * source / sum(weights)
    blurred = motion_blur(images, radius, sigma, torch.tensor([angle]))[0, 0]
    assert np.abs(blurred.numpy() - expected).max() <= 0.5 / 255 + 1e-6


def test_motion_blur_at_zero_degrees_runs_along_the_rows():
    point = torch.zeros(1, 1, 9, 9)
    point[0, 0, 4, 4] = 1
    blurred = motion_blur(point, 2, 1.0, torch.zeros(1))
    assert blurred[0, 0, 4, :5].count_nonzero() == 4  # the weight of four pixels away is below half a grey level
    assert blurred.count_nonzero() == 4


@pytest.mark.parametrize("severity", [1, 4])
def test_zoom_blur_is_the_mean_of_enlarged_centres(severity):
    last = (1.06, 1.11, 1.16, 1.21, 1.26)[severity - 1]
    factors = np.arange(1, last, 0.01)
    total = UNIT.copy()
    for factor in factors:
        kept = math.ceil(32 / factor)
        top = (32 - kept) // 2
        part = UNIT[:, :, top : top + kept, top : top + kept]
        zoomed = ndimage.zoom(part, (1, 1, factor, factor), order=1)
        trim = (zoomed.shape[-1] - 32) // 2
        total += zoomed[..., trim : trim + 32, trim : trim + 32]
    close_to_bytes(corrupt(IMAGES, "zoom-blur", severity), total / (len(factors) + 1))


# Weather


def test_plasma_is_the_diamond_square_algorithm():
    size, decay = 8, 2.5
    heights = plasma(Draws(11, [0, 7]), size, decay).numpy()
    noise = iter(Draws(11, [0, 7]).uniform(size * size, low=-1, high=1).numpy()[1].astype(float))
    grid, step, rough = np.zeros((size, size)), size, 100.0
    while step >= 2:
        half, cells = step // 2, range(0, size, step)

        def at(y, x, grid=grid):
            return grid[y % size, x % size]

        def write(dy, dx, corners, cells=cells, rough=rough, grid=grid):
            values = {(y, x): sum(corners(y, x)) / 4 + rough * rough * next(noise) for y in cells for x in cells}
            for (y, x), value in values.items():
                grid[y + dy, x + dx] = value

        s, h = step, half
        write(h, h, lambda y, x, s=s, h=h: (at(y, x), at(y + s, x), at(y, x + s), at(y + s, x + s)))
        write(0, h, lambda y, x, s=s, h=h: (at(y + h, x + h), at(y - h, x + h), at(y, x), at(y, x + s)))
        # the authors' own way: the corner to the right in place of the one below
        write(h, 0, lambda y, x, s=s, h=h: (at(y + h, x + h), at(y + h, x - h), at(y, x), at(y, x + s)))
        step, rough = half, rough / decay
    grid -= grid.min()
    np.testing.assert_allclose(heights[1], grid / grid.max(), atol=1e-5)
    assert heights.min(axis=(1, 2)).tolist() == [0, 0]
    np.testing.assert_allclose(heights.max(axis=(1, 2)), 1)


def test_fog_keeps_white_as_the_brightest_and_lightens_black():
    black = torch.zeros(30, 3, 32, 32)
    black[:, :, 0, 0] = 0.8
    foggy = corrupt(black, "fog", 4)
    added = foggy[:, :, 1:, :] * (0.8 + 1) / 0.8  # c = 1
    assert added.min() >= 0
    assert added.max() <= 1 + 1e-5
    assert torch.equal(foggy[:, 0], foggy[:, 1])
    assert 0.3 < added.mean() < 0.7


def test_snow_only_lightens_and_is_alike_in_all_channels():
    unit = torch.full((20, 3, 32, 32), 0.3)
    snowy = corrupt(unit, "snow", 3)
    washed = 0.9 * 0.3 + 0.1 * max(0.3, 0.3 * 1.5 + 0.5)
    assert snowy.min() >= washed - 1e-5
    assert (snowy > washed + 0.05).double().mean() > 0.05
    assert torch.equal(snowy[:, 0], snowy[:, 2])
    torch.testing.assert_close(snowy - washed, (snowy - washed).rot90(2, (-2, -1)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "severity", "change"),
    [
        ("brightness", 4, lambda h, s, v: (h, s, min(v + 0.2, 1))),
        ("saturate", 2, lambda h, s, v: (h, 0.1 * s, v)),
        ("saturate", 5, lambda h, s, v: (h, min(2.5 * s + 0.2, 1), v)),
    ],
)
def test_changes_of_colour_are_those_of_hsv(name, severity, change):
    images = IMAGES.clone()
    images[0, :, 0, 0], images[0, :, 0, 1] = 0, 77  # black and grey
    unit = images.double().numpy() / 255
    expected = np.empty_like(unit)
    for n, y, x in np.ndindex(3, 32, 32):
        expected[n, :, y, x] = colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*unit[n, :, y, x])))
    close_to_bytes(corrupt(images, name, severity), expected)


# Digital


def test_contrast_moves_values_towards_the_mean_of_the_channel():
    mean = UNIT.mean(axis=(2, 3), keepdims=True)
    close_to_bytes(corrupt(IMAGES, "contrast", 4), mean + 0.3 * (UNIT - mean))


@pytest.mark.parametrize(("severity", "share"), [(1, 0.95), (5, 0.65)])
def test_pixelation_is_pillows(severity, share):
    changed = corrupt(IMAGES, "pixelate", severity)
    for image, result in zip(IMAGES, changed, strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        small = picture.resize((int(32 * share), int(32 * share)), Image.Resampling.BOX)
        back = np.array(small.resize((32, 32), Image.Resampling.BOX)).astype(int)
        assert np.abs(back - result.permute(1, 2, 0).numpy()).max() <= 1  # Pillow computes with 22 bits
        assert (back != result.permute(1, 2, 0).numpy()).mean() < 0.01


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pillows(channels):
    changed = corrupt(IMAGES[:, :channels], "jpeg-compression", 3)
    for image, result in zip(IMAGES[:, :channels], changed, strict=True):
        file = io.BytesIO()
        array = image.permute(1, 2, 0).numpy()
        Image.fromarray(array[:, :, 0] if channels == 1 else array).save(file, "JPEG", quality=58)
        read = np.array(Image.open(file)).reshape(32, 32, channels)
        assert np.abs(read.astype(int) - result.permute(1, 2, 0).numpy()).max() <= 1


def test_the_affine_map_takes_three_points_to_where_they_are_moved():
    images = torch.zeros(1, 1, 33, 33)
    for y, x in ((27, 27), (5, 27), (5, 5)):  # 16 + 11, 16 - 11, as (x, y): the second point has the lower y
        images[0, 0, y, x] = 1
    moves = torch.tensor([[[2.0, 1.0], [-1.0, 0.0], [0.0, 3.0]]])
    warped = _affine(images, moves)
    for y, x in ((28, 29), (5, 26), (8, 5)):
        assert warped[0, 0, y, x] > 0.6
    torch.testing.assert_close(_affine(images, torch.zeros(1, 3, 2)), images, atol=1e-5, rtol=0)


def test_the_elastic_displacement_is_scipys_map_of_coordinates():
    images, indices = IMAGES.float() / 255, [0, 1, 2]
    changed = corrupt(images, "elastic-transform", 4)
    draws = Draws(seed_for(0, "corruption", "elastic-transform", 4), indices)
    warped = _affine(images, draws.uniform(3, 2, low=-0.05 * 32, high=0.05 * 32)).double().numpy()
    shift = draws.uniform(2, 32, 32, low=-1, high=1).double().numpy()
    y, x = np.mgrid[:32, :32]
    for n in range(3):
        dx, dy = (3.2 * ndimage.gaussian_filter(s, 1.28, mode="reflect", truncate=3) for s in shift[n])
        for c in range(3):
            expected = ndimage.map_coordinates(warped[n, c], [y + dy, x + dx], order=1, mode="reflect")
            np.testing.assert_allclose(changed[n, c].numpy(), expected, atol=1e-4)


# The published files, where they are at hand

CIFAR_C = Path(os.environ.get("CALBENCH_DATA", "data"), "CIFAR-10-C")


@pytest.mark.skipif(not (CIFAR_C / "labels.npy").is_file(), reason="needs the files of CIFAR-10-C in the data folder")
@pytest.mark.parametrize("name", list(registry))
def test_moments_are_those_of_the_published_files(name):
    """Mean and spread of pixels and of the change, against the authors' files at every severity."""
    from calbench.datasets import registry as datasets

    path = CIFAR_C / f"{name.replace('-', '_')}.npy"
    if not path.is_file():
        pytest.skip(f"{path.name} is not there")
    clean = datasets.create("cifar10").load(CIFAR_C.parent).test.images[:1000]
    published = np.load(path, mmap_mode="r")
    for severity in range(1, 6):
        first = (severity - 1) * 10_000
        theirs = torch.from_numpy(published[first : first + 1000].transpose(0, 3, 1, 2).astype(np.float32))
        ours = corrupt(clean, name, severity).float()
        for one, other, room in (
            (ours.mean(), theirs.mean(), 2), (ours.std(), theirs.std(), 2),
            ((ours - clean).abs().mean(), (theirs - clean).abs().mean(), 2),
        ):  # fmt: skip
            assert one.item() == pytest.approx(other.item(), abs=room), severity
