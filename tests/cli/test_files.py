"""Files of predictions through the command line, as a new user meets it."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from calbench.benchmark import metrics
from calbench.benchmark.cli.file_options import KNOWN_NAMES
from calbench.benchmark.cli.main import main

RNG = np.random.default_rng(3)
Z = 2 * RNG.normal(size=(200, 4))
P = np.exp(Z) / np.exp(Z).sum(1, keepdims=True)
Y = (Z / 2 + RNG.gumbel(size=Z.shape)).argmax(1)
NAMES = np.array(["VF", "F", "M", "L"])


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def run(capsys, *words):
    status = main([str(word) for word in words])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def shown_values(output):
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if line.startswith("│")]
    return {row[0]: float(row[1]) for row in rows}


def test_evaluate_gives_the_values_of_the_python_functions(capsys):
    votes = RNG.multinomial(20, [0.2, 0.3, 0.5], size=200) / 20
    labels = Y % 3
    np.savez("votes.npz", probabilities=votes, labels=labels, names=["a", "b", "c"])
    status, output, errors = run(capsys, "evaluate", "votes.npz", "--bins", 20, "--bootstrap", 0)
    expected = metrics.evaluate(probabilities=votes, labels=labels, bins=20)
    values = shown_values(output)
    assert status == 0
    assert values["ECE"] == pytest.approx(expected["ece"], abs=5e-3)
    assert values["MCE"] == pytest.approx(expected["mce"], abs=5e-3)
    assert values["NLL"] == pytest.approx(expected["nll"], abs=5e-5)
    assert ("give their own class a probability of 0" in errors) == np.isinf(expected["nll"])


def test_uncalibrated_probabilities_are_evaluated_as_they_are_in_a_comparison(capsys):
    hard = np.eye(4)[(Y + (np.arange(200) % 50 == 0)) % 4]
    np.savez("hard.npz", probabilities=hard, labels=Y)
    words = [
        "calibrate",
        "hard.npz",
        "--in-order",
        "--split",
        0.5,
        "-m",
        "temperature-scaling",
        "--bootstrap",
        0,
        "-o",
        "o",
    ]
    assert run(capsys, *words)[0] == 0
    table = pd.read_csv("o/results.csv").set_index(["entry", "metric"])["value"]
    assert table["uncalibrated", "nll"] == np.inf
    assert np.isfinite(table["temperature-scaling", "nll"])


def test_the_recorded_command_can_be_run_again(capsys):
    np.savez("a b.npz", out=Z, labels=Y)
    words = [
        "calibrate",
        "a b.npz",
        "--logits",
        "--key",
        "out",
        "--split",
        "0.4",
        "--seed",
        "7",
        "-m",
        "temperature-scaling",
    ]
    assert run(capsys, *words, "--bootstrap", "0", "-o", "first")[0] == 0
    command = json.loads(Path("first/run.json").read_text())["command"]
    assert command.startswith("calbench calibrate 'a b.npz' ")
    for option in ("--logits", "--key out", "--split 0.4", "--seed 7", "--method temperature-scaling", "--bootstrap 0"):
        assert option in command
    again = command.replace("--output first", "--output second")
    assert run(capsys, *shlex.split(again)[1:])[0] == 0
    assert Path("first/results.csv").read_text() == Path("second/results.csv").read_text()


def test_notes_of_the_reading_do_not_mix_with_the_results(capsys):
    pd.DataFrame(P, columns=[f"prob_{k}" for k in range(1, 5)]).assign(label=Y + 1).to_csv("a.csv", index=False)
    status, output, errors = run(capsys, "evaluate", "a.csv", "--bootstrap", 0)
    assert status == 0
    assert "labels count from 1" in errors
    assert "count from 1" not in output
    assert shown_values(output)["Accuracy"] == pytest.approx(100 * (P.argmax(1) == Y).mean(), abs=5e-3)


@pytest.mark.slow
def test_pairs_of_arrays(capsys):
    for name, rows in (("cal", slice(0, 100)), ("test", slice(100, 200))):
        np.save(f"{name}_logits.npy", Z[rows])
        np.save(f"{name}_labels.npy", Y[rows])
    words = ["calibrate", "cal_logits.npy", "test_logits.npy", "--logits", "--labels", "cal_labels.npy"]
    status, _, errors = run(capsys, *words, "-m", "temperature-scaling", "--bootstrap", 0)
    assert (status, "--test-labels FILE" in errors) == (2, True)
    more = ["--test-labels", "test_labels.npy", "-m", "temperature-scaling", "--bootstrap", 0, "-o", "o"]
    status, _, errors = run(capsys, *words, *more)
    assert status == 0
    assert errors.splitlines() == ["1 of 2: uncalibrated", "2 of 2: temperature-scaling"]
    table = pd.read_csv("o/results.csv").set_index(["entry", "metric"])["value"]
    assert table["uncalibrated", "accuracy"] == pytest.approx(100 * (Z[100:].argmax(1) == Y[100:]).mean())


def test_inspect_shows_what_is_there_how_it_is_read_and_what_is_missing(capsys):
    frame = pd.DataFrame(P, columns=NAMES).assign(obs=NAMES[Y], filename="x.png")
    frame.to_csv("named.csv", index=False)
    status, output, _ = run(capsys, "inspect", "named.csv")
    assert status == 0
    assert all(f" {name} " in output for name in (*NAMES, "obs", "filename"))
    assert "probabilities of 200 samples and 4 classes" in output
    assert f"accuracy {100 * (P.argmax(1) == Y).mean():.2f} %" in output
    frame.rename(columns={"obs": "verdict"}).to_csv("unnamed.csv", index=False)
    status, output, _ = run(capsys, "inspect", "unnamed.csv")
    assert status == 1
    assert output.rstrip().endswith(
        "--key VF,F,M,L (the columns of the classes, in their order) with --logits or --probabilities"
    )
    assert run(capsys, "inspect", "unnamed.csv", "--labels-key", "verdict")[0] == 0
    assert run(capsys, "inspect", "no.csv")[0] == 2


def test_the_known_names_are_in_the_help(capsys):
    for command in ("inspect", "evaluate", "calibrate", "export"):
        status, output, _ = run(capsys, command, "--help")
        assert status == 0
        for word in ("y_test", "softmax", "pre_softmax", "--labels-from", "--normalize", "--classes"):
            assert word in output, (command, word)
    assert "true_label" in KNOWN_NAMES


@pytest.mark.slow
def test_a_message_does_not_wait_for_torch():
    messages = {
        "evaluate no.npz": "no such file",
        "evaluate a.csv": "--labels-key NAME",
        "calibrate a.csv --labels-key verdict": "--split 0.5",
        "inspect a.csv --labels-key verdict": "probabilities of 200 samples",
    }
    pd.DataFrame(P, columns=[f"prob_{k}" for k in range(4)]).assign(verdict=Y).to_csv("a.csv", index=False)
    heavy = ("torch", "sklearn", "matplotlib", "scipy", "h5py", "pyarrow.parquet")
    code = (
        "import contextlib, sys; from calbench.benchmark.cli.main import main\n"
        "for words in sys.argv[1:]:\n"
        "    with contextlib.redirect_stderr(sys.stdout):\n"
        "        main(words.split())\n"
        f"    print([module for module in {heavy} if module in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code, *messages], capture_output=True, text=True, check=True)
    *shown, rest = result.stdout.split("[]\n")
    assert rest == ""
    for text, message in zip(shown, messages.values(), strict=True):
        assert message in " ".join(text.split())


def test_inspect_shows_names_in_brackets_as_they_are(capsys):
    np.savez("[red]a.npz", **{"logits": 2 * np.eye(3), "labels": np.arange(3), "[/x]": np.array(["[b]\x1b[2J"])})
    status, output, _ = run(capsys, "inspect", "[red]a.npz")
    assert status == 0
    assert all(text in output for text in ("[red]a.npz", "[/x]", "[b]\\x1b[2J"))
    assert "\\[" not in output
    assert "\x1b[2J" not in output
