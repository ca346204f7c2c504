"""The registry of calibration methods: objectives, augmentations, heads and calibrators, a file each.

Every module of this folder is imported here, so a new file is all that a new method takes.
"""

import importlib
import pkgutil

from .base import (
    Augmentation,
    BackboneInfo,
    Head,
    HeadModule,
    Method,
    Objective,
    Outputs,
    Representation,
    register,
    registry,
)
from .calibrator import Calibrator

__all__ = [
    "Augmentation",
    "BackboneInfo",
    "Calibrator",
    "Head",
    "HeadModule",
    "Method",
    "Objective",
    "Outputs",
    "Representation",
    "register",
    "registry",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
