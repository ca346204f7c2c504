"""Reliability diagrams of the public interface: the bins as an object with a plot."""

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.metrics import ReliabilityBin, evaluate, reliability


@dataclass(frozen=True)
class ReliabilityDiagram:
    """Accuracy against confidence in equal-width bins.

    Attributes:
        bins: the bins, with Wilson intervals of their accuracies; fractions in 0..1.
        ece: the expected calibration error over these bins, in per cent.
        samples: their number.
    """

    bins: tuple[ReliabilityBin, ...]
    ece: float
    samples: int

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the diagram: a point with its interval per non-empty bin, its area in proportion to the samples.

        Args:
            ax: where to draw; a new figure by default.

        Returns:
            The axes.
        """
        if ax is None:
            from matplotlib.figure import Figure

            ax = Figure(figsize=(3.3, 3.3), layout="constrained").subplots()
        used = [one for one in self.bins if one.count]
        confidence, accuracy = [one.confidence for one in used], [one.accuracy for one in used]
        below = [one.accuracy - one.accuracy_low for one in used]
        above = [one.accuracy_high - one.accuracy for one in used]
        sizes = [10 + 90 * one.count / self.samples for one in used]
        ax.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1, label="perfect calibration")
        ax.errorbar(confidence, accuracy, yerr=[below, above], fmt="none", ecolor="#0072B2", elinewidth=1)
        ax.scatter(confidence, accuracy, s=sizes, color="#0072B2", zorder=3)
        ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy", aspect="equal")
        ax.set_title(f"ECE {self.ece:.2f} %, n = {self.samples:,}")
        return ax


def reliability_diagram(
    *, logits: Any = None, probabilities: Any = None, labels: Any, bins: int = DEFAULT_BINS
) -> ReliabilityDiagram:
    """The reliability diagram of predictions.

    Args:
        logits: (N, K), NumPy or torch.
        probabilities: (N, K) with rows that sum to one, in place of logits.
        labels: (N,) whole numbers in 0..K-1.
        bins: number of equal-width bins.

    Raises:
        ValueError: bad input; the message says what and where.

    Example:
        >>> import calbench as cb
        >>> diagram = cb.reliability_diagram(probabilities=[[0.7, 0.3], [0.4, 0.6]], labels=[0, 0])
        >>> round(diagram.ece, 1), diagram.samples
        (45.0, 2)
    """
    inputs = {"logits": logits, "probabilities": probabilities, "labels": labels, "bins": bins}
    used = reliability(**inputs)
    ece = evaluate(**inputs, metrics=["ece"])["ece"]
    return ReliabilityDiagram(tuple(used), ece, sum(one.count for one in used))
