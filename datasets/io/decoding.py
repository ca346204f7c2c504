"""Decodes an image file of any mode to 8-bit RGB; a file that cannot be converted is refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.limits import check_limit

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "WEBP")
"""Pillow's readers that may be used, whatever a file is named: others start programs, or read further files."""
MAX_PIXELS = 50_000_000
"""Pixels of one image; see `calbench.benchmark.core.limits`."""


def decode(path: Path, size: int | None = None, *, upright: bool = True) -> Tensor:
    """Read an image as uint8 RGB (3, H, W).

    16-bit grey values are divided by 257 and rounded. Transparent pixels are shown on white.

    Args:
        path: a BMP, JPEG, PNG, PPM or WebP file.
        size: pixels of the square to which the image is resized (its shorter side, then the central square).
        upright: turn the image according to its EXIF orientation.

    Raises:
        InputError: the file is no image of these formats, is damaged, animated, or larger than `MAX_PIXELS`.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        if not path.is_file():
            raise InputError("no such file" if not path.exists() else "not a regular file")
        with Image.open(path, formats=FORMATS) as opened:
            check_limit(opened.width * opened.height, MAX_PIXELS, "pixels")
            if getattr(opened, "n_frames", 1) > 1:
                raise InputError("it is animated; an image of one frame is expected")
            image = _rgb(ImageOps.exif_transpose(opened) if upright else opened)
            if size is not None and image.size != (size, size):
                image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)
    except InputError as error:
        raise InputError(f"image {path.parent.name}/{path.name}: {error}") from None
    except Exception as error:  # a damaged file can fail in any way in Pillow's readers
        none = isinstance(error, UnidentifiedImageError)  # whose message has the path, with escapes of its own
        reason = f"not an image of {', '.join(FORMATS)}" if none else str(error).replace(str(path), path.name)
        raise InputError(f"image {path.parent.name}/{path.name}: cannot be read: {reason}") from error


def _rgb(image: Any) -> Any:
    from PIL import Image

    if image.mode.startswith("I"):
        return _from_16_bit(image).convert("RGB")
    if image.mode not in ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"):
        raise InputError(f"its pixels are of mode {image.mode!r}; 8-bit colours and 8- or 16-bit grey are read")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), coloured).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Any) -> Any:
    from PIL import Image

    values = np.asarray(image).astype(np.int64)
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise InputError(f"its grey values lie in {values.min()}..{values.max()}, outside 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
