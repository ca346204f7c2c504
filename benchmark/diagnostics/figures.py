"""Figures of a diagnosis: entropy over blocks, relations, temperature curves, attention maps."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from calbench.benchmark.report.figures.base import INK, MARKERS, PALETTE, new_figure, short, style

Map = tuple[np.ndarray, np.ndarray, np.ndarray]
PANELS = (
    ("accuracy", "accuracy (%)"),
    ("nll", "NLL"),
    ("ece", "ECE (%)"),
    ("changed_by_noise", "changed by noise (%)"),
)
RELATIONS_SHOWN = 16


def figures(frames: Mapping[str, pd.DataFrame], maps: Mapping[str, Sequence[Map]]) -> Iterator[tuple[str, str, Figure]]:
    """Name, caption and figure of everything that the tables have data for."""
    with style():
        attention = frames["attention"]
        blocks = attention[attention.block != ""]
        if len(blocks):
            caption = (
                "Attention entropy of each block over log N (1: even), mean over heads, queries, images and seeds."
            )
            yield "entropy", caption, _over_blocks(blocks[blocks.measure == "entropy"])
        relations = frames["relations"]
        if relations.value.notna().any():
            yield (
                "relations",
                "Area under the ROC curve of misclassification for measures of attention, with 95 % intervals (first "
                "seed). At 0.5 a measure does not distinguish wrong predictions from right ones.",
                _relations(relations[relations.target == "misclassification"]),
            )
        if len(frames["temperature-curve"]):
            caption = "The test split over the attention temperature, mean over seeds. T > 1 smooths, T < 1 sharpens."
            yield "temperature-curve", caption, _curves(frames["temperature-curve"])
        if len(frames["entropy-course"]):
            caption = (
                "Attention entropy over log N (mean over blocks) and confidence minus accuracy of the calibration "
                "split after each epoch, mean over seeds; lines mark the middle of the fall and of the rise."
            )
            yield "entropy-course", caption, _course(frames["entropy-course"], frames["entropy-order"])
        for name, kept in maps.items():
            if kept:
                caption = f"Image, attention on its patches, and the same with insignificant patches zero: {name}."
                yield "maps", caption, _maps(kept)
                break


def _over_blocks(rows: pd.DataFrame) -> Figure:
    figure = new_figure(2.2)
    axes = figure.subplots()
    groups = rows.groupby(["dataset", "backbone", "recipe"], sort=False)
    for i, (name, group) in enumerate(groups):
        means = group.groupby("block").value.mean()
        means.index = means.index.astype(int)
        means = means.sort_index()
        label = short(" / ".join(map(str, name)), 60)
        style_: dict[str, Any] = {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)]}
        axes.plot(means.index + 1, means.to_numpy(), label=label, **style_)
    axes.set(xlabel="block", ylabel="entropy / log N", ylim=(0, 1.02))
    cast("MaxNLocator", axes.xaxis.get_major_locator()).set_params(integer=True)
    axes.legend(loc="lower left")
    return figure


def _relations(rows: pd.DataFrame) -> Figure:
    rows = rows[rows.value.notna() & (rows.seed == rows.seed.min())]
    rows = rows.reindex((rows.value - 0.5).abs().sort_values(ascending=False).index).head(RELATIONS_SHOWN)[::-1]
    figure = new_figure(0.6 + 0.16 * len(rows))
    axes = figure.subplots()
    for place, (low, high, value) in enumerate(rows[["low", "high", "value"]].to_numpy(dtype=float).tolist()):
        axes.plot([low, high], [place, place], color=INK, linewidth=0.8)
        axes.plot(value, place, "o", color=PALETTE[0])
    axes.set_yticks(range(len(rows)), _row_labels(rows))
    axes.axvline(0.5, color=INK, linewidth=0.5, linestyle=":")
    axes.set_xlabel("AUROC of misclassification", loc="right")
    return figure


def _row_labels(rows: pd.DataFrame) -> list[str]:
    """Measure and block, and of dataset, backbone and recipe what is not the same in all rows."""
    differing = [column for column in ("dataset", "backbone", "recipe") if rows[column].nunique() > 1]
    places = [f" (block {int(block) + 1})" if block else "" for block in rows.block.astype(str)]
    return [
        " / ".join([f"{measure}{place}", *(short(name, 34) for name in names)])
        for measure, place, names in zip(
            rows.measure, places, rows[differing].astype(str).to_numpy().tolist(), strict=True
        )
    ]


def _curves(rows: pd.DataFrame) -> Figure:
    figure = new_figure(3.2)
    grid = figure.subplots(2, 2, sharex=True)
    test = rows[rows.split == "test"]
    groups = list(test.groupby(["dataset", "backbone", "recipe"], sort=False))
    for axes, (column, label) in zip(grid.flat, PANELS, strict=True):
        for i, (name, group) in enumerate(groups):
            means = group.groupby("temperature")[column].mean()
            style_ = {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)]}
            axes.plot(means.index, means.to_numpy(), label=short(" / ".join(map(str, name)), 40), **style_)
        axes.set(ylabel=label, xscale="log")
        axes.axvline(1, color=INK, linewidth=0.5, linestyle=":")
    for axes in grid[1]:
        axes.set_xlabel("attention temperature T")
        ticks = sorted(test.temperature.unique())
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    grid[0, 0].legend()
    return figure


def _course(rows: pd.DataFrame, order: pd.DataFrame) -> Figure:
    place = ["dataset", "backbone", "recipe"]
    groups = list(rows.groupby(place, sort=False))
    figure = new_figure(3.2 + 0.14 * len(groups))
    grid = figure.subplots(2, 1, sharex=True)
    halves = order.groupby(place, sort=False)[["entropy_half", "gap_half"]].mean()
    panels = (("attention_entropy", "entropy / log N"), ("signed_gap", "confidence - accuracy (%)"))
    for axes, (column, label), half in zip(grid, panels, halves.columns, strict=True):
        for i, (name, group) in enumerate(groups):
            means = group.groupby("epoch")[column].mean()
            colour = PALETTE[i % len(PALETTE)]
            axes.plot(means.index, means.to_numpy(), label=short(" / ".join(map(str, name)), 60), color=colour)
            axes.axvline(cast("Any", halves.loc)[name, half], color=colour, linewidth=0.5, linestyle=":")
        axes.set_ylabel(label)
    grid[1].set_xlabel("epoch")
    cast("MaxNLocator", grid[1].xaxis.get_major_locator()).set_params(integer=True)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center")
    return figure


def _maps(maps: Sequence[Map]) -> Figure:
    figure = new_figure(0.3 + 1.5)
    grid = figure.subplots(3, len(maps), squeeze=False)
    for column, (image, plain, kept) in enumerate(maps):
        grid[0, column].imshow(_shown(image), cmap="gray")
        top = max(plain.max(), kept.max())
        for row, values in ((1, plain), (2, kept)):
            grid[row, column].imshow(_square(values), cmap="magma", vmin=0, vmax=top)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure


def _shown(image: np.ndarray) -> np.ndarray:
    """A normalised image (C, H, W) as matplotlib takes it, in 0..1."""
    spread = image.max() - image.min()
    scaled = (image - image.min()) / (spread if spread > 0 else 1)
    return scaled.transpose(1, 2, 0) if len(image) == 3 else scaled[0]


def _square(values: np.ndarray) -> np.ndarray:
    """Values of patches (P,) as their grid; one row if they do not form a square."""
    side = round(len(values) ** 0.5)
    return values.reshape(side, side) if side * side == len(values) else values[None]
