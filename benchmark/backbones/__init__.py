"""The registry of backbones (networks), one file per family; this imports all modules of the folder, but not timm.

``timm:NAME`` is any model of timm: `create` makes it the registered backbone ``timm`` with the option `model`.
"""

from typing import Any

from calbench.benchmark.backbones._input import DataConfig
from calbench.benchmark.backbones.base import Backbone, register, registry
from calbench.benchmark.core.discovery import import_declarations

__all__ = ["Backbone", "DataConfig", "create", "register", "registry"]

import_declarations(__name__, __path__)

_TIMM = "timm:"


def create(name: str, **options: Any) -> Backbone:
    """Make the backbone that a suite names.

    Args:
        name: a registered name, or ``timm:`` and the name of a model of timm.
        options: the backbone's options.

    Raises:
        InputError: an unknown name (with the nearest match) or option.
    """
    if name.startswith(_TIMM):
        return registry.create("timm", model=name.removeprefix(_TIMM), **options)
    return registry.create(name, **options)
