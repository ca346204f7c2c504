"""Tables of a leaderboard and their cells, found by name."""

import io

from rich.console import Console

from calbench.benchmark.report.report import Report

_reports = {}


def report_of(results):
    """The report of results, made once: its tables take a while."""
    if id(results) not in _reports:
        _reports[id(results)] = results, Report(results)
    return _reports[id(results)][1]


def block(results, dataset, backbone):
    blocks = reversed(report_of(results).blocks)
    return next(b.table for b in blocks if (b.dataset, b.backbone) == (dataset, backbone))


def reductions(results):
    """The table of all aggregates of the ECE reductions."""
    return report_of(results).table("overall-ece")


def rows(table):
    return {row.names[0]: row for row in table.rows}


def cell(table, entry, key):
    index = [column.key for column in table.columns].index(key)
    return rows(table)[entry].cells[index]


def text(renderable, width=100):
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()
