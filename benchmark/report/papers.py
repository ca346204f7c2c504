"""One-line citations of the papers that methods name, from the bibliography that comes with calbench."""

import importlib.resources
import re
from collections.abc import Collection
from functools import cache

_ENTRY = re.compile(r"@\w+\s*\{\s*([^,\s]+)\s*,(.*?)\n\}", re.DOTALL)
_FIELD = re.compile(r"(\w+)\s*=\s*(?:\{((?:[^{}]|\{[^{}]*\})*)\}|\"([^\"]*)\"|(\d+))")


@cache
def bibliography() -> dict[str, dict[str, str]]:
    """Fields of every BibTeX entry under ``results/reference``, by key."""
    root = importlib.resources.files("calbench.results").joinpath("reference")
    found: dict[str, dict[str, str]] = {}
    for folder in (root, root.joinpath("papers")):
        if not folder.is_dir():
            continue
        for file in folder.iterdir():
            if file.name.endswith(".bib"):
                found |= {key: _fields(body) for key, body in _ENTRY.findall(file.read_text("utf-8"))}
    return found


def _fields(body: str) -> dict[str, str]:
    fields = {name.lower(): " ".join((a or b or c).split()) for name, a, b, c in _FIELD.findall(body)}
    return {name: re.sub(r"[{}]", "", text) for name, text in fields.items()}


def citations(keys: Collection[str]) -> dict[str, str]:
    """``Authors: Title (year)`` for each of `keys` that the bibliography has."""
    known = bibliography()
    return {key: _citation(known[key]) for key in sorted(keys) if key in known}


def _citation(fields: dict[str, str]) -> str:
    authors = [name.split(",")[0].strip() for name in re.split(r"\s+and\s+", fields.get("author", ""))]
    shown = f"{authors[0]} et al." if len(authors) > 3 else ", ".join(name for name in authors if name)
    where = fields.get("eprint") or fields.get("doi") or ""
    parts = [
        f"{shown}: {fields.get('title', '')}",
        fields.get("year", ""),
        f"arXiv {where}" if "eprint" in fields else where,
    ]
    return ", ".join(part for part in parts if part)
