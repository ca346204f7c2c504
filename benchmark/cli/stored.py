"""Which suites have stored results: checked before anything heavy is imported."""

from pathlib import Path

from calbench.benchmark.core.errors import InputError, nearest
from calbench.benchmark.store.folder import Folder


def folder_name(suite: str) -> str:
    """The name of the results of a suite, which may be given by its YAML file."""
    return Path(suite).stem if suite.endswith((".yaml", ".yml")) else suite


def check_stored(suite: str, results_dir: str) -> None:
    """Check that a suite has results in a local folder or at an fsspec address.

    Raises:
        InputError: the suite was not run.
    """
    store, name = Folder(results_dir, make=False), folder_name(suite)
    if not store.exists(f"{name}/run.json"):
        known = [other for other in store.names("") if store.exists(f"{other}/run.json")]
        raise InputError(f"no results in {Path(name).name}{nearest(name, known)}: run the suite first")
