import contextlib
import io
import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from calbench.benchmark.cli.main import main
from calbench.benchmark.cli.predictions import app
from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.execution import posthoc
from calbench.benchmark.execution.posthoc import compare_calibrators, default_chains, parse_chain
from calbench.benchmark.metrics import registry as metric_registry
from calbench.benchmark.predictions.export import export, load_chain
from calbench.benchmark.predictions.files import read_pair
from calbench.benchmark.results.results import Results
from calbench.benchmark.statistics import evaluate
from calbench.methods import Calibrator, registry

NAMES = [name for name in registry if registry[name].kind == "calibrator"]


def data(rows=400, classes=4):
    generator = torch.Generator().manual_seed(0)
    true = 2 * torch.randn(rows, classes, generator=generator)
    labels = torch.multinomial(true.softmax(1), 1, generator=generator).squeeze(1)
    return 3 * true, labels, torch.randn(rows, 5, generator=generator)


def fitted(name):
    if hasattr(registry[name], "package"):
        pytest.importorskip(registry[name].package)
    logits, labels, features = data()
    calibrator = registry.create(name, **({"steps": 30} if hasattr(registry[name], "steps") else {}))
    extra = {"features": features} if "features" in calibrator.needs else {}
    return calibrator.fit(logits, labels, **extra), logits, extra


@pytest.fixture
def predictions(tmp_path):
    logits, labels, _ = data()
    np.savez(tmp_path / "preds.npz", logits=logits.numpy(), labels=labels.numpy())
    return tmp_path / "preds.npz"


@pytest.mark.parametrize("name", NAMES)
def test_save_and_load_give_the_same_map(tmp_path, name):
    calibrator, logits, extra = fitted(name)
    calibrator.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calibrator.json", "calibrator.safetensors"]
    read = Calibrator.load(tmp_path)
    assert type(read) is type(calibrator)
    assert read.options() == calibrator.options()
    assert torch.equal(read.transform(logits, **extra), calibrator.transform(logits, **extra))


def changed(record, **fields):
    return json.dumps({**record, **fields})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: "{", "not JSON"),
        (lambda r: "[" * 100000, "not JSON"),
        (lambda r: "[]", "not a calibrator of format 1"),
        (lambda r: changed(r, format=2), "not a calibrator of format 1"),
        (lambda r: changed(r, num_classes="4"), "wrong type"),
        (lambda r: changed(r, num_classes=10**12), "wrong type"),
        (lambda r: changed(r, calibrator={"name": "focal", "options": {}}), "not a calibrator"),
        (lambda r: changed(r, calibrator={"name": "os.system", "options": {}}), "unknown method"),
        (lambda r: changed(r, fitted={"__class__": 1}), "plain name"),
        (lambda r: changed(r, fitted={"transform": 1}), "plain name"),
        (lambda r: changed(r, fitted={"scale_": float("nan")}), "finite number"),
        (lambda r: changed(r, fitted={"scale_": "x"}), "finite number"),
        (lambda r: changed(r, modules=["network_"]), "has no module"),
        (lambda r: changed(r, arrays={}), "arrays differ"),
    ],
)
def test_hostile_saved_calibrators_are_refused(tmp_path, change, message):
    fitted("vector-scaling")[0].save(tmp_path)
    record = json.loads((tmp_path / "calibrator.json").read_text())
    (tmp_path / "calibrator.json").write_text(change(record))
    with pytest.raises(InputError, match=message):
        Calibrator.load(tmp_path)


