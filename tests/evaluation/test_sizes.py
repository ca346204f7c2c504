"""Calibration-set-size curves: subsets, means over draws, and what they show on data of known truth."""

import numpy as np
import pandas as pd
import pytest
import torch

from calbench.benchmark.cli.main import main
from calbench.benchmark.cli.sizes import markdown
from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.evaluation.chains import apply_chain, fit_chain
from calbench.benchmark.evaluation.sizes import COLUMNS, size_curves, spread
from calbench.benchmark.execution.options import RunOptions
from calbench.benchmark.execution.runner import plan_suite
from calbench.benchmark.metrics import evaluate
from calbench.benchmark.predictions.predictions import Predictions, SplitPredictions
from calbench.methods import registry


@pytest.fixture(scope="module")
def predictions():
    rng = np.random.default_rng(0)
    z = rng.normal(scale=2, size=(6000, 5))
    y = torch.from_numpy((z + rng.gumbel(size=z.shape)).argmax(1))
    logits = torch.from_numpy(3 * z).float()
    parts = {"calibration": slice(0, 3000), "test": slice(3000, 6000)}
    return Predictions({("last", name): SplitPredictions(logits[part], y[part]) for name, part in parts.items()})


@pytest.fixture(scope="module")
def curves(predictions):
    chains = {
        "uncalibrated": (),
        "ts": (registry.create("temperature-scaling"),),
        "ms": (registry.create("matrix-scaling"),),
    }
    return size_curves(predictions, chains, [50, 3000], draws=5).set_index(["entry", "size", "metric"])


def test_the_whole_calibration_split_gives_the_ordinary_fit(curves, predictions):
    chain = fit_chain((registry.create("temperature-scaling"),), predictions["last", "calibration"])
    part = apply_chain(chain, predictions["last", "test"])
    expected = evaluate(logits=part.logits, labels=part.labels, metrics=["nll"])["nll"]
    row = curves.loc["ts", 3000, "nll"]
    assert row["value"] == pytest.approx(expected, abs=1e-9)
    assert row["draws"] == 1
    assert row["low"] == row["high"] == row["value"]


def test_few_samples_suffice_for_one_number_and_not_for_a_matrix(curves):
    nll = curves.xs("nll", level="metric")["value"]
    assert nll["ts", 50] < nll["uncalibrated", 50]
    assert nll["ms", 50] > nll["ts", 50] + 0.05
    assert abs(nll["ms", 3000] - nll["ts", 3000]) < 0.02
    spread = curves.loc["ts", 50, "nll"]
    assert spread["low"] < spread["value"] < spread["high"]


def test_no_calibration_does_not_depend_on_the_size(curves):
    nll = curves.xs("nll", level="metric")["value"]
    assert nll["uncalibrated", 50] == nll["uncalibrated", 3000]


def test_the_draws_are_the_same_for_all_entries_and_every_time(predictions):
    chains = {"a": (registry.create("temperature-scaling"),), "b": (registry.create("temperature-scaling"),)}
    first, second = (size_curves(predictions, chains, [100], draws=3) for _ in range(2))
    assert first.equals(second)
    values = first.set_index(["entry", "metric"])["value"]
    assert values["a", "nll"] == values["b", "nll"]


def test_a_size_that_fails_has_its_reason(predictions):
    class Refuses(type(registry.create("temperature-scaling"))):
        def fit(self, logits, labels):
            raise ValueError("too few samples")

    table = size_curves(predictions, {"refuses": (Refuses(),)}, [100], draws=2)
    assert set(table["reason"]) == {"too few samples"}
    assert table["value"].isna().all()


@pytest.mark.parametrize("size", [0, -1, 3001])
def test_sizes_outside_the_calibration_split_are_refused(predictions, size):
    with pytest.raises(InputError, match=f"size {size}: expected 1 to 3000"):
        size_curves(predictions, {"uncalibrated": ()}, [size])


SUITE = """
predictions:
  - {path: preds.npz, split: 0.5, dataset: d, backbone: b}
baseline: cross-entropy
entries: [cross-entropy, temperature-scaling]
seeds: 1
protocol: {name: clean, bootstrap: 0}
"""


def test_the_sizes_of_a_suite_are_a_table_and_a_figure(predictions, tmp_path, monkeypatch, capsys):
    part = predictions["last", "test"]
    np.savez(tmp_path / "preds.npz", logits=part.logits.numpy(), labels=part.labels.numpy())
    (tmp_path / "mine.yaml").write_text(SUITE)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "mine.yaml", "--results-dir", "runs", "--jobs", "1"]) == 0, capsys.readouterr().err
    assert main(["sizes", "mine.yaml", "--sizes", "100,500", "--draws", "3", "--results-dir", "runs"]) == 0
    folder = tmp_path / "runs" / "mine-sizes"
    table = (folder / "sizes.md").read_text()
    assert "temperature-scaling" in table
    assert all(column in table for column in ("100", "500"))
    assert (folder / "sizes-d-b.png").stat().st_size > 1000


