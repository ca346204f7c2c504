import pytest

from calbench.benchmark.config.entry import parse_entry
from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.config.tuning import Tuning
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.registry import option_defaults
from calbench.benchmark.core.sources import source_digest
from calbench.benchmark.execution.plan import make_plan
from calbench.methods import registry

SUITE = """\
datasets: [digits]
backbones: [vit-micro]
entries: [cross-entropy, temperature-scaling, focal, focal + temperature-scaling, focal(gamma=3), label-smoothing]
tune: 4
"""
TUNABLE = [name for name in registry if registry[name].tune_grid]


@pytest.mark.parametrize("name", TUNABLE)
def test_grids_hold_the_default_and_give_four_trials(name):
    method = registry[name]
    for option, values in method.tune_grid:
        assert option_defaults(method)[option] in values
        assert len(set(values)) >= 4
    entry = parse_entry(name, tune=4)
    assert len(entry.trials) == 4
    assert entry.name == f"{name} (best of 4)"
    part = [next(m for m in trial.methods if m.spec.name == name) for trial in entry.trials]
    assert part[0].changed_options() == {}, "the defaults come first"
    assert len({one.spelled() for one in part}) == 4
    assert all(trial.trial_of == entry.name for trial in entry.trials)


@pytest.mark.parametrize("name", [name for name in registry if registry[name].__module__.startswith("calbench.")])
def test_every_method_with_options_has_a_grid_or_a_reason_for_none(name):
    method = registry[name]
    settings = set(option_defaults(method)) - {"max_classes", "seed"}  # limits of the work, and of chance
    reason = "No default grid: " in " ".join((method.__doc__ or "").split())
    assert bool(method.tune_grid) + reason == bool(settings), f"{name}: a tune_grid, or why there is none"


def test_what_has_nothing_to_tune_stays_as_it_is():
    for spec in ("cross-entropy", "temperature-scaling", "focal(gamma=3)"):
        assert parse_entry(spec, tune=4).trials == ()


def test_trials_are_combinations_of_all_methods_of_an_entry():
    entry = parse_entry("focal + mixup", tune=6)
    assert len(entry.trials) == 6
    assert entry.trials[0].choice == "gamma = 3.0, alpha = 0.2"
    assert [t.choice for t in parse_entry("focal + mixup", tune=6).trials] == [t.choice for t in entry.trials]
    assert len(parse_entry("focal + mixup", tune=100).trials) == 16


def test_an_entry_brings_its_own_grid():
    entry = parse_entry({"label": "F", "methods": ["focal"], "tune": {"focal": {"gamma": [1, 2]}}}, tune=4)
    assert entry.name == "F"
    assert [trial.recipe.objective.gamma for trial in entry.trials] == [1, 2]


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        (1, "expected a number of trials from 2 on"),
        ("four", "expected a number of trials"),
        ({"focal": 3}, "expected a number of trials"),
        ({"focal": {"gama": [1, 2]}}, "unknown option of focal 'gama'"),
        ({"focal": {"gamma": [1]}}, "two values or more"),
        ({"fokal": {"gamma": [1, 2]}}, "unknown method 'fokal'"),
    ],
)
def test_wrong_tuning_is_refused(tune, message):
    with pytest.raises(InputError, match=message):
        Tuning.of(tune)


def test_cells_of_trials_are_shared(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(SUITE)
    suite = load_suite(str(path))
    plan = make_plan(suite, lambda dataset: "print")
    recipes = {work.cell.recipe.name: [entry.name for entry in work.entries] for work in plan}
    assert len(plan) == 1 + 4 + 4
    assert recipes["focal"] == [
        "focal (best of 4): focal",
        "focal + temperature-scaling (best of 4): focal + temperature-scaling",
        "focal",
    ]
    assert "label-smoothing(epsilon=0.2)" in recipes


def test_grids_are_no_part_of_keys():
    before = source_digest(registry["focal"])
    assert "tune_grid" in vars(registry["focal"])
    from calbench.benchmark.core import sources

    tree = sources.ast.parse("class A:\n    tune_grid = (('a', (1, 2)),)\n    b = 1\n").body
    other = sources.ast.parse("class A:\n    b = 1\n").body
    assert sources._hash(tree) == sources._hash(other)
    assert source_digest(registry["focal"]) == before
