"""Images of every mode, and files that are none: the right pixels or a refusal that names the file."""

import io
import multiprocessing
import os
import random
import zlib

import numpy as np
import pytest
from fast_set import slowly
from PIL import Image

from calbench.benchmark.core.errors import InputError
from calbench.datasets.io.decoding import decode

RAMP = np.tile(np.arange(256, dtype=np.uint16) * 257, (4, 1))


def pixels(path, **options):
    return decode(path, **options).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("name", ["ramp.png", "ramp.pgm.ppm"])
def test_16_bit_grey_keeps_its_ramp(tmp_path, name):
    if name.endswith("png"):
        Image.fromarray(RAMP).save(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(b"P5 256 4 65535\n" + RAMP.astype(">u2").tobytes())
    read = pixels(tmp_path / name)
    np.testing.assert_array_equal(read, np.repeat((RAMP // 257).astype(np.uint8)[..., None], 3, axis=2))


def test_16_bit_grey_is_rounded(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (9, 7), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    np.testing.assert_array_equal(pixels(tmp_path / "x.png")[..., 1], np.round(values / 257))


def test_transparent_pixels_are_shown_on_white(tmp_path):
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = 255, 0, 0, 255
    rgba[0, 1] = 255, 0, 0, 0
    rgba[1, 0] = 0, 0, 0, 51
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    expected = [[[255, 0, 0], [255, 255, 255]], [[204, 204, 204], [255, 255, 255]]]
    assert pixels(tmp_path / "rgba.png").tolist() == expected
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putdata([0, 1])
    palette.save(tmp_path / "p.png", transparency=b"\x00\xff")
    assert pixels(tmp_path / "p.png").tolist() == [[[255, 255, 255], [200, 100, 50]]]
    palette.save(tmp_path / "opaque.png")
    assert pixels(tmp_path / "opaque.png").tolist() == [[[10, 20, 30], [200, 100, 50]]]


def test_cmyk_bilevel_and_grey(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "c.jpg", quality=100)
    assert np.abs(pixels(tmp_path / "c.jpg").astype(int) - [255, 0, 0]).max() <= 2
    Image.new("1", (2, 2), 1).save(tmp_path / "1.png")
    assert (pixels(tmp_path / "1.png") == 255).all()
    Image.new("L", (2, 2), 77).save(tmp_path / "l.bmp")
    assert (pixels(tmp_path / "l.bmp") == 77).all()


def test_exif_orientation(tmp_path):
    image = Image.new("RGB", (16, 8))
    image.paste((255, 255, 255), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise: the left half becomes the upper one
    image.save(tmp_path / "turned.jpg", exif=exif, quality=100)
    upright = pixels(tmp_path / "turned.jpg")
    assert upright.shape == (16, 8, 3)
    assert upright[:7].min() > 200
    assert upright[9:].max() < 50
    assert pixels(tmp_path / "turned.jpg", upright=False).shape == (8, 16, 3)


def test_eps_under_another_name_starts_nothing(tmp_path, monkeypatch):
    script = tmp_path / "bin/gs"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/STARTED\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "EPS")
    (tmp_path / "eps.png").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match=r"eps\.png: cannot be read"):
        decode(tmp_path / "eps.png")
    assert not (tmp_path / "STARTED").exists()


def chunk(kind, data):
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def bomb(width, height):
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_what_is_refused_is_named(tmp_path, monkeypatch):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:])
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "cut.png")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "bomb.png").write_bytes(bomb(12_000, 7_000))
    os.mkfifo(tmp_path / "pipe.png")
    for name, reason in {
        "moving.png": "animated",
        "moving.webp": "animated",
        "cut.png": "truncated",
        "bomb.png": "84,000,000 pixels exceed the limit of 50,000,000 .*CALBENCH_LIMITS=10",
        "pipe.png": "not a regular file",
        "gone.png": "no such file",
    }.items():
        with pytest.raises(InputError, match=rf"{name}: .*{reason}") as error:
            decode(tmp_path / name)
        assert str(tmp_path.parent) not in str(error.value)
    monkeypatch.setenv("CALBENCH_LIMITS", "many")
    with pytest.raises(InputError, match="CALBENCH_LIMITS='many': expected a positive number"):
        decode(tmp_path / "bomb.png")


