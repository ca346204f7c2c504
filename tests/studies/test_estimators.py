"""The study of estimators where the truth is known."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from calbench.benchmark.studies import estimators as estimator_study
from calbench.benchmark.studies.estimators import ESTIMATORS, TEMPERATURES, Study


@pytest.fixture(scope="module")
def found():
    return estimator_study.run(Study(population=4000, sizes=(50, 500), draws=30))


@pytest.mark.slow
def test_every_model_size_and_estimator_has_a_row(found):
    assert len(found) == len(TEMPERATURES) * 2 * len(ESTIMATORS)
    assert found["bias"].to_numpy() == pytest.approx((found["mean"] - found["exact"]).to_numpy())
    assert found["rmse"].to_numpy() ** 2 == pytest.approx(
        (found["bias"] ** 2 + found["spread"] ** 2 * 29 / 30).to_numpy()
    )


@pytest.mark.slow
def test_the_posterior_is_calibrated_and_the_others_are_not(found):
    exact = found.groupby("model")["exact"].first()
    assert exact["calibrated (T = 1)"] == pytest.approx(0, abs=1e-9)
    assert (exact.drop("calibrated (T = 1)") > 2).all()


@pytest.mark.slow
def test_ece_is_biased_upward_and_debiasing_and_samples_help(found):
    calibrated = found[found["model"] == "calibrated (T = 1)"].pivot(
        index="samples", columns="estimator", values="bias"
    )
    assert (calibrated["debiased-ece"] < calibrated["ece"]).all()
    assert calibrated.loc[500, "ece"] < 0.5 * calibrated.loc[50, "ece"]


def test_exact_error_of_a_two_class_model_is_the_mean_gap():
    # with two classes the confidence determines the posterior, so that the error is E|posterior - conf|
    q = np.random.default_rng(0).uniform(0.5, 1, 100_000)
    p = q**2 / (q**2 + (1 - q) ** 2)
    both = [np.stack([v, 1 - v], axis=1) for v in (q, p)]
    assert estimator_study.exact_error(*both) == pytest.approx(100 * np.abs(q - p).mean(), rel=1e-3)


@pytest.mark.slow
def test_artefacts_hold_their_sizes_and_versions(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(estimator_study, "QUICK", Study(population=500, sizes=(50,), draws=2))
    monkeypatch.setattr(sys, "argv", ["study", "--quick", "--out", str(tmp_path / "out")])
    estimator_study.main()
    assert "calibrated (T = 1)" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out" / "estimators.csv")
    assert set(table["estimator"]) == set(ESTIMATORS)
    described = json.loads(Image.open(tmp_path / "out" / "estimators.png").text["Description"])
    assert described["study"]["draws"] == 2
    assert "torch" in described["versions"]
    assert "smECE" in (tmp_path / "out" / "estimators.md").read_text()
    assert (tmp_path / "out" / "estimators.pdf").read_bytes()[:4] == b"%PDF"
