import io
import json
import re

import pandas as pd
import pytest
from matplotlib.text import Text
from PIL import Image

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.report.figures.base import WIDTH, draw, kinds, new_figure, save, style
from calbench.benchmark.report.figures.ranks import cliques
from calbench.benchmark.report.figures.reliability import OVER, UNDER, draw_reliability, pick
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.view import View
from calbench.benchmark.report.write import write_figures
from calbench.benchmark.results.results import Results
from calbench.benchmark.results.series_records import DiagramRecord

WHERE = {"dataset": "d", "backbone": "b", "entry": "e", "seed": 0, "split": "test"}

SHIFTS = (*(f"shift-{name}-{s}" for s in (1, 5) for name in ("severity", "noise", "fog")), "ood-near", "ood-far")


@pytest.fixture(scope="module")
def full(builder):
    return builder(datasets=("digits",), shifts=SHIFTS, checkpoints=("last", "best-ece"), oracle=False)


@pytest.fixture(scope="module")
def drawn(full):
    return {each.stem: each for each in draw(Report(full))}


def test_every_kind_draws_something_of_full_results(drawn):
    for name in kinds():
        assert [stem for stem in drawn if stem == name or stem.startswith(f"{name}-")], name


def test_figures_fit_a_column_and_a_page(drawn):
    for each in drawn.values():
        width, height = each.figure.get_size_inches()
        assert width <= WIDTH
        assert height <= 9.0


def test_files_are_images_that_say_where_they_come_from(full, drawn):
    files = save(drawn["reductions"].figure, Report(full), "Reductions")
    image = Image.open(io.BytesIO(files["png"]))
    assert image.size[0] == pytest.approx(300 * WIDTH, abs=2)
    record = json.loads(image.info["Description"])
    assert record["commit"] == "0123abc"
    assert record["config"]["suite"] == "synthetic"
    assert image.info["Software"] == "calbench 0.1.0"
    assert files["pdf"].startswith(b"%PDF")
    assert b"0123abc" in files["pdf"]
    assert not re.search(rb"/CreationDate", files["pdf"])


@pytest.mark.slow
def test_the_same_results_give_the_same_bytes(full):
    first, second = ([save(d.figure, Report(full), "x") for d in draw(Report(full), ["ranks"])] for _ in range(2))
    assert first == second


def test_a_reliability_diagram_shows_bars_intervals_and_signs():
    def bin_(low, count, confidence, accuracy):
        return {"low": low, "high": low + 0.5, "count": count, "confidence": confidence, "accuracy": accuracy,
                "accuracy_low": accuracy - 0.1, "accuracy_high": accuracy + 0.1}  # fmt: skip

    empty = {"low": 0.9, "high": 1.0, "count": 0, "confidence": None, "accuracy": float("nan")}
    with style():
        axes, below = new_figure(2.6, 2.3).subplots(2, 1, sharex=True)
        diagram = DiagramRecord(bins=[bin_(0, 10, 0.4, 0.2), bin_(0.5, 30, 0.7, 0.8), empty], **WHERE)
        draw_reliability(axes, below, diagram)
    colours = [patch.get_facecolor()[:3] for patch in axes.patches]
    heights = [patch.get_height() for patch in axes.patches]
    assert heights == pytest.approx([0.2, 0.2, 0.8, 0.1])
    assert [round(c, 2) for c in colours[1]] == [round(int(OVER[i : i + 2], 16) / 255, 2) for i in (1, 3, 5)]
    assert [round(c, 2) for c in colours[3]] == [round(int(UNDER[i : i + 2], 16) / 255, 2) for i in (1, 3, 5)]
    assert [patch.get_height() for patch in below.patches] == pytest.approx([0.25, 0.75])


def test_the_first_seed_of_the_views_checkpoint_is_picked(full):
    diagram = pick(View(full, checkpoint="best-ece"), "digits", "vit-micro", "focal")
    assert (diagram.checkpoint, diagram.split, diagram.seed) == ("best-ece", "test", 0)


def test_points_and_error_bars_are_those_of_the_comparisons(full, drawn):
    axes = drawn["ece-intervals-digits-vit-micro"].figure.axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[0] == "cross-entropy + TS"
    assert len(labels) == 5
    stat = View(full).stat("digits", "vit-micro", "cross-entropy + temperature-scaling", "ece")
    (low, _), (high, _) = axes.containers[1].lines[2][0].get_segments()[0]
    assert (low, high) == pytest.approx((stat.low, stat.high))


def test_a_heat_map_tells_missing_and_undecided_cells(builder):
    results = builder(missing=[("digits", "swin-micro", "focal")])
    chosen = (results.comparisons["entry"] == "calattn") & (results.comparisons["metric"] == "ece")
    results.comparisons.loc[chosen, "differs"] = False
    (figure,) = [each.figure for each in draw(Report(results), ["reductions"])]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts.count("–") == 1
    assert sum(text.startswith("(") for text in texts) == 4


def test_cliques_of_ranks():
    ranks = pd.Series([1.0, 1.5, 2.6, 4.0])
    assert cliques(ranks, 1.2) == [(0, 1), (1, 2)]
    assert cliques(ranks, 5) == [(0, 3)]
    assert cliques(ranks, 0.1) == []


