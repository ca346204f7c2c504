"""Reports of stored results: leaderboard, LaTeX, page and figures. They know nothing of running."""

from .commands import plot_command, report_command
from .leaderboard import Block, leaderboard
from .terminal import render_terminal
from .write import FORMATS, write_reports

__all__ = ["FORMATS", "Block", "leaderboard", "plot_command", "render_terminal", "report_command", "write_reports"]
