"""The study of which metric ranks as the truth does."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import rel_entr

from calbench.benchmark.studies import ranking
from calbench.benchmark.studies.ranking import RANKINGS, TRUTHS, Study, summary, truths

TINY = Study(train=300, calibration=150, population=400, sizes=(200,), draws=3)


def test_the_truth_is_the_mean_kl_divergence():
    rng = np.random.default_rng(0)
    posterior, shown = (rng.dirichlet(np.ones(4), 300) for _ in range(2))
    found = truths({"one": shown, "exact": posterior}, posterior).set_index("entry")
    assert found.loc["one", "kl"] == pytest.approx(rel_entr(posterior, shown).sum(axis=1).mean())
    assert found.loc["exact", "kl"] == pytest.approx(0, abs=1e-12)
    assert found.loc["exact", "error"] == pytest.approx(0, abs=1e-9)


def test_the_summary_has_the_mean_and_its_difference_from_the_first():
    taus = {"NLL": [0.9, 0.8], "Brier": [0.9, 0.8], "ECE (debiased)": [0.5, 0.7], "ECE": [0.3, 0.3], "Accuracy": [0, 1]}
    rows = [
        {"samples": 10, "draw": draw, "truth": "kl", "ranking": name, "tau": tau}
        for name, values in taus.items()
        for draw, tau in enumerate(values)
    ]
    table = summary(pd.DataFrame(rows)).set_index("ranking")
    assert table.loc["ECE", "less_than_first"] == pytest.approx(0.55)
    assert table.loc["Brier", ["less_low", "less_high"]].tolist() == [0, 0]
    assert table.loc["ECE", "less_low"] == pytest.approx(0.5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*separates a class")
def test_the_files_have_every_ranking_and_name_their_commit(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ranking, "QUICK", TINY)
    kept = {name: ranking.classifiers(0)[name] for name in ("naive Bayes", "logistic regression")}
    monkeypatch.setattr(ranking, "classifiers", lambda seed: kept)
    monkeypatch.setattr(sys, "argv", ["study", "--quick", "--out", str(tmp_path)])
    ranking.main()
    assert "True order" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "ranking.csv")
    assert len(table) == len(RANKINGS) * len(TRUTHS)
    assert table["commit"].nunique() == 1
    described = json.loads(Image.open(tmp_path / "ranking.png").text["Description"])
    assert described["commit"] == table["commit"][0]
    assert len(pd.read_csv(tmp_path / "ranking-truth.csv")) == 2 * 4
