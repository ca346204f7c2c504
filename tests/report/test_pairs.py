"""Pairs of entries on their way from the suite's file to the tables."""

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.execution.runner import RunOptions, run_suite
from calbench.benchmark.report import render_terminal, write_reports
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.write import table_latex
from calbench.benchmark.results.checksums import CHECKSUMS
from calbench.benchmark.results.results import Results

SUITE = """
datasets: ["overlap(train=200, test=200)"]
backbones: [vit-micro]
entries:
  - cross-entropy
  - temperature-scaling
  - {label: VS, methods: [vector-scaling]}
pairs: %s
seeds: 2
protocol: {name: clean, calibration_fraction: 0.3, bootstrap: 20}
training: {epochs: 1, augment: false}
"""


def write(folder, pairs):
    path = Path(folder) / "small.yaml"
    path.write_text(SUITE % pairs)
    return str(path)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    suite = load_suite(write(folder, "[[VS, temperature-scaling], [VS, cross-entropy]]"))
    return run_suite(suite, RunOptions(results_dir=folder / "runs", jobs=1)), folder / "runs" / "small"


def test_the_table_has_a_row_per_pair(results):
    found, _ = results
    table = Report(found).table("pairs-nll")
    assert [row.labels[2] for row in table.rows] == ["VS − TS", "VS − CE"]
    assert [column.key for column in table.columns][:2] == ["change", "p"]
    change, p = table.rows[1].cells[:2]
    comparison = found.comparisons.query("entry == 'VS' and metric == 'nll'").iloc[0]
    assert (change.value, change.low, change.high) == tuple(
        comparison[name] for name in ("change", "change_low", "change_high")
    )
    assert comparison["p"] <= p.value <= 2 * comparison["p"]
    assert table.frame()["p"].tolist()[1] == p.value  # the number, where the tables show "< 0.001"
    assert "VS" in table_latex(Report(found), "pairs-nll")


def test_pairs_come_back_from_the_files(results):
    found, folder = results
    back = Results.load(folder)
    assert back.edited == ()
    assert back.pairs["change"].tolist() == pytest.approx(found.pairs["change"].tolist(), rel=1e-15, nan_ok=True)
    write_reports(back, folder, ["markdown", "html"])
    for name in ("tables/pairs-nll.md", "index.html"):
        assert "Pairs of entries" in (folder / name).read_text()
    assert Report(back).table("pairs-nll").frame().equals(Report(found).table("pairs-nll").frame())


def test_chosen_entries_hide_the_pairs_of_others(results):
    found, _ = results
    shown = Report(found, entries=["VS"])  # and the baseline
    assert [row.labels[2] for row in shown.table("pairs-nll").rows] == ["VS − CE"]


def test_results_without_pairs_are_read_and_have_no_such_table(results, tmp_path):
    _, folder = results
    shutil.copytree(folder, tmp_path / "old")
    (tmp_path / "old" / "pairs.csv").unlink()  # an earlier version wrote none, nor its checksum
    run = json.loads((tmp_path / "old" / "run.json").read_text())
    del run[CHECKSUMS]["pairs.csv"]
    (tmp_path / "old" / "run.json").write_text(json.dumps(run))
    back = Results.load(tmp_path / "old")
    assert back.edited == ()
    assert "pairs-nll" not in Report(back).tables


def test_a_deleted_file_of_pairs_is_seen(results, tmp_path):
    _, folder = results
    shutil.copytree(folder, tmp_path / "cut")
    (tmp_path / "cut" / "pairs.csv").unlink()
    with pytest.raises(InputError, match=r"pairs.csv: no such file"):
        Results.load(tmp_path / "cut")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("[[focal, cross-entropy]]", r"small.yaml, line 8: unknown entry of a pair 'focal'"),
        ("[[cross-entropy, cross-entropy]]", r"line 8: a pair of 'cross-entropy' with itself"),
        ("[[cross-entropy]]", r"line 8: .*pairs"),
        ("[cross-entropy]", r"line 8: .*pairs"),
    ],
)
def test_wrong_pairs_are_one_message_with_the_line(tmp_path, pairs, message):
    with pytest.raises(InputError, match=message):
        load_suite(write(tmp_path, pairs))


def test_a_part_of_a_suite_has_no_pairs_of_what_it_leaves_out(tmp_path):
    path = write(tmp_path, "[[VS, temperature-scaling]]")
    assert load_suite(path).pairs == (("VS", "temperature-scaling"),)
    assert load_suite(path, entries=["temperature-scaling"]).pairs == ()
    both = load_suite(path, entries=["temperature-scaling"], settings=["pairs=[[temperature-scaling, cross-entropy]]"])
    assert both.pairs == (("temperature-scaling", "cross-entropy"),)


def test_at_80_columns_the_pairs_have_their_interval_and_p_value(results):
    found, _ = results
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render_terminal(Report(found)))
    text = console.export_text()
    lines = [line for line in text.splitlines() if "VS − " in line]
    assert len(lines) == 2
    assert all("[" in line and "0." in line for line in lines)
    assert max(map(len, text.splitlines())) <= 80
