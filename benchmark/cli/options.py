"""Options shared by several commands, and the terminal that they write to."""

import functools
import inspect
import os
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calbench.benchmark.config.suite_file import read_suite
from calbench.benchmark.core.console import Console
from calbench.benchmark.execution.options import RunOptions

if TYPE_CHECKING:  # --help should not wait for torch
    from calbench.benchmark.config.suite import Suite

ResultsDir = Annotated[
    str,
    typer.Option("--results-dir", help="Folder (or fsspec address) of cache and tables.", callback=os.path.expanduser),
]
Plugins = Annotated[list[Path], typer.Option("--plugin", help="A Python file that declares methods or datasets.")]
Entries = Annotated[list[str], typer.Option("--entry", help="Run only this entry (repeatable) and the baseline.")]
Seeds = Annotated[list[int], typer.Option("--seed", help="Use this seed (repeatable) instead of the suite's.")]
Settings = Annotated[list[str], typer.Option("--set", help="Set an option: training.epochs=5.")]
Name = Annotated[str, typer.Option("--name", help="Name of the results; for a part of a suite, SUITE@PART by default.")]
DataDir = Annotated[Path, typer.Option("--data-dir", envvar="CALBENCH_DATA", help="Folder of downloaded datasets.")]
Smoke = Annotated[bool, typer.Option("--smoke", help="Run the suite's smoke test, in seconds.")]
NONE: list[Any] = []
"""The default of options that may be repeated; it must not be changed."""


def load_plugins(paths: Iterable[Path]) -> None:
    """Import the files of `Plugins`; what they declare is known afterwards.

    Raises:
        InputError: a file is missing or fails to import.
    """
    from calbench.benchmark.core.registry import Plugin

    for path in paths:
        Plugin.load(path)


@dataclass(frozen=True)
class SuiteOptions:
    """The options of every command that takes a suite: which part of it, how changed, where, and under which name.

    The fields are declared as options once, here; `takes_suite_options` gives them to a command.
    """

    results_dir: ResultsDir = RunOptions.results_dir
    entry: Entries = field(default_factory=list)
    seed: Seeds = field(default_factory=list)
    set_: Settings = field(default_factory=list)
    plugin: Plugins = field(default_factory=list)
    data_dir: DataDir = RunOptions.data_root
    smoke: Smoke = False
    name: Name = ""

    def load(self, suite: str) -> "Suite":
        """Read a suite; a part or a variation of it has another name, so that it overwrites no other results.

        Raises:
            InputError: an unknown suite, entry, option or plug-in.
        """
        from calbench.benchmark.config.suite import load_suite, part_name

        load_plugins(self.plugin)
        loaded = load_suite(suite, settings=self.set_, entries=self.entry, seeds=self.seed, smoke=self.smoke)
        return loaded.called(self.name or part_name(loaded.name, self.entry, self.seed, self.set_))

    def run_options(self, **more: Any) -> RunOptions:
        """How to run it: these options' folders and plug-ins, and `more` fields."""
        return RunOptions(self.results_dir, self.data_dir, plugins=tuple(self.plugin), **more)


Command = Callable[..., int]


def takes(parameter: str, options: type) -> Callable[[Command], Command]:
    """Give a command the options that a dataclass declares, in the place of one parameter that receives them all.

    Args:
        parameter: the name of the command's parameter.
        options: the dataclass; every field is annotated as the parameter of a command is.

    Returns:
        A decorator; to typer the command is as if it listed each option.
    """

    def decorate(command: Command) -> Command:
        mine, hints = inspect.signature(command), inspect.get_annotations(options)
        defaults = {one.name: NONE if one.default is MISSING else one.default for one in fields(options)}
        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[name])
            for name, default in defaults.items()
        ]
        own = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in mine.parameters.values()]
        place = list(mine.parameters).index(parameter)
        listed = [*own[:place], *shared, *own[place + 1 :]]

        @functools.wraps(command)
        def taking(**values: Any) -> int:
            values[parameter] = options(**{one.name: values.pop(one.name) for one in shared})
            return command(**values)

        taking.__signature__ = mine.replace(parameters=listed)  # pyright: ignore[reportAttributeAccessIssue]
        taking.__annotations__ = {one.name: one.annotation for one in listed} | {"return": int}
        return taking

    return decorate


def takes_suite_options(command: Command) -> Command:
    """Give a command's parameter ``chosen`` the options of `SuiteOptions`."""

    @functools.wraps(command)
    def checked(**values: Any) -> int:
        if "suite" in values:  # `cache prune` has none
            read_suite(values["suite"])  # a wrong name or path is one line before anything heavy is imported
        return command(**values)

    return takes("chosen", SuiteOptions)(checked)


def place(results_dir: str, name: str) -> str:
    """Where results of this name are: a path or an address that can be opened from here."""
    return f"{results_dir.rstrip('/')}/{name}"


def wide_console() -> Console:
    """The terminal, or lines wide enough for a table where the output goes into a file and COLUMNS is not set."""
    console = Console()
    return console if console.is_terminal or os.environ.get("COLUMNS") else Console(width=160)
