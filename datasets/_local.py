"""Datasets at a path that the user gives; the path is kept out of names, cache keys and results."""

from abc import ABC
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calbench.benchmark.core.text import name as one_name
from calbench.datasets.base import Dataset


@dataclass(kw_only=True)
class LocalDataset(Dataset, ABC):
    """Base of datasets at `path` (relative to the working directory); `title` is what the tables call it."""

    path: Path
    title: str = ""

    def spelled(self) -> str:
        """The title given, or the registered name with the last part of the path and the other changed options."""
        if self.title:
            return one_name(self.title)
        others = {k: v for k, v in self.changed_options().items() if k not in ("path", "title")}
        shown = one_name(", ".join([self.path.name, *(f"{key}={value}" for key, value in others.items())]))
        return f"{self.spec.name}({shown})"

    def identity(self) -> dict[str, Any]:
        """As for every component, without path and title: the fingerprint identifies the content."""
        plain = super().identity()
        plain["options"] = {k: v for k, v in plain["options"].items() if k not in ("path", "title")}
        return plain
