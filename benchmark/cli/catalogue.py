"""Text of the commands list and show: all registered methods, datasets, metrics ..., as a line or a card each."""

import csv
import importlib
import importlib.resources
import inspect
import io
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from calbench.benchmark.core.registry import Registry, option_defaults, option_fields

REGISTRIES = {
    "methods": "calbench.methods",
    "datasets": "calbench.datasets",
    "backbones": "calbench.benchmark.backbones",
    "modifiers": "calbench.benchmark.backbones:modifiers",
    "variants": "calbench.benchmark.variants",
    "metrics": "calbench.benchmark.metrics",
}
"""The package of each registry, by the plural noun that the command line and the documentation use."""

FOLDERS = {"methods": ("losses", "augmentations", "heads", "procedures", "calibrators")}
"""The folders of a package whose declarations are in folders."""


def registry_of(what: str) -> Registry:
    """The registry `what` of `REGISTRIES`, with everything that is declared in it; takes the import of torch."""
    return importlib.import_module(REGISTRIES[what].replace(":", ".")).registry


def registries() -> dict[str, Registry]:
    """Every registry by the plural noun that the command line and the documentation use."""
    return {what: registry_of(what) for what in REGISTRIES}


def summary(cls: type) -> str:
    """The first sentence of a declaration's docstring."""
    return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())


class Option(NamedTuple):
    """An option as people read it: its name, its type, and its default as Python writes it; None: it is required."""

    name: str
    type: str
    default: str | None


class Card(NamedTuple):
    """What `calbench show` prints of a declaration; ``keeps_accuracy`` is None for what is no method."""

    name: str
    label: str
    paper: str | None
    kind: str
    text: str
    options: tuple[Option, ...]
    needs: tuple[str, ...]
    keeps_accuracy: bool | None

    def markdown(self) -> str:
        """The card as Markdown; the documentation's pages are made of these."""
        lines = [f"# {self.name}", f"*{self.kind}*, in tables: {self.label}", "", self.text, ""]
        if self.options:
            lines += ["| option | type | default |", "|---|---|---|"]
            for name, type_, default in self.options:
                lines.append(f"| {name} | {type_} | `{'required' if default is None else default}` |")
            lines.append("")
        if self.needs:
            lines += [f"Needs: {', '.join(self.needs)}.", ""]
        if self.keeps_accuracy is not None:
            lines += [f"Keeps accuracy: {'yes' if self.keeps_accuracy else 'no'}.", ""]
        lines += costs(self.name)
        if self.paper:
            lines += [f"Paper: {self.paper}.", ""]
        return "\n".join(lines)


def card_of(what: str, cls: Any) -> Card:
    """The card of a class of the registry `what`."""
    spec, defaults, types = cls.spec, option_defaults(cls), get_type_hints(cls, include_extras=True)
    options = tuple(
        Option(one.name, type_name(types[one.name]), repr(defaults[one.name]) if one.name in defaults else None)
        for one in option_fields(cls)
    )
    return Card(
        spec.name,
        spec.label,
        spec.paper,
        getattr(cls, "kind", what.removesuffix("s")),
        inspect.getdoc(cls) or "",
        options,
        tuple(sorted(getattr(cls, "needs", ()))),
        cls.keeps_accuracy if what == "methods" else None,
    )


def card(what: str, cls: Any) -> str:
    """One declaration as Markdown."""
    return card_of(what, cls).markdown()


@cache
def measured_costs() -> dict[str, list[dict[str, str]]]:
    """The committed measurements of ``results/costs.csv`` by calibrator; none where they were not made."""
    file = importlib.resources.files("calbench.results").joinpath("costs.csv")
    if not file.is_file():
        return {}
    rows: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(io.StringIO(file.read_text("utf-8"))):
        rows.setdefault(row["who"], []).append(row)
    return rows


def costs(name: str) -> list[str]:
    """The measured cost of a calibrator as a Markdown table, or nothing."""
    rows = measured_costs().get(name, [])
    if not rows:
        return []
    lines = ["| samples x classes | fit (s) | transform (s) | |", "|---|---|---|---|"]
    lines += [
        f"| {r['task']} | {seconds_shown(r['seconds'])} | {seconds_shown(r['best'])} | {r['note']} |" for r in rows
    ]
    return [*lines, "", f"Seconds of the processor; {rows[0]['machine']}; commit {rows[0]['commit']}.", ""]


SHORTEST = 0.01
"""Seconds below which a time of the processor is not told apart from none: its clock may be as coarse."""


def seconds_shown(text: str) -> str:
    """A time of ``results/costs.csv`` with two digits, or a dash where nothing was measured."""
    if not text:
        return "–"
    seconds = float(text)
    return f"{seconds:.2g}" if seconds >= SHORTEST else f"< {SHORTEST:g}"


_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def type_name(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """An option's type as people read it: ``'nll' or 'ece'``, ``float > 0``, ``tuple of str``.

    Args:
        annotation: of the option.
        metadata: bounds that pydantic keeps apart from the annotation.
    """
    if metadata:
        return type_name(Annotated[annotation, *metadata])
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(repr(choice) for choice in arguments)
    if origin is Annotated:
        bounds = [bound for field in arguments[1:] for bound in getattr(field, "metadata", (field,))]
        limits = [f"{_SIGNS[name]} {value}" for bound in bounds for name, value in _fields_of(bound)]
        return " ".join([type_name(arguments[0]), ", ".join(limits)]).strip()
    if origin in (Union, UnionType):
        return " or ".join(type_name(part) for part in arguments)
    if origin is not None:
        inner = [type_name(part) for part in arguments if part is not ...]
        return f"{origin.__name__} of {', '.join(inner)}"
    return "None" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))


def _fields_of(bound: Any) -> list[tuple[str, Any]]:
    """Name and value of a bound such as ``Gt(gt=0)``; other constraints have none."""
    found = asdict(bound) if is_dataclass(bound) and not isinstance(bound, type) else {}
    return [(name, value) for name, value in found.items() if name in _SIGNS]
