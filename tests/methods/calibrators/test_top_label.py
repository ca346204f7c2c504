"""The calibrators of the confidence and the isotonic family, against their formulas in float64 and other libraries."""

import contextlib
import io

import numpy as np
import pytest
import torch
from netcal.binning import HistogramBinning
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax, logit, softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from calbench.benchmark import metrics
from calbench.benchmark.core.errors import InputError
from calbench.methods import registry
from calbench.methods.calibrators._one_vs_rest import FLOOR
from calbench.methods.calibrators._top import SLACK, with_confidence


def planted(rows=600, classes=5, temperature=2.5, seed=0):
    """Over-confident logits (float64) and their labels."""
    generator = torch.Generator().manual_seed(seed)
    true = 2 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    return true * temperature, torch.multinomial(true.softmax(1), 1, generator=generator).squeeze(1)


def confidences(logits, labels):
    p = softmax(logits.numpy(), axis=1)
    return p.max(1), p.argmax(1) == labels.numpy()


def renormalised(mapped):
    floored = np.clip(mapped, FLOOR, 1)
    return floored / floored.sum(1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3, 50])
def test_a_new_confidence_keeps_prediction_and_proportions(classes):
    logits, _ = planted(300, classes)
    q = torch.linspace(0, 1, 300, dtype=torch.float64)
    p = with_confidence(logits, q).exp()
    assert torch.equal(p.argmax(1), logits.argmax(1))
    torch.testing.assert_close(p.sum(1), torch.ones(300).double())
    torch.testing.assert_close(p.amax(1), q.clamp((1 + SLACK) / classes, 1 - FLOOR))
    before = logits.softmax(1).sort(1, descending=True).values
    after = p.sort(1, descending=True).values
    shares, new = before[:, 1:] / before[:, 1:].sum(1, True), after[:, 1:] / after[:, 1:].sum(1, True)
    free = shares[:, 0] * (1 - q) < 0.99 * q
    assert free.sum() > 100
    torch.testing.assert_close(new[free], shares[free])


def test_tva_is_the_binary_map_of_the_confidence():
    logits, labels = planted()
    q, correct = confidences(logits, labels)
    expected = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(q, correct).predict(q)
    ours = registry.create("tva").fit(logits, labels).predict_proba(logits).amax(1).numpy()
    np.testing.assert_allclose(ours, expected.clip((1 + SLACK) / 5, 1 - FLOOR), rtol=1e-6)


def test_tva_of_histogram_binning_agrees_with_netcal():
    logits, labels = planted()
    q, correct = confidences(logits, labels)
    model = HistogramBinning(bins=15)
    with contextlib.redirect_stderr(io.StringIO()):
        model.fit(q, correct.astype(int))
    expected = np.asarray(model.transform(q)).clip((1 + SLACK) / 5, 1 - FLOOR)
    tva = registry.create("tva", calibrator="histogram-binning").fit(logits, labels)
    np.testing.assert_allclose(tva.predict_proba(logits).amax(1).numpy(), expected, rtol=1e-5)


def test_tva_makes_binning_work_with_many_classes():
    logits, labels = planted(2000, 300, temperature=3)
    test, test_labels = planted(2000, 300, temperature=3, seed=1)
    scores = {}
    for name, options in {"histogram-binning": {}, "tva": {"calibrator": "histogram-binning"}}.items():
        result = registry.create(name, **options).fit(logits, labels).transform(test)
        scores[name] = metrics.evaluate(logits=result, labels=test_labels, metrics=["accuracy", "ece"])
    before = metrics.evaluate(logits=test, labels=test_labels, metrics=["accuracy"])["accuracy"]
    assert scores["tva"]["accuracy"] == pytest.approx(before)
    assert scores["histogram-binning"]["accuracy"] < before - 1
    assert scores["tva"]["ece"] < 5


@pytest.mark.slow
def test_tva_saves_what_its_inner_calibrator_fitted(tmp_path):
    logits, labels = planted(100)
    for inner in ("isotonic", "temperature-scaling", "sats"):
        options = {"calibrator": inner}
        fitted = registry.create("tva", **options).fit(logits, labels)
        fitted.save(tmp_path / inner)
        torch.testing.assert_close(type(fitted).load(tmp_path / inner).transform(logits), fitted.transform(logits))


@pytest.mark.parametrize("inner", ["focal", "calattn-frozen", "tva", "no-such"])
def test_tva_refuses_what_does_not_work_on_two_logits(inner):
    with pytest.raises(InputError, match=inner):
        registry.create("tva", calibrator=inner)


