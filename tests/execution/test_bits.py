"""What docs/scale.md promises of the bits of a result; jobs, Dask and kills are in test_local and test_endurance."""

import joblib
import pytest
import torch

from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.execution import work
from calbench.benchmark.execution.options import RunOptions
from calbench.benchmark.execution.runner import plan_suite
from calbench.benchmark.store.store import Store

NUMBERS = ["value", "low", "high"]


@pytest.mark.slow
def test_a_part_that_is_computed_again_has_the_same_bits(trained, tiny, run, tmp_path):
    store = Store(tmp_path / "results")
    before = {key: store.predictions(key) for key in store.cells()}
    assert len(before) == 2
    for key, predictions in before.items():
        store.forget(key)
        again = run(tiny)
        assert again.table.equals(trained.table)
        for address, part in predictions.splits.items():
            assert torch.equal(part.logits, store.predictions(key).splits[address].logits)


def test_threads_are_part_of_the_key_and_jobs_are_not(tiny, tmp_path):
    def keys(jobs, *settings):
        options = RunOptions(results_dir=str(tmp_path), jobs=jobs)
        return [each.cell.key for each in plan_suite(load_suite(tiny, settings=settings), options)]

    assert keys(1) == keys(2) == keys(2, "training.threads=1")
    assert not set(keys(1)) & set(keys(1, "training.threads=2"))


def test_large_predictions_evaluated_with_all_threads_agree_within_the_stated_tolerance(
    trained, tiny, run, tmp_path, monkeypatch
):
    used, threads = [], work.threads
    monkeypatch.setattr(work, "LARGE_BYTES", 0)
    monkeypatch.setattr(work, "threads", lambda count: used.append(count) or threads(2))
    for path in (tmp_path / "results").glob("cache/*/evaluation-*"):
        path.unlink()
    large = run(tiny)
    assert used == [joblib.cpu_count()] * 2, "two cells are evaluated, none is trained"
    assert large.table.drop(columns=NUMBERS).equals(trained.table.drop(columns=NUMBERS))
    for name in NUMBERS:
        assert large.table[name].to_numpy() == pytest.approx(trained.table[name].to_numpy(), rel=1e-5, nan_ok=True)
