"""The results of a suite as files: tidy tables, the run's record, diagrams and curves. Reports read nothing else."""

import importlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pandas as pd

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.files import read_regular, write_together
from calbench.benchmark.core.schema import COMPARISON_SCHEMA, PAIR_COLUMNS, PAIR_SCHEMA, RESULT_SCHEMA
from calbench.benchmark.core.text import counted, csv_safe, is_visible, visible_data, visible_frame
from calbench.benchmark.results import tables
from calbench.benchmark.results.base_record import R, Record, parse, parse_all, plain
from calbench.benchmark.results.checksums import CHECKSUMS, checksums, edited
from calbench.benchmark.results.records import FORMAT, RunRecord
from calbench.benchmark.results.series_records import CurveRecord, DiagramRecord


@dataclass
class Results:
    """Everything that a report needs; a pure value.

    Attributes:
        table: tidy results, with `core.schema.RESULT_SCHEMA`.
        comparisons: paired comparisons over seeds, with `core.schema.COMPARISON_SCHEMA`; may be empty.
        run: the record of the run: config, protocol, entries, cells, versions, commit, hardware.
        diagrams: reliability bins and temperature histograms, one record per dataset, backbone, entry, seed and split.
        curves: metrics over epochs, one record per cell.
        edited: files that are not as the run wrote them.
        pairs: the entries that the suite compares with each other, with `core.schema.PAIR_SCHEMA`; may be empty.

    Example:
        >>> Results.load("results/quick").leaderboard()  # doctest: +SKIP
    """

    table: pd.DataFrame
    comparisons: pd.DataFrame
    run: RunRecord
    diagrams: list[DiagramRecord] = field(default_factory=lambda: list[DiagramRecord]())
    curves: list[CurveRecord] = field(default_factory=lambda: list[CurveRecord]())
    edited: tuple[str, ...] = ()
    pairs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=PAIR_COLUMNS))

    def __post_init__(self) -> None:
        """Sanitise untrusted names, once for all reports: of results read from files and of those made in memory."""
        self.table, self.comparisons = visible_frame(self.table), visible_frame(self.comparisons)
        self.pairs = visible_frame(self.pairs)
        self.run = _harmless(self.run)
        self.diagrams = [_harmless(diagram) for diagram in self.diagrams]
        self.curves = [_harmless(curve) for curve in self.curves]

    def save(self, folder: Path | str) -> list[str]:
        """Write the files of a suite's results together: after a full disk or a kill, no old and new are mixed.

        ``run.json`` comes last and has the checksums of all, by which a mixture or an edit shows.

        Returns:
            The names of the files.
        """
        files = {
            "results.csv": csv_safe(self.table).to_csv(index=False).encode(),
            "comparisons.csv": csv_safe(self.comparisons).to_csv(index=False).encode(),
            "pairs.csv": csv_safe(self.pairs).to_csv(index=False).encode(),
            "diagrams.json": _dumped(self.diagrams),
            "curves.json": _dumped(self.curves),
        }
        run = plain(self.run)
        run |= {CHECKSUMS: checksums(run, files)}
        files |= {"run.json": json.dumps(run, indent=1).encode()}
        write_together(Path(folder), files)
        return list(files)

    @classmethod
    def load(cls, folder: Path | str) -> "Results":
        """Read what `save` wrote; what was edited since is named in `edited` and first among the notes.

        Args:
            folder: such as ``results/quick``.

        Raises:
            InputError: a file is missing, damaged or from another version; the message names it.
        """
        folder = Path(folder).expanduser()
        if not (folder / "run.json").is_file():
            raise InputError(f"no results in {folder.name}: run the suite first")
        content = _read_json(folder / "run.json")
        run: dict[str, Any] = cast("dict[str, Any]", content) if isinstance(content, dict) else {}
        version: Any = run.get("format")
        if version is True or version != FORMAT:
            raise InputError(f"{folder.name}/run.json: results of format {version!r}; this version reads {FORMAT}")
        written = run.get(CHECKSUMS)
        files = _CHECKED_FILES if isinstance(written, dict) and _PAIRS in written else _EARLIER_FILES
        changed = edited(run, {name: _bytes(folder / name) for name in files})
        fields = visible_data({name: value for name, value in run.items() if name != CHECKSUMS})
        record = parse(RunRecord, fields, tables.shown(folder / "run.json"))
        if changed:
            record = record.model_copy(update={"notes": (_edit_note(changed), *record.notes)})
        diagrams, curves = folder / "diagrams.json", folder / "curves.json"
        return cls(
            tables.read_with_schema(folder / "results.csv", RESULT_SCHEMA),
            tables.read_with_schema(folder / "comparisons.csv", COMPARISON_SCHEMA),
            record,
            parse_all(DiagramRecord, visible_data(_read_json(diagrams)), tables.shown(diagrams)),
            parse_all(CurveRecord, visible_data(_read_json(curves)), tables.shown(curves)),
            changed,
            **({"pairs": tables.read_with_schema(folder / _PAIRS, PAIR_SCHEMA)} if _PAIRS in files else {}),
        )

    @property
    def edit_note(self) -> str:
        """One line that names the files that are not as the run wrote them; empty where all are."""
        return _edit_note(self.edited) if self.edited else ""

    def leaderboard(self, metric: str = "ece", order: str = "nll") -> pd.DataFrame:
        """The table over all datasets and backbones, or of the only one, as numbers: a row per entry.

        Args:
            metric: the calibration error whose reductions are shown.
            order: ``nll`` (improvement of the proper score, the default) or a metric's name.

        Raises:
            InputError: an unknown metric.
        """
        return _layer("report").Report(self, metric=metric, order=order).summary.frame()

    def to_latex(self, name: str = "overall") -> str:
        r"""One table as LaTeX, with its provenance in a comment.

        Args:
            name: ``overall``, a metric (the table in the order of that metric), ``<dataset>-<backbone>``, or a table
                of the suite.

        Raises:
            InputError: an unknown name.
        """
        return _layer("write").table_latex(_layer("report").Report(self), name)

    def __repr__(self) -> str:
        """What was compared, and the summary table as plain text."""
        try:
            summary = _layer("render.plain").plain_table(_layer("report").Report(self).summary)
        except Exception as error:  # of results without the columns or values of a table, which must be shown too
            summary = "(no results)" if self.table.empty else f"(no summary table: {error})"
        return f"{self._header()}\n\n{summary}"

    def _header(self) -> str:
        """One line: the title, the datasets, the number of entries and the seeds."""
        names = {
            name: list(dict.fromkeys(self.table[name].dropna().astype(str))) if name in self.table else []
            for name in ("dataset", "entry", "seed")
        }
        datasets, seeds = names["dataset"], names["seed"]
        parts = [
            f"{'dataset' if len(datasets) == 1 else 'datasets'} {', '.join(datasets)}" if datasets else "no datasets",
            counted(len(names["entry"]), "entry", "entries"),
            f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(seeds)}" if seeds else "no seeds",
        ]
        return f"{self.run.shown_title}: {'; '.join(parts)}"

    def _repr_html_(self) -> str:
        """The summary table, as notebooks show it."""
        return _layer("render.notebook").html_table(_layer("report").Report(self).summary)


