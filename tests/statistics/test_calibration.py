"""Intervals and debiased values of calibration errors: closed forms, coverage by simulation, and edges."""

import numpy as np
import pytest
from fast_set import slowly
from scipy.special import softmax
from scipy.stats import binom, foldnorm, gamma, norm

from calbench.benchmark.core.bins import bin_of
from calbench.benchmark.metrics import Metric, registry
from calbench.benchmark.metrics.gaps import Gaps, binned_gaps, pooled_shares
from calbench.benchmark.metrics.intervals import folded_normal, supremum_quantile
from calbench.benchmark.statistics import calibration_interval, evaluate
from calbench.benchmark.statistics.calibrated import calibration_test
from calbench.benchmark.statistics.calibration import inverse_of_mean
from calbench.benchmark.statistics.contrast import Side, correlations, difference, holm, mean_of, ratio_interval


def test_folded_normal_is_scipys():
    mean, spread = np.array([0.0, 0.3, -2.0]), np.array([1.0, 0.5, 0.7])
    found = folded_normal(mean, spread)
    assert found[0] == pytest.approx(foldnorm.mean(np.abs(mean) / spread, scale=spread))
    assert found[1] == pytest.approx(foldnorm.var(np.abs(mean) / spread, scale=spread))
    assert inverse_of_mean(found[0], spread) == pytest.approx(np.abs(mean), abs=1e-3)


def test_one_bin_is_the_test_of_one_normal_gap():
    # one cell: |N(g, s)| with a gamma of the same two moments; far from 0 it is the normal interval
    found = calibration_interval(Gaps(np.array([0.2]), np.array([0.01])))
    assert found.debiased == pytest.approx(0.2, abs=1e-4)
    assert (found.low, found.high) == pytest.approx((0.2 - 1.96 * 0.01, 0.2 + 1.96 * 0.01), abs=1e-3)
    # at 0 the lower end reaches 0 where the gap is at the gamma's quantile
    mean, var = foldnorm.mean(0, scale=0.01), foldnorm.var(0, scale=0.01)
    edge = gamma.ppf(0.975, mean**2 / var, scale=var / mean)
    at_edge = calibration_interval(Gaps(np.array([edge]), np.array([0.01])))
    assert at_edge.low == pytest.approx(0, abs=1e-4)


def test_a_debiased_value_is_negative_below_the_floor_and_the_upper_end_is_not():
    found = calibration_interval(Gaps(np.full(10, 1e-4), np.full(10, 0.01)))
    assert found.low < found.debiased < 0
    assert found.high > 0.01


def test_certain_and_right_everywhere_has_no_error():
    p = np.tile([1.0, 0.0], (20, 1))
    ece = evaluate(probabilities=p, labels=np.zeros(20, dtype=int), metrics=["ece"], interval=0.95)["ece"]
    assert (ece.value, ece.low) == (0, 0)
    assert ece.high < 30


def test_a_cell_of_one_sample_has_noise():
    gaps = binned_gaps(np.array([1, 0]), np.array([1, 0]), np.array([0.7, 0.0]))
    share = (1 + 2 * 0.7) / 3
    assert gaps.spread == pytest.approx([np.sqrt(share * (1 - share))])


@pytest.mark.parametrize("size", [2, *slowly(3)])
def test_of_two_or_three_samples_the_interval_of_classwise_ece_covers_a_calibrated_model(size):
    """The variance between two or three samples is no estimate: intervals made from it missed 0 in one set of ten."""
    rng, sets, hits = np.random.default_rng(3), 200, 0
    for _ in range(sets):
        z = 3 * rng.normal(size=(size, 10))
        y = (z + rng.gumbel(size=z.shape)).argmax(1)
        found = evaluate(logits=z, labels=y, metrics=["classwise-ece"], interval=0.95)["classwise-ece"]
        hits += found.low == 0
        assert found.low <= found.value <= found.high
    assert hits >= binom.ppf(0.01, sets, 0.95)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["ece", "adaece", "classwise-ece"])
@pytest.mark.parametrize("sharpness", [1.0, 1.6])
def test_intervals_cover_the_population_error(metric, sharpness):
    rng, k = np.random.default_rng(0), 4

    def draw(n):
        z = 1.5 * rng.normal(size=(n, k))
        return z * sharpness, (z + rng.gumbel(size=z.shape)).argmax(1)

    truth = evaluate(logits=(big := draw(400_000))[0], labels=big[1], metrics=[metric])[metric] if sharpness > 1 else 0
    sets, hits = 60, 0
    for _ in range(sets):
        z, y = draw(500)
        found = evaluate(logits=z, labels=y, metrics=[metric], interval=0.95)[metric]
        hits += found.low <= truth <= found.high
    assert hits >= binom.ppf(0.001, sets, 0.93)


