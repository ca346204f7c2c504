"""One-line citations of the papers that methods name, from the bibliography that comes with calbench."""

import importlib.resources
import re
import unicodedata
from collections.abc import Collection
from functools import cache

_ENTRY = re.compile(r"@\w+\s*\{\s*([^,\s]+)\s*,(.*?)\n\}", re.DOTALL)
_BRACED = r"\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}"  # a value holds braces in braces: {\v{s}}
_FIELD = re.compile(rf"^\s*(\w+)\s*=\s*(?:{_BRACED}|\"([^\"]*)\"|(\d+))\s*,?\s*$", re.MULTILINE)
_ACCENT = re.compile(r"\\(?:(['`^\"~=.])\s*|([vcuHk])(?:\s+|(?=\{)))\{?\\?(\w)\}?")
_COMBINING = {
    "'": "\u0301", "`": "\u0300", "^": "\u0302", '"': "\u0308", "~": "\u0303", "=": "\u0304", ".": "\u0307",
    "v": "\u030c", "c": "\u0327", "u": "\u0306", "H": "\u030b", "k": "\u0328",
}  # fmt: skip
_LETTERS = {r"\l": "ł", r"\L": "Ł", r"\o": "ø", r"\O": "Ø", r"\ss": "ß", r"\aa": "å", r"\ae": "æ"}


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
    return {name.lower(): plain(a or b or c) for name, a, b, c in _FIELD.findall(body)}


def plain(text: str) -> str:
    r"""BibTeX's `text` without its commands and braces: ``Luk{\'a}{\v{s}}`` as people write it."""
    text = _ACCENT.sub(lambda found: found[3] + _COMBINING[found[1] or found[2]], text)
    for command, letter in _LETTERS.items():
        text = re.sub(re.escape(command) + r"(?![A-Za-z])\s*", letter, text)
    text = re.sub(r"\\url\b|\\(?=&)|[{}]", "", text)
    return unicodedata.normalize("NFC", " ".join(text.split()))


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
