import pytest

from calbench.benchmark.config.entry import parse_entry
from calbench.benchmark.config.terms import parse_term
from calbench.benchmark.core.errors import InputError
from calbench.methods import BackboneInfo


def test_an_entry_composes_recipe_and_calibrators_in_order():
    entry = parse_entry("temperature-scaling + calattn(hidden=32) + focal(gamma=5) + mixup")
    assert [method.spec.name for method in entry.methods] == ["focal", "mixup", "calattn", "temperature-scaling"]
    assert entry.recipe.objective.gamma == 5
    assert entry.name == "focal(gamma=5.0) + mixup + calattn(hidden=32) + temperature-scaling"
    assert entry.calibrator_name == "temperature-scaling"


@pytest.mark.parametrize(
    ("spec", "name", "recipe"),
    [
        ("cross-entropy", "cross-entropy", "cross-entropy"),
        ("temperature-scaling", "temperature-scaling", "cross-entropy"),
        ("cross-entropy + temperature-scaling", "temperature-scaling", "cross-entropy"),
        ("calattn", "calattn", "cross-entropy-brier + calattn"),
        ("cross-entropy + calattn", "cross-entropy + calattn", "cross-entropy + calattn"),
        ("mixup + vector-scaling", "mixup + vector-scaling", "cross-entropy + mixup"),
        ({"temperature-scaling": {"criterion": "ece"}}, "temperature-scaling(criterion=ece)", "cross-entropy"),
        ({"label": "Mine", "methods": ["focal", {"calattn": {"hidden": 8}}]}, "Mine", "focal + calattn(hidden=8)"),
    ],
)
def test_names_leave_out_the_default_objective_alone(spec, name, recipe):
    entry = parse_entry(spec)
    assert (entry.name, entry.recipe.name) == (name, recipe)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("temprature-scaling", "did you mean 'temperature-scaling'"),
        ("focal(gama=2)", "did you mean 'gamma'"),
        ("focal(gamma=much)", "gamma='much'"),
        ("focal(gamma=-1)", "greater than or equal to 0"),
        ("focal(gamma=2", "not closed"),
        ("focal)", "closing bracket too many"),
        ("focal(2)", "expected option=value"),
        ("focal + brier", "more than one objective"),
        ("calattn + tempnet", "more than one head"),
        ("mmce + mixup", "hard labels"),
        ("tempnet-dro", "needs a head with a temperature"),
        ("", "cannot read ''"),
        ("focal + ", "cannot read ''"),
        (3, "got 3"),
        ({"label": "x", "methods": "focal"}, "expected the keys label, methods"),
    ],
)
def test_bad_entries_are_refused_with_the_reason(spec, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(").replace(")", r"\)")):
        parse_entry(spec)


def test_values_are_yaml():
    assert parse_term("x(a=[1, 2], b='p + q, r', c=1.5e-3, d=true)") == (
        "x",
        {"a": [1, 2], "b": "p + q, r", "c": 0.0015, "d": True},
    )


def test_protocol_options_hold_unless_the_entry_says_otherwise():
    defaults = {"temperature-scaling": {"criterion": "ece"}}
    assert parse_entry("temperature-scaling", defaults).calibrators[0].criterion == "ece"
    assert parse_entry("temperature-scaling(criterion=nll)", defaults).calibrators[0].criterion == "nll"


def test_a_head_is_checked_against_the_backbone():
    swin = BackboneInfo("swin", 48, has_cls_token=False, has_patch_tokens=True)
    parse_entry("calattn").recipe.check(swin)
    with pytest.raises(InputError, match=r"no \[CLS\] token"):
        parse_entry("calattn(tokens=concat)").recipe.check(swin)
