"""What goes in: kinds, types, shapes, and one clear message for what does not."""

import warnings

import numpy as np
import pytest
import torch

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.labels import class_numbers
from calbench.benchmark.metrics import PANEL, Metric, evaluate, register, registry, reliability
from calbench.methods.calibrators.temperature.temperature_scaling import TemperatureScaling


def cell(n=300, k=5, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, k)) * 2
    return z, (z + rng.gumbel(size=(n, k))).argmax(1)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.longdouble, ">f4"])
def test_numpy_types(kind):
    z, y = cell()
    z = z.astype(np.float16).astype(kind)  # the same numbers in every type
    expected = evaluate(logits=z.astype(np.float64), labels=y)
    assert evaluate(logits=z, labels=y) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_types(kind):
    z, y = cell()
    logits = torch.tensor(z).to(kind)
    expected = evaluate(logits=logits.double(), labels=y)
    assert evaluate(logits=logits, labels=torch.tensor(y)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
def test_probabilities_of_low_precision_are_accepted(kind):
    z, y = cell(k=100)
    p = torch.tensor(z).softmax(1)
    found = evaluate(probabilities=p.to(kind), labels=y, metrics=["ece", "nll"])
    assert found == pytest.approx(evaluate(probabilities=p, labels=y, metrics=["ece", "nll"]), rel=0.05)


def test_lists_views_gradients_and_read_only_arrays(recwarn):
    z, y = cell()
    expected = evaluate(logits=z, labels=y)
    frozen = z.copy()
    frozen.flags.writeable = False
    assert evaluate(logits=z.tolist(), labels=y.tolist()) == expected
    assert evaluate(logits=frozen, labels=y.astype(np.uint8)) == expected
    assert evaluate(logits=z[::-1][::-1], labels=y.astype(float)) == expected
    assert evaluate(logits=z[::-1], labels=y[::-1]) == pytest.approx(expected)
    assert evaluate(logits=torch.tensor(z, requires_grad=True), labels=y) == expected
    assert evaluate(logits=np.asfortranarray(z), labels=y) == pytest.approx(expected)
    assert not recwarn.list


def test_input_is_not_changed():
    z, y = cell()
    before = z.copy()
    evaluate(logits=z, labels=y, metrics=[m for m in registry if not registry[m].needs])
    assert (z == before).all()


def test_large_float16_logits():
    z = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 0]], dtype=np.float16)
    found = evaluate(logits=z, labels=[0, 0])
    assert found["accuracy"] == 50
    assert found["nll"] == pytest.approx(1e4, rel=1e-3)
    assert found["ece"] == 50


def test_exact_zero_and_one():
    p = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    found = evaluate(probabilities=p, labels=[0, 0])
    assert found["brier"] == 1
    assert found["ece"] == 50
    assert found["nll"] == np.inf
    assert evaluate(probabilities=p, labels=[0, 1])["nll"] == 0


def test_confidence_on_an_edge_belongs_to_the_bin_below():
    for kind in (np.float32, np.float64):
        p = np.array([[0.6, 0.4], [0.61, 0.39]], dtype=kind)  # 0.6 = 9/15
        bins = reliability(probabilities=p, labels=[0, 0])
        assert [b.count for b in bins[8:10]] == [1, 1]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({}, "give either logits or probabilities$"),
        ({"logits": [[0.0, 1.0]], "probabilities": [[0.5, 0.5]]}, "not both"),
        ({"logits": [0.0, 1.0]}, r"logits: expected two dimensions .* got shape \(2,\)"),
        ({"logits": np.zeros((0, 2))}, "at least one row"),
        ({"logits": [[1.0]]}, "two classes"),
        ({"logits": [["a", "b"]]}, "logits: expected numbers"),
        ({"logits": [[0.0, np.nan]]}, "logits: row 0 contains NaN"),
        ({"logits": [[0.0, -np.inf]]}, "logits: row 0 contains NaN or infinite"),
        ({"probabilities": [[0.7, 0.7]]}, "probabilities: row 0 sums to 1.4, not to 1"),
        ({"probabilities": [[1.2, -0.2]]}, "probabilities: row 0 contains -0.2, below 0"),
        ({"probabilities": [[np.nan, 0.5]]}, "probabilities: row 0 sums to nan"),
    ],
)
def test_bad_predictions(bad, message):
    with pytest.raises(ValueError, match=message):
        evaluate(**bad, labels=[0])


