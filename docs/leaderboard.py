"""Bring the quick suite's leaderboard over all cells into the README: ``python docs/leaderboard.py [--check]``.

``--check`` writes nothing and exits with 1 where the README is not in step with ``results/quick``.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results" / "quick"
FIGURE = "ece-intervals-overlap-vit-micro.png"
CAPTION = (
    "ECE of every entry on overlap with vit-micro, with 95 % intervals. Grey: up to the 95th percentile of the noise "
    "floor. Dashed: the baseline."
)


def overall_block(leaderboard: str) -> str:
    """Protocol, versions and the first table of a ``leaderboard.md``, which is the one over all datasets and backbones.

    Raises:
        ValueError: there is no table.
    """
    parts = re.split(r"^## (.*)$", leaderboard, flags=re.MULTILINE)
    if len(parts) < 3:
        raise ValueError("leaderboard.md: no table")
    head, title, table = parts[:3]
    protocol = head[re.search(r"^- ", head, re.MULTILINE).start() :]
    return f"{protocol.strip()}\n\n**{title}**\n\n{table.strip()}"


def replace_block(text: str, name: str, content: str) -> str:
    """`text` with what stands between the markers of `name` replaced.

    Raises:
        ValueError: the markers are not there.
    """
    pattern = rf"(<!-- {name}:begin.*?-->\n)(.*?)(<!-- {name}:end -->)"
    if not re.search(pattern, text, re.DOTALL):
        raise ValueError(f"no markers of {name!r}")
    body = f"{content}\n" if content else ""
    return re.sub(pattern, lambda found: found[1] + body + found[3], text, flags=re.DOTALL)


def in_step(readme: str, results: Path = RESULTS) -> str:
    """The README as it should be; blocks without results stay empty."""
    leaderboard = results / "leaderboard.md"
    table = overall_block(leaderboard.read_text("utf-8")) if leaderboard.is_file() else ""
    figure = results / "figures" / FIGURE
    address = f"results/{results.name}/figures/{FIGURE}"
    image = f"![ECE with intervals]({address})\n\n*{CAPTION}*" if figure.is_file() else ""
    return replace_block(replace_block(readme, "leaderboard", table), "figure", image)


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