def decode_mutants(folder, counts):
    seeds = [path.read_bytes() for path in sorted(folder.glob("seed.*"))]
    source, path = random.Random(0), folder / "mutant.png"
    for _ in range(1000):
        data = bytearray(source.choice(seeds))
        for _ in range(source.randint(1, 4)):
            place = source.randrange(len(data))
            match source.randrange(3):
                case 0:
                    data[place] = source.randrange(256)
                case 1:
                    data[place:place] = source.randbytes(source.randint(1, 9))
                case 2:
                    del data[place : place + source.randint(1, 30)]
            data = data or bytearray(b"x")
        path.write_bytes(data)
        try:
            decode(path)
            counts[0] += 1
        except InputError:
            counts[1] += 1


def test_no_mutant_ends_the_interpreter(tmp_path, monkeypatch):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8))
    for ending in ("png", "jpg", "bmp", "ppm", "webp"):
        image.save(tmp_path / f"seed.{ending}")
    Image.fromarray(RAMP).save(tmp_path / "seed.16.png")
    monkeypatch.setenv("CALBENCH_LIMITS", "0.01")
    fork = multiprocessing.get_context("fork")  # a signal ends the child only, and shows as a negative exit code
    counts = fork.Array("i", 2)
    child = fork.Process(target=decode_mutants, args=(tmp_path, counts))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert sum(counts) == 1000
    assert min(counts) > 100


DEEP = {2: 3, 4: 2, 6: 4, 0: 1}
"""Colour types of PNG and their channels."""


@pytest.mark.parametrize("colour", DEEP)
def test_16_bits_of_every_colour_type_are_scaled(tmp_path, colour):
    rows = b"".join(b"\0" + np.full((4, DEEP[colour]), 32896, ">u2").tobytes() for _ in range(4))
    head = (4).to_bytes(4, "big") * 2 + bytes([16, colour, 0, 0, 0])
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    on_white = {2: 128, 0: 128}.get(colour, round(255 - 128 / 255 * (255 - 128)))
    assert np.abs(pixels(tmp_path / "a.png").astype(int) - on_white).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation(tmp_path, orientation):
    values = np.arange(60, dtype=np.uint8).reshape(4, 5, 3) * 4
    turned = {
        1: values, 2: values[:, ::-1], 3: values[::-1, ::-1], 4: values[::-1], 5: values.transpose(1, 0, 2),
        6: np.rot90(values, -1), 7: np.rot90(values, 2).transpose(1, 0, 2), 8: np.rot90(values, 1),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(values).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), turned[orientation])


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "ICO", "PCX", "SGI", "TGA", "JPEG2000", "PDF", "EPS", "ICNS"])
def test_other_formats_under_a_name_of_png_are_refused(tmp_path, kind):
    try:
        Image.new("RGB", (16, 16)).save(tmp_path / "a\nb\x1b.png", format=kind)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow does not write {kind}")
    with pytest.raises(InputError, match="cannot be read: not an image of BMP, JPEG") as error:
        decode(tmp_path / "a\nb\x1b.png")
    assert str(tmp_path.parent) not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [b"zTXt", *slowly(b"iCCP")])
def test_compressed_remarks_are_bounded(tmp_path, kind):
    remark = chunk(kind, b"a\0\0" + zlib.compress(bytes(100_000_000)))
    data = bomb(4, 4)
    place = data.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(data[:place] + remark + data[place:])
    with pytest.raises(InputError, match="too large"):
        decode(tmp_path / "a.png")


def test_what_is_behind_a_link_in_a_class_folder_is_an_image_or_refused(tmp_path):
    from calbench.datasets import registry

    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "pets" / part / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / "pets" / part / name / "1.png")
    (tmp_path / "secret.txt").write_text("secret")
    place = tmp_path / "pets/train/a/2.png"
    for target in (tmp_path / "secret.txt", "/dev/zero", "/nowhere", place, "/proc/self/mem"):
        place.symlink_to(target)
        with pytest.raises(InputError, match=r"a/2\.png") as error:
            registry.create("image-folder", path=str(tmp_path / "pets")).load(tmp_path / "root")
        assert "secret" not in str(error.value)
        place.unlink()
