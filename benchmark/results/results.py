"""The results of a suite as files: tidy tables, the run's record, diagrams and curves. Reports read nothing else."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.files import write_together
from calbench.benchmark.core.schema import COMPARISON_SCHEMA, RESULT_SCHEMA, Column, conform
from calbench.benchmark.results.run_schema import CHECKSUMS, checksums, edited, problem

FORMAT = 1


@dataclass
class Results:
    """Everything that a report is made of; a pure value.

    Attributes:
        table: tidy results, with `core.schema.RESULT_COLUMNS`.
        comparisons: paired comparisons over seeds, with `core.schema.COMPARISON_COLUMNS`; may be empty.
        run: the record of the run: config, protocol, entries, cells, versions, commit, hardware.
        diagrams: reliability bins and temperature histograms, one dict per dataset, backbone, entry, seed and split.
        curves: metrics over epochs, one dict per cell.
        edited: files that are not as the run wrote them.
    """

    table: pd.DataFrame
    comparisons: pd.DataFrame
    run: dict[str, Any]
    diagrams: list[dict[str, Any]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    edited: tuple[str, ...] = ()

    def save(self, folder: Path) -> None:
        """Write the five files of a suite's results together: after a full disk or a kill, no old and new are mixed.

        ``run.json`` comes last and has the checksums of all, by which a mixture or an edit shows.
        """
        files = {
            "results.csv": self.table.to_csv(index=False).encode(),
            "comparisons.csv": self.comparisons.to_csv(index=False).encode(),
            "diagrams.json": json.dumps(self.diagrams).encode(),
            "curves.json": json.dumps(self.curves).encode(),
        }
        run = self.run | {CHECKSUMS: checksums(self.run, files)}
        write_together(folder, files | {"run.json": json.dumps(run, indent=1).encode()})

    @classmethod
    def load(cls, folder: Path) -> "Results":
        """Read what `save` wrote; what was edited since is named in `edited` and first among the notes.

        Raises:
            InputError: a file is missing, damaged or from another version; the message names it.
        """
        if not (folder / "run.json").is_file():
            raise InputError(f"no results in {folder.name}: run the suite first")
        loaded = {name: _read_json(folder / f"{name}.json") for name in _JSON_FILES}
        run = loaded["run"]
        if not isinstance(run, dict) or run.get("format") != FORMAT:
            found = run.get("format") if isinstance(run, dict) else None
            raise InputError(f"{folder.name}/run.json: results of format {found!r}; this version reads {FORMAT}")
        if wrong := problem(run):
            raise InputError(f"{folder.name}/run.json: {wrong}")
        changed = edited(run, {name: _bytes(folder / name) for name in _CHECKED_FILES})
        if changed:
            note = f"{', '.join(changed)}: edited by hand, or of an interrupted write (the checksum differs)"
            run["notes"] = [note, *run.get("notes", [])]
        run.pop(CHECKSUMS, None)
        table = _read_with_schema(folder / "results.csv", RESULT_SCHEMA)
        comparisons = _read_with_schema(folder / "comparisons.csv", COMPARISON_SCHEMA)
        return cls(table, comparisons, **loaded, edited=changed)


_JSON_FILES = ("run", "diagrams", "curves")
_CHECKED_FILES = ("results.csv", "comparisons.csv", "diagrams.json", "curves.json")
_TEXT_COLUMNS = ("dataset", "backbone", "entry", "recipe", "calibrator", "checkpoint", "split", "metric", "baseline")


def _read_with_schema(path: Path, schema: Sequence[Column]) -> pd.DataFrame:
    required = [column.name for column in schema if column.required]
    return conform(read_table(path, required), schema, _shown(path))


def read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read a CSV with at least `columns`.

    Raises:
        InputError: the file is missing, is no CSV, lacks a column, or has a value that is no number.
    """
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(_TEXT_COLUMNS, "str"), keep_default_na=True)
    except FileNotFoundError:
        raise InputError(f"{_shown(path)}: no such file") from None
    except (ValueError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise InputError(f"{_shown(path)}: not a readable CSV: {error}") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise InputError(f"{_shown(path)}: the column {missing[0]!r} is missing")
    return table.assign(value=as_numbers(table["value"], _shown(path))) if "value" in columns else table


def as_numbers(values: pd.Series, where: str) -> pd.Series:
    """A column of a CSV as floats, NaN where a cell is empty.

    Raises:
        InputError: a cell holds something else; the message starts with `where` and names the line.
    """
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    wrong = values.index[values.notna() & numbers.isna()]
    if len(wrong):
        line = values.index.get_loc(wrong[0]) + 2  # the head is the first
        raise InputError(f"{where}, line {line}: the value {values[wrong[0]]!r} is no number")
    return numbers


def _shown(path: Path) -> str:
    """A file in its folder: enough to find it, and no path of somebody's machine."""
    return "/".join(filter(None, (path.parent.name, path.name)))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{_shown(path)}: {error.strerror}") from None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{_shown(path)}: no such file") from None
    except (ValueError, RecursionError):
        raise InputError(f"{_shown(path)}: truncated or not JSON") from None