def test_bad_row_is_named_in_a_later_block():
    z, y = cell(n=9000, k=100)
    z[8765, 3] = np.inf
    with pytest.raises(ValueError, match="logits: row 8765"):
        evaluate(logits=z, labels=y)
    p = np.full((9000, 100), 0.01)
    p[8123] *= 1.5
    with pytest.raises(ValueError, match="probabilities: row 8123 sums to 1.5"):
        evaluate(probabilities=p, labels=y)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 5], "labels: row 1 is 5, outside 0..1"),
        ([-1, 0], "labels: row 0 is -1"),
        ([0], r"labels: shape \(1,\) does not match 2 rows"),
        ([[[0]], [[1]]], r"labels: shape \(2, 1, 1\)"),
        ([[1, 1], [0, 1]], "row 0 has 2 classes; several labels per row are not supported"),
        ([[0, 0], [0, 1]], "row 0 of the one-hot labels has no class"),
        ([[0.3, 0.7], [0, 1]], "row 0 is neither one class nor one-hot; soft labels"),
        ([[1, 0, 0], [0, 1, 0]], "one-hot labels need a column for each of the 2 classes"),
        ([None, 1], "row 0 has no label"),
        (["0.5", "1"], "row 0 is 0.5"),
        ([0, 0.5], "labels: row 1 is 0.5, not a class number"),
        ([0, np.nan], "labels: row 1 is nan"),
        (["cat", "dog"], r"labels: expected numbers, got names \(cat, dog\)"),
    ],
)
def test_bad_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        evaluate(logits=np.zeros((2, 2)), labels=labels)


def test_bad_metrics_and_bins():
    z, y = cell()
    with pytest.raises(InputError, match="unknown metric 'smce' .did you mean"):
        evaluate(logits=z, labels=y, metrics=["smce"])
    with pytest.raises(InputError, match="bins=0"):
        evaluate(logits=z, labels=y, bins=0)
    with pytest.raises(InputError, match="evaluate_ood"):
        evaluate(logits=z, labels=y, metrics=["auroc-energy"])


def test_every_metric_describes_itself():
    for name in registry:
        described = registry[name].describe()
        assert described["name"] == name
        assert described["unit"] in ("%", "nats", "")
        assert described["better"] in ("lower", "higher", "zero", None)
        assert described["label"]
        assert registry[name].__doc__
    assert set(PANEL) <= set(registry)
    assert registry["accuracy"].describe()["better"] == "higher"


def test_parts_of_a_panel_are_filled_in_one_pass(monkeypatch):
    from calbench.benchmark.metrics.source import Source

    passes = []
    blocks = Source.blocks
    monkeypatch.setattr(Source, "blocks", lambda self: passes.append(1) or blocks(self))
    z, y = cell()
    evaluate(logits=z, labels=y)
    assert len(passes) == 1


def test_a_metric_name_is_taken_once():
    with pytest.raises(InputError, match="declared twice"):

        @register("ece")
        class Other(Metric):
            pass


def test_reliability_bins_are_those_of_ece():
    z, y = cell(n=2000)
    bins = reliability(logits=z, labels=y)
    assert len(bins) == 15
    assert sum(b.count for b in bins) == 2000
    ece = 100 * sum(b.count * abs(b.accuracy - b.confidence) for b in bins if b.count) / 2000
    assert ece == pytest.approx(evaluate(logits=z, labels=y)["ece"])
    for b in bins:
        if b.count:
            assert b.low < b.confidence <= b.high
            assert 0 <= b.accuracy_low <= b.accuracy <= b.accuracy_high <= 1
        else:
            assert np.isnan(b.accuracy)
    assert set(bins[0].as_dict()) == {
        "low", "high", "count", "confidence", "accuracy", "accuracy_low", "accuracy_high"
    }  # fmt: skip


