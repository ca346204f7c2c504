"""Generated corruptions of images: noise, blur, weather and digital, in five severities (Hendrycks 2019).

    from calbench.benchmark.corruptions import corrupt
    noisy = corrupt(images, "gaussian-noise", severity=3)    # uint8 (N, C, H, W) to uint8 of the same shape

The formulas and constants are those of the generators of CIFAR-10-C and ImageNet-C; the random numbers are not, so the
images are never those of the published files, and are called generated corruptions. A corruption is a registered class
in the file of its family; every module of this folder is imported.
"""

from calbench.benchmark.core.discovery import import_declarations
from calbench.benchmark.corruptions.base import (
    SEVERITIES,
    Corruption,
    check_corruption,
    corrupt,
    register,
    registry,
    scale_for,
)

__all__ = ["SEVERITIES", "Corruption", "check_corruption", "corrupt", "corruption_names", "register", "registry",
           "scale_for"]  # fmt: skip

import_declarations(__name__, __path__)

from calbench.benchmark.corruptions.groups import corruption_names  # noqa: E402 - reads the filled registry
