"""Which metric ranks classifiers as the truth does: ``python -m calbench.benchmark.studies.ranking``.

The images of `overlap` have a known class posterior. Seven classifiers of scikit-learn are trained on them and
calibrated post hoc in several ways. Their true order is that of the mean KL divergence from the true posterior over all
test images (or, for comparison, of their calibration error). Test sets with labels from the posterior are drawn,
and the order by each metric is compared with the true one by Kendall's rank correlation.
"""

import argparse
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import kendalltau
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier

from calbench.benchmark.core import environment
from calbench.benchmark.core.seeds import seed_for
from calbench.benchmark.metrics import evaluate
from calbench.benchmark.statistics import evaluate as estimate
from calbench.datasets import registry as datasets
from calbench.methods import registry as methods

CALIBRATORS = ("temperature-scaling", "vector-scaling", "histogram-binning")
RANKINGS = {"NLL": "nll", "Brier": "brier", "ECE (debiased)": "debiased", "ECE": "ece", "Accuracy": "accuracy"}
TRUTHS = {"kl": "KL divergence from the true posterior", "error": "calibration error of the population"}
LEAST = 1e-4
"""Probabilities below it are raised to it, so that a class that a forest or neighbours never saw costs a finite NLL."""


@dataclass(frozen=True)
class Study:
    """The sizes of the study.

    Attributes:
        train: images that the classifiers are trained on.
        calibration: images that the calibrators are fitted on.
        population: images that stand for the population.
        sizes: numbers of test samples.
        draws: test sets of each size.
        seed: of everything.
    """

    train: int = 4000
    calibration: int = 500
    population: int = 20_000
    sizes: tuple[int, ...] = (500, 2000, 10_000)
    draws: int = 60
    seed: int = 0


QUICK = Study(train=600, calibration=200, population=2000, sizes=(500,), draws=5)


def classifiers(seed: int) -> dict[str, Any]:
    """The classifiers, some of them under- and some over-confident."""
    return {
        "logistic regression": LogisticRegression(C=1.0, max_iter=200),
        "strongly regularised": LogisticRegression(C=1e-3, max_iter=200),
        "naive Bayes": GaussianNB(),
        "25 neighbours": KNeighborsClassifier(25),
        "forest": RandomForestClassifier(60, min_samples_leaf=2, random_state=seed),
        "small network": MLPClassifier((64,), max_iter=60, random_state=seed),
        "linear discriminant": LinearDiscriminantAnalysis(),
    }


def entries(study: Study) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Probabilities (N, K) of every entry on the population, and the true posterior (N, K)."""
    dataset = datasets.create("overlap", train=study.train + study.calibration, test=study.population, seed=study.seed)
    splits = dataset.load(Path())
    images, labels = splits.train.images.flatten(1).numpy(), splits.train.labels.numpy()
    held_out, tested = slice(study.train, None), splits.test.images.flatten(1).numpy()
    shown: dict[str, np.ndarray] = {}
    for name, classifier in classifiers(study.seed).items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the network is stopped early on purpose
            classifier.fit(images[: study.train], labels[: study.train])
        logits, calibration = (_logits(classifier.predict_proba(x)) for x in (tested, images[held_out]))
        shown[name] = np.exp(logits)
        for calibrator in CALIBRATORS:
            fitted = methods.create(calibrator).fit(calibration, labels[held_out])
            shown[f"{name} + {calibrator}"] = fitted.predict_proba(logits)
    return shown, splits.test.posterior.numpy()


def _logits(probabilities: np.ndarray) -> np.ndarray:
    raised = np.maximum(probabilities.astype(np.float64), LEAST)
    return np.log(raised / raised.sum(axis=1, keepdims=True))


def truths(shown: Mapping[str, np.ndarray], posterior: np.ndarray) -> pd.DataFrame:
    """A row per entry: KL divergence in nats and calibration error in per cent, both without label noise."""
    labels, rows = posterior.argmax(axis=1), []
    for name, p in shown.items():
        found = evaluate(probabilities=p, labels=labels, posterior=posterior, metrics=["oracle-kl", "oracle-ece"])
        rows.append({"entry": name, "kl": found["oracle-kl"], "error": found["oracle-ece"]})
    return pd.DataFrame(rows)


def run(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The truths of the entries, and the rank correlations: a row per size, draw, truth and ranking."""
    shown, posterior = entries(study)
    true = truths(shown, posterior)
    return true, pd.DataFrame(_correlations(shown, posterior, true, study))


def _correlations(
    shown: Mapping[str, np.ndarray], posterior: np.ndarray, true: pd.DataFrame, study: Study
) -> Iterator[dict[str, object]]:
    for size in study.sizes:
        for draw in range(study.draws):
            generator = np.random.default_rng(seed_for(study.seed, "ranking", size, draw))
            rows = generator.choice(len(posterior), size, replace=False)
            levels = posterior[rows].cumsum(axis=1)
            labels = (levels < generator.random((size, 1)) * levels[:, -1:]).sum(axis=1)
            measured = pd.DataFrame([_measured(p[rows], labels) for p in shown.values()])
            for truth in TRUTHS:
                for ranking, metric in RANKINGS.items():
                    costs = -measured[metric] if metric == "accuracy" else measured[metric]
                    tau = float(kendalltau(costs, true[truth]).statistic)
                    yield {"samples": size, "draw": draw, "truth": truth, "ranking": ranking, "tau": tau}


