"""Shifted and out-of-distribution splits of a suite: predicted once, evaluated for every entry, no part of a key."""

import numpy as np
import pytest
import torch
from kept_weights import predict_splits

from calbench.benchmark import metrics
from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.corruptions import corrupt
from calbench.benchmark.data.splits import prepare_data
from calbench.benchmark.execution.runner import RunOptions, plan_suite, run_suite
from calbench.benchmark.store.store import Store

SHIFT = "shift={corruptions: [gaussian-noise, contrast], severities: [1, 5]}"
OOD = "ood={near: [{overlap: {test: 200, train: 200}}], held-out-classes: [3, 5]}"


def evaluate(results, entry, split):
    table = results.table
    rows = table[(table.entry == entry) & (table.split == split)]
    return dict(zip(rows.metric, rows.value, strict=True))


def options(tmp_path, **changed):
    return RunOptions(results_dir=str(tmp_path / "results"), jobs=1, **changed)


def plan_of(tiny, tmp_path, *settings):
    suite = load_suite(tiny, settings=settings)
    return plan_suite(suite, options(tmp_path))


def test_shift_is_evaluated_for_every_entry_from_the_corrupted_test_images(tiny, run, tmp_path):
    results = run(tiny, settings=[SHIFT, "keep=weights"])
    assert {cell["status"] for cell in results.run["cells"]} == {"done"}
    splits = set(results.table.split)
    assert splits == {
        "test", *(f"shift-{c}-{s}" for c in ("gaussian-noise", "contrast") for s in (1, 5)),
        *(f"shift-severity-{s}" for s in (0, 1, 5)),
    }  # fmt: skip
    work = plan_of(tiny, tmp_path, SHIFT)[0]
    store, test = Store(tmp_path / "results"), prepare_data(work.cell, RunOptions().data_root).evaluated["test"]
    noisy = corrupt(test.images, "gaussian-noise", 5, scale=32)
    again = predict_splits(work.cell, store, {"noisy": type(test)(noisy, test.labels)})["last", "noisy"]
    expected = metrics.evaluate(logits=again.logits, labels=again.labels)
    values = evaluate(results, "cross-entropy", "shift-gaussian-noise-5")
    assert {name: values[name] for name in expected} == pytest.approx(expected)
    clean, zero = (evaluate(results, "temperature-scaling", split) for split in ("test", "shift-severity-0"))
    assert {name: clean[name] for name in zero} == pytest.approx(zero)
    for entry in ("cross-entropy", "temperature-scaling", "calattn(hidden=8)"):
        parts = [evaluate(results, entry, f"shift-{c}-5")["nll"] for c in ("gaussian-noise", "contrast")]
        assert evaluate(results, entry, "shift-severity-5")["nll"] == pytest.approx(np.mean(parts))
    rows = results.comparisons[
        (results.comparisons.split == "shift-severity-5") & (results.comparisons.metric == "nll")
    ]
    assert (rows.low < rows.value).all()
    assert (rows.value < rows.high).all()
    assert any("generated corruptions" in line for line in results.run["protocol_text"])


def test_further_splits_are_no_part_of_a_key(tiny, tmp_path):
    plain, shifted = plan_of(tiny, tmp_path), plan_of(tiny, tmp_path, SHIFT, "ood={far: [overlap]}")
    assert [work.cell.key for work in plain] == [work.cell.key for work in shifted]
    assert len(shifted[0].extra.splits) == 5
    assert len({split.key for split in shifted[0].extra.splits}) == 5
    more = plan_of(tiny, tmp_path, "shift={corruptions: [gaussian-noise, contrast, fog], severities: [1, 5]}")
    keys = [
        {split.key for split in work.extra.splits if split.name.startswith("shift")} for work in (shifted[0], more[0])
    ]
    assert keys[0] < keys[1]


