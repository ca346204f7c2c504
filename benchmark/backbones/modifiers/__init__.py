"""Modifiers: changes to a backbone that are trained with it, written ``vit-s4-32 * ssa``; one file per modifier."""

from calbench.benchmark.backbones.modifiers._base import ModifiedBackbone, Modifier, register, registry
from calbench.benchmark.core.discovery import import_declarations

__all__ = ["ModifiedBackbone", "Modifier", "register", "registry"]

import_declarations(__name__, __path__)
