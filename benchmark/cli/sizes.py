"""The command that shows how large a calibration set has to be: sizes."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calbench.benchmark.cli.options import SuiteOptions, place, takes_suite_options, wide_console
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.text import counted
from calbench.benchmark.execution.options import RunOptions

if TYPE_CHECKING:
    import pandas as pd

    from calbench.benchmark.config.suite import Suite
    from calbench.benchmark.predictions.predictions import Predictions
    from calbench.methods import Calibrator

app = typer.Typer()
Sizes = Annotated[str, typer.Option("--sizes", help="Numbers of calibration samples: 100,300,1000.")]
Draws = Annotated[int, typer.Option("--draws", min=1, help="Random calibration sets of each size.")]
DRAWS = 10
"""Random calibration sets of each size, unless asked otherwise."""
PLACE = ["dataset", "backbone", "recipe", "seed"]


def read_sizes(text: str) -> list[int]:
    """The numbers of ``100,300,1000``.

    Raises:
        InputError: something else.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--sizes {text}: expected whole numbers joined by commas, such as 100,300,1000") from None


@app.command()
@takes_suite_options
def sizes(
    chosen: SuiteOptions,
    suite: Annotated[str, typer.Argument(help="A suite that was run.")],
    sizes: Sizes,
    draws: Draws = DRAWS,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of sizes.csv and figures; SUITE-sizes by default."),
    ] = None,
) -> int:
    """Show how large a calibration set has to be, from the stored predictions of a suite."""
    loaded = chosen.load(suite)
    table = suite_curves(loaded, chosen.run_options(), read_sizes(sizes), draws=draws, all_cells=True)
    if output is not None:
        written, where = write_curves(table, output), output.name
    else:
        written, where = _written(table, chosen.results_dir, f"{loaded.name}-sizes"), f"{loaded.name}-sizes"
    wide_console().print(f"written to {where}: {', '.join(written)}", markup=False)
    return 0


def write_suite_curves(suite: "Suite", options: RunOptions) -> None:
    """Draw the curves of a suite's `sizes` into its folder of results, after its tables; none if it names no sizes."""
    if not suite.config.sizes:
        return
    table = suite_curves(suite, options, suite.config.sizes)
    written = _written(table, options.results_dir, suite.name)
    wide_console().print(f"written to {place(options.results_dir, suite.name)}: {', '.join(written)}", markup=False)


def _written(table: "pd.DataFrame", results_dir: str, name: str) -> list[str]:
    """`write_curves` into the folder `name` of a results folder, local or an fsspec address."""
    from calbench.benchmark.store.folder import Folder

    with Folder(results_dir).publishing(name) as folder:
        return write_curves(table, folder)


def suite_curves(
    suite: "Suite", options: RunOptions, numbers: Sequence[int], *, draws: int = DRAWS, all_cells: bool = False
) -> "pd.DataFrame":
    """The size curves of every cell of a suite that has entries, from its stored predictions.

    A size that a cell's calibration split does not have, and a cell without predictions, are rows with a reason.

    Args:
        suite: that was run.
        options: where its results and its data are.
        numbers: of calibration samples.
        draws: random calibration sets of each size.
        all_cells: refuse a suite of which a cell is missing.

    Raises:
        InputError: a missing cell, with `all_cells`.
    """
    import pandas as pd

    from calbench.benchmark.execution.runner import plan_suite
    from calbench.benchmark.store.store import Store

    store, tables = Store(options.results_dir), []
    for work in plan_suite(suite, options):
        state = store.status(work.cell.key)
        if all_cells and state != "done":
            raise InputError(f"sizes: {work.cell.describe()} is not there; run the suite first")
        if not work.entries:  # a network of which only variants or ensembles are entries
            continue
        chains = {one.name: one.calibrators for one in work.entries}
        predictions = store.predictions(work.cell.key) if state == "done" else None
        table = _cell_curves(predictions, chains, numbers, draws, suite)
        place = (work.cell.dataset.spelled(), work.cell.backbone.spelled(), work.cell.recipe_name, work.cell.seed)
        tables.append(table.assign(**dict(zip(PLACE, place, strict=True))))
    table = pd.concat(tables)
    return table[[*PLACE, *table.columns.drop(PLACE)]]


