"""Calibration-error estimators where the true value is known: ``python -m calbench.benchmark.studies.estimators``.

The images of `overlap` have a known class posterior. Dividing its logarithm by a temperature gives classifiers whose
exact calibration error is known too, and labels drawn from the posterior give as many test sets as one likes. Bias and
spread of each estimator against the exact error, by the number of test samples, are written as a table and a figure.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from calbench.benchmark.core import environment
from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.metrics import evaluate, registry
from calbench.datasets import registry as datasets

ESTIMATORS = ("ece", "debiased-ece", "ece-sweep", "smece")
TEMPERATURES = {"calibrated (T = 1)": 1.0, "slightly over-confident (T = 0.8)": 0.8, "over-confident (T = 0.5)": 0.5,
                "under-confident (T = 2)": 2.0}  # fmt: skip
EXACT_BINS = 1000


@dataclass(frozen=True)
class Study:
    """The sizes of the study.

    Attributes:
        population: number of images that represent the population.
        sizes: numbers of test samples.
        draws: test sets of each size.
        seed: of images, test sets and labels.
    """

    population: int = 300_000
    sizes: tuple[int, ...] = (100, 300, 1000, 3000, 10_000, 30_000)
    draws: int = 200
    seed: int = 0


QUICK = Study(population=20_000, sizes=(100, 1000), draws=20)


def run(study: Study) -> pd.DataFrame:
    """Bias, spread and root mean square error of every estimator: one row per model, size and estimator.

    Returns:
        Columns model, samples, estimator, exact, mean, bias, spread and rmse; all but the first three per cent.
    """
    dataset = datasets.create("overlap", train=1000, test=study.population, seed=study.seed)
    posterior = dataset.load(Path()).test.posterior.numpy()
    rows = [row for name, t in TEMPERATURES.items() for row in _model_rows(name, t, posterior, study)]
    return pd.DataFrame(rows)


def exact_error(posterior: np.ndarray, probabilities: np.ndarray) -> float:
    """The calibration error E|P(correct | conf) - conf| in per cent.

    The posterior of the predicted class replaces correctness, so that there is no label noise; over 1,000 bins of
    all images, P(correct | conf) is as good as continuous.
    """
    labels = posterior.argmax(axis=1)
    found = evaluate(
        probabilities=probabilities, labels=labels, posterior=posterior, metrics=["oracle-ece"], bins=EXACT_BINS
    )
    return found["oracle-ece"]


def _model_rows(name: str, temperature: float, posterior: np.ndarray, study: Study) -> Iterator[dict[str, object]]:
    tempered = posterior ** (1 / temperature)
    probabilities = tempered / tempered.sum(axis=1, keepdims=True)
    exact = exact_error(posterior, probabilities)
    generator = np.random.default_rng(study.seed)
    for size in study.sizes:
        found = pd.DataFrame([_drawn(posterior, probabilities, size, generator) for _ in range(study.draws)])
        for estimator in ESTIMATORS:
            values = found[estimator]
            yield {
                "model": name,
                "samples": size,
                "estimator": estimator,
                "exact": exact,
                "mean": values.mean(),
                "bias": values.mean() - exact,
                "spread": values.std(),
                "rmse": float(np.sqrt(((values - exact) ** 2).mean())),
            }


def _drawn(
    posterior: np.ndarray, probabilities: np.ndarray, size: int, generator: np.random.Generator
) -> dict[str, float]:
    rows = generator.choice(len(posterior), size, replace=False)
    levels = posterior[rows].cumsum(axis=1)
    labels = (levels < generator.random((size, 1)) * levels[:, -1:]).sum(axis=1)
    return evaluate(probabilities=probabilities[rows], labels=labels, metrics=ESTIMATORS)


def markdown(table: pd.DataFrame) -> str:
    """One table per model: bias with spread of each estimator, by the number of samples."""
    lines = []
    for model, part in table.groupby("model", sort=False):
        lines += [f"**{model}**: exact calibration error {part['exact'].iloc[0]:.2f} %", ""]
        cells = part.assign(cell=[f"{b:+.2f} ± {s:.2f}" for b, s in zip(part["bias"], part["spread"], strict=True)])
        wide = cells.pivot(index="samples", columns="estimator", values="cell")[list(ESTIMATORS)]
        wide.columns = [registry[name].spec.label for name in ESTIMATORS]
        wide.index = [f"{size:,}" for size in wide.index]
        lines += [wide.to_markdown(disable_numparse=True, stralign="right"), ""]
    return "\n".join(lines)


def figure(table: pd.DataFrame) -> Figure:
    """Mean and spread of every estimator against the number of samples, with the exact error; one panel per model."""
    models = list(table["model"].unique())
    drawing = Figure(figsize=(3.2 * len(models), 3.2), layout="constrained")
    for axes, model in zip(drawing.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        part = table[table["model"] == model]
        axes.axhline(part["exact"].iloc[0], color="black", linewidth=1, label="exact")
        for place, estimator in enumerate(ESTIMATORS):
            own = part[part["estimator"] == estimator]
            at = own["samples"] * 1.06 ** (place - 1.5)  # side by side, so that the bars can be told apart
            axes.errorbar(
                at, own["mean"], own["spread"], marker="o", markersize=3, linewidth=1, capsize=2,
                label=registry[estimator].spec.label,
            )  # fmt: skip
        axes.set(xscale="log", xlabel="test samples", title=model, ylim=(0, None))
        axes.title.set_size(9)
    drawing.axes[0].set_ylabel("estimate, % (mean ± s.d.)")
    drawing.axes[0].legend(fontsize=8)
    return drawing


def write(table: pd.DataFrame, study: Study, folder: Path) -> None:
    """Write ``estimators.csv``, ``.md``, ``.png`` and ``.pdf`` to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    versions, commit = environment.versions(), environment.commit() or "unknown"
    record = json.dumps({"study": asdict(study), "commit": commit, "versions": versions}, sort_keys=True)
    table.round(4).to_csv(folder / "estimators.csv", index=False)
    head = (
        f"Bias ± standard deviation of calibration-error estimators, in percentage points, over {study.draws} test "
        f"sets of each size from `overlap`, whose class posterior is known ({DEFAULT_BINS} bins; calbench "
        f"{versions['calbench']}, commit {commit})."
        "\n\n"
    )
    (folder / "estimators.md").write_text(head + markdown(table) + f"\n<!-- {record} -->\n", "utf-8")
    drawing = figure(table)
    drawing.savefig(folder / "estimators.png", dpi=150, metadata={"Description": record})
    drawing.savefig(folder / "estimators.pdf", metadata={"Subject": record, "CreationDate": None})


def main() -> None:
    """Run the study and write its results."""
    parser = argparse.ArgumentParser(prog="python -m calbench.benchmark.studies.estimators", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/estimators"), help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="small sizes, in seconds")
    options = parser.parse_args()
    study = QUICK if options.quick else Study()
    table = run(study)
    write(table, study, options.out)
    print(markdown(table))


if __name__ == "__main__":
    main()
