import shutil

import pytest
import torch
from kept_weights import predict_splits

from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.data.splits import prepare_data
from calbench.benchmark.execution.runner import RunOptions, plan_suite, run_suite
from calbench.benchmark.store.names import DamagedError
from calbench.benchmark.store.store import Store
from calbench.benchmark.store.weights import WeightsNotKeptError, read_weights
from calbench.benchmark.training.devices import make_devices
from calbench.benchmark.training.prediction import load_classifier

KEEP = "keep=weights"
TWO_RULES = "protocol.also_checkpoints=[best-nll]"


@pytest.fixture(scope="module")
def trained_with_a_head(tmp_path_factory, text_of_tiny):
    """A suite with a cell with a head, trained under two checkpoint rules, and its results with the weights."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "tiny.yaml").write_text(text_of_tiny)
    settings = [KEEP, TWO_RULES, "training.epochs=3"]
    suite = load_suite(str(folder / "tiny.yaml"), settings=settings, entries=["calattn(hidden=8)"])
    run_suite(suite, RunOptions(results_dir=str(folder / "results"), jobs=1))
    return suite, folder / "results"


@pytest.fixture
def kept(trained_with_a_head, tmp_path):
    """The store, a copy to change, the cell with the head, and where its data are."""
    suite, results = trained_with_a_head
    shutil.copytree(results, tmp_path / "results")
    options = RunOptions(results_dir=str(tmp_path / "results"))
    cells = {work.cell.recipe.head is not None: work.cell for work in plan_suite(suite, options)}
    return Store(options.results_dir), cells[True], options.data_root


def test_kept_weights_give_the_same_bits_without_training(kept, tmp_path):
    store, cell, root = kept
    trained = store.predictions(cell.key)
    again = predict_splits(cell, store, prepare_data(cell, root).evaluated)
    assert set(again.splits) == set(trained.splits)
    for key, part in trained.splits.items():
        for name, tensor in part.tensors().items():
            assert torch.equal(getattr(again[key], name), tensor), (key, name)
    assert store.verify() == []


def test_every_rule_keeps_its_own_weights_and_loading_draws_no_random_number(kept):
    store, cell, _ = kept
    state = torch.get_rng_state()
    last = load_classifier(cell, store, "last", make_devices("cpu", "float32"))
    assert torch.equal(torch.get_rng_state(), state)
    assert last.training is False
    assert read_weights(store, cell.key, "best-nll").keys() == last.state_dict().keys()
    with pytest.raises(WeightsNotKeptError, match="best-ece"):
        read_weights(store, cell.key, "best-ece")


def test_keeping_weights_changes_no_key(tiny):
    options = RunOptions()
    plain, keeping = (plan_suite(load_suite(tiny, settings=s), options) for s in ([], [KEEP]))
    assert [work.cell.key for work in plain] == [work.cell.key for work in keeping]


def test_weights_that_were_not_kept_are_asked_for_with_what_to_do(tiny, run, tmp_path):
    run(tiny, entries=["cross-entropy"])
    store = Store(tmp_path / "results")
    with pytest.raises(WeightsNotKeptError, match=r"keep: weights.*--cache refresh"):
        read_weights(store, store.cells()[0], "last")
    with pytest.raises(InputError, match="keep"):
        load_suite(tiny, settings=["keep=everything"])


def test_damaged_weights_are_found_and_only_they_are_removed(kept):
    store, cell, _ = kept
    file = store.folder.local_path(f"cache/{cell.key}/weights.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(DamagedError, match="weights"):
        read_weights(store, cell.key, "last")
    assert [(finding.key, finding.remedy) for finding in store.verify()] == [(cell.key, file.name)]
    assert store.prune() == []
    assert store.status(cell.key) == "done"
    assert store.verify() == []
    with pytest.raises(WeightsNotKeptError, match="removed"):
        read_weights(store, cell.key, "last")