@pytest.mark.parametrize("more", [0, pytest.param(95, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_hostile_names_a_hundred_entries_and_no_values(builder, tmp_path, more):
    names = [
        "cross-entropy",
        "$\\frac{1}{2}$",
        "a_b & 50% #1",
        "../../up",
        "émile 中文",
        *(f"m{i}" for i in range(more)),
    ]
    results = builder(entries=names, datasets=("../d /&",), backbones=("v", "w"), seeds=(0,), oracle=False)
    paths = write_figures(results, tmp_path, ["reductions"])
    assert {path.parent for path in paths} == {tmp_path / "figures"}
    assert all(path.stat().st_size > 1000 for path in paths)
    assert {each.stem for each in draw(Report(results), ["ece-accuracy", "ranks"])} == {"ece-accuracy-d", "ranks"}
    recipes = ("cross-entropy", "focal", "calattn", "mixup")
    gone = builder(
        datasets=("digits",), backbones=("v",), missing=[("digits", "v", recipe) for recipe in recipes], oracle=False
    )
    assert list(draw(Report(gone))) == []


def test_two_names_that_make_one_file_name_get_two_files(builder):
    results = builder(datasets=("a b", "a-b"), backbones=("v",), oracle=False)
    stems = [each.stem for each in draw(Report(results), ["ece-accuracy"])]
    assert stems == ["ece-accuracy-a-b", "ece-accuracy-a-b-2"]


def test_an_unknown_figure_names_the_nearest(results):
    with pytest.raises(InputError, match=r"unknown figure 'rank' \(did you mean 'ranks'\?\)"):
        list(draw(Report(results), ["rank"]))


def test_a_curve_of_one_size_is_not_taken_for_one_that_does_not_depend_on_it():
    from calbench.benchmark.report.figures.size_curves import draw_sizes

    rows = [
        ("uncalibrated", 100, 1.2),
        ("uncalibrated", 300, 1.2),
        ("late", 300, 0.9),
        ("ts", 100, 1.0),
        ("ts", 300, 0.8),
    ]
    table = pd.DataFrame(rows, columns=["entry", "size", "value"]).assign(metric="nll", low=0.7, high=1.3)
    axes = draw_sizes(table, "nll").axes[0]
    styles = {line.get_label(): line.get_linestyle() for line in axes.lines}
    assert styles == {"ts": "-", "late": "-", "uncalibrated": "--"}


@pytest.mark.slow
def test_no_two_entries_look_alike(builder, full):
    from calbench.benchmark.report.figures.metrics import looks

    view = View(full)
    colours = {view.records[entry].recipe: look[0] for entry, look in looks(view).items()}
    assert all(looks(view)[entry][0] == colours[view.records[entry].recipe] for entry in view.entries)
    many = builder(entries=["cross-entropy", *(f"m{i}" for i in range(60))], seeds=(0,), oracle=False)
    assert len(set(looks(View(many)).values())) == 61


@pytest.mark.slow
def test_figures_of_shifts_say_how_many_entries_they_leave_out(builder):
    entries = ["cross-entropy", *(f"m{i}" for i in range(14))]
    results = builder(datasets=("digits",), backbones=("v",), entries=entries, shifts=SHIFTS, oracle=False)
    figures = {each.stem: each.figure for each in draw(Report(results), ["shift", "shift-boxes"])}
    for stem in ("shift-digits-v", "shift-boxes-digits-v"):
        figure = figures[stem]
        assert "(10 of 15 entries)" in figure.axes[0].get_title()
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert len(names) == 10
        assert "cross-entropy" in names, "the baseline is always shown"


def test_size_curves_have_short_names_and_say_what_they_leave_out():
    from calbench.benchmark.report.figures.size_curves import draw_sizes

    names = ["vector-scaling", "temperature-scaling + isotonic", *(f"m{i}" for i in range(9))]
    worse = {100: 50, 300: 0}
    rows = [(name, n, 1 + number / 10 + worse[n]) for number, name in enumerate(names) for n in worse]
    table = pd.DataFrame(rows, columns=["entry", "size", "value"]).assign(metric="nll", low=0.7, high=60.0)
    figure = draw_sizes(table, "nll", "data")
    assert figure.axes[0].get_title() == "data\n(without 3 worse entries)\n(larger values are not shown)"
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["VS", "TS + Isotonic"]


def test_figures_of_a_strangers_folder_obey_no_name(builder, tmp_path):
    evil = "\x1b[31m[bold]x[/bold]|**b**|<img src=x>$\\frac{1}$\u202e_#~"
    results = builder(
        datasets=(f"={evil}",), backbones=(f"+{evil}",), entries=("cross-entropy", f"@{evil}"), seeds=(0,),
        oracle=False, title=evil, labels_of={f"={evil}": evil},
    )  # fmt: skip
    results.save(tmp_path)
    texts = [
        text
        for drawn in draw(Report(Results.load(tmp_path)), ["reductions", "ece-accuracy"])
        for text in (drawn.stem, drawn.caption, *(part.get_text() for part in drawn.figure.findobj(Text)))
    ]
    assert any("x1b" in text for text in texts)
    assert not [text for text in texts if re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)]


@pytest.mark.slow
def test_captions_begin_with_the_dataset_and_backbone(results):
    captions = [one.caption for one in draw(Report(results), ["ece-intervals", "reliability", "reliability-baseline"])]
    pairs = {caption.partition(": ")[0] for caption in captions if not caption.startswith("Reliability of")}
    assert pairs == {" / ".join(pair) for pair in Report(results).view.pairs}
    assert any(caption.startswith("Reliability of the baseline") for caption in captions)