@pytest.mark.slow
def test_a_suite_that_names_sizes_draws_them_after_its_tables(predictions, tmp_path, monkeypatch, capsys):
    part = predictions["last", "test"]
    np.savez(tmp_path / "preds.npz", logits=part.logits.numpy(), labels=part.labels.numpy())
    (tmp_path / "plain.yaml").write_text(SUITE)
    (tmp_path / "mine.yaml").write_text(SUITE + "sizes: [100, 500, 90000]\n")
    monkeypatch.chdir(tmp_path)
    assert main(["run", "mine.yaml", "--results-dir", "runs", "--jobs", "1"]) == 0, capsys.readouterr().err
    assert "sizes-d-b.png" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "runs" / "mine" / "sizes.csv")
    assert set(table["size"]) == {100, 500, 90000}
    known = table[table["size"] == 100]
    assert set(known["metric"]) == {"nll", "debiased-ece", "accuracy"}
    assert (known["low"] <= known["high"]).all()
    larger = table[table["size"] == 90000]
    assert larger["value"].isna().all()
    assert set(larger["reason"]) == {"the calibration split has only 1,500 samples"}
    assert "the calibration split has only 1,500 samples" in (tmp_path / "runs" / "mine" / "sizes.md").read_text()
    assert main(["sizes", "mine.yaml", "--sizes", "100,500,90000", "--results-dir", "runs"]) == 0
    same = pd.read_csv(tmp_path / "runs" / "mine-sizes" / "sizes.csv")
    pd.testing.assert_frame_equal(table, same)


def test_sizes_are_no_part_of_the_keys_of_cells_and_must_be_positive(predictions, tmp_path):
    part = predictions["last", "test"]
    np.savez(tmp_path / "preds.npz", logits=part.logits.numpy(), labels=part.labels.numpy())
    keys = []
    for name, more in (("plain", ""), ("mine", "sizes: [100, 500]\n")):
        path = tmp_path / f"{name}.yaml"
        path.write_text(SUITE.replace("preds.npz", str(tmp_path / "preds.npz")) + more)
        keys.append([work.cell.key for work in plan_suite(load_suite(str(path)), RunOptions(str(tmp_path)))])
    assert keys[0] == keys[1]
    path.write_text(SUITE + "sizes: [100, 0]\n")
    with pytest.raises(InputError, match=r"mine.yaml, line 8: sizes.*0"):
        load_suite(str(path))


def test_what_failed_is_in_the_table_with_its_reason():
    rows = [["ts", 100, "nll", 2, 0.5, 0.4, 0.6, ""], ["ms", 100, "nll", 0, np.nan, np.nan, np.nan, "too few rows"]]
    shown = markdown(pd.DataFrame(rows, columns=COLUMNS), "")
    assert "0.5000 (0.4000 to 0.6000)" in shown
    assert "- ms, 100 samples: failed: too few rows" in shown


def test_fewer_than_twenty_draws_have_the_range_of_all_and_more_their_quantiles():
    assert spread([float(n) for n in range(19)]) == (0, 18)
    assert spread([float(n) for n in range(41)]) == (1, 39)


@pytest.mark.slow
def test_networks_of_which_only_ensembles_are_entries_have_no_curve(tiny, run, tmp_path):
    from calbench.benchmark.cli.sizes import suite_curves
    from calbench.benchmark.config.suite import load_suite
    from calbench.benchmark.execution.options import RunOptions

    settings = ["entries=[cross-entropy, focal + ensemble]", "baseline=cross-entropy", "seeds=2"]
    run(tiny, settings=settings)
    options = RunOptions(results_dir=str(tmp_path / "results"))
    table = suite_curves(load_suite(tiny, settings=settings), options, [100], draws=2)
    assert set(table["entry"]) == {"cross-entropy", "focal + ensemble"}
    assert table["value"].notna().all()


@pytest.mark.slow
def test_curves_are_written_to_an_address_and_for_names_with_a_slash(predictions, tmp_path, monkeypatch, capsys):
    from calbench.benchmark.store.folder import Folder

    part = predictions["last", "test"]
    np.savez(tmp_path / "preds.npz", logits=part.logits.numpy(), labels=part.labels.numpy())
    (tmp_path / "mine.yaml").write_text(SUITE.replace("backbone: b", 'backbone: "me/net"'))
    monkeypatch.chdir(tmp_path)
    place = ["--results-dir", f"memory://{tmp_path.name}"]
    assert main(["run", "mine.yaml", "--jobs", "1", *place]) == 0, capsys.readouterr().err
    assert main(["sizes", "mine.yaml", "--sizes", "100", "--draws", "2", *place]) == 0, capsys.readouterr().err
    folder = Folder(place[1])
    assert folder.exists("mine-sizes/sizes.csv")
    assert folder.exists("mine-sizes/sizes-d-me-net.png")
    assert not (tmp_path / "memory:").exists()