def binary_loss(scores, labels):
    """-log q for correct predictions, -log(1 - q) for wrong ones."""
    log_p = log_softmax(scores, axis=1)
    q, correct = np.exp(log_p.max(1)), log_p.argmax(1) == labels
    return -np.where(correct, np.log(q), np.log1p(-q)).mean()


def test_tva_ts_minimises_the_binary_loss():
    logits, labels = planted()
    z, y = logits.numpy(), labels.numpy()
    expected = minimize_scalar(
        lambda t: binary_loss(z / t, y), bounds=(0.5, 10), method="bounded", options={"xatol": 1e-8}
    )
    ours = registry.create("tva-ts").fit(logits, labels).temperature_
    assert ours == pytest.approx(expected.x, rel=1e-4)


def test_tva_vs_minimises_the_binary_loss_with_its_ridge():
    logits, labels = planted(400, 3)
    z, y = logits.numpy(), labels.numpy()
    optimum = registry.create("temperature-scaling").fit(logits, labels).temperature_

    def objective(point):
        w, b = point.reshape(2, 3)
        return binary_loss(z * w + b, y) + 0.01 * (((optimum * w - 1) ** 2).mean() + (b**2).mean())

    fitted = registry.create("tva-vs").fit(logits, labels)
    ours = objective(np.concatenate([fitted.weight_.numpy(), fitted.bias_.numpy()]))
    start = np.concatenate([np.full(3, 1 / optimum), np.zeros(3)])
    reference = minimize(objective, start, method="Nelder-Mead", options={"maxiter": 4000, "fatol": 1e-10}).fun
    assert ours <= reference + 1e-4
    assert ours < objective(start)


def test_spline_is_the_derivative_of_the_fitted_natural_spline():
    logits, labels = planted()
    q, correct = confidences(logits, labels)
    order = np.argsort(q, kind="stable")
    times, cumulative = np.arange(1, 601) / 600, correct[order].cumsum() / 600
    knots = np.linspace(0, 1, 6)
    cardinal = CubicSpline(knots, np.eye(6), bc_type="natural")  # its columns span all natural splines of these knots
    weights = np.linalg.lstsq(cardinal(times), cumulative, rcond=None)[0]
    slopes = (cardinal(times, 1) @ weights).clip(0, 1)
    ours = registry.create("spline").fit(logits, labels).predict_proba(logits).amax(1).numpy()
    np.testing.assert_allclose(ours[order], slopes.clip((1 + SLACK) / 5, 1 - FLOOR), rtol=1e-6)


def irm_by_formula(logits, labels):
    p = softmax(logits, axis=1)
    one_hot = np.eye(p.shape[1])[labels]
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p.ravel(), one_hot.ravel())
    mapped = model.predict(p.ravel()).reshape(p.shape) + 1e-9 * p
    return mapped / mapped.sum(1, keepdims=True)


def test_irm_is_its_formula():
    logits, labels = planted()
    ours = registry.create("irm").fit(logits, labels).predict_proba(logits).numpy()
    np.testing.assert_allclose(ours, irm_by_formula(logits.numpy(), labels.numpy()), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("name", "second"), [("irm-ts", "irm"), ("irova-ts", "isotonic")])
def test_compositions_are_chains(name, second):
    logits, labels = planted()
    scaled = registry.create("temperature-scaling").fit(logits, labels).transform(logits)
    chain = registry.create(second).fit(scaled, labels).transform(scaled)
    torch.testing.assert_close(registry.create(name).fit(logits, labels).transform(logits), chain)


def test_irm_keeps_the_argmax_of_float32_logits_that_differ_by_their_last_bit():
    logits = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.3, 0.30000004, 0.2]]).repeat(20, 1)
    labels = torch.tensor([0, 1, 0]).repeat(20)
    with pytest.warns(UserWarning, match="no calibration row of class 2"):
        irm = registry.create("irm").fit(logits, labels)
    assert torch.equal(irm.transform(logits).argmax(1), logits.argmax(1))


def test_hts_reaches_the_optimum_of_its_two_parameters():
    logits, labels = planted()
    z, y = logits.numpy(), labels.numpy()
    log_p = log_softmax(z, axis=1)
    entropy = np.log(-(np.exp(log_p) * log_p).sum(1) / np.log(5))
    base = registry.create("temperature-scaling").fit(logits, labels).temperature_

    def nll(point):
        temperature = base * np.log1p(np.exp(point[0] * entropy + point[1]))
        return -log_softmax(z / temperature[:, None], axis=1)[np.arange(600), y].mean()

    fitted = registry.create("hts").fit(logits, labels)
    reference = minimize(nll, [0.0, 0.54], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12})
    assert nll([fitted.slope_, fitted.offset_]) <= reference.fun + 1e-7
    ours = -fitted.transform(logits).log_softmax(1)[torch.arange(600), labels].mean()
    assert float(ours) == pytest.approx(nll([fitted.slope_, fitted.offset_]), rel=1e-9)


