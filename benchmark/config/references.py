"""The published numbers that a suite may name: files of results/reference, or a CSV file of the user."""

import importlib.resources
from importlib.resources.abc import Traversable
from pathlib import Path

from calbench.benchmark.core.errors import InputError, check_names


def reference_files() -> dict[str, Traversable]:
    """The published numbers that come with calbench: name to CSV file."""
    folder = importlib.resources.files("calbench.results").joinpath("reference")
    return {f.name.removesuffix(".csv"): f for f in sorted(folder.iterdir(), key=str) if f.name.endswith(".csv")}


def check_reference(name: str) -> None:
    """Raise an `InputError` unless `name` is a name of `reference_files` or a CSV file that exists."""
    if not name.endswith(".csv"):
        check_names("reference", [name], reference_files())
    elif not Path(name).is_file():
        raise InputError(f"{Path(name).name}: no such file")
