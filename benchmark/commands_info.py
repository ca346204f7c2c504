"""The commands that tell what there is: list and show."""

import inspect
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from .errors import check_names
from .registry import Plugin, option_defaults, option_fields

app = typer.Typer()
What = Literal["methods", "datasets", "backbones", "suites", "metrics", "protocols"]
Plugins = Annotated[list[Path], typer.Option("--plugin", help="A Python file that declares methods or datasets.")]


def registries() -> dict[str, Any]:
    """Every registry by the plural noun that the command line uses."""
    from ..datasets import registry as datasets
    from ..methods import registry as methods
    from .backbones import registry as backbones
    from .metrics import registry as metrics

    return {"methods": methods, "datasets": datasets, "backbones": backbones, "metrics": metrics}


@app.command("list")
def list_(
    what: Annotated[What, typer.Argument(help="What to list.")],
    plugin: Plugins = (),
) -> int:
    """List methods, datasets, backbones, suites, metrics or protocols."""
    for path in plugin:
        Plugin.load(path)
    table = Table(box=None, pad_edge=False)
    for column in ("name", "kind" if what == "methods" else "", "what it is"):
        table.add_column(column, no_wrap=column == "name")
    for name, kind, text in _rows(what):
        table.add_row(name, kind, escape(text))
    Console().print(table)
    return 0


def _rows(what: str) -> Iterable[tuple[str, str, str]]:
    if what == "suites":
        from .suite import load_suite
        from .suite_file import suite_files

        for name in suite_files():
            yield name, "", load_suite(name).config.title
    elif what == "protocols":
        from .protocol import named_protocols

        for name, fields in named_protocols().items():
            yield name, "", fields["description"]
    else:
        registry = registries()[what]
        for name in registry:
            yield name, getattr(registry[name], "kind", ""), summary(registry[name])


def summary(cls: type) -> str:
    """The first sentence of a declaration's docstring."""
    return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A method, dataset, backbone, metric or suite.")],
    plugin: Plugins = (),
) -> int:
    """Show one declaration: formula, options with defaults, what it needs and keeps, paper."""
    from .suite_file import suite_files

    for path in plugin:
        Plugin.load(path)
    known = {n: (what, registry[n]) for what, registry in registries().items() for n in registry}
    suites = suite_files()
    check_names("name", [name], [*known, *suites])
    console = Console()
    if name in suites:
        console.print(suites[name].read_text("utf-8"), markup=False, highlight=False)
        return 0
    what, cls = known[name]
    console.print(Markdown(card(what, cls)))
    return 0


def card(what: str, cls: Any) -> str:
    """One declaration as Markdown; the documentation's pages are made of these."""
    spec = cls.spec
    kind = getattr(cls, "kind", what.removesuffix("s"))
    lines = [f"# {spec.name}", f"*{kind}*, in tables: {spec.label}", "", inspect.getdoc(cls) or "", ""]
    defaults, types = option_defaults(cls), get_type_hints(cls, include_extras=True)
    if option_fields(cls):
        lines += ["| option | type | default |", "|---|---|---|"]
        for field in option_fields(cls):
            shown = repr(defaults[field.name]) if field.name in defaults else "required"
            lines.append(f"| {field.name} | {_type_name(types[field.name])} | `{shown}` |")
        lines.append("")
    if needs := getattr(cls, "needs", ()):
        lines += [f"Needs: {', '.join(sorted(needs))}.", ""]
    if what == "methods":
        lines += [f"Keeps accuracy: {'yes' if cls.keeps_accuracy else 'no'}.", ""]
    if spec.paper:
        lines += [f"Paper: {spec.paper}.", ""]
    return "\n".join(lines)


_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def _type_name(annotation: Any) -> str:
    """An option's type as people read it: ``'nll' or 'ece'``, ``float > 0``, ``tuple of str``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(repr(choice) for choice in arguments)
    if origin is Annotated:
        bounds = [bound for field in arguments[1:] for bound in getattr(field, "metadata", ())]
        limits = [f"{_SIGNS[name]} {value}" for bound in bounds for name, value in _fields_of(bound)]
        return " ".join([_type_name(arguments[0]), ", ".join(limits)]).strip()
    if origin in (Union, UnionType):
        return " or ".join(_type_name(part) for part in arguments)
    if origin is not None:
        inner = [_type_name(part) for part in arguments if part is not ...]
        return f"{origin.__name__} of {', '.join(inner)}"
    return "None" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))


def _fields_of(bound: Any) -> list[tuple[str, Any]]:
    """Name and value of a bound such as ``Gt(gt=0)``; what is no bound has none."""
    found = asdict(bound) if is_dataclass(bound) else {}
    return [(name, value) for name, value in found.items() if name in _SIGNS]
