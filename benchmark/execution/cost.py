"""Estimates the remaining cost of a plan, from finished cells of the same kind or from a few timed steps."""

import statistics
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from calbench.benchmark.execution.plan import Work
from calbench.benchmark.store.names import UnreadableError
from calbench.benchmark.store.store import Store

SAMPLED = 200
"""The number of finished cells whose manifests an estimate reads; more would take time and add little."""


MEASURED, TIMED = 1.3, 2.0
"""By what factor an estimate may be off: the times of finished cells vary by a third with the load of a machine."""


@dataclass(frozen=True)
class Cost:
    """Seconds of one process, and bytes of predictions.

    ``factor`` says how far off the seconds may be, either way: `MEASURED` from finished cells of the same kind, `TIMED`
    from a few timed steps.
    """

    seconds: float
    bytes: float
    factor: float = MEASURED


Probe = Callable[[Work], Cost]


@dataclass
class Estimate:
    """Costs of finished cells by kind (dataset, backbone, trained or derived): cells of one kind differ little."""

    known: dict[tuple[str, str, str], list[Cost]] = field(default_factory=dict)
    sampled: int = 0

    def sample(self, work: Work, store: Store) -> None:
        """Learn what a finished cell took, from its manifest; beyond `SAMPLED` cells nothing is read."""
        if self.sampled >= SAMPLED:
            return
        self.sampled += 1
        try:
            manifest = store.manifest(work.cell.key)
        except UnreadableError:
            return
        cost = Cost(float(manifest.get("seconds", 0.0)), float(manifest.get("predictions", {}).get("bytes", 0)))
        self.known.setdefault(_kind(work), []).append(cost)

    def total(self, todo: Iterable[Work], probe: Probe | None) -> Cost | None:
        """What `todo` will take, or None where nothing is known.

        Args:
            todo: the cells to come.
            probe: estimates the cost of a cell whose kind is unknown; without it, that is the mean of the known kinds.
        """
        todo = list(todo)
        kinds = {kind: _combined(statistics.median, costs) for kind, costs in self.known.items()}
        if probe is not None:
            kinds |= {
                _kind(work): probe(work) for work in {_kind(w): w for w in todo if _kind(w) not in kinds}.values()
            }
        if not kinds:
            return None
        other = _combined(statistics.mean, kinds.values())
        found = [kinds.get(_kind(work), other) for work in todo]
        seconds, size = sum(cost.seconds for cost in found), sum(cost.bytes for cost in found)
        return Cost(seconds, size, max((cost.factor for cost in found), default=MEASURED))


def _kind(work: Work) -> tuple[str, str, str]:
    return work.cell.dataset.spelled(), work.cell.backbone.spelled(), type(work.cell).__name__


def _combined(how: Callable[[Iterable[float]], float], costs: Collection[Cost]) -> Cost:
    seconds, size = how(cost.seconds for cost in costs), how(cost.bytes for cost in costs)
    return Cost(seconds, size, max(cost.factor for cost in costs))
