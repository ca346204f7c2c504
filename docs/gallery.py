"""The gallery of figures: the first committed figure of each kind, where the results already are."""

from collections.abc import Iterator
from pathlib import Path

from calbench.benchmark.report.figures.base import kinds

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
INTRODUCTION = """# Gallery

Figures of committed results, with the command that makes each. `calbench plot SUITE` makes all of them for a suite of
your own, as PNG and PDF, without training anything; `--entry` chooses entries and their order, `--style double` is for
two columns of a paper, `--height` sets the size.

"""


def figures() -> dict[str, Path]:
    """The first committed figure of each kind, by kind; of several results the one with the most figures."""
    folders = sorted(RESULTS.glob("*/figures"), key=lambda folder: (-len(list(folder.iterdir())), folder.parent.name))
    return {kind: path for kind in kinds() for path in [next(_of_kind(kind, folders), None)] if path is not None}


def _of_kind(kind: str, folders: list[Path]) -> Iterator[Path]:
    longer = [other for other in kinds() if other.startswith(f"{kind}-")]
    for folder in folders:
        for path in sorted(folder.glob(f"{kind}*.png")):
            exact = path.stem == kind or path.stem.startswith(f"{kind}-")
            if exact and not any(path.stem.startswith(other) for other in longer):
                yield path


def gallery_page() -> str:
    """The page, as Markdown."""
    lines = [INTRODUCTION]
    for kind, path in figures().items():
        suite = path.parent.parent.name
        caption, where = kinds()[kind].caption, path.relative_to(ROOT).as_posix()
        lines += [
            f"## {kind}", "", f"![{kind} of {suite}]({where})", "", caption, "",
            f"`calbench plot {suite} --figure {kind} --results-dir results`", "",
        ]  # fmt: skip
    for path in sorted(RESULTS.glob("*/sizes-*.png"))[:1]:
        where = path.relative_to(ROOT).as_posix()
        lines += [
            "## Calibration samples", "", f"![NLL against the number of calibration samples]({where})", "",
            "NLL of the test split against the number of calibration samples: mean and 95 % of random sets.",
            "", "`calbench calibrate FILE --split 0.5 --sizes 100,300,1000 --output FOLDER`", "",
        ]  # fmt: skip
    return "\n".join(lines)
