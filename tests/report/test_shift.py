"""Tables and figures of shifted and out-of-distribution splits, from synthetic results."""

from dataclasses import replace

import numpy as np
import pytest

from calbench.benchmark.report.figures.base import draw
from calbench.benchmark.report.render.latex import latex
from calbench.benchmark.report.render.markdown import markdown
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.ood import ood_tables
from calbench.benchmark.report.tables.shift import kept_gain, severity_views, shift_tables
from calbench.benchmark.report.tables.view import Stat, View
from calbench.benchmark.report.tables.views import Views
from calbench.benchmark.report.write import write_reports

SPLITS = (
    "shift-severity-0", "shift-severity-3", "shift-severity-5", "shift-fog-3", "shift-noise-3",
    "shift-cifar10-c-severity-5", "ood-near", "ood-near-uncalibrated", "ood-near-mnist",
)  # fmt: skip


@pytest.fixture(scope="module")
def shifted(builder):
    return builder(datasets=("digits",), shifts=SPLITS, oracle=False)


def test_severities_are_told_apart_by_kind_with_the_clean_split_first(shifted):
    views = severity_views(Views(shifted))
    assert {of: [(s, v.split) for s, v in by.items()] for of, by in views.items()} == {
        "": [(0, "shift-severity-0"), (3, "shift-severity-3"), (5, "shift-severity-5")],
        "cifar10-c": [(0, "test"), (5, "shift-cifar10-c-severity-5")],
    }


def test_a_table_has_a_column_per_severity_and_the_gain_that_is_kept(shifted):
    tables = {table.key: table for table in shift_tables(Views(shifted))}
    assert list(tables)[:3] == ["shift-ece", "shift-nll", "shift-accuracy"]
    assert "shift-cifar10-c-ece" in tables
    table = tables["shift-ece"]
    assert [column.key for column in table.columns] == ["severity_0", "severity_3", "severity_5", "gain_kept"]
    row = next(row for row in table.rows if row.names == ("digits", "vit-micro", "focal"))
    view = View(shifted, split="shift-severity-5")
    stat = view.stat("digits", "vit-micro", "focal", "ece")
    assert (row.cells[2].value, row.cells[2].low, row.cells[2].high) == (stat.value, stat.low, stat.high)
    clean = View(shifted, split="shift-severity-0").stat("digits", "vit-micro", "focal", "ece")
    assert row.cells[3].value == pytest.approx(100 * stat.reduction / clean.reduction)
    baseline = next(row for row in table.rows if row.kind == "baseline")
    assert baseline.cells[3].text == "baseline"
    assert len(tables["shift-accuracy"].columns) == 3


@pytest.mark.parametrize(
    ("clean", "shifted_", "kept"),
    [
        (Stat(reduction=80, differs=True), Stat(reduction=20), 25),
        (Stat(reduction=80, differs=True), Stat(reduction=-40), -50),
        (Stat(reduction=5, differs=False), Stat(reduction=20), None),
        (Stat(reduction=-5, differs=True), Stat(reduction=20), None),
        (Stat(), Stat(reduction=20), None),
    ],
)
def test_the_gain_kept_is_blank_where_nothing_is_gained_on_the_clean_split(clean, shifted_, kept):
    assert kept_gain(clean, shifted_) == kept


def test_detection_is_shown_near_and_before_calibration_beside_calibration(shifted):
    tables = {table.key: table for table in ood_tables(Views(shifted))}
    assert list(tables) == ["ood-auroc", "ood-fpr95", "ood-calibration"]
    assert [c.heads for c in tables["ood-auroc"].columns] == [
        ("near", "max-softmax"), ("near", "energy"), ("near", "max-softmax, before"), ("near", "energy, before"),
    ]  # fmt: skip
    keys = [column.key for column in tables["ood-calibration"].columns]
    assert keys == ["accuracy", "ece", "nll", "near_fpr95_max_softmax", "near_fpr95_energy", "near_scod"]
    row = next(row for row in tables["ood-auroc"].rows if row.names[2] == "calattn")
    stat = View(shifted, split="ood-near").stat(*row.names, "auroc-energy")
    assert row.cells[1].value == stat.value