def _measured(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    names = ["nll", "brier", "ece", "accuracy"]
    found = estimate(probabilities=probabilities, labels=labels, metrics=names, interval=0.95)
    return {name: one.value for name, one in found.items()} | {"debiased": max(found["ece"].debiased, 0.0)}


def summary(correlations: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Mean rank correlation with the range of 95 % of the test sets, and the difference from the first ranking.

    The interval of the mean difference is of percentiles of 2,000 bootstrap resamples of the test sets.
    """
    generator, rows = np.random.default_rng(seed), []
    for (size, truth), part in correlations.groupby(["samples", "truth"], sort=False):
        wide = part.pivot(index="draw", columns="ranking", values="tau")[list(RANKINGS)]
        picks = generator.integers(0, len(wide), (2000, len(wide)))
        first = wide.iloc[:, 0].to_numpy()
        for ranking in wide:
            values = wide[ranking].to_numpy()
            low, high = np.quantile(values, [0.025, 0.975])
            ends = np.quantile((values - first)[picks].mean(axis=1), [0.025, 0.975])
            rows.append({
                "samples": size, "truth": truth, "ranking": ranking, "tau": values.mean(), "low": low, "high": high,
                "less_than_first": (first - values).mean(), "less_low": -ends[1], "less_high": -ends[0],
            })  # fmt: skip
    return pd.DataFrame(rows)


def markdown(true: pd.DataFrame, table: pd.DataFrame, study: Study) -> str:
    """The tables in Markdown."""
    first, *others = RANKINGS
    lines = [
        f"Kendall's rank correlation of the order by each metric with the true order, over {len(true)} entries of "
        f"`overlap` and {study.draws} test sets of each size. In brackets: the range of 95 % of the test sets. The "
        f"second table of each truth: how much more it is for {first}, with the 95 % interval of the mean difference.",
        "",
    ]  # fmt: skip
    for truth, name in TRUTHS.items():
        lines += [f"**True order: {name}**", ""]
        part = table[table["truth"] == truth]
        cells = part.assign(
            cell=[f"{t:.2f} [{a:.2f}, {b:.2f}]" for t, a, b in part[["tau", "low", "high"]].to_numpy()],
            less=[f"{t:+.3f} [{a:+.3f}, {b:+.3f}]"
                  for t, a, b in part[["less_than_first", "less_low", "less_high"]].to_numpy()],
        )  # fmt: skip
        wide = cells.pivot(index="samples", columns="ranking", values="cell")[[first, *others]]
        less = cells.pivot(index="samples", columns="ranking", values="less")[others]
        for frame, title in ((wide, ""), (less, f"{first} minus ")):
            frame.columns = [f"{title}{column}" for column in frame]
            frame.index = [f"{size:,}" for size in frame.index]
            lines += [frame.to_markdown(disable_numparse=True, stralign="right"), ""]
    return "\n".join(lines)


def figure(table: pd.DataFrame) -> Figure:
    """Rank correlation against the number of test samples, a panel per truth."""
    drawing = Figure(figsize=(7, 3.2), layout="constrained")
    for axes, (truth, name) in zip(drawing.subplots(1, 2, sharey=True), TRUTHS.items(), strict=True):
        for place, ranking in enumerate(RANKINGS):
            part = table[(table["truth"] == truth) & (table["ranking"] == ranking)]
            spread = [part["tau"] - part["low"], part["high"] - part["tau"]]
            axes.errorbar(part["samples"] * 1.05 ** (place - 2), part["tau"], spread, marker="o", markersize=3,
                          linewidth=1, capsize=2, label=ranking)  # fmt: skip
        axes.set(xscale="log", xlabel="test samples", title=f"truth: {name}")
        axes.title.set_size(8)
    drawing.axes[0].set_ylabel("Kendall's rank correlation with the truth")
    drawing.axes[0].legend(fontsize=7)
    return drawing


def write(true: pd.DataFrame, correlations: pd.DataFrame, study: Study, folder: Path) -> str:
    """Write ``ranking-truth.csv``, ``ranking.csv``, ``.md``, ``.png`` and ``.pdf``; returns the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    commit, versions = environment.commit() or "unknown", environment.versions()
    record = json.dumps({"study": asdict(study), "commit": commit, "versions": versions}, sort_keys=True)
    table = summary(correlations)
    true.round(5).to_csv(folder / "ranking-truth.csv", index=False)
    table.round(4).assign(commit=commit).to_csv(folder / "ranking.csv", index=False)
    text = markdown(true, table, study)
    made = f"Made by calbench {versions['calbench']}, commit {commit}."
    (folder / "ranking.md").write_text(f"{text}\n{made}\n\n<!-- {record} -->\n", "utf-8")
    drawing = figure(table)
    drawing.savefig(folder / "ranking.png", dpi=150, metadata={"Description": record})
    drawing.savefig(folder / "ranking.pdf", metadata={"Subject": record, "CreationDate": None})
    return text


def main() -> None:
    """Run the study and write its results."""
    parser = argparse.ArgumentParser(prog="python -m calbench.benchmark.studies.ranking", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/estimators"), help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="small sizes, in seconds")
    options = parser.parse_args()
    study = QUICK if options.quick else Study()
    true, correlations = run(study)
    print(true.sort_values("kl").to_string(index=False))
    print(write(true, correlations, study, options.out))


if __name__ == "__main__":
    main()