def test_wilson_interval_is_statsmodels():
    # proportion_confint(8, 10, method="wilson") of statsmodels
    p = np.array([[0.95, 0.05]] * 10)
    last = reliability(probabilities=p, labels=[0] * 8 + [1] * 2)[-1]
    assert (last.accuracy_low, last.accuracy_high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    with pytest.raises(ValueError, match="bins=0"):
        reliability(probabilities=p, labels=[0] * 10, bins=0)


@pytest.mark.parametrize(
    ("label", "message"),
    [(np.inf, "is inf, outside 0..1"), (2**63, "outside 0..1"), (np.nan, "not a class number"), (-1, "is -1")],
)
def test_labels_that_are_none(label, message):
    with pytest.raises(ValueError, match=message):
        evaluate(logits=[[1.0, 2.0]], labels=[label])


def test_unsigned_labels():
    for kind in (np.uint16, np.uint32, np.uint64):
        assert evaluate(logits=[[1.0, 2.0]], labels=np.array([1], dtype=kind))["accuracy"] == 100


KINDS = [
    np.int8,
    np.int16,
    np.int32,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    np.float16,
    np.float64,
    ">i4",
    object,
    str,
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_classes", [100, 200, 256])
def test_labels_of_every_type_are_those_of_int64(kind, num_classes):
    z, y = cell(k=num_classes)
    largest = min(num_classes - 1, 127 if kind == np.int8 else num_classes)
    y = np.minimum(y, largest)
    y[:2] = [0, largest]
    assert evaluate(logits=z, labels=y.astype(kind)) == evaluate(logits=z, labels=y)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int8", "int32", "float32", "bfloat16", "float64"])
def test_labels_of_every_type_of_torch_are_those_of_int64(kind):
    z, y = cell(k=128)
    y[0] = 127
    assert evaluate(logits=z, labels=torch.tensor(y).to(getattr(torch, kind))) == evaluate(logits=z, labels=y)


def test_labels_as_a_column_a_row_one_hot_or_truth_values():
    z, y = cell()
    expected = evaluate(logits=z, labels=y)
    assert evaluate(logits=z, labels=y[:, None]) == expected
    assert evaluate(logits=z, labels=y[None]) == expected
    assert evaluate(logits=z, labels=np.eye(5)[y]) == expected
    assert evaluate(logits=z, labels=torch.eye(5, dtype=torch.bool)[torch.tensor(y)]) == expected
    assert evaluate(logits=z[:, :2], labels=y > 2) == evaluate(logits=z[:, :2], labels=(y > 2).astype(int))


def test_names_are_matched_to_the_order_of_the_columns_and_not_sorted():
    assert class_numbers(["b", "a", " c"], 3, 3, ["b", "c", "a"]).tolist() == [0, 2, 1]
    assert class_numbers(np.array([3.0, 1.0]), 2, 2, ["3", "1"]).tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"row 1 is 'bb', no class .did you mean 'b'"):
        class_numbers(["b", "bb"], 2, 2, ["b", "c"])


def test_differences_between_large_logits_are_kept():
    z, y = cell()
    expected = evaluate(logits=z, labels=y)["nll"]
    assert evaluate(logits=z + 1e6, labels=y)["nll"] == pytest.approx(expected, rel=1e-8)
    wide = z.astype(np.longdouble) + np.longdouble(2) ** 40
    assert evaluate(logits=wide, labels=y)["nll"] == pytest.approx(expected, rel=1e-3)
    whole = np.round(4 * z).astype(np.int64)
    assert evaluate(logits=whole + 2**40, labels=y) == pytest.approx(evaluate(logits=whole, labels=y))


def test_probabilities_in_the_place_of_logits_are_warned_of():
    z, y = cell()
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    with pytest.warns(UserWarning, match="sums to one, as probabilities do") as caught:
        evaluate(logits=p, labels=y)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="sums to one, as probabilities do") as caught:
        TemperatureScaling().fit(p, y)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(logits=np.log(p), labels=y)
        evaluate(logits=p[:5], labels=y[:5])  # too few rows to be sure


@pytest.mark.parametrize("row", [np.array([1.00005, -5e-5]), np.array([1.004, -0.004], dtype=np.float16)])
def test_what_rounding_lets_through_leaves_no_score_out_of_its_range(row):
    found = evaluate(probabilities=row[None], labels=[1])
    assert found["brier"] == 2
    assert found["classwise-ece"] == found["ece"] == 100


def test_one_name_is_no_sequence_of_names():
    with pytest.raises(TypeError, match="the string 'ece'"):
        evaluate(logits=[[1.0, 2.0]], labels=[0], metrics="ece")
