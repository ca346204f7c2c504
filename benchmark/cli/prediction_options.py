"""The options of the commands for predictions in a file: how they are evaluated, and which rows calibrate."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calbench.benchmark.cli.file_options import show_note
from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.core.errors import InputError, check_names
from calbench.benchmark.core.text import counted
from calbench.benchmark.predictions.source import Source

if TYPE_CHECKING:  # files are read before torch is imported: an error should not wait for it
    from calbench.benchmark.predictions.predictions import Predictions


def _replicates(value: int) -> int:
    from calbench.benchmark.core.schema import FEWEST_REPLICATES  # heavy: pandas

    if 0 < value < FEWEST_REPLICATES:
        raise typer.BadParameter(
            f"{counted(value, 'replicate')}: at least {FEWEST_REPLICATES} make an interval, 0 none"
        )
    return value


Bootstrap = Annotated[
    int,
    typer.Option("--bootstrap", min=0, callback=_replicates, help="Bootstrap replicates of the intervals; 0 for none."),
]
Bins = Annotated[int, typer.Option("--bins", min=1, help="Bins of the binned metrics.")]
TestFile = Annotated[Path | None, typer.Argument(metavar="[TEST]", help="The test split, if it is in a separate file.")]
Share = Annotated[
    float | None,
    typer.Option("--split", min=0, max=1, help="Share of FILE's rows to calibrate on, stratified by class."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the random split.")]
InOrder = Annotated[bool, typer.Option("--in-order", help="Calibrate on the first rows instead of random ones.")]
Metrics = Annotated[
    str,
    typer.Option(
        "--metrics", help="Further metrics, joined by commas: aurc,nll-refinement; see calbench list metrics."
    ),
]


@dataclass(frozen=True)
class MetricOptions:
    """How predictions are evaluated: replicates of the intervals, bins, and metrics beyond the usual ones."""

    bootstrap: Bootstrap = 1000
    bins: Bins = DEFAULT_BINS
    metrics: Metrics = ""

    def panel(self) -> tuple[str, ...]:
        """The names of the usual metrics and of the further ones.

        Raises:
            InputError: an unknown metric.
        """
        from calbench.benchmark.metrics import PANEL, registry

        names = [name.strip() for name in self.metrics.split(",") if name.strip()]
        check_names("metric", names, registry, registry.listing)
        return tuple(dict.fromkeys((*PANEL, *names)))


@dataclass(frozen=True)
class SplitOptions:
    """Where the calibration and the test split come from: two files, two splits of one, or a part of its rows."""

    test: TestFile = None
    split: Share = None
    seed: Seed = 0
    in_order: InOrder = False

    def read(self, file: Path, source: Source) -> "Predictions":
        """Read both splits.

        Raises:
            InputError: a file that cannot be read, or options that exclude each other.
        """
        if self.in_order and self.split is None:
            raise InputError("--in-order has no effect without --split: give --split too")
        from calbench.benchmark.predictions.files import read_pair

        seed = None if self.in_order else self.seed
        return read_pair(file, self.test, source=source, split=self.split, seed=seed, note=show_note)

    def described(self, file: Path, pair: "Predictions") -> str:
        """The line above the tables on where the two splits come from."""
        calibration, test = pair["last", "calibration"], pair["last", "test"]
        sizes = f"{counted(len(calibration), 'sample')} to calibrate on, {len(test):,} to test on"
        if self.test is not None:
            return f"{sizes}: {file.name} and {self.test.name}."
        if self.split is None:
            return f"{sizes}: both from {file.name}."
        rule = "in order" if self.in_order else f"at random with seed {self.seed}, stratified by class"
        return f"{sizes}: {file.name}, split {rule}."
