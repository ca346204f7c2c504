"""The commands that tell what there is: list and show."""

from collections.abc import Iterable
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from calbench.benchmark.cli.catalogue import card, registries, summary
from calbench.benchmark.cli.options import Plugins
from calbench.benchmark.core.errors import check_names
from calbench.benchmark.core.registry import Plugin

app = typer.Typer()
What = Literal["methods", "datasets", "backbones", "suites", "metrics", "protocols"]


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
        from calbench.benchmark.config.suite import load_suite
        from calbench.benchmark.config.suite_file import suite_files

        for name in suite_files():
            yield name, "", load_suite(name).config.title
    elif what == "protocols":
        from calbench.benchmark.config.protocol import named_protocols

        for name, fields in named_protocols().items():
            yield name, "", fields["description"]
    else:
        registry = registries()[what]
        for name in registry:
            yield name, getattr(registry[name], "kind", ""), summary(registry[name])


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A method, dataset, backbone, metric or suite.")],
    plugin: Plugins = (),
) -> int:
    """Show one declaration: formula, options with defaults, what it needs and keeps, paper."""
    from calbench.benchmark.config.suite_file import suite_files

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