def _cell_curves(
    predictions: "Predictions | None", chains: "dict[str, tuple[Calibrator, ...]]", numbers: Sequence[int],
    draws: int, suite: "Suite",
) -> "pd.DataFrame":  # fmt: skip
    """The curves of one cell at the sizes that it has, and a reason for every other."""
    import pandas as pd

    from calbench.benchmark.evaluation.sizes import size_curves, without_curve

    if predictions is None:
        return without_curve(chains, numbers, "the cell has no predictions")
    rule = suite.protocol.checkpoint
    most = len(predictions[rule, "calibration"])
    possible = [number for number in numbers if number <= most]
    table = size_curves(predictions, chains, possible, draws=draws, bins=suite.protocol.bins, checkpoint=rule)
    larger = [number for number in numbers if number > most]
    rest = without_curve(chains, larger, f"the calibration split has only {counted(most, 'sample')}")
    return pd.concat([part for part in (table, rest) if len(part)])


def show_curves(
    predictions: "Predictions", chains: "dict[str, tuple[Calibrator, ...]]", numbers: Sequence[int], draws: int,
    bins: int, output: Path | None,
) -> list[str]:  # fmt: skip
    """Print the NLL against the number of calibration samples; write the curves if there is a folder for them.

    Returns:
        The names of the files that were written.
    """
    from calbench.benchmark.evaluation.sizes import size_curves

    table = size_curves(predictions, chains, numbers, draws=draws, bins=bins)
    console = wide_console()
    sets = f"{counted(draws, 'random set')} ({spread_words(draws)})"
    console.print(f"\nNLL of the test split against calibration samples, mean of {sets}:")
    console.print(_pivot(table).to_string(), markup=False, highlight=False)
    for row in table[(table["draws"] == 0) & (table["metric"] == "nll")].itertuples():
        console.print(
            f"failed: {row.entry}, {counted(int(str(row.size)), 'sample')}: {row.reason}",
            markup=False,
            highlight=False,
        )
    return write_curves(table, output) if output is not None else []


def spread_words(draws: int) -> str:
    """What the range in brackets after a mean over so many random calibration sets is."""
    from calbench.benchmark.evaluation.sizes import FEWEST_FOR_QUANTILES

    return "smallest to largest" if draws < FEWEST_FOR_QUANTILES else "95 % of them"


def _pivot(table: "pd.DataFrame") -> "pd.DataFrame":
    rows = table[table["metric"] == "nll"]
    cells = [
        "failed" if draws == 0 else f"{value:.4f} ({low:.4f} to {high:.4f})" if draws > 1 else f"{value:.4f}"
        for value, low, high, draws in rows[["value", "low", "high", "draws"]].to_numpy(dtype=float).tolist()
    ]  # fmt: skip
    wide = rows.assign(cell=cells).pivot(index="entry", columns="size", values="cell")
    order = rows.groupby("entry")["value"].min().sort_values().index
    return wide.reindex(order).rename_axis(index=None, columns=None)


def write_curves(table: "pd.DataFrame", folder: Path) -> list[str]:
    """Write ``sizes.csv``, and for each dataset and backbone a table and a figure of the first seed's NLL.

    Returns:
        The names of the files.
    """
    from calbench.benchmark.report.figures.size_curves import draw_sizes

    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "sizes.csv", index=False)
    text = [f"{markdown(part, name)}\n" for name, part in _parts(table)]
    (folder / "sizes.md").write_text("\n".join(text), "utf-8")
    names = ["sizes.csv", "sizes.md"]
    for name, part in _parts(table):
        for ending in ("png", "pdf"):
            stem = re.sub(r"[^\w.()=,+ -]+", "-", f"sizes-{name}" if name else "sizes")  # a timm model may have a slash
            file = f"{stem}.{ending}"
            draw_sizes(part, "nll", name).savefig(folder / file, dpi=300, metadata={})
            names.append(file)
    return names


def markdown(table: "pd.DataFrame", title: str) -> str:
    """The NLL against the number of calibration samples in Markdown, with the reasons of what failed below."""
    lines = [f"## {title}", ""] if title else []
    lines += [
        "NLL of the test split by the number of calibration samples: the mean over random calibration sets "
        f"({spread_words(int(table['draws'].max()))}).", "", _pivot(table).to_markdown(disable_numparse=True),
    ]  # fmt: skip
    failed = table[(table["draws"] == 0) & (table["metric"] == "nll")]
    reasons = [
        f"- {row.entry}, {counted(int(str(row.size)), 'sample')}: failed: {row.reason}" for row in failed.itertuples()
    ]
    return "\n".join([*lines, *([""] if reasons else []), *reasons])


def _parts(table: "pd.DataFrame") -> "Iterator[tuple[str, pd.DataFrame]]":
    if "dataset" not in table:
        yield "", table
        return
    for (dataset, backbone), part in table.groupby(["dataset", "backbone"], sort=False):
        first = part[part["seed"] == part["seed"].min()]
        yield f"{dataset}-{backbone}", first
