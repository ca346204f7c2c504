"""Reports of stored results: leaderboard, LaTeX, page and figures. They know nothing of running."""

from calbench.benchmark.report.render.terminal import render_terminal
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.leaderboard import Block
from calbench.benchmark.report.write import FORMATS, write_reports

__all__ = ["FORMATS", "Block", "Report", "render_terminal", "write_reports"]
