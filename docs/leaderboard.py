"""Bring the overall tables of committed results into the README: ``python docs/leaderboard.py [--check]``.

``<!-- table:NAME:begin -->`` ... ``<!-- table:NAME:end -->`` is filled with the first table of
``results/NAME/leaderboard.md``. ``--check`` writes nothing and exits with 1 where the README is not in step.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"(<!-- table:([\w-]+):begin.*?-->\n)(.*?)(<!-- table:\2:end -->)", re.DOTALL)


def overall_block(leaderboard: str) -> str:
    """The first table of a ``leaderboard.md``, which is the one over all datasets and backbones, with its title.

    Raises:
        ValueError: there is no table.
    """
    parts = re.split(r"^## (.*)$", leaderboard, flags=re.MULTILINE)
    if len(parts) < 3:
        raise ValueError("leaderboard.md: no table")
    _, title, table = parts[:3]
    return f"**{title}**\n\n{table.strip()}\n"


def in_step(readme: str, results: Path = ROOT / "results") -> str:
    """The README as it should be; blocks without results stay empty."""

    def block(match: re.Match[str]) -> str:
        begin, name, _, end = match.groups()
        file = results / name / "leaderboard.md"
        return begin + (overall_block(file.read_text("utf-8")) if file.is_file() else "") + end

    return _BLOCK.sub(block, readme)


def main(arguments: list[str]) -> int:
    """Write the README, or check it."""
    path = ROOT / "README.md"
    old = path.read_text("utf-8")
    new = in_step(old)
    if "--check" in arguments:
        return int(new != old)
    path.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
