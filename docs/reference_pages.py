"""The reference pages of the command line and of the Python interface, from the commands and docstrings themselves."""

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer

import calbench
from calbench.benchmark.backbones import Backbone
from calbench.benchmark.cli.main import app
from calbench.benchmark.metrics import Metric
from calbench.datasets import Dataset, Split, Splits
from calbench.methods import (
    Augmentation,
    BackboneInfo,
    Calibrator,
    Head,
    HeadModule,
    Objective,
    Outputs,
    Representation,
)

BASES = (
    Representation, Outputs, BackboneInfo, Objective, Augmentation, Head, HeadModule, Calibrator, Dataset, Splits,
    Split, Backbone, Metric,
)  # fmt: skip
"""What a declaration of one's own receives and derives from."""
_RICH = re.compile(r"\[/?[a-z ]+\]")


def cli_page() -> str:
    """Every command with its arguments, options and defaults."""
    lines = ["# Command line", "", "`calbench --help` and `calbench COMMAND --help` print the same.", ""]
    for name, command in _commands(typer.main.get_command(app), "calbench"):
        lines += [f"## {name}", "", _plain(command.help or ""), ""]
        rows = [_parameter(parameter) for parameter in command.params if parameter.name != "help"]
        if rows:
            lines += ["| | | default |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    for child, inner in sorted(getattr(command, "commands", {}).items()):
        if hasattr(inner, "commands"):
            yield from _commands(inner, f"{name} {child}")
        else:
            yield f"{name} {child}", inner


def _parameter(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = parameter.metavar or (parameter.name or "").upper()
    else:
        name = ", ".join([*parameter.opts, *parameter.secondary_opts])
    default = parameter.default
    empty = default is None or callable(default) or default in ("", [], (), False)
    shown = "required" if parameter.required else "" if empty else f"`{default}`"
    text = _plain(getattr(parameter, "help", "") or "").replace("|", "\\|").replace("\n", " ")
    return f"| `{name}` | {text} | {shown} |"


def _plain(text: str) -> str:
    return _RICH.sub("", inspect.cleandoc(text)).replace("``", "`").strip()


def api_page() -> str:
    """The public functions, and the classes that a declaration of one's own receives or derives from."""
    lines = [
        "# Python interface",
        "",
        "`import calbench as cb` gives the functions below, and every method, dataset, backbone and metric under its "
        "class name: `cb.TemperatureScaling`, `cb.Digits`.",
        "",
    ]
    lines += ["## Public names", ""]
    for name, where in sorted(calbench._PUBLIC.items()):
        module, _, original = where.partition(":")
        lines += _described(f"cb.{name}", getattr(importlib.import_module(module), original or name), "###")
    lines += [
        "## What a declaration receives and derives from",
        "",
        "A head gets a `Representation` and a loss gets `Outputs`; see [Add a method](tutorials/add-a-method.md) and "
        "[Add a dataset, a backbone, a metric](tutorials/add-data.md).",
        "",
    ]
    for cls in BASES:
        lines += _described(f"{cls.__module__.removesuffix('.base').removesuffix('._base')}.{cls.__name__}", cls, "###")
        lines += [line for name, member in _own_methods(cls) for line in _described(name, member, "####")]
    return "\n".join(lines)


def _own_methods(cls: type) -> Iterator[tuple[str, Any]]:
    for name, member in vars(cls).items():
        if inspect.isfunction(member) and not name.startswith("_") and inspect.getdoc(member):
            yield name, member


def _described(name: str, obj: Any, level: str) -> list[str]:
    try:
        signature = str(inspect.signature(obj)) if not isinstance(obj, type) else ""
    except ValueError:
        signature = ""
    doc = inspect.getdoc(obj) or ""
    shown = re.sub(r"calbench(\.\w+)+\.(\w+)", r"\2", signature)
    code = [f"```text\n{name.rpartition('.')[2]}{shown}\n```", ""] if shown else []
    return [f"{level} {name}", "", *code, sections(doc), ""]


def sections(doc: str) -> str:
    """A Google docstring as Markdown: its sections as lists, its examples as code."""
    parts = re.split(r"^(Args|Returns|Raises|Attributes|Example|Examples):\n", doc, flags=re.MULTILINE)
    lines = [parts[0].replace("``", "`").strip(), ""]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        lines += [f"**{title}**", ""]
        text = inspect.cleandoc(body)
        if title.startswith("Example"):
            lines += [f"```python\n{text.replace('  # doctest: +SKIP', '')}\n```", ""]
        elif title == "Returns":
            lines += [" ".join(text.replace("``", "`").split()), ""]
        else:
            items = re.split(r"^(?=\w[\w*]*: )", text, flags=re.MULTILINE)
            lines += [_item(item) for item in items if item.strip()] + [""]
    return "\n".join(lines)


def _item(text: str) -> str:
    name, _, words = text.partition(": ")
    return f"- `{name.strip()}`: {' '.join(words.replace('``', '`').split())}"
