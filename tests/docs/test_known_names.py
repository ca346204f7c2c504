"""The names of arrays that the tutorial lists are those that are recognised."""

from pathlib import Path

from calbench.benchmark.cli.file_options import KNOWN_NAMES

TUTORIAL = Path(__file__).parents[2] / "docs/tutorials/calibrate-your-logits.md"


def test_the_tutorial_lists_the_names_of_the_help():
    text = " ".join(TUTORIAL.read_text(encoding="utf-8").split())
    for part in KNOWN_NAMES.split("\n\n")[1:5]:
        assert part in text
