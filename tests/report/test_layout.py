import io
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from calbench.benchmark.config.table_layout import load_layout, parse_layout
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.report.render.markdown import markdown
from calbench.benchmark.report.render.terminal import TerminalTable
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.layout import families, layout_table
from calbench.benchmark.report.tables.reference import reference_table, under_other_names
from calbench.benchmark.report.tables.view import View
from calbench.benchmark.report.tables.views import Views
from calbench.benchmark.report.write import write_reports
from calbench.benchmark.results.records import EntryRecord, MethodRecord
from calbench.benchmark.results.reference import REFERENCE_COLUMNS, gains, load_reference, summary


def grid(table):
    """Cells by row names and column key."""
    return {
        (*row.names, column.key): cell
        for row in table.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
    }


def reference(value=8.5, suspect=False, note="swapped rows"):
    row = ("a paper", "digits", "vit-micro", "focal", "ece", value, suspect, note)
    return pd.DataFrame([row], columns=REFERENCE_COLUMNS)


def stored(results, metric="ece", **where):
    frame = results.comparisons[results.comparisons["metric"] == metric]
    for column, value in where.items():
        frame = frame[frame[column] == value]
    return frame.iloc[0]


ONE = {"backbones": ["vit-micro"]}


def test_rows_and_columns_follow_the_suite_and_hold_the_stored_values(results):
    table = layout_table(
        Views(results), parse_layout({"name": "t", "rows": ["entry"], "columns": ["dataset", "backbone"]})
    )
    assert [row.names[0] for row in table.rows] == [e.entry for e in results.run.entries]
    assert [column.heads for column in table.columns] == [
        ("digits", "vit-micro"), ("digits", "swin-micro"), ("overlap", "vit-micro"), ("overlap", "swin-micro"),
    ]  # fmt: skip
    cell = grid(table)["focal", "overlap/vit-micro/value"]
    assert cell.value == stored(results, dataset="overlap", backbone="vit-micro", entry="focal")["value"]
    assert "Values: ECE (%)" in table.caption


def test_several_metrics_become_the_last_head_with_their_own_decimals(results):
    layout = parse_layout({"name": "t", "columns": ["dataset"], "metrics": ["ece", "nll"], "backbones": ["vit-micro"]})
    table = layout_table(Views(results), layout)
    assert [(column.heads, column.decimals) for column in table.columns[:2]] == [
        (("digits", "ECE"), 2), (("digits", "NLL"), 3),
    ]  # fmt: skip


def test_families_make_rows_of_objectives_and_columns_of_calibrators(results):
    layout = parse_layout(
        {
            "name": "t", "rows": ["objective"], "columns": ["backbone", "calibrator"], "datasets": ["digits"],
            "entries": ["cross-entropy", "cross-entropy + temperature-scaling", "focal"],
            "labels": {"calibrator": {"none": "before", "temperature-scaling": "after"}},
        }
    )  # fmt: skip
    table = layout_table(Views(results), layout)
    assert [row.names for row in table.rows] == [("cross-entropy",), ("focal",)]
    assert table.columns[0].heads == ("vit-micro", "before")
    cells = grid(table)
    assert not cells["cross-entropy", "vit-micro/temperature-scaling/value"].missing
    assert cells["focal", "vit-micro/temperature-scaling/value"].notes == ("no entry of the suite has these methods",)


def test_families_of_an_entry_with_everything(results):
    view = View(results)
    kinds = {"focal": "objective", "calattn": "head"}
    methods = tuple(MethodRecord(name=name, label=name, kind=kind) for name, kind in kinds.items())
    view.records["x"] = EntryRecord(
        entry="x", label="x", recipe="focal + calattn", calibrator="temperature-scaling", methods=methods
    )
    assert families(view, "x") == {
        "objective": "focal", "augmentation": "none", "head": "calattn", "procedure": "none",
        "calibrator": "temperature-scaling",
        "recipe": "focal + calattn",
    }  # fmt: skip


def test_the_choice_of_the_checkpoint_as_columns(builder):
    results = builder(checkpoints=("last", "best-ece"))
    layout = parse_layout({"name": "t", "columns": ["dataset", "backbone", "checkpoint"],
                           "checkpoints": ["last", "best-ece"]})  # fmt: skip
    cells = grid(layout_table(Views(results), layout))
    last, best = (cells["focal", f"digits/vit-micro/{rule}/value"].value for rule in ("last", "best-ece"))
    assert best == pytest.approx(1.5 * last, rel=0.1)


def test_a_reduction_against_the_paired_entry(results):
    layout = parse_layout({"name": "t", "columns": ["dataset", "backbone"], "show": ["value", "paired-reduction"],
                           "pair": {"calibrator": "none"}})  # fmt: skip
    cells = grid(layout_table(Views(results), layout))
    before = cells["cross-entropy", "digits/vit-micro/value"].value
    after = cells["cross-entropy + temperature-scaling", "digits/vit-micro/value"].value
    reduction = cells["cross-entropy + temperature-scaling", "digits/vit-micro/paired-reduction"].value
    assert reduction == pytest.approx(100 * (before - after) / before)
    assert (
        "none differs from this one only in its pair"
        in cells["cross-entropy", "digits/vit-micro/paired-reduction"].notes[0]
    )


