import pandas as pd
import pytest

SETTINGS = [
    "keep=weights",
    "training.attention_curve=true",
    "backbones=['vit-micro(width=16, heads=2, depth=2, patch=2)']",
]
ENTRIES = ["cross-entropy", "calattn(hidden=8)", "attention-temperature(temperature=2.0)"]


@pytest.fixture
def arguments():
    options = [part for setting in SETTINGS for part in ("--set", setting)]
    return options + [part for entry in ENTRIES for part in ("--entry", entry)]


@pytest.mark.slow
def test_diagnose_writes_tables_figures_and_a_page(tiny, run, calbench, arguments, tmp_path):
    run(tiny, settings=SETTINGS, entries=ENTRIES)
    status, out, err = calbench(
        "diagnose", tiny, "--name", "tiny", "--results-dir", "results", *arguments, "--images", 40, "--null-images", 20
    )
    assert status == 0, err
    folder = tmp_path / "results" / "tiny" / "diagnostics"
    names = {path.name for path in folder.iterdir()}
    assert {"attention.csv", "relations.csv", "temperature-curve.csv", "tempnet-control.csv", "index.html"} <= names
    assert {"entropy.png", "entropy-course.png", "temperature-curve.pdf", "maps.png", "diagnostics.json"} <= names
    attention = pd.read_csv(folder / "attention.csv")
    assert set(attention.recipe) == {"cross-entropy", "cross-entropy-brier + calattn(hidden=8)"}
    by_measure = attention.groupby("measure").value.agg(["min", "max"])
    assert 0 < by_measure.loc["entropy", "min"] <= by_measure.loc["entropy", "max"] <= 1
    assert set(attention[attention.measure == "entropy"].block) == {0, 1}
    relations = pd.read_csv(folder / "relations.csv")
    assert set(relations.target) == {
        "misclassification", "confidence", "head temperature", "tempnet-posthoc temperature",
    }  # fmt: skip
    curve = pd.read_csv(folder / "temperature-curve.csv")
    assert set(curve.temperature) == {1.0, 2.0}
    assert (curve[curve.temperature == 1].changed == 0).all()
    assert (curve[curve.split == "test"].changed_by_noise >= 0).all()
    shares = attention[attention.measure.isin(["significant-share", "rollout-on-noise"])]
    assert set(shares.samples) == {20}
    assert set(attention[attention.measure == "entropy"].samples) == {40}
    course = pd.read_csv(folder / "entropy-course.csv")
    assert list(course.epoch) == [1, 2] * 2
    assert course.attention_entropy.between(0, 1).all()
    assert len(pd.read_csv(folder / "entropy-order.csv")) == 2
    control = pd.read_csv(folder / "tempnet-control.csv")
    assert (control.gap > 0).all()
    page = (folder / "index.html").read_text()
    assert "entropy.png" in page
    assert str(tmp_path) not in page + (folder / "diagnostics.json").read_text()
    assert out.startswith("written to results/tiny/diagnostics")


def test_without_kept_weights_the_message_says_what_to_do(tiny, run, calbench):
    run(tiny, entries=["cross-entropy"])
    status, _, err = calbench("diagnose", tiny, "--results-dir", "results", "--entry", "cross-entropy")
    assert status == 2
    assert "keep: weights" in err
