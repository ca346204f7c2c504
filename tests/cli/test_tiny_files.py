"""Files of very few samples or classes through the command line: a table, or one line with the reason."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fast_set import fast_only, slowly

from calbench.benchmark.cli.main import main
from calbench.benchmark.core.schema import FEWEST_SAMPLES

RNG = np.random.default_rng(0)


def scores(rows, classes):
    return 2 * RNG.normal(size=(rows, classes))


SPREAD = scores(20, 3)
TINY = {
    "one_sample": (scores(1, 2), [0]),
    "one_sample_of_five_classes": (scores(1, 5), [4]),
    "two_samples": (scores(2, 2), [0, 1]),
    "three_samples": (scores(3, 5), [0, 1, 2]),
    "one_class": (scores(20, 3), [1] * 20),
    "two_classes": (scores(20, 2), [0, 1] * 10),
    "missing_class": (scores(20, 4), [0, 1, 2, 0] * 5),
    "all_right": (SPREAD, SPREAD.argmax(1)),
    "all_wrong": (SPREAD, (SPREAD.argmax(1) + 1) % 3),
    "all_equal": (np.zeros((20, 3)), [0, 1, 2, 0] * 5),
    "equal_rows": (np.tile(scores(1, 3), (20, 1)), [0, 1, 2, 0] * 5),
    "fewer_samples_than_classes": (scores(5, 12), range(5)),
    "no_samples": (np.zeros((0, 3)), []),
    "huge": (1e30 * scores(20, 3), [0, 1, 2, 0] * 5),
}
METHODS = ["-m", "temperature-scaling", "-m", "isotonic"]
SUITE = """
predictions:
  - {{path: {file}, dataset: d, backbone: b}}
baseline: cross-entropy
entries: [cross-entropy, temperature-scaling, vector-scaling, isotonic]
seeds: 1
protocol: {{name: clean, bootstrap: 50}}
tables: []
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def write(name):
    logits, labels = np.asarray(TINY[name][0]), np.asarray(TINY[name][1], dtype=np.int64)
    np.savez("one.npz", logits=logits, labels=labels)
    np.savez("both.npz", logits_val=logits, labels_val=labels, logits_test=logits + 0.01, labels_test=labels)


def check(capsys, status, is_empty):
    """A table and status 0 or 1 (a requested calibrator that cannot be fitted), or one line and status 2."""
    output, errors = capsys.readouterr()
    assert "Traceback" not in output + errors
    for line in output.splitlines():
        assert "nan" not in line.lower() or "is not defined" in line
    if status == 2:
        [line] = [one for one in errors.splitlines() if not one.startswith("note: ")]
        assert line.startswith("calbench: ")
        return errors
    assert status in (0, 1)
    assert not is_empty
    assert "┃" in output or "Accuracy" in output
    return output


@pytest.mark.parametrize("name", fast_only({"one_class", "no_samples", "two_samples"}, TINY))
def test_a_tiny_file_ends_in_a_table_or_in_one_line(name, capsys):
    write(name)
    is_empty = name == "no_samples"
    for more in ([], ["--bootstrap", "0"], ["--metrics", "misclassification-auroc,aurc"]):
        status = main(["evaluate", "one.npz", *more])
        assert status == (2 if is_empty else 0)
        check(capsys, status, is_empty)
    for words in (["one.npz", "--split", "0.5"], ["both.npz"]):
        status = main(["calibrate", *words, *METHODS, "--bootstrap", "50"])
        check(capsys, status, is_empty)


@pytest.mark.parametrize("name", fast_only({"one_class", "no_samples"}, TINY))
def test_a_suite_of_a_tiny_file_ends_in_a_table(name, capsys):
    write(name)
    Path("tiny.yaml").write_text(SUITE.format(file="both.npz"))
    status = main(["run", "tiny.yaml", "--results-dir", "runs", "--jobs", "1"])
    output, errors = capsys.readouterr()
    assert "Traceback" not in output + errors
    assert "nan" not in output
    assert status == (1 if name == "no_samples" else 0), output + errors
    if name == "no_samples":
        assert "failed: both.npz: logits_val has no rows" in output


@pytest.mark.parametrize("count", [FEWEST_SAMPLES - 1, FEWEST_SAMPLES, *slowly(1, 2)])
def test_fewer_samples_than_a_test_needs_give_no_marks_and_no_advice(count, capsys):
    logits = np.tile([3.0, 0.0], (count, 1))
    labels = [0] + [1] * (count - 1)  # mostly wrong: there are enough wrong predictions to compare the NLL
    np.savez("both.npz", logits_val=logits, labels_val=labels, logits_test=logits, labels_test=labels)
    assert main(["calibrate", "both.npz", "-m", "temperature-scaling", "--bootstrap", "50", "-o", "o"]) == 0
    is_tested = count >= FEWEST_SAMPLES
    assert ("No advice: nothing was tested" in capsys.readouterr().out) == (not is_tested)
    table = pd.read_csv("o/results.csv").set_index(["entry", "metric"])
    low, high = table.loc[("uncalibrated", "ece"), ["low", "high"]]
    assert low <= table.loc[("uncalibrated", "ece"), "value"] <= high


def test_without_replicates_there_is_no_column_of_intervals(capsys):
    np.savez("a.npz", logits=SPREAD, labels=SPREAD.argmax(1))
    assert main(["evaluate", "a.npz", "--bootstrap", "0"]) == 0
    [header] = [line for line in capsys.readouterr().out.splitlines() if "metric" in line]
    assert [cell.strip() for cell in header.split("┃")[1:-1]] == ["metric", "value", "unit"]
    assert main(["evaluate", "a.npz", "--bootstrap", "0", "--metrics", "misclassification-auroc"]) == 0
    [row] = [line for line in capsys.readouterr().out.splitlines() if "nan" in line]
    assert "not defined on these predictions" in row