def test_published_numbers_stand_beside_ours_with_the_difference(results):
    layout = parse_layout({"name": "t", "show": ["value", "published", "difference"]})
    cells = grid(layout_table(Views(results), layout, reference(suspect=True)))
    ours, theirs, gap = (cells["focal", f"digits/vit-micro/{q}"] for q in ("value", "published", "difference"))
    assert theirs.value == 8.5
    assert gap.value == pytest.approx(ours.value - 8.5)
    assert theirs.marks == ("suspect",)
    assert theirs.notes == ("swapped rows",)
    assert cells["calattn", "digits/vit-micro/published"].notes == ("no published value",)
    shown = markdown(layout_table(Views(results), layout, reference(suspect=True)))
    assert "8.50 ?<sup>b</sup>" in shown
    assert "looks wrong in its source" in shown


def test_a_missing_cell_says_why_and_marks_can_be_left_out(builder):
    results = builder(missing=[("digits", "swin-micro", "focal")])
    table = layout_table(Views(results), parse_layout({"name": "t", "marks": []}))
    assert grid(table)["focal", "digits/swin-micro/value"].missing
    assert list(table.footnotes) == ["failed: the loss is not finite (seeds 0, 1)"]
    assert not any(cell.bold or cell.marks for row in table.rows for cell in row.cells)


def test_two_values_in_one_cell_are_refused(results):
    with pytest.raises(InputError, match="table t: several entries fall into one cell, .*name one more dimension"):
        layout_table(Views(results), parse_layout({"name": "t", "rows": ["objective"], "columns": ["dataset"]}))


def test_a_layout_that_matches_nothing_is_refused(results):
    with pytest.raises(InputError, match="table t: nothing in these results matches"):
        layout_table(Views(results), parse_layout({"name": "t", "datasets": ["cifar10"]}))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"name": "t", "row": ["entry"]}, "row: Extra inputs are not permitted"),
        ({"name": "t", "rows": ["method"]}, r"rows\.0: "),
        ({"name": "../t"}, "name: "),
        ({"name": "t", "rows": ["entry"], "columns": ["entry"]}, "'entry' is both a row and a column"),
        ({"name": "t", "show": ["paired-reduction"]}, "paired-reduction needs 'pair'"),
        ("text", "table: "),
    ],
)
def test_bad_layouts_are_told_with_their_field(value, message):
    with pytest.raises(InputError, match=message):
        parse_layout(value)


def test_layout_files(tmp_path, results):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("name: mine\ncolumns: [dataset, backbone]\n")
    bad.write_text("name: [unclosed\n")
    assert load_layout(good).name == "mine"
    with pytest.raises(InputError, match=r"bad\.yaml"):
        load_layout(bad)
    with pytest.raises(InputError, match=r"none\.yaml"):
        load_layout(tmp_path / "none.yaml")


def test_a_suites_own_tables_are_written(builder, tmp_path):
    results = builder(config={"tables": [{"name": "by-entry", "title": "50 % & more"}]})
    assert [table.key for table in Report(results).layouts] == ["by-entry"]
    paths = write_reports(results, tmp_path, ["markdown", "csv", "latex", "html"])
    names = {path.relative_to(tmp_path).as_posix() for path in paths}
    assert {"tables/by-entry.md", "tables/by-entry.csv", "tables/by-entry.tex"} <= names
    assert r"50 \% \& more" in (tmp_path / "tables" / "by-entry.tex").read_text()
    assert "50 % &amp; more" in (tmp_path / "index.html").read_text()


def test_ours_against_published_says_whether_it_lies_in_our_interval(results):
    ours = stored(results, dataset="digits", backbone="vit-micro", entry="focal")
    inside = reference_table(View(results), reference(value=float(ours["value"]) + 0.01))
    outside = reference_table(View(results), reference(value=float(ours["high"]) + 1, suspect=True))
    assert grid(inside)["digits", "vit-micro", "focal", "ece", "inside"].text == "yes"
    assert grid(outside)["digits", "vit-micro", "focal", "ece", "inside"].text == "no"
    assert grid(outside)["digits", "vit-micro", "focal", "ece", "published"].marks == ("suspect",)


def test_a_reference_without_a_common_cell_is_refused(results):
    with pytest.raises(InputError, match="the reference is about cifar10, these results about digits, overlap"):
        reference_table(View(results), reference().assign(dataset="cifar10"))
    with pytest.raises(InputError, match="in common"):
        reference_table(View(results), reference().assign(metric="nothing"))


def test_a_dataset_with_options_is_compared_under_its_whole_name(builder):
    view = View(builder(datasets=("overlap(train=300, test=300)",), oracle=False))
    published = reference().assign(dataset="cifar10")
    renamed, _ = under_other_names(published, ["overlap(train=300, test=300)=cifar10"], view)
    assert list(renamed.dataset) == ["overlap(train=300, test=300)"]