@pytest.mark.slow
def test_a_further_corruption_is_predicted_from_kept_weights_without_training(tiny, run, tmp_path, monkeypatch):
    run(tiny, settings=[SHIFT, "keep=weights"])
    store = Store(tmp_path / "results")
    before = {key: store.manifest(key)["created"] for key in store.cells()}
    monkeypatch.setattr("calbench.benchmark.training.trainer.train_cell", None)
    more = "shift={corruptions: [gaussian-noise, contrast, fog], severities: [1, 5]}"
    results = run(tiny, settings=[more, "keep=weights"])
    assert not np.isnan(evaluate(results, "temperature-scaling", "shift-fog-5")["nll"])
    assert {key: store.manifest(key)["created"] for key in store.cells()} == before
    assert store.verify() == []
    monkeypatch.setattr("calbench.benchmark.training.extra_splits.predict_extra", None)
    assert len(run(tiny, settings=[more, "keep=weights"]).table) == len(results.table)


@pytest.mark.slow
def test_a_cell_trained_without_its_weights_says_so_in_one_line_with_the_remedy(tiny, run):
    run(tiny)
    results = run(tiny, settings=[SHIFT])
    assert {cell["status"] for cell in results.run["cells"]} == {"done"}
    assert set(results.table.split) == {"test"}
    (note,) = [note for note in results.run["notes"] if "keep: weights" in note]
    assert "missing in 3 evaluation(s)" in note
    assert "--cache refresh" in note
    assert "shift-contrast-5" in set(run(tiny, settings=[SHIFT], cache="refresh").table.split)


@pytest.mark.slow
def test_splits_are_predicted_in_the_pass_of_training_where_weights_are_not_kept(tiny, run, tmp_path):
    results = run(tiny, settings=[SHIFT])
    assert "shift-severity-5" in set(results.table.split)
    store = Store(tmp_path / "results")
    assert all("weights" not in store.manifest(key) for key in store.cells())


@pytest.mark.slow
def test_held_out_classes_and_other_datasets_are_out_of_distribution(tiny, run):
    results = run(tiny, settings=[OOD, "training.epochs=6"])
    assert set(results.table.dataset) == {"digits-without-3-5"}
    values = evaluate(results, "cross-entropy", "ood-near-held-out-classes")
    assert values["auroc-max-softmax"] > 55
    assert {"auroc-mahalanobis", "fpr95-nearest-neighbours", "aupr-in-energy", "scod"} <= set(values)
    assert "auroc-learned-temperature" not in values
    assert "auroc-learned-temperature" in evaluate(results, "calattn(hidden=8)", "ood-near-held-out-classes")
    both = [
        evaluate(results, "cross-entropy", f"ood-near-{n}")
        for n in ("held-out-classes", "overlap(train=200, test=200)")
    ]
    mean = np.mean([one["auroc-energy"] for one in both])
    assert evaluate(results, "cross-entropy", "ood-near")["auroc-energy"] == pytest.approx(mean)
    before = evaluate(results, "temperature-scaling", "ood-near-uncalibrated")
    plain = evaluate(results, "cross-entropy", "ood-near")
    assert before["auroc-energy"] == pytest.approx(plain["auroc-energy"])
    assert evaluate(results, "temperature-scaling", "ood-near")["auroc-energy"] != before["auroc-energy"]
    assert any("held out of training" in line for line in results.run["protocol_text"])


@pytest.mark.slow
def test_calibrators_can_be_fitted_on_a_shifted_calibration_split(tiny, run):
    clean = run(tiny, settings=[SHIFT, "keep=weights"], entries=["temperature-scaling"])
    fitted_on = SHIFT.replace("}", ", fit-on: gaussian-noise-5}")
    shifted = run(tiny, settings=[fitted_on, "keep=weights"], entries=["temperature-scaling"])
    one, other = (evaluate(r, "temperature-scaling", "shift-severity-5")["nll"] for r in (clean, shifted))
    assert one != other
    assert evaluate(clean, "temperature-scaling", "test") == evaluate(shifted, "temperature-scaling", "test")
    assert any("the calibration split under gaussian-noise-5" in line for line in shifted.run["protocol_text"])


@pytest.mark.slow
def test_one_bad_patch_changes_few_predictions(tiny, run):
    patches = "shift={patches: {grid: 4, positions: 3}}"
    results = run(tiny, settings=[patches], entries=["cross-entropy"])
    values = evaluate(results, "cross-entropy", "shift-patch")
    assert 0 <= values["changed-predictions"] < 50
    assert sum(split.startswith("shift-patch-") for split in set(results.table.split)) == 3


