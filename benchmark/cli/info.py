"""The commands list and show: available methods, datasets, backbones, metrics and suites."""

import importlib.resources
from collections.abc import Iterable
from typing import Annotated, Any

import typer
import yaml
from rich.markdown import Markdown
from rich.table import Table

from calbench.benchmark.cli.catalogue import REGISTRIES, card, registry_of, summary
from calbench.benchmark.cli.declared import Declared, declared
from calbench.benchmark.cli.options import NONE, Plugins, load_plugins
from calbench.benchmark.cli.source_card import card_from_source
from calbench.benchmark.config.references import reference_files
from calbench.benchmark.config.suite_file import suite_files
from calbench.benchmark.core.console import Console
from calbench.benchmark.core.errors import OWN, check_names

app = typer.Typer()
OTHERS = ("suites", "protocols", "references")
"""What can be listed that is not in a registry."""


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="methods, datasets, backbones, metrics, suites, protocols ...")],
    plugin: Plugins = NONE,
) -> int:
    """List what is declared: methods, datasets, backbones, metrics, suites, protocols, references and the like."""
    load_plugins(plugin)
    if what not in OTHERS:
        check_names("list", [what], [*REGISTRIES, *OTHERS])
    table = Table(box=None, pad_edge=False)
    for column in ("name", "kind" if what == "methods" else "", "what it is"):
        table.add_column(column, no_wrap=column == "name")
    for name, kind, text in _rows(what, bool(plugin)):
        table.add_row(name, kind, text.replace("`", ""))
    Console().print(table)
    return 0


def _rows(what: str, plugins: bool) -> Iterable[Declared]:
    if what == "suites":
        for name, file in suite_files().items():  # the titles only: checking a suite imports all that it names
            yield Declared(name, "", yaml.safe_load(file.read_text("utf-8")).get("title", ""))
    elif what == "protocols":
        for name, fields in _protocols().items():
            yield Declared(name, "", fields["description"])
    elif what == "references":
        for name, text in _references().items():
            yield Declared(name, "", yaml.safe_load(text)["title"])
    elif (rows := None if plugins else declared(what)) is not None:
        yield from rows
    else:
        registry = registry_of(what)
        for name in registry:
            yield Declared(name, registry[name].kind if what == "methods" else "", summary(registry[name]))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A method, dataset, backbone, metric, suite, protocol or reference.")],
    plugin: Plugins = NONE,
) -> int:
    """Show the declaration of a name: formula, options with defaults, what it needs, whether it keeps accuracy, paper.

    A suite, protocol or reference is printed as YAML, which a file can take as it is.
    """
    load_plugins(plugin)
    texts = _texts()
    if name in texts:
        print(texts[name], end="")  # as it is: a terminal's width must not break the lines of a file
        return 0
    homes: dict[str, list[str]] = {}
    for what in REGISTRIES:
        for one in _names(what, bool(plugin)):
            homes.setdefault(one, []).append(what)
    listing = f"calbench list {'|'.join([*REGISTRIES, *OTHERS])}"
    check_names("name", [name], [*homes, *texts], listing, "" if plugin else OWN)
    for what in homes[name]:  # brier is a loss and a metric
        shown = None if plugin else card_from_source(what, name)
        Console().print(Markdown(shown.markdown() if shown else card(what, registry_of(what)[name])))
    return 0


def _names(what: str, plugins: bool) -> Iterable[str]:
    """The names in a registry, without importing what it has where the source is enough."""
    rows = None if plugins else declared(what)
    return registry_of(what) if rows is None else [row.name for row in rows]


def _texts() -> dict[str, str]:
    """The YAML text of every suite, protocol and reference."""
    texts = {name: file.read_text("utf-8") for name, file in suite_files().items()} | _references()
    dumped = {name: yaml.safe_dump(fields, sort_keys=False, width=1000) for name, fields in _protocols().items()}
    return texts | dumped


def _protocols() -> dict[str, dict[str, Any]]:
    """The fields of every protocol, read here because the module that checks them imports the metrics."""
    folder = importlib.resources.files("calbench.benchmark.config")
    return yaml.safe_load(folder.joinpath("protocols.yaml").read_text("utf-8"))


def _references() -> dict[str, str]:
    """The descriptions of published numbers as they are in their files."""
    files = reference_files()
    folder = importlib.resources.files("calbench.results").joinpath("reference")
    return {name: folder.joinpath(f"{name}.yaml").read_text("utf-8") for name in files}
