"""The suite on CalArena's files: generated files of the layout, its published values, and ranks of both."""

import hashlib

import h5py
import numpy as np
import pandas as pd
import pytest

from calbench.benchmark.cli import compare as commands_compare
from calbench.benchmark.config.cell import file_fingerprint
from calbench.benchmark.config.entry import default_calibrators
from calbench.benchmark.config.suite import PredictionSource, load_suite
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.execution.runner import RunOptions, plan_suite, run_suite
from calbench.benchmark.predictions.generated import Generated, write_generated
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.reference_ranks import rank_table
from calbench.benchmark.results.reference import load_reference

OTHER = "{path: a.h5, dataset: d, backbone: b, generated: {classes: 3}}"


def compare(*arguments):
    return commands_compare.app(list(arguments), standalone_mode=False)


@pytest.mark.slow
def test_the_smoke_form_runs_and_compare_prints_both_ranks(tmp_path, capsys):
    results = run_suite(load_suite("calarena", smoke=True), RunOptions(results_dir=str(tmp_path), jobs=1))
    assert {cell.status for cell in results.run.cells} == {"done"}
    capsys.readouterr()
    assert compare("calarena-smoke", "--results-dir", str(tmp_path), "--ranks", "--format", "csv") == 0
    lines = capsys.readouterr().out.splitlines()
    shown = pd.DataFrame([line.split(",") for line in lines[1:]], columns=lines[0].split(","))
    nll = shown[shown["metric"] == "nll"].set_index("entry")
    published = load_reference("calarena2026")
    ours = results.table.rename(columns={"value": "ours"})
    for side, values in (("published", published.rename(columns={"value": "published"})), ("ours", ours)):
        part = values[(values["metric"] == "nll") & values["entry"].isin(nll.index)]
        part = part[(part["dataset"] + part["backbone"]).isin(["c10lenet5", "dermavit"])]
        if side == "ours":
            part = part[part["split"] == "test"]
        wide = part.pivot_table(index="entry", columns=["dataset", "backbone"], values=side)
        assert wide.shape == (5, 2)
        wins = [np.mean([np.mean(wide.loc[entry, c] < wide[c].drop(entry)) for c in wide]) for entry in nll.index]
        assert nll[f"{side}_wins"].astype(float).to_numpy() == pytest.approx(100 * np.array(wins))
    assert compare("calarena-smoke", "--results-dir", str(tmp_path)) == 0
    assert "Ranks, ours and published: CalArena" in " ".join(capsys.readouterr().out.split())


def test_generated_files_have_the_layout_and_a_known_temperature(tmp_path):
    write_generated(tmp_path / "a.h5", "c10/x", Generated(classes=4, calibration=20_000, test=7))
    with h5py.File(tmp_path / "a.h5") as file:
        group = file["c10/x"]
        assert set(group) == {"probas_cal", "labels_cal", "probas_test", "labels_test"}
        p, y = group["probas_cal"][:], group["labels_cal"][:]
        assert group["probas_test"].shape == (7, 4)
    np.testing.assert_allclose(p.sum(axis=1), 1)

    def nll(temperature):
        z = np.log(p) / temperature
        return np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y])

    assert nll(2.5) < min(nll(2.2), nll(2.8))


def test_a_generated_source_is_keyed_by_its_sizes():
    source = PredictionSource(path="a.h5", dataset="d", backbone="b", generated=Generated(classes=3))
    other = source.model_copy(update={"generated": Generated(classes=4)})
    assert file_fingerprint(source) == file_fingerprint(source.model_copy(update={"path": "other.h5"}))
    assert file_fingerprint(source) != file_fingerprint(other)


def test_the_full_form_has_28_pairs_and_every_calibrator_and_says_where_the_files_belong(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    suite = load_suite("calarena")
    published = load_reference("calarena2026")
    pairs = {(source.dataset, source.backbone) for source in suite.config.predictions}
    assert len(pairs) == 28
    assert pairs == set(zip(published["dataset"], published["backbone"], strict=True))
    names = [entry.name for entry in suite.entries]
    assert set(names) >= {calibrator.spelled() for calibrator in default_calibrators()} - {"cross-entropy"}
    message = r"cv-multiclass\.h5: No such file.*huggingface\.co/datasets/probkit/CalArena.*calarena/cv-multiclass\.h5"
    with pytest.raises(InputError, match=message):
        plan_suite(suite, RunOptions(results_dir=str(tmp_path)))


def test_published_values_of_calarena():
    published = load_reference("calarena2026").set_index(["dataset", "backbone", "entry", "metric"])["value"]
    assert published["c10", "densenet40", "temperature-scaling", "nll"] == pytest.approx(0.225086, abs=1e-5)
    assert published["c10", "densenet40", "cross-entropy", "ece"] == pytest.approx(5.500684, abs=1e-5)
    assert published["imagenet", "eva", "cross-entropy", "brier"] > 0
    assert published.index.is_unique
    assert ("imagenet", "eva", "matrix-scaling", "nll") not in published.index


def test_nothing_in_common_has_no_ranks(tmp_path):
    results = run_suite(
        load_suite(
            "calarena", smoke=True, entries=["isotonic"], settings=[f"predictions=[{OTHER}]", "protocol.bootstrap=0"]
        ),
        RunOptions(results_dir=str(tmp_path), jobs=1),
    )
    assert rank_table(Report(results).view, Report(results).reference("calarena2026")) is None


def test_a_checksum_of_a_local_file_is_checked(tmp_path):
    file = tmp_path / "logits.npy"
    file.write_bytes(b"test")
    good = hashlib.sha256(b"test").hexdigest()
    source = PredictionSource(path=str(file), dataset="d", backbone="b", sha256=good)
    assert file_fingerprint(source) == file_fingerprint(source.model_copy(update={"sha256": None}))
    file.write_bytes(b"other")
    with pytest.raises(InputError, match="logits.npy: its SHA-256 is .*, the suite has 9f86"):
        file_fingerprint(source)
