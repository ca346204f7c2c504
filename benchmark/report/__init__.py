"""Reports of stored results: leaderboard, LaTeX, page and figures. They know nothing of running."""

from .leaderboard import Block, leaderboard
from .terminal import render_terminal
from .write import FORMATS, write_reports

__all__ = ["FORMATS", "Block", "leaderboard", "render_terminal", "write_reports"]