def test_cts_takes_the_lowest_ece_class_by_class():
    logits, labels = planted(250, 3)
    start = registry.create("temperature-scaling").fit(logits, labels).temperature_
    temperatures = torch.full((3,), start).double()

    def scores(candidate):
        return metrics.evaluate(logits=logits / candidate, labels=labels, metrics=["ece", "accuracy"], bins=15)

    for _ in range(2):
        for k in range(3):
            now = scores(temperatures)
            best, value = temperatures.clone(), now["ece"]
            for factor in 2 ** torch.linspace(-1, 1, 21).double():
                candidate = temperatures.clone()
                candidate[k] = start * factor
                found = scores(candidate)
                if found["ece"] < value - 1e-9 and found["accuracy"] >= now["accuracy"] - 1e-9:
                    best, value = candidate, found["ece"]
            temperatures = best
    torch.testing.assert_close(registry.create("cts").fit(logits, labels).temperatures_, temperatures)


@pytest.mark.slow
def test_scaling_binning_is_its_three_steps():
    logits, labels = planted(900, 3)
    p, y = softmax(logits.numpy(), axis=1), labels.numpy()
    mapped = np.empty((100, 3))
    for k in range(3):
        first, second, third = (p[i::3, k] for i in range(3))
        model = LogisticRegression(C=1e6, max_iter=1000).fit(logit(first.clip(1e-12, 1 - 1e-12))[:, None], y[::3] == k)

        def scaled(values, model=model):
            return expit(model.coef_[0, 0] * logit(values.clip(1e-12, 1 - 1e-12)) + model.intercept_[0])

        edges = np.quantile(second, np.arange(1, 10) / 10)
        for i, value in enumerate(p[:100, k]):
            inside = [v for v in third if (edges < v).sum() == (edges < value).sum()]
            mapped[i, k] = scaled(np.array(inside)).mean()
    ours = registry.create("scaling-binning").fit(logits, labels).predict_proba(logits[:100]).numpy()
    np.testing.assert_allclose(ours, renormalised(mapped), rtol=1e-6)


def test_venn_abers_is_two_isotonic_regressions_a_sample():
    logits, labels = planted(60, 3)
    test, _ = planted(12, 3, seed=1)
    p, points = softmax(logits.numpy(), axis=1), softmax(np.vstack([test.numpy(), logits.numpy()[:4]]), axis=1)
    mapped = np.empty_like(points)
    for k in range(3):
        for i, s in enumerate(points[:, k]):
            low, high = (
                IsotonicRegression().fit(np.append(p[:, k], s), np.append(labels.numpy() == k, u)).predict([s])[0]
                for u in (0, 1)
            )
            mapped[i, k] = high / (1 - low + high)
    fitted = registry.create("venn-abers").fit(logits, labels)
    ours = fitted.predict_proba(torch.cat([test, logits[:4]])).numpy()
    np.testing.assert_allclose(ours, renormalised(mapped), rtol=1e-9)


def test_centred_isotonic_regression_joins_the_middles_of_its_blocks():
    from calbench.methods.calibrators.curves.cir import CenteredIsotonic

    knots, values = CenteredIsotonic().fit_curve(np.array([0.1, 0.2, 0.4, 0.6]), np.array([False, True, False, True]))
    np.testing.assert_allclose(knots, [0.1, 0.3, 0.6])
    np.testing.assert_allclose(values, [0, 0.5, 1])


def test_centred_isotonic_regression_stays_flat_at_0_and_1():
    """As cir-model does by default: blocks at 0 and 1 are not collapsed."""
    from calbench.methods.calibrators.curves.cir import CenteredIsotonic

    hits = np.array([False, False, True, False, True, True])
    knots, values = CenteredIsotonic().fit_curve(np.array([0.1, 0.2, 0.3, 0.5, 0.7, 0.9]), hits)
    np.testing.assert_allclose(knots, [0.1, 0.2, 0.4, 0.7, 0.9])
    np.testing.assert_allclose(values, [0, 0, 0.5, 1, 1])


def test_lost_accuracy_is_warned_of():
    logits, labels = planted(600, 40)
    with pytest.warns(UserWarning, match="scaling-binning: it lowers the accuracy on its own calibration split from"):
        registry.create("scaling-binning").fit(logits, labels)
