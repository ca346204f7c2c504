"""Protocols: splits, checkpoint rule, metrics and their options, the same for every entry of a table."""

import importlib.resources
from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from calbench.benchmark.config.training import CheckpointRule
from calbench.benchmark.core.bins import DEFAULT_BINS, ECE_CRITERION
from calbench.benchmark.core.errors import check_names
from calbench.benchmark.core.schema import FEWEST_REPLICATES
from calbench.benchmark.core.text import counted
from calbench.benchmark.metrics import PANEL


def enough_replicates(value: int) -> int:
    """`value` where it is a number of bootstrap replicates that intervals can be made of, or 0; else a ValueError."""
    if value != 0 and value < FEWEST_REPLICATES:
        raise ValueError(f"expected 0 (no intervals) or at least {FEWEST_REPLICATES} replicates")
    return value


class Protocol(BaseModel):
    """What is the same for every entry.

    Attributes:
        name: the named protocol that this one starts from. Example: ``calattn-paper``.
        description: a sentence above the tables. Example: ``As in the paper.``.
        calibration_fraction: the share of the training pool that is held out, stratified by class. Example: ``0.2``.
        calibration_seed: one seed of the calibration split for all seeds of the suite, so that no member of an ensemble
            was trained on it; by default each seed has another split. Example: ``0``.
        checkpoint: which epoch is evaluated: the last one, or the best on the calibration split by a metric.
            Example: ``best-nll``.
        also_checkpoints: further rules recorded in the same run, to show the effect of this choice by itself.
            Example: ``[best-ece]``.
        method_options: options by method name, unless an entry sets them itself.
            Example: ``{temperature-scaling: {criterion: ece}}``.
        metrics: names of `calbench list metrics`. Example: ``[accuracy, nll, ece]``.
        bins: number of bins of the binned metrics. Example: ``20``.
        bootstrap: number of bootstrap replicates, at least `FEWEST_REPLICATES` (or 0: no intervals).
            Example: ``200``.
        training: training options that the protocol sets. Example: ``{epochs: 350}``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "clean"
    description: str = ""
    calibration_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    calibration_seed: Annotated[int, Field(ge=0)] | None = None
    checkpoint: CheckpointRule = "last"
    also_checkpoints: tuple[CheckpointRule, ...] = ()
    method_options: dict[str, dict[str, Any]] = {}
    metrics: tuple[str, ...] = PANEL
    bins: Annotated[int, Field(ge=1)] = DEFAULT_BINS
    bootstrap: Annotated[int, AfterValidator(enough_replicates)] = 1000
    training: dict[str, Any] = {}

    @property
    def method_defaults(self) -> dict[str, dict[str, Any]]:
        """`method_options`, and the bins of calibrators that minimise the ECE where they are not the usual number."""
        if self.bins == DEFAULT_BINS:
            return self.method_options
        return {ECE_CRITERION: {"bins": self.bins}} | self.method_options

    @property
    def checkpoints(self) -> tuple[CheckpointRule, ...]:
        """All rules that a run records, the protocol's own first."""
        return tuple(dict.fromkeys((self.checkpoint, *self.also_checkpoints)))

    def intervals_over(self, resampled: str) -> str:
        """How the intervals of the tables came about, or that there are none."""
        if not self.bootstrap:
            return "no intervals"
        return f"95 % intervals from {self.bootstrap} paired bootstrap replicates over {resampled}"

    def lines(self, seeds: list[int], baseline: str, calibration: Iterable[str], *, trained: bool) -> list[str]:
        """What is printed above every table.

        Args:
            seeds: of the cells.
            baseline: the entry that changes refer to.
            calibration: a sentence for every origin of a calibration split.
            trained: whether networks were trained, so that there is a checkpoint rule.
        """
        rule, *others = map(_rule, self.checkpoints)
        recorded = f" (also recorded in the same runs: {', '.join(others)})" if others else ""
        over = "test samples and seeds" if len(seeds) > 1 else "test samples"
        lines = [
            *([f"Protocol {self.name}: {self.description}".rstrip(": ")] if trained else []),
            *filter(None, dict.fromkeys(calibration)),
            *([f"Checkpoint: {rule}, for every entry{recorded}."] if trained else []),
            f"{_plural(seeds)}{counted(self.bins, 'bin')}; {self.intervals_over(over)}.",
            reduction_line(baseline),
        ]
        options = [f"{name}: {key} = {value}" for name, o in self.method_options.items() for key, value in o.items()]
        return lines + ([f"Method options of the protocol: {'; '.join(options)}."] if options else [])


def _plural(seeds: list[int]) -> str:
    return f"Seeds {', '.join(map(str, seeds))}; " if len(seeds) > 1 else f"Seed {seeds[0]} (one run); "


def reduction_line(baseline: str) -> str:
    """What the reductions of a table are of."""
    return f"Baseline of every reduction: {baseline}; reduction = 100 x (baseline - entry) / baseline."


def _rule(checkpoint: CheckpointRule) -> str:
    """A checkpoint rule in words."""
    if checkpoint == "last":
        return "the last epoch"
    return f"the epoch with the {checkpoint.replace('-', ' ')} of the calibration split"


@cache
def named_protocols() -> dict[str, dict[str, Any]]:
    """The protocols that come with calbench, by name."""
    text = importlib.resources.files("calbench.benchmark.config").joinpath("protocols.yaml").read_text("utf-8")
    return yaml.safe_load(text)


def make_protocol(spec: str | dict[str, Any]) -> Protocol:
    """Make a protocol from a name, or from a mapping with a ``name`` and the fields that differ from it.

    Raises:
        InputError: an unknown protocol name.
        pydantic.ValidationError: an unknown or wrong field.
    """
    changes = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = changes.get("name", "clean")
    check_names("protocol", [name], named_protocols())
    return Protocol.model_validate({**named_protocols()[name], "name": name, **changes})
