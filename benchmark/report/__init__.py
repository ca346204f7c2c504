"""Reports of stored results: leaderboard, LaTeX, interactive page and figures. Nothing is computed here."""

from calbench.benchmark.report.render.terminal import render_terminal
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.leaderboard import Block
from calbench.benchmark.report.write import FORMATS, write_reports

__all__ = ["FORMATS", "Block", "Report", "render_terminal", "write_reports"]
