"""Table layouts in suite files: rows, columns, metrics and marks. `calbench.benchmark.report` makes the tables."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.plain_yaml import read_yaml

Dimension = Literal[
    "dataset", "backbone", "entry", "recipe", "objective", "augmentation", "head", "procedure", "calibrator",
    "checkpoint", "split", "metric",
]  # fmt: skip
Quantity = Literal["value", "change", "reduction", "paired-reduction", "published", "difference", "median"]
Mark = Literal["calibrated", "same", "baseline-in-noise", "accuracy-loss", "nll-loss", "partial", "suspect"]


class Layout(BaseModel):
    """A table as a suite describes it.

    Attributes:
        name: file name and LaTeX label. Example: ``ece``.
        title: above the table; the name by default. Example: ``ECE by loss``.
        caption: what else is to be said. Example: ``Means over three seeds.``.
        rows: dimensions of the row heads, outermost first. Example: ``[dataset, entry]``.
        columns: dimensions of the column heads, outermost first; the metric comes last where none names it.
            Example: ``[backbone]``.
        metrics: metrics shown. Example: ``[ece, nll]``.
        show: quantities of each metric: its value, its change or relative reduction against the suite's baseline, the
            published number and the difference from it; ``paired-reduction`` is against the entry that `pair` names;
            ``median`` is the median over seeds with the smallest and the largest value, for where one seed decides the
            mean. Example: ``[value, published, difference]``.
        pair: what the paired entry has in place of this one's. Example: ``{head: none}``.
        marks: which marks and emphasis are shown. Example: ``[bold, same]``.
        intervals: whether 95 % intervals are shown. Example: ``true``.
        datasets: only these; all by default. Example: ``[digits]``.
        backbones: only these; all by default. Example: ``[vit-micro]``.
        entries: only these; all by default. Example: ``[cross-entropy, focal]``.
        checkpoints: only these; the protocol's by default. Example: ``[last, best-ece]``.
        splits: which splits the numbers are of. Example: ``[test, shift-gaussian-noise-5]``.
        labels: head texts by dimension and value. Example: ``{head: {none: without, calattn: CalAttn}}``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    title: str = ""
    caption: str = ""
    rows: Annotated[tuple[Dimension, ...], Field(min_length=1)] = ("entry",)
    columns: tuple[Dimension, ...] = ("dataset", "backbone")
    metrics: Annotated[tuple[str, ...], Field(min_length=1)] = ("ece",)
    show: Annotated[tuple[Quantity, ...], Field(min_length=1)] = ("value",)
    pair: dict[Dimension, str] = {}
    marks: tuple[Literal["bold"] | Mark, ...] = (
        "bold",
        "calibrated",
        "same",
        "baseline-in-noise",
        "accuracy-loss",
        "nll-loss",
        "suspect",
    )
    intervals: bool = False
    datasets: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    splits: tuple[str, ...] = ("test",)
    labels: dict[Dimension, dict[str, str]] = {}

    @model_validator(mode="after")
    def _check(self) -> "Layout":
        twice = [name for name in self.rows if name in self.columns]
        if twice:
            raise ValueError(f"{twice[0]!r} is both a row and a column")
        if "paired-reduction" in self.show and not self.pair:
            raise ValueError("paired-reduction needs 'pair', such as {head: none}")
        return self

    @property
    def column_dimensions(self) -> tuple[Dimension, ...]:
        """The column dimensions, with the metric last where there are several and neither rows nor columns name it."""
        named = "metric" in self.rows or "metric" in self.columns or len(self.metrics) == 1
        return self.columns if named and self.columns else (*self.columns, "metric")


def parse_layout(value: Any, where: str = "table") -> Layout:
    """Make a layout from plain data.

    Raises:
        InputError: an unknown or wrong field, with its name.
    """
    try:
        return Layout.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise InputError(f"{where}: {field + ': ' if field else ''}{first['msg']}") from None


def load_layout(path: Path) -> Layout:
    """Read a layout from a YAML file.

    Raises:
        InputError: no such file, no YAML, or a wrong field.
    """
    try:
        value = read_yaml(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name}: {error}") from None
    return parse_layout(value, path.name)
