"""Typed records of a run: the content of ``run.json``, checked on reading."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from calbench.benchmark.results.base_record import Record

FORMAT = 1
"""The format of the files; another one is refused."""

Text = Annotated[str, Field(max_length=1_000_000)]
Status = Literal["done", "failed", "missing", "to evaluate"]
Direction = Literal["higher", "lower", "zero"]
Decimals = Annotated[int, Field(ge=0, le=12)]


class VersionRecord(Record):
    """The code that made something: calbench's version and commit, and the packages that results depend on."""

    calbench: str | None = None
    commit: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def text(self) -> str:
        """One line, such as ``calbench 0.1.0, commit 0123abc``."""
        return f"calbench {self.calbench or '?'}, commit {self.commit or 'unknown'}"


class MetricRecord(Record):
    """How a metric is shown: its label, unit, direction and decimals."""

    name: str
    label: str
    unit: str = ""
    better: Direction | None = None
    decimals: Decimals = 2
    needs: tuple[str, ...] = ()

    @property
    def reduction_label(self) -> str:
        """What its relative improvement is called."""
        return f"{self.label} {'gain' if self.better == 'higher' else 'reduction'}"

    @property
    def unit_of_changes(self) -> str:
        """Of a difference of two values: percentages differ in points."""
        return "points" if self.unit == "%" else self.unit


class MethodRecord(Record):
    """One method of an entry: its name, label, kind, paper, options and docstring."""

    name: str
    label: str
    kind: str = ""
    paper: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    doc: Text = ""


class EntryRecord(Record):
    """One entry of the leaderboard and the methods that it consists of.

    ``trials`` are the settings of options that a tuned entry tried, in words.
    """

    entry: Text
    label: Text
    recipe: Text
    calibrator: Text = "none"
    families: tuple[str, ...] = ()
    methods: tuple[MethodRecord, ...] = ()
    trials: tuple[str, ...] = ()


class CellRecord(Record):
    """One training run: what it was, and how it ended.

    Attributes:
        key: hash of everything that determines its predictions.
        status: ``done``, ``failed``, ``missing`` or ``to evaluate``.
        reason: why it is not done.
        seconds: of training.
        parameters: of the model.
        extra_parameters_percent: parameters of the head, relative to the backbone's.
        note: a remark, such as which token a head reads.
        split: where the calibration and test samples come from.
        version: the code that made it, where it is known.
    """

    key: str | None = None
    dataset: str
    backbone: str
    recipe: str
    seed: int
    status: Status
    reason: Text | None = None
    seconds: float | None = None
    parameters: int | None = None
    extra_parameters_percent: float | None = None
    note: str | None = None
    split: str | None = None
    version: VersionRecord | None = None


class ProtocolRecord(Record):
    """The protocol that all entries share; further fields are kept as they were written."""

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str = ""
    checkpoint: str | tuple[str, ...] | None = None

    @property
    def main_checkpoint(self) -> str | None:
        """The checkpoint rule whose values tables show."""
        if isinstance(self.checkpoint, tuple):
            return self.checkpoint[0] if self.checkpoint else None
        return self.checkpoint


class ConfigRecord(Record):
    """The suite as written; further fields are kept as they were written."""

    model_config = ConfigDict(frozen=True, extra="allow")
    tables: tuple[Any, ...] = ()
    reference: str | None = None


class Declaration(Record):
    """The part of the record that is known before anything is run.

    Attributes:
        suite: its name.
        title: above the tables.
        description: below the title.
        config: the suite as written.
        protocol: what is the same for every entry.
        protocol_text: the lines about it above every table.
        baseline: the entry that changes and reductions refer to.
        entries: the rows of the leaderboard, in the suite's order.
        seeds: of the cells.
        metrics: those that tables may show.
        smoke: whether it is a smoke test, whose numbers mean nothing.
        labels: short names of backbones and datasets, where they have some.
    """

    suite: str = ""
    title: str = ""
    description: str = ""
    config: ConfigRecord = ConfigRecord()
    protocol: ProtocolRecord = ProtocolRecord()
    protocol_text: tuple[str, ...] = ()
    baseline: str | None = None
    entries: tuple[EntryRecord, ...] = ()
    seeds: tuple[int, ...] = ()
    metrics: tuple[MetricRecord, ...] = ()
    smoke: bool = False
    labels: dict[str, str] = Field(default_factory=dict)


class RunRecord(Declaration):
    """Everything that a reader needs to judge or to repeat a run: the content of ``run.json``.

    Attributes:
        format: of the files.
        calbench: the version that collected the results; `VersionRecord` of each cell has the one that made it.
        commit: likewise.
        created: when, in ISO format.
        command: the command line.
        versions: of the packages that results depend on.
        hardware: processor, cores, accelerators.
        seconds: how long the run took.
        datasets: in the order of the suite.
        backbones: in the order of the suite.
        cells: the training runs.
        notes: remarks and warnings, printed with the tables.
        inputs: a hash of everything that the results follow from.
    """

    format: Literal[1] = FORMAT
    calbench: str = ""
    commit: str | None = None
    created: str = ""
    command: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    hardware: dict[str, Any] = Field(default_factory=dict)
    seconds: float = 0.0
    datasets: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ()
    cells: tuple[CellRecord, ...] = ()
    notes: tuple[str, ...] = ()
    inputs: str = ""

    @property
    def shown_title(self) -> str:
        """The title, or the suite's name; a smoke test says so."""
        title = self.title or self.suite or "Leaderboard"
        return f"SMOKE TEST: {title}" if self.smoke and not title.startswith("SMOKE") else title

    @property
    def collector(self) -> VersionRecord:
        """The code that collected the results."""
        return VersionRecord(calbench=self.calbench or None, commit=self.commit, versions=self.versions)

    @property
    def makers(self) -> tuple[VersionRecord, ...]:
        """The different versions of the code that made the cells; the collector's where cells do not name one."""
        named = {cell.version.text: cell.version for cell in self.cells if cell.version is not None}
        return tuple(named.values()) or (self.collector,)

    @property
    def provenance(self) -> tuple[str, ...]:
        """For people: the code that collected the results, and the code that made the cells where it differs."""
        others = [f"cells made by {maker.text}" for maker in self.makers if maker.text != self.collector.text]
        return (f"{self.collector.text}, {self.created}", *others)
