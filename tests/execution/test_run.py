import numpy as np
import pytest
import torch

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.results.results import Results
from calbench.benchmark.store.store import Store


def test_a_run_leaves_tables_predictions_and_its_record(trained, tmp_path, statuses, value):
    results = trained
    assert statuses(results) == ["done", "done"]
    assert set(results.table.entry) == {"cross-entropy", "temperature-scaling", "calattn(hidden=8)"}
    assert value(results, "cross-entropy", "accuracy") == value(results, "temperature-scaling", "accuracy")
    assert value(results, "temperature-scaling", "nll") != value(results, "cross-entropy", "nll")
    loaded = Results.load(tmp_path / "results" / "tiny")
    np.testing.assert_allclose(loaded.table.value.astype(float), results.table.value.astype(float))
    assert loaded.run["baseline"] == "cross-entropy"
    assert len(loaded.diagrams) == 3
    text = (tmp_path / "results" / "tiny" / "run.json").read_text()
    assert str(tmp_path) not in text
    assert loaded.curves[0]["epochs"][1]["epoch"] == 2


def test_every_comparison_has_its_interval_and_a_verdict(tiny, run):
    """They come from replicates in the store: were those not found, a table without intervals would look finished."""
    comparisons = run(tiny, settings=["protocol.bootstrap=50"]).comparisons
    ece = comparisons[comparisons.metric == "ece"]
    assert len(ece) == 3
    assert ece[["low", "high", "change_low", "change_high", "reduction_low", "reduction_high"]].notna().all(axis=None)
    assert (ece.low <= ece.high).all()
    assert ece[["differs", "tied_with_best", "calibrated"]].isin([True, False]).all(axis=None)


def test_every_number_follows_from_the_stored_predictions(trained, tmp_path, value):
    results = trained
    cell = next(cell for cell in results.run["cells"] if cell["recipe"] == "cross-entropy")
    part = Store(tmp_path / "results").predictions(cell["key"])["last", "test"]
    logits, labels = part.logits.double(), part.labels
    nll = torch.nn.functional.cross_entropy(logits, labels).item()
    assert value(results, "cross-entropy", "nll")[0] == pytest.approx(nll, rel=1e-6)
    accuracy = 100 * (logits.argmax(1) == labels).double().mean().item()
    assert value(results, "cross-entropy", "accuracy")[0] == pytest.approx(accuracy, rel=1e-9)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_predictions(tiny, run, tmp_path):
    tables = [run(tiny, results_dir=tmp_path / name, entries=["mixup"]).table for name in "ab"]
    assert tables[0].equals(tables[1])


def test_a_diverged_cell_is_a_failure_with_its_reason_and_the_others_go_on(tiny, run, tmp_path, statuses, forgotten):
    (tmp_path / "explode.py").write_text(
        "from dataclasses import dataclass\n"
        "from calbench.methods import Objective, register\n"
        "@register('explode')\n"
        "@dataclass\n"
        "class Explode(Objective):\n"
        "    '''nan'''\n"
        "    def loss(self, outputs, targets):\n"
        "        return outputs.logits.mean() * float('nan')\n"
    )
    from calbench.benchmark.core.registry import Plugin

    Plugin.load(tmp_path / "explode.py")
    results = run(tiny, entries=["explode", "cross-entropy"])
    assert sorted(statuses(results)) == ["done", "failed"]
    failed = next(cell for cell in results.run["cells"] if cell["status"] == "failed")
    assert failed["reason"] == "the training diverged: the loss is nan in epoch 1"
    assert "explode" not in set(results.table.entry)
    store = Store(tmp_path / "results")
    assert "Traceback" in store.failure(failed["key"])["traceback"]
    again = run(tiny, entries=["explode", "cross-entropy"])
    assert sorted(statuses(again)) == ["done", "failed"]


@pytest.mark.slow
def test_an_entry_that_cannot_be_fitted_is_a_gap_with_its_reason(tiny, run, tmp_path, statuses, forgotten):
    (tmp_path / "refuse.py").write_text(
        "from dataclasses import dataclass\n"
        "from calbench.methods import Calibrator, register\n"
        "@register('refuse')\n"
        "@dataclass\n"
        "class Refuse(Calibrator):\n"
        "    '''no'''\n"
        "    def fit(self, logits, labels):\n"
        "        raise ValueError('too few samples')\n"
        "    def transform(self, logits):\n"
        "        return logits\n"
    )
    from calbench.benchmark.core.registry import Plugin

    Plugin.load(tmp_path / "refuse.py")
    results = run(tiny, entries=["refuse"])
    assert statuses(results) == ["failed"]
    assert "refuse: too few samples" in results.run["cells"][0]["reason"]
    assert set(results.table.entry) == {"cross-entropy"}


@pytest.mark.slow
def test_the_oracle_is_a_row_where_the_truth_is_known(tiny, run, value):
    results = run(tiny, settings=["datasets=['overlap(train=300, test=400)']"])
    assert {"oracle-kl", "oracle-ece"} <= set(results.table.metric)
    assert value(results, "oracle", "oracle-kl")[0] == pytest.approx(0, abs=1e-9)
    assert value(results, "oracle", "accuracy")[0] > value(results, "cross-entropy", "accuracy")[0]
    assert value(results, "cross-entropy", "oracle-kl")[0] > 0.01


@pytest.mark.slow
def test_curves_go_to_tensorboard_where_it_is_asked_for(tiny, run, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    results = run(tiny, entries=["cross-entropy"], tensorboard=True)
    folder = next((tmp_path / "results" / "tensorboard").iterdir())
    events = EventAccumulator(str(folder)).Reload()
    written = [event.value for event in events.Scalars("loss")]
    assert written == pytest.approx([epoch["loss"] for epoch in results.curves[0]["epochs"]], rel=1e-6)


@pytest.mark.slow
def test_files_of_predictions_stand_beside_trained_models(tiny, run, tmp_path):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(400, 10, generator=generator)
    labels = torch.distributions.Categorical(logits=logits / 2.5).sample()
    np.savez(tmp_path / "mine.npz", logits=logits.numpy(), labels=labels.numpy())
    source = f"predictions=[{{path: {tmp_path}/mine.npz, dataset: digits, backbone: resnet}}]"
    results = run(tiny, settings=[source], seeds=[0, 1])
    table = results.table[results.table.backbone == "resnet"]
    assert set(table.entry) == {"cross-entropy", "temperature-scaling"}
    assert set(table.seed) == {0, 1}
    fitted = table[(table.metric == "temperature") & (table.entry == "temperature-scaling")].value
    assert fitted.between(2.0, 3.2).all()
    assert "predictions read from mine.npz" in " ".join(results.run["notes"])
    assert str(tmp_path) not in str(results.run)
    assert results.run["config"]["predictions"][0]["path"] == "mine.npz"
    with pytest.raises(InputError, match="predictions none.npz"):
        run(tiny, settings=["predictions=[{path: none.npz, dataset: digits, backbone: x}]"])


def test_paths_are_cut_to_their_last_part_and_nothing_else():
    from calbench.benchmark.core.text import without_paths

    given = {
        "a": ["image-folder(path=/home/me/x.d, size=8)", "/a/b", "1/2 and 3 / 4", "a / b", "~/z"],
        "n": 1,
        "/k": "x",
    }
    assert without_paths(given) == {
        "a": ["image-folder(path=x.d, size=8)", "b", "1/2 and 3 / 4", "a / b", "z"],
        "n": 1,
        "/k": "x",
    }
