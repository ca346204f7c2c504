"""Commands on files of predictions: calibrate, evaluate, export, sizes."""

import json
import os

import numpy as np
import pandas as pd
import pytest
from planted_logits import data
from typer.testing import CliRunner

from calbench.benchmark.cli.main import main
from calbench.benchmark.cli.predictions import app
from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.execution import posthoc
from calbench.benchmark.execution.posthoc import compare_calibrators, default_chains, parse_chain
from calbench.benchmark.metrics import registry as metric_registry
from calbench.benchmark.predictions.files import read_pair
from calbench.benchmark.results.results import Results
from calbench.benchmark.statistics import evaluate
from calbench.methods import Calibrator, registry


@pytest.fixture
def predictions(tmp_path):
    logits, labels, _ = data()
    np.savez(tmp_path / "preds.npz", logits=logits.numpy(), labels=labels.numpy())
    return tmp_path / "preds.npz"


def test_calibrate_compares_and_writes(tmp_path, predictions):
    methods = ["-m", "temperature-scaling", "-m", "temperature-scaling + histogram-binning(bins=5)"]
    arguments = [
        "calibrate",
        str(predictions),
        "--split",
        "0.5",
        *methods,
        "--bootstrap",
        "50",
        "-o",
        str(tmp_path / "out"),
    ]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "200 samples to calibrate on, 200 to test on: preds.npz, split at random with seed 0" in result.output
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert run["baseline"] == "uncalibrated"
    assert str(tmp_path) not in (tmp_path / "out/run.json").read_text()
    entries = [entry["entry"] for entry in run["entries"]]
    assert entries == ["uncalibrated", "temperature-scaling", "temperature-scaling + histogram-binning(bins=5)"]
    table = (tmp_path / "out/results.csv").read_text()
    assert all(f"{entry}" in table for entry in entries)
    page = (tmp_path / "out/index.html").read_text()
    assert "<!doctype html>" in page.lower()
    assert all(part in page for part in (*entries, "Post-hoc calibration of preds", "ECE"))
    assert str(tmp_path) not in page


def test_evaluate_prints_metrics(predictions):
    result = CliRunner().invoke(app, ["evaluate", str(predictions), "--bootstrap", "20"])
    assert result.exit_code == 0, result.output
    assert "400 samples, 4 classes, 15 bins" in result.output
    assert "ECE" in result.output


@pytest.mark.slow
def test_export_writes_what_loads(tmp_path, predictions):
    arguments = ["export", str(predictions), "--method", "temperature-scaling", "-o", str(tmp_path / "ts")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    calibrator = Calibrator.load(tmp_path / "ts")
    logits, labels, _ = data()
    assert calibrator.temperature_ == registry.create("temperature-scaling").fit(logits, labels).temperature_


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["calibrate", "{}", "--split", "0.5", "-m", "focal"], "not a post-hoc calibrator"),
        (["calibrate", "{}", "--split", "0.5", "-m", "temprature-scaling"], "did you mean 'temperature-scaling'"),
        (["calibrate", "{}"], "contains one split"),
        (["calibrate", "{}", "{}"], "not evaluated on the rows that it was fitted on"),
        (["calibrate", "{}", "{}", "--split", "0.5"], "nothing to split"),
        (["calibrate", "{}", "--in-order"], "give --split too"),
        (["calibrate", "{}", "--split", "0.5", "--sizes", "999"], "size 999: expected 1 to "),
        (["calibrate", "{}", "--split", "0.5", "--sizes", "ten"], "--sizes ten: expected whole numbers"),
        (["evaluate", "{}", "--logits", "--probabilities"], "exclude each other"),
        (["export", "{}", "-m", "temperature-scaling", "-o", "{}"], "a file is in the way; give a folder"),
        (["calibrate", "{}", "--split", "0.5", "-m", "temperature-scaling", "-o", "{}/x"], "a file is in the way"),
        (["export", "{}", "-m", "calattn-frozen", "-o", "x"], "needs pooled features"),
    ],
)
def test_bad_arguments_are_input_errors(predictions, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [part.format(predictions) for part in arguments])
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


