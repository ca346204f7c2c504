"""The registry of calibration methods: losses, augmentations, heads, procedures and calibrators; one folder per kind.

The folders import all their modules, so a new file is all that a new method takes.
"""

import importlib

from calbench.methods.base import (
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
from calbench.methods.calibrators._base import Calibrator

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

for _kind in ("losses", "augmentations", "heads", "procedures", "calibrators"):
    importlib.import_module(f"{__name__}.{_kind}")
