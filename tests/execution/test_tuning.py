import pytest
import torch
from torch.nn import functional

from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.core.folds import stratified_folds
from calbench.benchmark.evaluation.tuning import score_record, tuning_score
from calbench.benchmark.predictions.predictions import Predictions, SplitPredictions
from calbench.benchmark.store.store import Store
from calbench.methods import registry

SUITE = """\
title: Tuned
datasets: [digits]
backbones:
  - vit-micro(width=16, heads=2, depth=1)
entries: [cross-entropy, {methods: [focal], tune: {focal: {gamma: [0.5, 8]}}}, histogram-binning]
tune: 2
seeds: [0, 1]
protocol: {name: clean, calibration_fraction: 0.2, bootstrap: 20}
training: {epochs: 2, batch_size: 128, lr: 0.01, augment: false}
"""


def split(rows=400, classes=4):
    generator = torch.Generator().manual_seed(0)
    true = 2 * torch.randn(rows, classes, generator=generator)
    return SplitPredictions(3 * true, torch.multinomial(true.softmax(1), 1, generator=generator).squeeze(1))


def test_the_score_without_calibrators_is_the_nll():
    part = split()
    assert tuning_score(part, ()) == pytest.approx(float(functional.cross_entropy(part.logits, part.labels)), rel=1e-6)


def test_calibrators_are_judged_on_rows_that_they_were_not_fitted_on():
    part = split()
    plain, overfit = registry.create("matrix-scaling"), registry.create("isotonic")
    folds, total = stratified_folds(part.labels, 5).numpy(), 0.0
    for k in range(5):
        fit, held = torch.from_numpy(folds != k), torch.from_numpy(folds == k)
        result = registry.create("matrix-scaling").fit(part.logits[fit], part.labels[fit]).transform(part.logits[held])
        total += float(functional.cross_entropy(result.double(), part.labels[held], reduction="sum"))
    assert tuning_score(part, (plain,)) == pytest.approx(total / 400, rel=1e-6)
    seen = functional.cross_entropy(overfit.fit(part.logits, part.labels).transform(part.logits), part.labels)
    assert tuning_score(part, (registry.create("isotonic"),)) > float(seen)


def test_the_best_trial_by_the_calibration_split_stands_in_the_results(run, tmp_path):
    path = tmp_path / "tuned.yaml"
    path.write_text(SUITE)
    results = run(str(path))
    assert {cell["status"] for cell in results.run["cells"]} == {"done"}
    assert len(results.run["cells"]) == 2 * 3
    names = [entry["entry"] for entry in results.run["entries"]]
    assert names == ["cross-entropy", "focal (best of 2)", "histogram-binning (best of 2)"]
    assert set(results.table.entry) == set(names)
    tuned = results.table[(results.table.entry == "focal (best of 2)") & (results.table.metric == "nll")]
    assert len(tuned) == 2
    store = Store(str(tmp_path / "results"))
    for seed in (0, 1):
        scores = {}
        for cell in results.run["cells"]:
            if cell["seed"] == seed and cell["recipe"].startswith("focal"):
                predictions = store.predictions(cell["key"])
                scores[cell["recipe"]] = (
                    tuning_score(predictions["last", "calibration"], ()),
                    tuning_score(predictions["last", "test"], ()),
                )
        assert len(scores) == 2
        expected = min(scores.values())[1]
        assert float(tuned[tuned.seed == seed].value.iloc[0]) == pytest.approx(expected, rel=1e-5)
    assert any(
        note.startswith("focal (best of 2): lowest NLL of the calibration split") for note in results.run["notes"]
    )
    assert any(line.startswith("Best of n") for line in results.run["protocol_text"])
    assert list(results.run["entries"][1]["trials"]) == ["gamma = 0.5", "gamma = 8"]
    assert results.run["entries"][1]["label"].endswith("(best of 2)")


def test_the_score_of_a_trial_does_not_read_the_test_split():
    part, test = split(), split(90)
    order = torch.randperm(len(test.labels), generator=torch.Generator().manual_seed(1))
    permuted = SplitPredictions(test.logits, test.labels[order])
    protocol, chains = Protocol(bootstrap=0), [(), (registry.create("temperature-scaling"),)]
    for chain in chains:
        scores = [
            score_record(Predictions({("last", "calibration"): part} | tests), chain, protocol)["score"]
            for tests in ({("last", "test"): test}, {("last", "test"): permuted}, {})
        ]
        assert scores[0] == scores[1] == scores[2]


@pytest.mark.slow
def test_a_trial_whose_evaluation_is_damaged_is_evaluated_again(run, tmp_path):
    path = tmp_path / "tuned.yaml"
    path.write_text(SUITE.replace("[0, 1]", "[0]"))
    before = run(str(path))
    store = Store(str(tmp_path / "results"))
    key = next(cell["key"] for cell in before.run["cells"] if cell["recipe"].startswith("focal"))
    damaged = sorted((tmp_path / "results" / "cache" / key).glob("*evaluation*"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-20])
    (tmp_path / "results" / "tuned" / "run.json").unlink()  # so that the results are collected again
    after = run(str(path))
    assert {cell["status"] for cell in after.run["cells"]} == {"done"}
    assert after.table.equals(before.table)
    assert store.status(key) == "done"
