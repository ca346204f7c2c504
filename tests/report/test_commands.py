import io

import pandas as pd
import pytest

from calbench.benchmark.cli.reports import plot_command, report_command
from calbench.benchmark.core.errors import InputError


@pytest.fixture
def stored(results, tmp_path):
    results.save(tmp_path / "synthetic")
    return str(tmp_path)


def report(stored, format_="all", table="", suite="synthetic", results=None, baseline="", metric="ece"):
    return report_command(suite, stored, results, baseline, metric, format_, table)


def test_all_writes_into_the_suites_folder(stored, tmp_path, capsys):
    assert report(stored) == 0
    names = {path.name for path in (tmp_path / "synthetic").iterdir()}
    assert {"leaderboard.md", "leaderboard.csv", "overall.csv", "leaderboard.tex", "index.html"} <= names
    assert f"written to {stored}/synthetic: leaderboard.md" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("format_", "part"),
    [
        ("markdown", "| entry "),
        ("latex", r"\begin{table}"),
        ("csv", "entry,kind,accuracy"),
        ("terminal", "digits / vit"),
    ],
)
def test_formats_are_printed(stored, capsys, format_, part):
    assert report(stored, format_) == 0
    assert part in capsys.readouterr().out


@pytest.mark.slow
def test_one_table_alone(stored, tmp_path, capsys):
    report(stored, "markdown", "digits-vit-micro")
    out = capsys.readouterr().out
    assert out.startswith("## digits / vit-micro")
    assert "swin" not in out
    layout = tmp_path / "mine.yaml"
    layout.write_text("name: mine\ntitle: Mine\ncolumns: [dataset, backbone]\n")
    report(stored, "latex", str(layout))
    assert r"\caption{Mine." in capsys.readouterr().out


@pytest.mark.slow
def test_every_output_names_the_code_that_made_the_cells(builder, tmp_path):
    from calbench.benchmark.report import Report, write_reports
    from calbench.benchmark.report.render.document import main_tex
    from calbench.benchmark.results.base_record import parse
    from calbench.benchmark.results.records import RunRecord
    from calbench.benchmark.results.results import Results

    results = builder()
    record = results.run.model_dump(mode="json") | {"calbench": "0.2.0", "commit": "0c0"}
    makers = [{"calbench": "0.1.0", "commit": "aaa"}, {"calbench": "0.1.0", "commit": "bbb"}]
    for number, cell in enumerate(record["cells"]):
        cell["version"] = makers[number % 2]
    run = parse(RunRecord, record, "run")
    report = Report(Results(results.table, results.comparisons, run, results.diagrams, results.curves))
    write_reports(report, tmp_path)
    (tmp_path / "main.tex").write_text(main_tex(report, [], []))
    for name in ("leaderboard.md", "leaderboard.tex", "main.tex", "index.html"):
        text = (tmp_path / name).read_text()
        for commit in ("0c0", "aaa", "bbb"):
            assert f"commit {commit}" in text, (name, commit)


@pytest.mark.slow
def test_stored_results_read_back_give_the_same_tables(stored, results, tmp_path):
    from calbench.benchmark.report.report import Report
    from calbench.benchmark.report.write import leaderboard_markdown
    from calbench.benchmark.results.results import Results

    loaded = Results.load(tmp_path / "synthetic")
    assert leaderboard_markdown(Report(loaded)) == leaderboard_markdown(Report(results))


@pytest.mark.slow
def test_a_tidy_table_of_other_software(tmp_path, capsys):
    rows = [("c10", "vit", "none", "ece", 10.0), ("c10", "vit", "TS", "ece", 5.0), ("c10", "swin", "none", "ece", 2.0),
            ("c10", "swin", "TS", "ece", 3.0)]  # fmt: skip
    path = tmp_path / "theirs.csv"
    pd.DataFrame(rows, columns=["dataset", "backbone", "entry", "metric", "value"]).to_csv(path, index=False)
    assert report("", "csv", "overall-ece", suite="", results=path, baseline="none") == 0
    frame = pd.read_csv(io.StringIO(capsys.readouterr().out)).set_index("entry")
    assert frame.loc["TS", "ratio_of_means"] == pytest.approx(100 * (12 - 8) / 12)
    assert frame.loc["TS", "mean_of_ratios"] == pytest.approx(0.0)
    assert frame.loc["TS", "worst"] == pytest.approx(-50)
    assert report("", suite="", results=path, baseline="none") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "nothing is bold" in shown
    assert "Accuracy" not in shown, "a column of which the table knows nothing is left out"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"suite": "quik"}, "no results in quik"),
        ({"table": "overal"}, r"unknown table 'overal' \(did you mean 'overall'\?\)"),
        ({"metric": "eec"}, "unknown metric 'eec'"),
        ({"format_": "html", "table": "overall"}, "--table cannot be HTML"),
    ],
)
def test_bad_arguments(stored, arguments, message):
    with pytest.raises(InputError, match=message):
        report(stored, **arguments)


def test_bad_external_tables(tmp_path):
    path = tmp_path / "theirs.csv"
    path.write_text("dataset,entry,value\n")
    with pytest.raises(InputError, match="the column 'backbone' is missing"):
        report("", suite="", results=path)
    path.write_text("dataset,backbone,entry,metric,value\nd,b,TS,ece,1\nd,b,none,ece,abc\n")
    with pytest.raises(InputError, match="line 3: the value 'abc' is not a number"):
        report("", suite="", results=path)
    path.write_text("dataset,backbone,entry,metric,value\nd,b,TS,ece,1\nd,b,none,ece,\nd,b,TS,ece,2\n")
    with pytest.raises(InputError, match="line 4: dataset d, backbone b, entry TS, .*metric ece is listed twice"):
        report("", suite="", results=path)
    path.write_text("dataset,backbone,entry,metric,value\nd,b,TS,ece,1\n")
    with pytest.raises(InputError, match="unknown baseline 'none'"):
        report("", suite="", results=path, baseline="none")


def test_results_of_another_version_are_refused(stored, tmp_path):
    run = tmp_path / "synthetic" / "run.json"
    run.write_text(run.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(InputError, match="results of format 99"):
        report(stored)


@pytest.mark.slow
def test_plot_writes_the_figures_asked_for(stored, tmp_path, capsys):
    assert plot_command("synthetic", stored, ["ranks", "reductions"]) == 0
    names = {path.name for path in (tmp_path / "synthetic" / "figures").iterdir()}
    assert names == {"ranks.png", "ranks.pdf", "reductions.png", "reductions.pdf"}
    with pytest.raises(InputError, match="unknown figure"):
        plot_command("synthetic", stored, ["pie"])