_PAIRS = "pairs.csv"
_EARLIER_FILES = ("results.csv", "comparisons.csv", "diagrams.json", "curves.json")
"""What earlier versions wrote, in addition to ``run.json``."""
_CHECKED_FILES = (*_EARLIER_FILES, _PAIRS)


def _edit_note(files: tuple[str, ...]) -> str:
    return f"{', '.join(files)}: edited by hand, or of an interrupted write (the checksum differs)"


def _harmless(record: R) -> R:
    """A record with control characters of its texts shown as escapes; most have none and are returned as they are."""
    fields = record.model_dump()
    return record if is_visible(fields) else parse(type(record), visible_data(fields), "results")


def _layer(module: str) -> Any:
    """A module of `report`, which is a layer above this one: imported when a table is asked for, and not before."""
    return importlib.import_module(f"calbench.benchmark.report.{module}")


def _dumped(records: Iterable[Record]) -> bytes:
    return json.dumps([plain(record) for record in records]).encode()


def _bytes(path: Path) -> bytes:
    try:
        return read_regular(path)
    except FileNotFoundError:
        raise InputError(f"{tables.shown(path)}: no such file") from None
    except OSError as error:
        raise InputError(f"{tables.shown(path)}: {error.strerror}") from None


def _read_json(path: Path) -> Any:
    try:
        value = json.loads(_bytes(path).decode("utf-8"))
        json.dumps(value, ensure_ascii=False).encode()  # half a character cannot be written again
        return value
    except InputError:
        raise
    except (ValueError, RecursionError):
        raise InputError(f"{tables.shown(path)}: truncated or not JSON") from None