@pytest.mark.parametrize("width", [80, 120])
def test_a_narrow_comparison_keeps_its_yes_or_no_and_breaks_no_number(results, width):
    table = reference_table(View(results), reference(value=12.34))
    names = ("tiny-imagenet", "resnet110-32", "cross-entropy-brier + calattn(stop_gradient=True)", "adaptive-ece")
    [row] = table.rows
    table = replace(table, rows=(replace(row, names=names, labels=names), replace(row, names=("x", *names[1:]))))
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(TerminalTable(table))
    text = console.file.getvalue()
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    for shown in ("12.34", f"{row.cells[0].value:.2f}", row.cells[3].text):
        assert sum(shown in line.split() for line in lines) >= 2, text


def test_a_set_made_of_another_is_compared_with_its_numbers_only_if_asked(builder):
    view = View(builder(datasets=("cifar10-jpeg",), oracle=False))
    published = reference().assign(dataset="cifar10")
    with pytest.raises(InputError, match="cifar10-jpeg is not cifar10 itself: --as cifar10-jpeg=cifar10 compares"):
        reference_table(view, published)
    renamed, notes = under_other_names(published, ["cifar10-jpeg=cifar10"], view)
    assert {row.names[0] for row in reference_table(view, renamed).rows} == {"cifar10-jpeg"}
    assert notes == [
        "cifar10-jpeg is compared with published numbers on cifar10, as asked for: the data are not the same."
    ]
    for pair, message in (("cifar10-jpeg", "expected OURS=THEIRS"), ("cifar=cifar10", "unknown dataset of these"),
                          ("cifar10-jpeg=cifar", "unknown dataset of the reference")):  # fmt: skip
        with pytest.raises(InputError, match=message):
            under_other_names(published, [pair], view)


def test_reference_files(tmp_path):
    path = tmp_path / "mine.csv"
    reference(suspect=True).to_csv(path, index=False)
    assert load_reference(path)["suspect"].tolist() == [True]
    reference().drop(columns="note").to_csv(path, index=False)
    with pytest.raises(InputError, match=r"mine\.csv: the column 'note' is missing"):
        load_reference(path)
    with pytest.raises(InputError, match="unknown reference 'calatn2026'"):
        load_reference("calatn2026")


def test_wins_and_losses_over_all_published_cells():
    rows = [
        ("p", "c10", "vit", "focal", "ece", 5.0), ("p", "c10", "vit", "focal + calattn", "ece", 3.0),
        ("p", "c10", "deit", "focal", "ece", 2.0), ("p", "c10", "deit", "focal + calattn", "ece", 4.0),
        ("p", "c10", "vit", "focal + temperature-scaling", "ece", 1.0),
        ("p", "c10", "vit", "focal + calattn + temperature-scaling", "ece", 1.0),
    ]  # fmt: skip
    frame = pd.DataFrame([(*row, False, "") for row in rows], columns=REFERENCE_COLUMNS)
    counts = summary(gains(frame, "calattn")).set_index("then")
    assert counts.loc["none", ["better", "worse", "equal"]].tolist() == [1, 1, 0]
    assert counts.loc["temperature-scaling", ["better", "worse", "equal"]].tolist() == [0, 0, 1]


def test_changes_of_percentages_are_points(results):
    layout = parse_layout({"name": "t", "columns": ["dataset"], "metrics": ["ece", "nll"], "show": ["change"]} | ONE)
    assert [column.unit for column in layout_table(Views(results), layout).columns] == ["points", "nats"] * 2


def test_a_quantity_that_is_no_metric_has_no_direction(results):
    part = results.table[results.table["metric"] == "ece"].assign(metric="temperature")
    changed = replace(results, table=pd.concat([results.table, part]))
    layout = parse_layout({"name": "t", "columns": ["dataset"], "metrics": ["temperature", "ece"]} | ONE)
    assert [column.arrow for column in layout_table(Views(changed), layout).columns] == ["", "↓"] * 2


def test_the_median_over_seeds_has_their_range(results):
    table = layout_table(Views(results), parse_layout({"name": "t", "show": ["median"], "metrics": ["nll"]} | ONE))
    rows = results.table[(results.table["entry"] == "focal") & (results.table["dataset"] == "digits")]
    values = rows[(rows["backbone"] == "vit-micro") & (rows["metric"] == "nll") & (rows["split"] == "test")]["value"]
    assert len(values) > 1
    cell = grid(table)["focal", "digits/vit-micro/median"]
    assert (cell.value, cell.low, cell.high) == (values.median(), values.min(), values.max())
    column = table.columns[0]
    assert column.heads[-1] == "median [range over seeds]"
    assert column.interval


def test_a_missing_interval_has_its_reason_in_a_note(results):
    comparisons = results.comparisons.assign(low=float("nan"), high=float("nan"), interval_reason="no replicates here")
    bare = replace(results, comparisons=comparisons)
    layout = parse_layout({"name": "t", "intervals": True, "metrics": ["nll"]} | ONE)
    assert "no replicates here" in markdown(layout_table(Views(bare), layout))
    assert "no replicates here" not in markdown(layout_table(Views(results), layout))
