"""Command-line options for reading prediction files, and messages about how a file was read."""

import functools
import inspect
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from calbench.benchmark.core.console import Console
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions import names
from calbench.benchmark.predictions.readers import endings
from calbench.benchmark.predictions.source import Source

PredictionsFile = Annotated[
    Path, typer.Argument(metavar="FILE", help=f"File of predictions: {' '.join(endings())}, also as .gz.")
]
KNOWN_NAMES = "\n\n".join(
    [
        "Recognised names, whatever their case and separators (trueLabel, true-label), also numbered by class (prob_0, "
        "prob_1 ...) and with cal, val or test for the split (logits_val, test/labels):",
        f"logits: {', '.join(names.LOGITS)};",
        f"probabilities: {', '.join(names.PROBABILITIES)};",
        f"with --logits or --probabilities: {', '.join(names.UNCLEAR)};",
        f"labels: {', '.join((*names.LABELS, *names.WEAK_LABELS))}.",
        "calbench inspect FILE shows what a file contains and how it is read.",
    ]
)
"""The end of the help of commands that read files."""


def _source(
    logits: Annotated[bool, typer.Option("--logits", help="The numbers are logits.")] = False,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="The numbers are probabilities.")] = False,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            help="Name of the logits or probabilities, or of the group that contains them (dataset/model); several "
            "columns as A,B,C or FIRST:LAST.",
        ),
    ] = None,
    labels_key: Annotated[str | None, typer.Option("--labels-key", help="Name of the labels.")] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="File of the labels, in the same order or with the same ids.")
    ] = None,
    test_labels: Annotated[
        Path | None, typer.Option("--test-labels", help="File of the labels of the second file (calibrate).")
    ] = None,
    id_key: Annotated[
        str | None, typer.Option("--id", help="Name of the column by which labels and predictions are matched.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", help="Class names, as used in the labels, in the order of the columns.")
    ] = None,
    labels_from: Annotated[
        int | None, typer.Option("--labels-from", min=0, help="Number of the first class in the labels; 0 by default.")
    ] = None,
    normalize: Annotated[
        bool, typer.Option("--normalize", help="Divide every row of probabilities by its sum: per cent, rounded.")
    ] = False,
) -> Source:
    """The options as a `Source` to read."""
    if logits and probabilities:
        raise InputError("--logits and --probabilities exclude each other")
    if normalize and logits:
        raise InputError("--normalize is for probabilities, but --logits declares logits")
    kind = "logits" if logits else "probabilities" if probabilities else None
    names_of_classes = tuple(name.strip() for name in classes.split(",")) if classes else ()
    return Source(
        kind,
        key,
        labels_key,
        labels,
        test_labels,
        id_key,
        names_of_classes,
        labels_from=labels_from,
        normalize=normalize,
    )


def with_source(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of reading files in the place of its parameter ``source``."""
    own, options = inspect.signature(command).parameters, inspect.signature(_source).parameters

    @functools.wraps(command)
    def wrapper(**values: Any) -> int:
        source = _source(**{name: values.pop(name) for name in options})
        return command(**values, source=source)

    kept = [parameter for name, parameter in own.items() if name != "source"]
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*kept, *options.values())]
    # typer reads these two attributes, which the type of a function does not declare.
    wrapper.__signature__ = inspect.Signature(parameters, return_annotation=int)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del wrapper.__wrapped__  # type: ignore[attr-defined]
    return wrapper


def show_note(line: str) -> None:
    """Print a note on how a file was read, where it does not mix with the results."""
    Console(stderr=True, highlight=False).print(f"note: {line}", markup=False, soft_wrap=True)


def command_line(context: typer.Context) -> str:
    """The command as it can be run again; of absolute paths only the name is kept."""
    words = ["calbench", context.info_name or ""]
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if value is None or value is False or value == parameter.default or value in ([], ()):
            continue
        option = [] if parameter.param_type_name == "argument" else [parameter.opts[0]]
        for one in value if isinstance(value, list | tuple) else [value]:
            words += option if one is True else [*option, _shown(one)]
    return shlex.join(words)


def _shown(value: Any) -> str:
    return value.name if isinstance(value, Path) and value.is_absolute() else str(value)
