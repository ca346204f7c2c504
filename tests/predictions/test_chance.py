"""The warning of predictions that are no better than chance."""

import numpy as np
import pytest
import torch
from scipy.stats import binom

from calbench.benchmark.cli.main import main
from calbench.benchmark.predictions.chance import chance_note
from calbench.benchmark.predictions.predictions import SplitPredictions


def part(correct, samples, classes):
    logits = torch.zeros(samples, classes)
    logits[:, 0] = 1
    return SplitPredictions(logits, torch.tensor([0] * correct + [1] * (samples - correct)))


def test_the_boundary_is_that_of_the_binomial_distribution():
    samples, classes = 200, 4
    least = next(k for k in range(samples) if binom.sf(k - 1, samples, 1 / classes) <= 0.05)
    assert chance_note({"test": part(least, samples, classes)}) == ""
    assert "no better than chance with 4 classes" in chance_note({"test": part(least - 1, samples, classes)})


def test_the_part_is_named_and_too_few_samples_say_nothing():
    assert "of the test split is 20.0 % of 50 samples" in chance_note({"a": part(50, 50, 4), "test": part(10, 50, 4)})
    assert chance_note({"all": part(0, 4, 2)}) == "", "even 4 of 4 could be chance with two classes"
    assert chance_note({"all": part(20, 50, 2)}).startswith("accuracy is 40.0 % of 50 samples")


@pytest.mark.parametrize("command", [["evaluate"], ["calibrate", "--split", "0.5", "-m", "temperature-scaling"]])
def test_permuted_labels_are_warned_of_in_one_line(command, tmp_path, capsys):
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=(400, 5))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    for name, given in (("right", labels), ("permuted", rng.permutation(labels))):
        np.savez(tmp_path / f"{name}.npz", logits=logits, labels=given)
        assert main([command[0], str(tmp_path / f"{name}.npz"), *command[1:], "--bootstrap", "20"]) == 0
        notes = [line for line in capsys.readouterr().err.splitlines() if "same order" in line]
        assert len(notes) == (name == "permuted")
