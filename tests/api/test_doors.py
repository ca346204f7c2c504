"""Arrays in Python and the same arrays in a file give the same numbers and the same refusals."""

import warnings

import numpy as np
import pandas as pd
import pytest
from fast_set import fast_only, slowly

import calbench as cb
from calbench.benchmark.cli.main import main
from calbench.benchmark.metrics import registry

RNG = np.random.default_rng(1)
Z = RNG.normal(size=(240, 4)) * 3
Y = (Z / 2 + RNG.gumbel(size=Z.shape)).argmax(1)
P = np.exp(Z) / np.exp(Z).sum(1, keepdims=True)
VOTES = RNG.multinomial(20, [0.1, 0.2, 0.3, 0.4], size=240) / 20


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def shown(capsys):
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    return {name.strip(): (value.strip(), interval.strip()) for name, value, interval, _ in rows}


SCORES = [
    {"logits": Z},
    {"logits": Z.astype(np.float32)},
    {"logits": Z + 1e6},
    {"logits": np.where(np.arange(4) == 3, -1e4, Z)},
    {"probabilities": P},
    {"probabilities": VOTES},
]
LABELS = [Y, Y.astype(np.uint8), Y.astype(float), np.eye(4)[Y], Y[:, None]]
IN_FAST_SET = [(i, min(i, 4)) for i in range(6)]  # all scores and all labels once
PAIRS = [(i, j) for i in range(6) for j in range(5)]


@pytest.mark.parametrize(("i", "j"), fast_only(IN_FAST_SET, PAIRS))
def test_evaluate_gives_what_the_command_prints(i, j, capsys):
    scores, labels = SCORES[i], LABELS[j]
    if "logits" in scores and scores["logits"][0, 3] == -1e4:
        labels = np.minimum(Y, 2)
    np.savez("a.npz", labels=labels, **scores)
    assert main(["evaluate", "a.npz"]) == 0
    printed = shown(capsys)
    for name, one in cb.evaluate(**scores, labels=labels, interval=0.95).items():
        about = registry[name]
        value, interval = printed[about.spec.label]
        assert value == f"{one.value:.{about.decimals}f}", name
        if np.isfinite(one.low):
            assert interval == f"{one.low:.{about.decimals}f} to {one.high:.{about.decimals}f}", name


@pytest.mark.parametrize("shift", [1e6, *slowly(0)])
def test_compare_gives_the_table_of_the_command(shift):
    np.savez("cal.npz", logits=Z[:120] + shift, labels=Y[:120])
    np.savez("test.npz", logits=Z[120:] + shift, labels=Y[120:])
    assert main(["calibrate", "cal.npz", "test.npz", "-m", "temperature-scaling", "-m", "isotonic", "-o", "o"]) == 0
    printed = pd.read_csv("o/results.csv").set_index(["entry", "metric"])["value"]
    results = cb.compare(
        {"temperature-scaling": cb.TemperatureScaling(), "isotonic": cb.Isotonic()},
        calibration_logits=Z[:120] + shift,
        calibration_labels=Y[:120],
        logits=Z[120:] + shift,
        labels=Y[120:],
    )
    table = results.table.set_index(["entry", "metric"])["value"]
    assert set(table.index) == set(printed.index)
    for index, value in table.items():
        assert value == pytest.approx(printed[index], rel=1e-9, nan_ok=True), index


def with_value(array, row, column, value):
    changed = array.copy()
    changed[row, column] = value
    return changed


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ({"logits": with_value(Z, 7, 1, np.nan)}, Y, "row 7 contains NaN"),
        ({"probabilities": with_value(P, 5, 0, -0.3)}, Y, "row 5"),
        ({"probabilities": 2 * P}, Y, "row 0 sums to 2"),
        ({"logits": Z}, np.where(np.arange(240) == 9, 4, Y), "labels: row 9 is 4, outside 0..3"),
        ({"logits": Z}, np.where(np.arange(240) == 9, 0.5, Y), "labels: row 9 is 0.5, not a class number"),
        ({"logits": Z}, np.ones((240, 4)), "several labels per row are not supported"),
        ({"logits": Z}, Y[:200], "does not match 240 rows"),
    ],
)
def test_both_refuse_with_the_same_words(scores, labels, message, capsys):
    np.savez("a.npz", labels=labels, **scores)
    assert main(["evaluate", "a.npz"]) == 2
    assert message in capsys.readouterr().err
    with pytest.raises(ValueError, match=message):
        cb.evaluate(**scores, labels=labels)


def test_probabilities_as_logits_are_noticed_by_both(capsys):
    np.savez("a.npz", logits=P, labels=Y)
    assert main(["evaluate", "a.npz"]) == 2
    assert "as probabilities do" in capsys.readouterr().err
    for call in (
        lambda: cb.evaluate(logits=P, labels=Y),
        lambda: cb.TemperatureScaling().fit(P, Y),
        lambda: cb.compare({}, logits=P, labels=Y, bootstrap=0),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        assert any("probabilities" in str(one.message) for one in caught)