@pytest.mark.slow
def test_a_calibrator_that_reads_features_is_evaluated_on_shifted_splits(tiny, run):
    results = run(tiny, settings=[SHIFT], entries=["calattn-frozen(hidden=4, steps=20)"])
    assert not np.isnan(evaluate(results, "calattn-frozen(hidden=4, steps=20)", "shift-severity-5")["nll"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("shift={corruptions: [fogg]}", "unknown corruption 'fogg' (did you mean 'fog'?)"),
        ("shift={corruptions: fog, severities: [6]}", "corruption fog: severity 6 does not exist; use 1 to 5"),
        ("shift={corruptions: saturate}", "corruption saturate: images have 1 channel(s), and it is defined for 3"),
        ("shift={corruption: fog}", "unknown option"),
        ("shift={corruptions: fog, fit-on: fog}", "fit-on: expected <corruption>-<severity>"),
        ("shift={patches: {grid: 3}}", "8 pixels cannot be cut into 3 x 3 patches"),
        ("ood={near: [mnst]}", "unknown dataset 'mnst' (did you mean 'mnist'?)"),
        ("ood={near: [mnist], far: [mnist]}", "'mnist' is named twice"),
        ("ood={held-out-classes: [3, 10]}", "digits has no class 10 to hold out; its classes are 0 to 9"),
        ("ood={held-out-classes: [0, 1, 2, 3, 4, 5, 6, 7, 8]}", "1 class(es) would be left"),
    ],
)
def test_bad_options_are_refused_before_anything_trains(tiny, setting, message):
    with pytest.raises(InputError) as error:
        load_suite(tiny, settings=[setting])
    assert message in str(error.value)
    assert f"--set {setting.partition('=')[0]}" in str(error.value)


@pytest.mark.slow
def test_a_set_whose_files_are_missing_leaves_the_cell_done_and_is_tried_again(tiny, run, tmp_path, monkeypatch):
    broken = "calbench.benchmark.data.extra_splits.corrupt"
    monkeypatch.setattr(broken, lambda *a, **k: (_ for _ in ()).throw(InputError("files of the set are missing")))
    results = run(tiny, settings=[SHIFT], entries=["cross-entropy"])
    assert {cell["status"] for cell in results.run["cells"]} == {"done"}
    assert any("files of the set are missing" in note for note in results.run["notes"])
    monkeypatch.undo()
    suite = load_suite(tiny, settings=[SHIFT], entries=["cross-entropy"])
    again = run_suite(suite, options(tmp_path, retry_failed=True))
    assert "shift-severity-5" in set(again.table.split)


@pytest.mark.slow
def test_a_damaged_split_is_predicted_again_and_the_cell_stays(tiny, run, tmp_path):
    settings = [SHIFT, "keep=weights"]
    run(tiny, settings=settings, entries=["cross-entropy"])
    store = Store(tmp_path / "results")
    (key,) = store.cells()
    created = store.manifest(key)["created"]
    split = plan_of(tiny, tmp_path, SHIFT)[0].extra.splits[0]
    file = tmp_path / "results" / "cache" / key / f"split-{split.key}.safetensors"
    file.write_bytes(file.read_bytes()[:-7])
    assert [finding.remedy for finding in store.verify()] == [file.name]
    results = run(tiny, settings=[*settings, "protocol.bins=10"], entries=["cross-entropy"])
    assert split.name in set(results.table.split)
    assert store.verify() == []
    assert store.manifest(key)["created"] == created


@pytest.mark.slow
def test_predictions_are_finite_and_memory_holds_one_split(tiny, run, tmp_path):
    run(tiny, settings=[SHIFT], entries=["cross-entropy"])
    (work,) = plan_of(tiny, tmp_path, SHIFT)[:1]
    from calbench.benchmark.store.splits import read_split

    part = read_split(Store(tmp_path / "results"), work.cell.key, work.extra.splits[0].key)["last"]
    assert part.features is None
    assert torch.isfinite(part.logits).all()