@pytest.mark.slow
def test_tables_are_part_of_every_format_and_absent_without_such_splits(shifted, builder, tmp_path):
    keys = [table.key for table in Report(shifted).layouts]
    assert {"shift-ece", "ood-calibration"} <= set(keys)
    paths = {path.relative_to(tmp_path).as_posix() for path in write_reports(shifted, tmp_path)}
    assert {"tables/shift-ece.md", "tables/shift-ece.csv", "tables/ood-auroc.tex"} <= paths
    for table in shift_tables(Views(shifted)):
        assert "nan" not in markdown(table) + latex(table)
    plain = builder(datasets=("digits",), oracle=False)
    assert Report(plain).layouts == []
    assert list(draw(Report(plain), ["shift", "shift-boxes", "ood"])) == []


def test_figures_show_lines_by_severity_boxes_over_corruptions_and_points(shifted):
    figures = {drawn.stem: drawn.figure for drawn in draw(Report(shifted), ["shift", "shift-boxes", "ood"])}
    panels = figures["shift-digits-vit-micro"].axes
    assert len(panels) == 3
    line = panels[0].lines[0]
    view = View(shifted, split="shift-severity-3")
    first = view.entries[0]
    assert np.round(line.get_xdata()).tolist() == [0, 3, 5], "at the severities, moved apart by a little"
    assert len({tuple(line.get_xdata()) for line in panels[0].lines}) == len(panels[0].lines)
    assert line.get_ydata()[1] == view.stat("digits", "vit-micro", first, "ece").value
    assert "shift-boxes-digits-vit-micro" in figures
    (axes,) = figures["ood-digits-vit-micro"].axes
    assert len(axes.lines) == len(view.entries)


@pytest.mark.slow
def test_published_detection_is_compared_on_the_far_sets_with_every_network(builder, tmp_path, calbench):
    entries = ("cross-entropy", "abet", "godin")
    results = builder(datasets=("cifar10", "digits"), entries=entries, shifts=("ood-far", "ood-near"), oracle=False)
    results.save(tmp_path / "heads")
    status, out, err = calbench("compare", "heads", "--reference", "abet2024", "--results-dir", tmp_path)
    assert status == 0, err
    lines = [line for line in out.splitlines() if "fpr95-energy" in line and "abet" in line]
    assert len(lines) == 2, "vit-micro and swin-micro; the paper does not name its networks"
    stat = View(results, split="ood-far").stat("cifar10", "vit-micro", "abet", "fpr95-energy")
    assert f"{stat.value:.2f}" in lines[0] + lines[1]
    assert all("12.5" in line for line in lines)
    assert "networks are not named" in out + err


def test_one_bad_patch_is_compared_with_the_clean_image(builder):
    results = builder(datasets=("digits",), shifts=("shift-patch", "shift-patch-3"), oracle=False)
    (table,) = shift_tables(Views(results))
    assert table.key == "shift-patch"
    assert [column.heads for column in table.columns][:2] == [("ECE", "clean"), ("ECE", "one bad patch")]
    row = next(row for row in table.rows if row.names == ("digits", "vit-micro", "focal"))
    assert row.cells[1].value == View(results, split="shift-patch").stat(*row.names, "ece").value
    assert len(table.rows) == 10


def test_a_bad_patch_is_no_corruption_with_a_severity(builder):
    splits = tuple(f"shift-{name}-{s}" for s in (1, 5) for name in ("severity", "noise", "fog"))
    results = builder(datasets=("digits",), backbones=("v",), shifts=(*splits, "shift-patch-0", "shift-patch-6"))
    (figure,) = [each.figure for each in draw(Report(results), ["shift-boxes"])]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["1", "5"]


def test_tables_of_shift_and_detection_name_a_smoke_test(shifted):
    smoke = replace(shifted, run=shifted.run.model_copy(update={"smoke": True}))
    tables = [*shift_tables(Views(smoke)), *ood_tables(Views(smoke))]
    assert tables
    assert all(table.title.startswith("SMOKE TEST: ") for table in tables)
