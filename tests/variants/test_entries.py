import numpy as np
import pytest
import torch

from calbench.benchmark.config.derived_cell import EnsembleCell, VariantCell
from calbench.benchmark.config.entry import parse_entry
from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.execution.runner import RunOptions, plan_suite
from calbench.benchmark.store.store import Store

KEEP = "keep=weights"
TWO_SEEDS = "seeds=[0, 1]"
SHARED = "protocol.calibration_seed=0"


def planned(tiny, entries, settings=()):
    suite = load_suite(tiny, settings=[KEEP, *settings], entries=entries)
    return [work.cell for work in plan_suite(suite, RunOptions())]


def test_an_entry_reads_back_and_names_its_parts_in_order():
    entry = parse_entry(
        "focal + attention-temperature(temperature=1.2) + temperature-scaling + ensemble + vector-scaling"
    )
    assert [part.spec.name for part in entry.methods] == [
        "focal",
        "attention-temperature",
        "temperature-scaling",
        "ensemble",
        "vector-scaling",
    ]
    assert parse_entry(entry.name).name == entry.name
    assert entry.calibrator_name == "vector-scaling"
    assert parse_entry("attention-temperature(temperature=2.0)").name == "attention-temperature(temperature=2.0)"
    assert parse_entry("temperature-scaling").derivation == ()
    grid = "attention-temperature(grid=[0.5, 1.0])"
    assert parse_entry(grid).name == parse_entry(parse_entry(grid).name).name == grid


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("temperature-scaling + mc-dropout", "comes before temperature-scaling"),
        ("ensemble + mc-dropout", "pooling comes last"),
        ("mc-dropout + test-time-augmentation", "both average"),
        ("mc-dropout + mc-dropout(n=3)", "at most once"),
        ("atention-temperature(temperature=2)", "attention-temperature"),
    ],
)
def test_what_cannot_work_is_refused(spec, message):
    with pytest.raises(InputError, match=message):
        parse_entry(spec)


@pytest.mark.parametrize(
    ("entry", "settings", "message"),
    [
        ("mc-dropout(rate=0.1)", [], "keep: weights"),
        ("ensemble", [], r"pools more seeds than the suite has \(1\)"),
        ("ensemble(members=3)", [TWO_SEEDS], "pools more"),
        ("ensemble + temperature-scaling", [TWO_SEEDS], "calibration_seed"),
        ("test-time-augmentation", [KEEP], "padding=1"),
    ],
)
def test_a_suite_is_refused_before_it_runs(tiny, entry, settings, message):
    with pytest.raises(InputError, match=message):
        load_suite(tiny, settings=settings, entries=[entry])


def test_trained_cells_keep_their_keys_and_variants_come_behind_them(tiny):
    plain = planned(tiny, ["cross-entropy"])
    cells = planned(tiny, ["cross-entropy", "attention-temperature(temperature=2.0) + temperature-scaling"])
    assert [cell.key for cell in cells][:1] == [cell.key for cell in plain]
    assert isinstance(cells[1], VariantCell)
    assert cells[1].key.startswith(plain[0].key + "-")
    again = planned(tiny, ["cross-entropy", "attention-temperature(temperature=3.0)"])
    assert again[1].key != cells[1].key
    shared = planned(tiny, ["cross-entropy"], [SHARED])
    assert shared[0].key != plain[0].key
    ensembles = planned(tiny, ["ensemble"], ["seeds=[0, 1, 2]"])
    assert [type(cell) is EnsembleCell for cell in ensembles] == [False] * 3 + [True] * 3
    assert [member.seed for member in ensembles[-1].members] == [2, 0, 1]


def test_variants_are_predicted_evaluated_and_found_again(tiny, run, statuses, value, tmp_path):
    entries = [
        "cross-entropy",
        "attention-temperature(temperature=1.0)",
        "attention-temperature(temperature=2.0)",
        "attention-temperature(grid=[1.0, 2.0, 4.0])",
        "attention-temperature(temperature=2.0) + temperature-scaling",
        "test-time-augmentation(n=2, padding=1)",
        "mc-dropout(n=2, rate=0.1)",
        "resolution(size=12) + attention-temperature(temperature=0.5)",
        "attention-regularised",
    ]
    results = run(tiny, settings=[KEEP], entries=entries)
    assert set(statuses(results)) == {"done"}
    store = Store(tmp_path / "results")
    by_recipe = {cell["recipe"]: cell["key"] for cell in results.run["cells"]}
    trained = store.predictions(by_recipe["cross-entropy"])
    same = store.predictions(by_recipe["cross-entropy + attention-temperature(temperature=1.0)"])
    for key, part in trained.splits.items():
        assert torch.equal(part.logits, same[key].logits)
    assert value(results, "attention-temperature(temperature=1.0)", "nll") == value(results, "cross-entropy", "nll")
    assert value(results, "attention-temperature(temperature=2.0)", "nll") != value(results, "cross-entropy", "nll")
    (grid,) = [key for recipe, key in by_recipe.items() if "grid" in recipe]
    manifest = store.manifest(grid)
    best = min(manifest["curve"], key=lambda row: row["nll"])
    assert manifest["chosen"] == {"last": f"attention-temperature(temperature={best['temperature']})"}
    assert len({row["nll"] for row in manifest["curve"]}) == 3
    assert store.verify() == []
    again = run(tiny, settings=[KEEP], entries=entries)
    assert again.run["created"] == results.run["created"]  # nothing was computed or written


@pytest.mark.slow
def test_weights_that_were_not_kept_fail_the_variant_only(tiny, run, statuses):
    run(tiny, entries=["cross-entropy"])
    results = run(tiny, settings=[KEEP], entries=["cross-entropy", "mc-dropout(n=2, rate=0.1)"])
    assert statuses(results) == ["done", "failed"]
    assert "--cache refresh" in results.run["cells"][1]["reason"]


@pytest.mark.slow
def test_an_ensemble_is_the_mean_of_probabilities_calibrated_before_or_after(tiny, statuses, tmp_path):
    entries = [
        "cross-entropy",
        "ensemble",
        "ensemble + temperature-scaling",
        "temperature-scaling + ensemble",
        "attention-temperature(temperature=2.0) + ensemble",
    ]
    suite = load_suite(tiny, settings=[KEEP, TWO_SEEDS, SHARED], entries=entries)
    from calbench.benchmark.execution.runner import run_suite

    results = run_suite(suite, RunOptions(results_dir=str(tmp_path / "results"), jobs=1))
    assert set(statuses(results)) == {"done"}
    store = Store(tmp_path / "results")
    keys = {(cell["recipe"], cell["seed"]): cell["key"] for cell in results.run["cells"]}
    members = [store.predictions(keys["cross-entropy", seed])["last", "test"] for seed in (0, 1)]
    mean = sum(member.logits.double().softmax(1) for member in members) / 2
    pooled = store.predictions(keys["cross-entropy + ensemble", 1])["last", "test"]
    np.testing.assert_allclose(pooled.logits.double().softmax(1), mean, atol=1e-6)
    calibrated = store.predictions(keys["cross-entropy + temperature-scaling + ensemble", 0])["last", "test"]
    assert not torch.allclose(calibrated.logits, pooled.logits, atol=1e-3)
    rows = results.table[(results.table.entry == "ensemble") & (results.table.metric == "nll")]
    assert rows.value.nunique() == 1
    assert len(rows) == 2