def test_what_cannot_be_fitted_is_in_the_record_with_its_reason(predictions):
    pair = read_pair(predictions, split=0.5)
    chains = [parse_chain("calattn-frozen"), parse_chain("temperature-scaling")]
    results = compare_calibrators(pair, chains, protocol=Protocol(bootstrap=0), name="x")
    assert list(results.table["entry"].unique()) == ["uncalibrated", "temperature-scaling"]
    assert "calattn-frozen: calattn-frozen needs pooled features" in results.run["cells"][0]["reason"]


def test_the_terminal_ends_with_what_was_left_out_and_shows_one_cell_once(predictions, capsys):
    arguments = ["calibrate", str(predictions), "--split", "0.5", "-m", "calattn-frozen", "-m", "vector-scaling"]
    assert main([*arguments, "--bootstrap", "0"]) == 1
    shown = capsys.readouterr().out
    assert "calattn-frozen needs pooled features" in shown
    assert "All datasets and backbones" not in shown


def test_a_method_named_twice_is_compared_once_and_without_replicates_no_interval_is_promised(predictions):
    arguments = ["calibrate", str(predictions), "--split", "0.5", "-m", "temperature-scaling", "-m"]
    result = CliRunner().invoke(app, [*arguments, "temperature-scaling()", "--bootstrap", "0"])
    assert result.exit_code == 0, result.output
    assert "15 bins; no intervals." in result.stdout
    assert "95 %" not in result.stdout


def test_too_few_replicates_are_refused(predictions):
    result = CliRunner().invoke(app, ["evaluate", str(predictions), "--bootstrap", "19"])
    assert result.exit_code == 2
    assert "at least 20" in result.output


def test_every_calibrator_that_the_predictions_allow_is_compared_by_default(predictions):
    names = {chain[0].spec.name for chain in default_chains(read_pair(predictions, split=0.5))}
    assert {"temperature-scaling", "enir", "structured-matrix-scaling"} <= names
    assert not {"focal", "calattn-frozen"} & names


@pytest.mark.slow
def test_what_takes_too_long_with_many_classes_is_named_with_the_way_to_fit_it(tmp_path, capsys, monkeypatch):
    z, y, _ = data(60, 301)
    np.savez(tmp_path / "many.npz", logits=z, labels=y)
    monkeypatch.setattr(posthoc, "default_chains", lambda pair: [parse_chain(n) for n in ("beta", "irm", "bbq")])
    arguments = ["calibrate", str(tmp_path / "many.npz"), "--split", "0.5", "--bootstrap", "0"]
    assert main([*arguments, "-o", str(tmp_path / "o")]) == 0
    shown = capsys.readouterr()
    line = "left out: beta, bbq (each fits one curve per class, and 301 classes are more than 300). To fit one"
    assert f"note: {line} nevertheless: -m 'beta(max_classes=301)'" in shown.err
    assert shown.err.splitlines()[-2:] == ["1 of 2: uncalibrated", "2 of 2: irm"]
    assert any(note.startswith(line) for note in Results.load(tmp_path / "o").run.notes)
    assert main([*arguments, "-m", "beta(max_classes=301)"]) == 0


def test_a_matrix_of_a_thousand_classes_is_left_out_by_default_and_named(tmp_path):
    z, y, _ = data(60, 1000)
    np.savez(tmp_path / "many.npz", logits=z, labels=y)
    pair = read_pair(tmp_path / "many.npz", split=0.5)
    kept, line = posthoc.too_large(default_chains(pair), pair)
    assert {"temperature-scaling", "vector-scaling"} <= {chain[0].spec.name for chain in kept}
    for name in ("dirichlet", "matrix-scaling", "structured-matrix-scaling"):
        assert name in line
        assert name not in {chain[0].spec.name for chain in kept}
    assert "fits a matrix of K x K numbers, and 1,000 classes are more than 300" in line


def test_all_default_calibrators_are_fitted_with_few_classes(predictions):
    pair = read_pair(predictions, split=0.5)
    chains = default_chains(pair)
    assert posthoc.too_large(chains, pair) == (chains, "")


