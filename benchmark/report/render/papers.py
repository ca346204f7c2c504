"""One-line citations of the papers that methods name, from the bibliography that comes with calbench."""

import importlib.resources
import re
import unicodedata
from collections.abc import Collection
from functools import cache
from typing import Any


def bibliography() -> dict[str, dict[str, str]]:
    """Fields of every BibTeX entry under ``results/reference``, by key."""
    return {key: _entry(key) for key in _sources()}


@cache
def _sources() -> dict[str, dict[str, str]]:
    """The entries as BibTeX has them; turning one into plain text takes long, and reports cite few."""
    import bibtexparser

    root = importlib.resources.files("calbench.results").joinpath("reference")
    entries: dict[str, dict[str, str]] = {}
    for folder in (root, root.joinpath("papers")):
        for file in folder.iterdir() if folder.is_dir() else ():
            if file.name.endswith(".bib"):
                for entry in bibtexparser.parse_string(file.read_text("utf-8")).entries:
                    entries[entry.key] = {field.key.lower(): field.value for field in entry.fields}
    return entries


@cache
def _entry(key: str) -> dict[str, str]:
    return {name: plain(value) for name, value in _sources()[key].items()}


def plain(text: str) -> str:
    r"""BibTeX's `text` without its commands and braces: ``Luk{\'a}{\v{s}}`` as people write it."""
    if not _LATEX.search(text):
        return unicodedata.normalize("NFC", " ".join(text.split()))
    return unicodedata.normalize("NFC", " ".join(_converter().latex_to_text(text.replace(r"\url", "")).split()))


_LATEX = re.compile(r"[\\{}$%~`'&#^_<>-]")
"""Characters that may mean something to LaTeX."""


@cache
def _converter() -> Any:
    from pylatexenc.latex2text import LatexNodes2Text

    return LatexNodes2Text()


def citations(keys: Collection[str]) -> dict[str, str]:
    """``Authors: Title (year)`` for each of `keys` that the bibliography has."""
    known = _sources()
    return {key: _citation(_entry(key)) for key in sorted(keys) if key in known}


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


def links(keys: Collection[str]) -> dict[str, str]:
    """The web address of each of `keys` whose DOI or arXiv number the bibliography has."""
    known = _sources()
    return {key: address for key in sorted(keys) if key in known and (address := _address(_entry(key)))}


def _address(fields: dict[str, str]) -> str:
    """An address of doi.org or arxiv.org: other characters than theirs are refused, so that it is safe as a link."""
    doi, eprint = fields.get("doi", ""), fields.get("eprint", "")
    if re.fullmatch(r"10\.[\w.]+/[\w.()/:;-]+", doi):
        return f"https://doi.org/{doi}"
    return f"https://arxiv.org/abs/{eprint}" if re.fullmatch(r"[\w.-]+(/\d+)?", eprint) else ""
