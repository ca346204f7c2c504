"""Modifiers: changes of a backbone that are trained with it, written ``vit-s4-32 * ssa``; a file each."""

from calbench.benchmark.backbones.modifiers._base import ModifiedBackbone, Modifier, register, registry
from calbench.benchmark.core.discovery import import_declarations

__all__ = ["ModifiedBackbone", "Modifier", "register", "registry"]

import_declarations(__name__, __path__)
