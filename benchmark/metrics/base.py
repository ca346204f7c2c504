"""The base classes and the registry of metrics."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, TypeVar, cast

import numpy as np

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.registry import Component, Registry
from calbench.benchmark.metrics.gaps import Gaps
from calbench.benchmark.metrics.parts import Part, TopLabel
from calbench.benchmark.metrics.sample import PointView, Sample, View
from calbench.benchmark.metrics.source import Source

Need = Literal["posterior", "out-of-distribution"]
V = TypeVar("V")
Better = Literal["lower", "higher", "zero"]
"""The direction in which a metric is good; ``"zero"``: the nearer to it the better, from either side."""

Sampling = Literal["mean", "share", "gaps", "bounds", "smooth", "excess", "none"]

registry: Registry[type["Described"]] = Registry("metric")
register = registry.register


class Described(Component):
    """What tables must know of a metric.

    ``unit`` is ``"%"``, ``"nats"`` or ``""``; ``better`` says which direction is good (None: neither); ``decimals`` how
    many a table prints; ``needs`` what the caller must have in addition to predictions and labels.
    """

    unit: ClassVar[str] = "%"
    better: ClassVar[Better | None] = "lower"
    decimals: ClassVar[int] = 2
    needs: ClassVar[frozenset[Need]] = frozenset()

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Name, label, unit, direction, decimals and needs, as plain data."""
        return {
            "name": cls.spec.name,
            "label": cls.spec.label,
            "unit": cls.unit,
            "better": cls.better,
            "decimals": cls.decimals,
            "needs": sorted(cls.needs),
        }


class Metric(Described, ABC):
    """A number that says how good predictions are.

    A subclass is a dataclass of options (``bins`` is set from the caller's) that implements `values`. ``parts`` names
    the statistics that `values` reads, so that all metrics of a call are filled in one pass.

    Attributes:
        resampled: whether `values` accepts resampled views, without which there are no bootstrap replicates.
        lowest: the least value there can be.
        highest: the largest value there can be.
        sampling: how the value varies with the test samples, and so which interval covers it: ``"mean"`` for a mean of
            `scores` of the samples (its interval is exact for large N), ``"share"`` for such a mean of zeros and ones,
            ``"gaps"`` for a sum of absolute `gaps` (biased upwards by noise; see `statistics.calibration`),
            ``"smooth"`` for what is nearly unbiased (percentiles of the bootstrap), ``"excess"`` for a nonnegative
            excess over a minimum, quadratic near 0, ``"bounds"`` for what gives `bounds` of its own, and ``"none"`` for
            the rest, with the reason in ``no_interval``.
        no_interval: why there is no interval.
    """

    resampled: ClassVar[bool] = True
    lowest: ClassVar[float] = 0.0
    highest: ClassVar[float] = float("inf")
    sampling: ClassVar[Sampling] = "smooth"
    no_interval: ClassVar[str] = "noise biases this metric upwards, and no interval is known to cover its true value"

    def parts(self) -> Sequence[Part]:
        """The statistics that `values` reads."""
        return [TopLabel()]

    @abstractmethod
    def values(self, view: View) -> np.ndarray:
        """The metric under each of the R weightings of `view`: (R,), in the metric's unit."""

    def scores(self, sample: Sample) -> np.ndarray:
        """The numbers (N,) of which the metric is the mean, in its unit; for ``sampling`` mean and share."""
        raise NotImplementedError

    def gaps(self, sample: Sample) -> Gaps:
        """The gaps of which the metric is the sum of absolute values; for ``sampling`` gaps."""
        raise NotImplementedError

    def bounds(self, sample: Sample, level: float) -> tuple[float, float]:
        """An interval that covers the population value with probability `level` or more; for ``sampling`` bounds."""
        raise NotImplementedError

    def __call__(self, *, logits: Any = None, probabilities: Any = None, labels: Any, posterior: Any = None) -> float:
        """The metric of logits or probabilities (N, K) against labels (N,).

        Raises:
            ValueError: bad input; the message says what and where.
        """
        source = Source(logits=logits, probabilities=probabilities, labels=labels, posterior=posterior)
        return self.value(Sample(source))

    def value(self, sample: Sample) -> float:
        """The metric of `sample`."""
        sample.collect(self.parts())
        return float(self.values(PointView(sample))[0])


def make(name: str, bins: int) -> Metric:
    """Make the metric `name`, with `bins` where it has such an option.

    Raises:
        InputError: an unknown name, a number of bins below one, or a metric that is not of predictions and labels.
    """
    cls = registry[name]
    if not issubclass(cls, Metric):
        raise InputError(f"metric {name!r} compares two sets of predictions: use evaluate_ood")
    has_bins = "bins" in getattr(cls, "__dataclass_fields__", {})
    return registry.create(name, **({"bins": bins} if has_bins else {}))


def cost(values: V, better: str | None) -> V:
    """`values` of a metric (a number, an array or a frame) as costs, of which less is better.

    Args:
        values: in the metric's unit.
        better: ``"lower"`` or None for the values themselves, ``"higher"`` for their negative, ``"zero"`` for their
            distance from it.
    """
    return abs(cast("Any", values)) if better == "zero" else -cast("Any", values) if better == "higher" else values


def relative_reduction(value: V, base: V, better: str | None) -> V:
    """How much less `value` costs than `base`, in per cent of the size of `base`: positive is better.

    For an error 100 (base - value) / base. NaN where the base is 0.

    Args:
        value: a number or an array.
        base: the baseline's, of the same shape.
        better: see `cost`.
    """
    gain = cast("Any", cost(base, better)) - cast("Any", cost(value, better))
    if isinstance(base, float):  # once a row of a large table, where NumPy's calls would be most of the cost
        return 100 * gain / abs(base) if base else cast("Any", float("nan"))
    zero = np.equal(cast("Any", base), 0)
    return cast("Any", np.where(zero, np.nan, 100 * gain / np.where(zero, 1, np.abs(cast("Any", base)))))


def make_all(names: Sequence[str], bins: int) -> dict[str, Metric]:
    """Make every metric of `names`, by name; see `make`.

    Raises:
        TypeError: `names` is one string.
    """
    if isinstance(names, str):
        raise TypeError(f"metrics: expected a sequence of names, got the string {names!r}")
    return {name: make(name, bins) for name in names}


def better_direction(name: str) -> Better | None:
    """Which direction of `name` is good; None for what is neither, nor a registered metric, such as a temperature."""
    return registry[name].better if name in registry else None


def metric_class(name: str) -> type[Metric] | None:
    """The class of the metric `name`; None for what is no registered metric of one set of predictions."""
    return cls if name in registry and issubclass(cls := registry[name], Metric) else None