def test_damaged_arrays_are_refused(tmp_path):
    fitted("vector-scaling")[0].save(tmp_path)
    path = tmp_path / "calibrator.safetensors"
    arrays = load_file(path)
    save_file({"weight_": arrays["weight_"] * float("nan"), "bias_": arrays["bias_"]}, path)
    with pytest.raises(InputError, match="weight_ holds NaN"):
        Calibrator.load(tmp_path)
    path.write_bytes(b"\x80\x04")
    with pytest.raises(InputError, match="damaged"):
        Calibrator.load(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        Calibrator.load(tmp_path)


CHAINS = [("temperature-scaling", "isotonic"), ("calattn-frozen", "temperature-scaling")]


def fitted_chain(names):
    """A chain, each fitted on what those before it give; its inputs, and the probabilities that it gives."""
    chain, logits, extra = [], None, {}
    for name in names:
        one, inputs, more = fitted(name)
        if logits is None:
            logits, extra, current = inputs, more, inputs
        passed = extra if "features" in one.needs else {}
        chain.append(type(one)(**one.options()).fit(current, data()[1], **passed))
        current = chain[-1].transform(current, **passed)
    return chain, {"logits": logits, **extra}, current.double().softmax(1).float()


EXPORTED = [("temperature-scaling",), *CHAINS]
ROUNDING = {"density-aware": 1e-5, "procal": 1e-3}
"""Without export, their distances are differences of large squares where there are many rows."""
SLOWLY = [pytest.param((name,), marks=pytest.mark.slow) for name in NAMES if (name,) not in EXPORTED]


@pytest.mark.parametrize("names", [*EXPORTED, *SLOWLY], ids="+".join)
def test_the_exported_torch_module_gives_the_same(tmp_path, names, monkeypatch):
    monkeypatch.setattr("calbench.benchmark.predictions.export._write_onnx", lambda *_: None)
    chain, inputs, expected = fitted_chain(names)
    export(chain, tmp_path)
    extra = {"calbench.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        module = torch.export.load(tmp_path / "calibrator.pt2", extra_files=extra).module()
    torch.testing.assert_close(module(*inputs.values()), expected, atol=ROUNDING.get(names[0], 1e-6), rtol=0)
    assert module(*(value[:1] for value in inputs.values())).shape == (1, 4)
    record = json.loads(extra["calbench.json"])
    assert [one["name"] for one in json.loads(record["calibrators"])] == list(names)
    assert json.loads(record["classes"]) == [0, 1, 2, 3]
    loaded = load_chain(tmp_path)
    assert [one.spec.name for one in loaded] == list(names)
    for one, of_file in zip(chain, loaded, strict=True):
        assert one.fitted().keys() == of_file.fitted().keys()


FORMS = [("temperature-scaling",), ("isotonic",), ("calattn-frozen",), *CHAINS]


@pytest.mark.parametrize(
    "names", [pytest.param(one, marks=pytest.mark.slow if one != CHAINS[0] else [], id="+".join(one)) for one in FORMS]
)
def test_the_exported_onnx_model_gives_the_same(tmp_path, names):
    runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    chain, inputs, expected = fitted_chain(names)
    with contextlib.redirect_stdout(io.StringIO()):
        export(chain, tmp_path)
    session = runtime.InferenceSession(tmp_path / "calibrator.onnx")
    arrays = {key: value.numpy() for key, value in inputs.items()}
    [result] = session.run(["probabilities"], arrays)
    np.testing.assert_allclose(result, expected.numpy(), atol=2e-6)  # on the very rows that it was fitted on
    [one] = session.run(None, {key: value[:1] for key, value in arrays.items()})
    np.testing.assert_allclose(one, result[:1], atol=1e-6)
    about = session.get_modelmeta()
    assert (about.producer_name, about.graph_name) == ("calbench", "calibrator")
    assert json.loads(about.custom_metadata_map["classes"]) == [0, 1, 2, 3]
    assert [one["name"] for one in json.loads(about.custom_metadata_map["calibrators"])] == list(names)
    assert {"calbench", "torch"} <= about.custom_metadata_map.keys()


def test_export_notes_what_the_fit_warns_of(tmp_path, capsys):
    logits, labels, _ = data()
    np.savez(tmp_path / "one.npz", logits=logits, labels=0 * labels)
    assert main(["export", str(tmp_path / "one.npz"), "-m", "temperature-scaling", "-o", str(tmp_path / "o")]) == 0
    shown = capsys.readouterr().err
    assert "note: temperature-scaling: no calibration row of classes 1, 2, 3" in shown
    assert "UserWarning" not in shown


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
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "200 samples to calibrate on, 200 to test on: preds.npz, split at random with seed 0" in result.output
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert run["baseline"] == "uncalibrated"
    assert str(tmp_path) not in (tmp_path / "out/run.json").read_text()
    entries = [entry["entry"] for entry in run["entries"]]
    assert entries == ["uncalibrated", "temperature-scaling", "temperature-scaling + histogram-binning(bins=5)"]
    table = (tmp_path / "out/results.csv").read_text()
    assert all(f"{entry}" in table for entry in entries)


def test_evaluate_prints_metrics(predictions):
    result = CliRunner().invoke(app, ["evaluate", str(predictions), "--bootstrap", "20"])
    assert result.exit_code == 0, result.output
    assert "400 samples, 4 classes, 15 bins" in result.output
    assert "ECE" in result.output


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


def test_sizes_are_a_table_and_files(predictions, tmp_path, capsys):
    arguments = ["calibrate", str(predictions), "--split", "0.5", "-m", "temperature-scaling", "--bootstrap", "0"]
    assert main([*arguments, "--sizes", "20,100", "--draws", "3", "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "mean of 3 random sets" in shown
    table = pd.read_csv(tmp_path / "out" / "sizes.csv")
    assert set(table["size"]) == {20, 100}
    assert set(table["entry"]) == {"uncalibrated", "temperature-scaling"}
    assert (tmp_path / "out" / "sizes.png").stat().st_size > 1000
    assert main([*arguments, "--sizes", "20;100"]) == 2
    assert "whole numbers joined by commas" in capsys.readouterr().err


ASKED = "aurc,misclassification-auroc,nll-calibration,nll-refinement,brier-calibration,brier-refinement,top-nll-mcb"


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
