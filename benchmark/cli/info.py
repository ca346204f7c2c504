"""The commands list and show: available methods, datasets, backbones, metrics and suites."""

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.markdown import Markdown
from rich.table import Table

from calbench.benchmark.cli.catalogue import card, registries, summary
from calbench.benchmark.cli.options import NONE, Plugins
from calbench.benchmark.core.console import Console
from calbench.benchmark.core.errors import check_names
from calbench.benchmark.core.registry import Plugin

app = typer.Typer()
OTHERS = ("suites", "protocols", "references")
"""What can be listed that is not in a registry."""


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="methods, datasets, backbones, metrics, suites, protocols ...")],
    plugin: Plugins = NONE,
) -> int:
    """List what is declared: methods, datasets, backbones, metrics, suites, protocols, references and the like."""
    for path in plugin:
        Plugin.load(path)
    if what not in OTHERS:
        check_names("list", [what], [*registries(), *OTHERS])
    table = Table(box=None, pad_edge=False)
    for column in ("name", "kind" if what == "methods" else "", "what it is"):
        table.add_column(column, no_wrap=column == "name")
    for name, kind, text in _rows(what):
        table.add_row(name, kind, text)
    Console().print(table)
    return 0


def _rows(what: str) -> Iterable[tuple[str, str, str]]:
    if what == "suites":
        import yaml

        from calbench.benchmark.config.suite_file import suite_files

        for name, file in suite_files().items():  # the titles only: checking a suite imports all that it names
            yield name, "", yaml.safe_load(file.read_text("utf-8")).get("title", "")
    elif what == "protocols":
        from calbench.benchmark.config.protocol import named_protocols

        for name, fields in named_protocols().items():
            yield name, "", fields["description"]
    elif what == "references":
        from calbench.benchmark.config.references import reference_files
        from calbench.benchmark.results.reference import describe

        for name in reference_files():
            yield name, "", describe(name).title
    else:
        registry = registries()[what]
        for name in registry:
            yield name, getattr(registry[name], "kind", ""), summary(registry[name])


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A method, dataset, backbone, metric, suite, protocol or reference.")],
    plugin: Plugins = NONE,
) -> int:
    """Show one declaration: formula, options with defaults, what it needs, whether it keeps accuracy, paper.

    A suite, protocol or reference is printed as YAML, which a file can take as it is.
    """
    for path in plugin:
        Plugin.load(path)
    known = {n: (what, registry[n]) for what, registry in registries().items() for n in registry}
    texts = _texts()
    check_names("name", [name], [*known, *texts])
    if name in texts:
        print(texts[name], end="")  # as it is: a terminal's width must not break the lines of a file
        return 0
    what, cls = known[name]
    Console().print(Markdown(card(what, cls)))
    return 0


def _texts() -> dict[str, str]:
    """The YAML text of every suite, protocol and reference."""
    import yaml

    from calbench.benchmark.config.protocol import named_protocols
    from calbench.benchmark.config.references import reference_files
    from calbench.benchmark.config.suite_file import suite_files
    from calbench.benchmark.results.reference import describe

    texts = {name: file.read_text("utf-8") for name, file in suite_files().items()}
    plain = named_protocols() | {name: describe(name).model_dump(exclude_defaults=True) for name in reference_files()}
    return texts | {name: yaml.safe_dump(fields, sort_keys=False, width=1000) for name, fields in plain.items()}