def test_every_metric_has_an_interval_or_a_reason():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(200, 4))
    y = (z + rng.gumbel(size=z.shape)).argmax(1)
    names = [n for n in registry if issubclass(registry[n], Metric) and not registry[n].needs]
    for name, found in evaluate(logits=2 * z, labels=y, metrics=names, interval=0.9).items():
        assert np.isfinite([found.low, found.high]).all() != bool(found.reason), name
        assert found.reason or found.low <= found.high, name
        assert float(found) == found.value


def test_intervals_of_shares_stay_within_their_range():
    # 99.8 % of 1,000 and 39 of 40 right
    for right, size in ((998, 1000), (39, 40)):
        p = np.tile([0.9, 0.1], (size, 1))
        found = evaluate(probabilities=p, labels=np.arange(size) >= right, metrics=["accuracy"], interval=0.95)
        assert 0 < found["accuracy"].low < 100 * right / size < found["accuracy"].high <= 100


def test_an_infinite_nll_says_why_it_has_no_interval():
    p = np.array([[1.0, 0.0], [0.5, 0.5]])
    nll = evaluate(probabilities=p, labels=[1, 0], metrics=["nll"], interval=0.95)["nll"]
    assert nll.value == np.inf
    assert "probability 0" in nll.reason


def test_the_level_is_checked():
    with pytest.raises(ValueError, match="interval=95"):
        evaluate(logits=[[1.0, 0.0]], labels=[0], interval=95)


def side(values, margin, replicates):
    values = np.asarray(values, dtype=float)
    return Side(values, np.full(len(values), margin), np.full(len(values), margin), replicates)


def test_independent_models_differ_by_the_z_test():
    rng = np.random.default_rng(2)
    first, second = (side([v], 1.96, rng.normal(size=(1, 20_000))) for v in (3.0, 0.0))
    contrast = difference(first, second)
    assert contrast.p_value() == pytest.approx(2 * norm.sf(3 / 2**0.5), rel=0.05)
    assert contrast.interval() == pytest.approx((3 - 1.96 * 2**0.5, 3 + 1.96 * 2**0.5), abs=0.05)


def test_intervals_and_p_values_agree_over_seeds():
    rng = np.random.default_rng(3)
    replicates = rng.normal(size=(3, 500))
    for shift in (0.5, 3.0, 6.0, 12.0):
        contrast = mean_of(side(np.array([0.0, 1.0, 2.0]) + shift, 0.5, replicates))
        low, high = contrast.interval()
        assert (contrast.p_value() <= 0.05) == (not low <= 0 <= high)


def test_ratio_interval_is_fiellers_for_symmetric_margins():
    rng = np.random.default_rng(4)
    first, second = side([2.0], 0.4, rng.normal(size=(1, 50_000))), side([4.0], 0.6, rng.normal(size=(1, 50_000)))
    low, high = ratio_interval(first, second)
    for ratio in (low, high):  # (2 - 4 r)^2 = 0.4^2 + 0.6^2 r^2 for independent estimates
        assert (2 - 4 * ratio) ** 2 == pytest.approx(0.4**2 + 0.6**2 * ratio**2, rel=0.05)
    assert np.isnan(ratio_interval(first, side([0.5], 0.6, rng.normal(size=(1, 50_000))))).all()


def test_correlations_are_numpys_and_zero_with_a_constant():
    rows = np.random.default_rng(5).normal(size=(3, 50))
    assert correlations(rows) == pytest.approx(np.corrcoef(rows))
    assert correlations(np.stack([rows[0], np.ones(50)]))[0, 1] == 0


def test_holm_keeps_order_and_leaves_nan_out():
    p = np.array([0.01, np.nan, 0.04, 0.03])
    assert holm(p) == pytest.approx([0.03, np.nan, 0.06, 0.06], nan_ok=True)


def test_detectable_error_is_found_four_times_in_five():
    # ten bins of equal noise, the true gaps in proportion to it: the case that the bound is exact for
    rng, spread = np.random.default_rng(6), np.full(10, 0.3)
    null = np.abs(rng.normal(size=(20_000, 10)) * spread).sum(1)
    test = calibration_test(np.array([2.0]), np.array([null.mean()]), np.array([np.quantile(null, 0.95)]), np.eye(1))
    gaps = test.detectable * spread / spread.sum()
    found = np.abs(gaps + rng.normal(size=(20_000, 10)) * spread).sum(1)
    assert 0.8 < (found > test.threshold).mean() < 0.9


