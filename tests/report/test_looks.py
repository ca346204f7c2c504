"""Figures: choices of entries and size, temperatures, bars of ranks, and files that belong to the results."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from calbench.benchmark.config.entry import parse_entry
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.report.figures.base import Look, draw
from calbench.benchmark.report.figures.ranks import bar_levels, cliques
from calbench.benchmark.report.figures.temperatures import quantiles
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.write import write_figures, write_reports
from calbench.benchmark.results.record import short_label
from calbench.benchmark.results.series_records import HistogramRecord

SHIFTS = tuple(f"shift-{name}-{s}" for s in (1, 5) for name in ("severity", "noise", "fog"))


@pytest.fixture(scope="module")
def small(builder):
    return builder(datasets=("digits",), backbones=("vit-micro",), oracle=False)


def drawn(results, name, **look):
    return [each.figure for each in draw(Report(results), [name], Look(**look))]


def test_entries_are_chosen_and_ordered_by_name_or_label(small):
    chosen = ("calattn", "cross-entropy + TS", "focal")
    (figure,) = drawn(small, "ece-intervals", entries=chosen)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(chosen)
    with pytest.raises(InputError, match="unknown entry 'x'"):
        drawn(small, "ece-intervals", entries=("x",))


def test_two_columns_are_wider_and_a_height_is_kept(small):
    (one,), (two,) = (drawn(small, "ece-intervals", style=style) for style in ("column", "double"))
    assert one.get_size_inches()[0] == pytest.approx(3.3)
    assert two.get_size_inches()[0] == pytest.approx(6.9)
    (high,) = drawn(small, "ece-intervals", height=4.5)
    assert high.get_size_inches()[1] == pytest.approx(4.5)


def test_reliability_has_six_panels_at_most_with_ece_and_n(builder):
    entries = ["cross-entropy", *(f"m{i}" for i in range(9))]
    results = builder(datasets=("digits",), backbones=("v",), entries=entries, seeds=(0,), oracle=False)
    (figure,) = drawn(results, "reliability")
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert len(panels) == 6
    assert panels[0].get_title() == "cross-entropy"
    diagram = next(d for d in results.diagrams if d.entry == "cross-entropy")
    bins = [b for b in diagram.bins if b.count]
    total = sum(b.count for b in bins)
    ece = 100 * sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / total
    assert panels[0].texts[0].get_text() == f"ECE {ece:.1f} %\nn = {total:,.0f}"
    assert "6 of 10 entries" in figure.get_suptitle()


def test_bins_of_few_samples_are_hatched(small):
    (figure,) = drawn(small, "reliability", panels=1)
    few = [b for b in small.diagrams[0].bins if 0 < b.count < 10]
    hatched = [patch for patch in figure.axes[0].patches if patch.get_hatch()]
    assert len(hatched) == len(few) > 0


def test_every_temperature_is_shown_on_a_log_axis(small):
    (figure,) = drawn(small, "temperatures")
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["calattn"]


def test_quantiles_of_a_histogram_are_those_of_its_samples():
    rng = np.random.default_rng(0)
    samples = rng.lognormal(size=100_000)
    counts, edges = np.histogram(samples, bins=2000)
    histogram = HistogramRecord(edges=tuple(edges), counts=tuple(map(float, counts)))
    assert quantiles(histogram, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(samples, [0.1, 0.5, 0.9]), rel=0.02)
    assert np.isnan(quantiles(HistogramRecord(edges=(0.0, 1.0), counts=(0,)))).all()


def test_reductions_do_not_saturate(builder):
    results = builder(datasets=("digits",), backbones=("a", "b"), oracle=False)
    rows = (results.comparisons["entry"] == "focal") & (results.comparisons["metric"] == "ece")
    results.comparisons.loc[rows, "reduction"] = [-150.0, -1500.0]
    (figure,) = drawn(results, "reductions")
    image = figure.axes[0].images[0]
    colours = [tuple(image.cmap(image.norm(value))) for value in (-150.0, -1500.0, 80.0)]
    assert len(set(colours)) == 3
    assert float(image.norm(0.0)) == pytest.approx(0.5)


def test_bars_of_ranks_never_share_an_end():
    import pandas as pd

    groups = cliques(pd.Series([1.0, 1.5, 2.0, 2.5, 6.0, 6.5]), 1.1)
    assert groups == [(0, 2), (1, 3), (4, 5)]
    assert bar_levels(groups) == [0, 1, 0]


@pytest.mark.slow
def test_figures_of_other_results_are_removed(small, tmp_path):
    write_figures(small, tmp_path, ["ece-intervals"])
    write_reports(small, tmp_path, ["csv"])
    kept = {path.name for path in (tmp_path / "figures").iterdir()}
    assert kept == {"ece-intervals-digits-vit-micro.png", "ece-intervals-digits-vit-micro.pdf"}
    (tmp_path / "main.tex").write_text("of other results")
    other = replace(small, run=small.run.model_copy(update={"title": "Another: é ß", "created": "2026-11-22"}))
    write_reports(other, tmp_path, ["csv"])
    assert not list((tmp_path / "figures").iterdir())
    assert not (tmp_path / "main.tex").exists()
    write_figures(other, tmp_path, ["ece-intervals"])
    assert len(list((tmp_path / "figures").iterdir())) == 2, "a title with accents does not hide the digest"


@pytest.mark.parametrize(
    ("entry", "label"),
    [
        ("temperature-scaling", "TS"),
        ("temperature-scaling(criterion=ece)", "TS (ECE)"),
        ("focal", "Focal"),
        ("focal(gamma=2)", "Focal (gamma 2)"),
    ],
)
def test_labels_name_the_options_that_differ(entry, label):
    method = parse_entry(entry).methods[-1]
    assert short_label(method) == label


def test_short_labels_of_datasets_and_backbones(builder):
    results = builder(datasets=("digits",), oracle=False, labels_of={"vit-micro": "ViT"})
    assert Report(results).table("digits-vit-micro").title == "digits / ViT"


LONG = (
    "cross-entropy",
    "calattn(stop_gradient=true) + temperature-scaling",
    *(f"method-{i} + vector-scaling" for i in range(18)),
)


@pytest.mark.slow
@pytest.mark.parametrize("style", ["column", "double"])
@pytest.mark.parametrize(("datasets", "names"), [(1, None), (7, ("ranks", "reductions", "reliability-baseline"))])
def test_no_text_leaves_its_figure_or_covers_another(builder, style, datasets, names):
    """Measured on the drawn figures, with long names of datasets, backbones and entries."""
    results = builder(
        datasets=[f"photographs-of-{i}" for i in range(datasets)], backbones=("timm:resnet10t", "vit-mini-32-long"),
        entries=LONG, seeds=(0, 1), shifts=SHIFTS if datasets == 1 else (), oracle=False,
    )  # fmt: skip
    for each in draw(Report(results), names, Look(style=style)):
        each.figure.draw_without_rendering()
        page = each.figure.bbox
        boxes = [(text.get_text(), text.get_window_extent()) for text in texts_of(each.figure)]
        for name, box in boxes:
            assert box.x0 > page.x0 - 1, (each.stem, name)
            assert box.x1 < page.x1 + 1, (each.stem, name)
            assert box.y0 > page.y0 - 1, (each.stem, name)
            assert box.y1 < page.y1 + 1, (each.stem, name)
        upright = [(text.get_text(), text.get_window_extent()) for text in texts_of(each.figure)
                   if text.get_rotation() % 90 == 0]  # fmt: skip
        assert covering(upright) == [], each.stem


def texts_of(figure):
    """The titles, labels, ticks within the axes' limits, and legends of a figure."""
    texts = [figure._suptitle, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        texts += [axes.title, *axes.texts]
        if axes.axison:
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
                texts += [axis.label, *(label for tick in ticks for label in (tick.label1, tick.label2))]
    return [text for text in texts if text is not None and text.get_visible() and text.get_text().strip()]


def covering(boxes):
    """Pairs of texts that share more than two pixels in both directions."""
    return [
        (name, other)
        for i, (name, box) in enumerate(boxes)
        for other, its in boxes[i + 1 :]
        if min(box.x1, its.x1) - max(box.x0, its.x0) > 2 and min(box.y1, its.y1) - max(box.y0, its.y0) > 2
    ]


@pytest.mark.slow
def test_numbers_in_the_heat_map_are_readable_on_every_colour(builder):
    entries = ["cross-entropy", *(f"m{i}" for i in range(9))]
    (figure,) = drawn(builder(entries=entries, seeds=(0,), oracle=False), "reductions")
    (image,) = figure.axes[0].images
    values = np.asarray(image.get_array().filled(np.nan))
    texts = [(text, values[int(text.get_position()[1]), int(text.get_position()[0])]) for text in figure.axes[0].texts]
    grounds = [(text, image.cmap(image.norm(value))) for text, value in texts if np.isfinite(value)]
    assert len(grounds) > 20
    assert all(contrast(text.get_color(), ground) > 3.9 for text, ground in grounds)


def contrast(one, other):
    """By the definition of WCAG 2: relative luminances, each with 0.05 added."""

    def luminance(colour):
        linear = np.array(to_rgb(colour))
        linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
        return 0.05 + linear @ [0.2126, 0.7152, 0.0722]

    return max(luminance(one) / luminance(other), luminance(other) / luminance(one))


def test_reports_of_figures_have_the_look(monkeypatch, results, tmp_path):
    asked = []
    monkeypatch.setattr("calbench.benchmark.report.figures.base.draw", lambda *a: iter(asked.append(a[2]) or ()))
    look = Look(style="double")
    write_reports(results, tmp_path, ["figures"], look)
    assert asked == [look]
