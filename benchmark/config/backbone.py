"""Parses backbones: ``name(option=value)``, optionally with modifiers as ``name * modifier(option=value)``."""

from typing import Any

from calbench.benchmark import backbones
from calbench.benchmark.backbones import Backbone, modifiers
from calbench.benchmark.config.terms import make_component, split_outside_brackets

AFFECTS_RESULTS = False


def make_backbone(term: Any) -> Backbone:
    """Make the backbone that a suite names.

    Args:
        term: a name with options as `parse_term` reads it; in a string, modifiers may follow, each after a ``*``.

    Raises:
        InputError: an unknown name or option.

    Example:
        >>> make_backbone("vit-micro(depth=1) * ssa(value=false)").spelled()
        'vit-micro(depth=1) * ssa(value=False)'
    """
    base, *changes = split_outside_brackets(term, "*") if isinstance(term, str) else [term]
    backbone = make_component(base, backbones.create)
    if not changes:
        return backbone
    return modifiers.ModifiedBackbone(
        backbone, tuple(make_component(change, modifiers.registry.create) for change in changes)
    )