@pytest.mark.slow
def test_supremum_of_brownian_motion():
    rng = np.random.default_rng(7)
    walks = np.abs(rng.normal(size=(4000, 1000)).cumsum(1)).max(1) / 1000**0.5
    assert supremum_quantile(0.9) == pytest.approx(np.quantile(walks, 0.9), abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("confidence", "accuracy", "size"),
    [
        (0.99, 0.999, 540),
        *slowly((1.0, 0.98, 100), (0.5, 0.55, 100), (0.99, 0.99, 540), (0.9999, 0.997, 540), (1.0, 0.998, 540)),
    ],
)
def test_intervals_of_one_cell_cover_where_nearly_all_predictions_are_right(confidence, accuracy, size):
    # 540 right of 540 may come of an accuracy of 99.7 %: the interval is not one of no width around the observed gap
    rng, sets, hits = np.random.default_rng(8), 400, 0
    for right in rng.binomial(size, accuracy, size=sets):
        found = calibration_interval(binned_gaps(*(np.array([v]) for v in (size, right, size * confidence)), 1 / size))
        hits += max(found.low, 0) - 1e-12 <= abs(accuracy - confidence) <= found.high + 1e-12
    assert hits >= binom.ppf(0.001, sets, 0.95)


def test_an_error_of_exactly_zero_has_an_interval():
    # nine samples at a confidence of 1/3, three of them right; and everything certain and right
    for size, right, confidence, least in ((9, 3, 1 / 3, 0.25), (20, 20, 1.0, 0.1)):
        found = calibration_interval(
            binned_gaps(np.array([size]), np.array([right]), np.array([size * confidence]), 1 / size)
        )
        assert found.low <= 0
        assert least < found.high < 0.5


@pytest.mark.slow
def test_the_interval_of_the_classwise_error_of_a_calibrated_sharp_model_reaches_zero():
    # most cells of the classes have a few samples of small probability, whose gaps are far from normal
    rng, sets, hits = np.random.default_rng(9), 100, 0
    for _ in range(sets):
        z = 4 * rng.normal(size=(540, 10))
        y = (z + rng.gumbel(size=z.shape)).argmax(1)
        hits += evaluate(logits=z, labels=y, metrics=["classwise-ece"], interval=0.95)["classwise-ece"].low <= 0
    assert hits >= binom.ppf(0.001, sets, 0.95)


def test_the_mean_gap_of_calibrated_sparse_cells_is_binomial():
    n, c = np.array([5, 1, 40, 3]), np.array([0.1, 0.3, 0.02, 1.0])
    gaps = Gaps(np.zeros(4), np.ones(4), cells=(n, n, c), weight=0.01, expected=c)
    mean, variance = gaps.pure_noise()
    draws = 0.01 * np.abs(np.random.default_rng(10).binomial(n, c, size=(200_000, 4)) - n * c)
    assert mean == pytest.approx(draws.mean(0), rel=0.02)
    assert variance == pytest.approx(draws.var(0), rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("classes", "size", "sharpness"), [(10, 100, 1.5), *slowly((100, 1000, 1.5), (100, 1000, 1.0))]
)
def test_the_interval_of_the_classwise_error_covers_where_noise_is_most_of_it(classes, size, sharpness):
    # the noise of cells of one or two samples is that of the shares that all classes have in the bin
    rng, sets, hits = np.random.default_rng(11), 40, 0
    z = 3 * rng.normal(size=(60_000, classes))
    posterior, shown = softmax(z, 1), softmax(sharpness * z, 1)
    cells = (bin_of(shown, 15) + 15 * np.arange(classes)).ravel()
    gaps = np.bincount(cells, (posterior - shown).ravel(), minlength=15 * classes)
    truth = 100 * np.abs(gaps).sum() / len(z) / classes
    for _ in range(sets):
        z = 3 * rng.normal(size=(size, classes))
        y = (z + rng.gumbel(size=z.shape)).argmax(1)
        one = evaluate(logits=sharpness * z, labels=y, metrics=["classwise-ece"], interval=0.95)["classwise-ece"]
        hits += one.low <= truth <= one.high
    assert hits >= binom.ppf(0.001, sets, 0.95)


def test_pooled_shares_are_those_of_all_classes_at_the_confidence_of_each():
    counts, hits, sums = np.array([[100, 2], [300, 2]]), np.array([[1, 1], [9, 2]]), np.array([[2, 1.9], [18, 1.9]])
    shares = pooled_shares(counts, hits, sums)
    assert shares[:, 0] == pytest.approx(np.array([0.02, 0.06]) * 11 / 21)  # half as many hits as predicted
    assert shares[:, 1] == pytest.approx(1 - 0.05 * 2 / 1.2)  # one miss where 0.2 were predicted, and a pseudo-sample


@pytest.mark.parametrize("size", [10**4, 10**6, 10**8])
def test_intervals_of_many_samples_are_as_wide_as_their_noise(size):
    share = np.full(5, 0.2)
    confidence = np.array([0.3, 0.5, 0.6, 0.8, 0.9])
    found = calibration_interval(
        binned_gaps(share * size, share * size * (confidence - 0.1), share * size * confidence, 1 / size)
    )
    noise = np.sqrt((share * (confidence - 0.1) * (1.1 - confidence)).sum() / size)  # all gaps are 0.1, of one sign
    assert found.low == pytest.approx(0.1 - 1.96 * noise, abs=0.25 * noise)
    assert found.high == pytest.approx(0.1 + 1.96 * noise, abs=0.25 * noise)
