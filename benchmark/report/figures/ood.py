"""Figure of out-of-distribution detection against calibration."""

from collections.abc import Iterator

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from calbench.benchmark.report.figures.base import GRID, Drawing, figure_kind, short
from calbench.benchmark.report.figures.metrics import looks
from calbench.benchmark.report.tables.ood import group_views

SCORE = "auroc-max-softmax"


@figure_kind("ood", "Out-of-distribution detection (AUROC of max softmax) against ECE on the test split, per entry.")
def ood(drawing: Drawing) -> Iterator[tuple[str, Figure]]:
    """A figure for each dataset and backbone: a panel for near and for far sets, a point for each entry."""
    groups = {name: view for name, view in group_views(drawing.report.views).items() if "-" not in name}
    clean = drawing.view
    look = looks(clean)
    for dataset, backbone in clean.pairs:
        points = {
            name: [
                (entry, *(v.stat(dataset, backbone, entry, m).value for v, m in ((clean, "ece"), (view, SCORE))))
                for entry in drawing.entries
            ]
            for name, view in groups.items()
        }
        points = {name: [p for p in found if None not in p] for name, found in points.items()}
        points = {name: found for name, found in points.items() if found}
        if not points:
            continue
        shown = list(dict.fromkeys(entry for found in points.values() for entry, _, _ in found))
        figure = drawing.figure(1.9 + 0.13 * ((len(shown) + 1) // 2))
        grid = figure.subplots(1, len(points), squeeze=False, sharey=True)[0]
        for axes, (name, found) in zip(grid, points.items(), strict=True):
            for entry, ece, auroc in found:
                axes.plot(ece, auroc, color=look[entry][0], marker=look[entry][1], linestyle="none", markersize=4)
            axes.set_title(name)
            axes.set_xlabel("ECE (%)")
            axes.grid(color=GRID)
            axes.set_axisbelow(True)
        grid[0].set_ylabel("AUROC (%)")
        handles = [
            Line2D([], [], color=look[e][0], marker=look[e][1], linestyle="none", label=short(clean.labels[e]))
            for e in shown
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        yield f"{dataset} / {backbone}", figure