@pytest.mark.slow
def test_sizes_are_a_table_and_files(predictions, tmp_path, capsys):
    arguments = ["calibrate", str(predictions), "--split", "0.5", "-m", "temperature-scaling", "--bootstrap", "0"]
    assert main([*arguments, "--sizes", "20,100", "--draws", "3", "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "mean of 3 random sets (smallest to largest)" in " ".join(shown.split())
    assert "(smallest to largest)" in (tmp_path / "out" / "sizes.md").read_text()
    table = pd.read_csv(tmp_path / "out" / "sizes.csv")
    assert set(table["size"]) == {20, 100}
    assert set(table["entry"]) == {"uncalibrated", "temperature-scaling"}
    assert (tmp_path / "out" / "sizes.png").stat().st_size > 1000
    assert main([*arguments, "--sizes", "20;100"]) == 2
    assert "whole numbers joined by commas" in capsys.readouterr().err


ASKED = "aurc,misclassification-auroc,nll-calibration,nll-refinement,brier-calibration,brier-refinement,top-nll-mcb"


@pytest.mark.slow
def test_further_metrics_are_columns_of_the_table(predictions, tmp_path, capsys):
    arguments = ["calibrate", str(predictions), "--split", "0.5", "-m", "temperature-scaling", "--bootstrap", "20"]
    assert main([*arguments, "--metrics", ASKED, "--output", str(tmp_path / "out")]) == 0
    labels = [metric_registry[name].spec.label for name in ASKED.split(",")]
    for text in ((tmp_path / "out/leaderboard.md").read_text(), (tmp_path / "out/leaderboard.tex").read_text()):
        assert all(label in text for label in labels)
    assert set(ASKED.split(",")) < set(pd.read_csv(tmp_path / "out/results.csv")["metric"])
    capsys.readouterr()
    assert main([*arguments, "--metrics", "aurk"]) == 2
    assert "aurc" in capsys.readouterr().err


def test_evaluate_has_the_intervals_of_the_library_and_reasons_where_there_is_none(predictions, capsys):
    assert main(["evaluate", str(predictions), "--bootstrap", "20", "--metrics", ASKED]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    arrays = np.load(predictions)
    expected = evaluate(logits=arrays["logits"], labels=arrays["labels"], metrics=["ece"], interval=0.95)["ece"]
    assert f"{expected.low:.2f} to {expected.high:.2f}" in shown
    assert "isotonic regression fits noise" in shown


PLUGIN = """
from dataclasses import dataclass
from calbench.methods import Calibrator, register

@register("half-logits")
@dataclass
class HalfLogits(Calibrator):
    '''Divide logits by two.'''
    keeps_accuracy = True
    def fit(self, logits, labels):
        return self
    def transform(self, logits):
        return logits / 2
"""


@pytest.mark.usefixtures("forgotten")
@pytest.mark.slow
def test_calibrate_and_export_take_methods_of_a_plugin(predictions, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(PLUGIN)
    mine = ["preds.npz", "--plugin", "mine.py", "-m", "half-logits", "-o", "out"]
    assert main(["calibrate", *mine, "--split", "0.5", "--bootstrap", "0"]) == 0
    assert "half-logits" in set(Results.load("out").table["entry"])
    assert "--plugin mine.py" in Results.load("out").run.command
    assert main(["export", *mine]) == 0
    assert main(["evaluate", "preds.npz", "--plugin", "none.py"]) == 2
    assert main(["report", "out", "--results-dir", ".", "--plugin", "mine.py", "--format", "csv"]) == 0
    assert "half-logits" in capsys.readouterr().out


@pytest.mark.slow
def test_the_line_of_written_files_names_the_folder_and_all_files(predictions, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["calibrate", "preds.npz", "--split", "0.5", "-m", "temperature-scaling", "--bootstrap", "0"]
    assert main([*arguments, "--sizes", "20,100", "--draws", "3", "-o", "out"]) == 0
    line = capsys.readouterr().out.split("written to out: ")[1].strip()
    assert sorted(line.split(", ")) == sorted(path.name for path in (tmp_path / "out").iterdir())


def test_a_misspelt_method_gets_its_suggestion_without_all_the_others(predictions, capsys):
    assert main(["calibrate", str(predictions), "--split", "0.5", "-m", "temprature-scaling"]) == 2
    message = capsys.readouterr().err
    assert "unknown method 'temprature-scaling' (did you mean 'temperature-scaling'?)" in message
    assert "`calbench list methods` lists all" in message
    assert "vector-scaling" not in message


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="modes of files")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_all_exported_files_have_the_mode_of_the_umask(predictions, tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        assert main(["export", str(predictions), "-m", "temperature-scaling", "-o", str(tmp_path / "ts")]) == 0
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "ts").iterdir()} == dict.fromkeys(
        [path.name for path in (tmp_path / "ts").iterdir()], mode
    )
