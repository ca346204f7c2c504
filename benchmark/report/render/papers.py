"""One-line citations of the papers that methods name, from the bibliography that comes with calbench."""

import importlib.resources
import re
import unicodedata
from collections.abc import Collection
from functools import cache


@cache
def bibliography() -> dict[str, dict[str, str]]:
    """Fields of every BibTeX entry under ``results/reference``, by key."""
    import bibtexparser

    root = importlib.resources.files("calbench.results").joinpath("reference")
    entries: dict[str, dict[str, str]] = {}
    for folder in (root, root.joinpath("papers")):
        for file in folder.iterdir() if folder.is_dir() else ():
            if file.name.endswith(".bib"):
                for entry in bibtexparser.parse_string(file.read_text("utf-8")).entries:
                    entries[entry.key] = {field.key.lower(): plain(field.value) for field in entry.fields}
    return entries


def plain(text: str) -> str:
    r"""BibTeX's `text` without its commands and braces: ``Luk{\'a}{\v{s}}`` as people write it."""
    from pylatexenc.latex2text import LatexNodes2Text

    return unicodedata.normalize("NFC", " ".join(LatexNodes2Text().latex_to_text(text.replace(r"\url", "")).split()))


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


def links(keys: Collection[str]) -> dict[str, str]:
    """The web address of each of `keys` whose DOI or arXiv number the bibliography has."""
    known = bibliography()
    return {key: address for key in sorted(keys) if key in known and (address := _address(known[key]))}


def _address(fields: dict[str, str]) -> str:
    """An address of doi.org or arxiv.org: other characters than theirs are refused, so that it is safe as a link."""
    doi, eprint = fields.get("doi", ""), fields.get("eprint", "")
    if re.fullmatch(r"10\.[\w.]+/[\w.()/:;-]+", doi):
        return f"https://doi.org/{doi}"
    return f"https://arxiv.org/abs/{eprint}" if re.fullmatch(r"[\w.-]+(/\d+)?", eprint) else ""
