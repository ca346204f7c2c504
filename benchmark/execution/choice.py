"""Chooses the trial of a tuned entry that is reported for a cell: the one with the lowest score."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from calbench.benchmark.config.entry import Entry
from calbench.benchmark.core.text import counted
from calbench.benchmark.execution.plan import Work

Group = tuple[str, str, int]
"""Dataset, backbone and seed: every seed is a run of the whole procedure, and chooses for itself."""


@dataclass(frozen=True)
class Trial:
    """One trial of a tuned entry in one cell, with its score."""

    entry: Entry
    work: Work
    score: float


@dataclass
class Trials:
    """The trials found in a store, and what was chosen among them."""

    entries: dict[str, Entry]
    found: dict[tuple[str, Group], list[Trial]] = field(default_factory=dict)
    chosen: dict[str, Counter[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "Trials":
        """For the tuned ones of `entries`."""
        return cls({entry.name: entry for entry in entries if entry.trials})

    def add(self, trial: Trial) -> None:
        """Take a trial into account."""
        cell = trial.work.cell
        group = (cell.dataset.spelled(), cell.backbone.spelled(), cell.seed)
        self.found.setdefault((trial.entry.trial_of or "", group), []).append(trial)

    def winners(self) -> Iterator[tuple[Entry, Trial | str, Trial]]:
        """Every tuned entry in every group: the entry, its best trial (or why there is none), and any of its trials.

        A group in which a trial is missing has no winner: fewer trials would not be the same terms.
        """
        for (name, _), trials in self.found.items():
            entry = self.entries[name]
            if len(trials) < len(entry.trials):
                yield entry, f"{len(trials)} of {len(entry.trials)} trials are there", trials[0]
                continue
            best = min(trials, key=lambda trial: (trial.score, entry.trials.index(trial.entry)))
            self.chosen.setdefault(name, Counter())[best.entry.choice] += 1
            yield entry, best, best

    def notes(self) -> list[str]:
        """What was chosen, for people, a line per tuned entry.

        Such as ``focal (best of 4): lowest NLL of the calibration split with gamma = 1 (3 cells)``.
        """
        lines = []
        for name, choices in self.chosen.items():
            parts = [f"{choice} ({counted(count, 'cell')})" for choice, count in choices.most_common()]
            lines.append(f"{name}: lowest NLL of the calibration split with {'; '.join(parts)}")
        return lines
