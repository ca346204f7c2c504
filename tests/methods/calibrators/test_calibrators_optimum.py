import warnings

import numpy as np
import pytest
import torch
from fast_set import fast_only
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from torch.nn import functional

from calbench.benchmark import metrics
from calbench.methods import registry
from calbench.methods.calibrators.linear.dirichlet import DIAGONAL
from calbench.methods.solvers.ece_grid import ece_by_temperature
from calbench.methods.solvers.nll import slope_and_curvature


def sample(true_logits, seed=1):
    return torch.multinomial(true_logits.softmax(1), 1, generator=torch.Generator().manual_seed(seed)).squeeze(1)


def normal(rows, classes, scale=2.0, seed=0):
    return scale * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def data():
    """4,000 samples of six classes that neither a temperature nor a bias alone calibrates."""
    true = normal(4000, 6)
    weight, bias = torch.linspace(0.3, 0.9, 6), torch.linspace(-1, 1, 6)
    return (true - bias) / weight, sample(true)


def mapped_nll(name, point, logits, labels):
    """The objective of a calibrator as its definition says it, in float64, at a flat parameter vector."""
    classes = logits.shape[1]
    if name == "temperature-scaling":
        scores = logits * point[0].exp()
    elif name == "vector-scaling":
        scores = logits * point[:classes] + point[classes:]
    elif name == "bias-corrected-ts":
        scores = logits * point[0] + point[1:]
    elif name == "ensemble-ts":
        weights = point[1:].softmax(0)
        parts = [(logits / point[0].exp()).softmax(1), logits.softmax(1), torch.full_like(logits, 1 / classes)]
        scores = sum(w * part for w, part in zip(weights, parts, strict=True)).log()
    else:
        inputs = logits.log_softmax(1) if name == "dirichlet" else logits
        scores = inputs @ point[: classes**2].view(classes, classes).T + point[classes**2 :]
    return functional.cross_entropy(scores, labels)


def penalty(name, point, classes, strength=0.3):
    if name != "dirichlet":
        return 0.0
    matrix = point[: classes**2].view(classes, classes)
    off = matrix.square().sum() - matrix.diagonal().square().sum()
    return strength * (off / (classes * (classes - 1)) + point[classes**2 :].square().sum() / classes)


def fitted_point(name, calibrator):
    if name == "temperature-scaling":
        return torch.tensor([-np.log(calibrator.temperature_)])
    if name == "vector-scaling":
        return torch.cat([calibrator.weight_, calibrator.bias_])
    if name == "bias-corrected-ts":
        return torch.cat([torch.tensor([calibrator.inverse_temperature_]), calibrator.bias_])
    if name == "ensemble-ts":
        return torch.cat([torch.tensor([np.log(calibrator.temperature_)]), calibrator.weights_.clamp_min(1e-300).log()])
    return torch.cat([calibrator.weight_.flatten(), calibrator.bias_])


SIZES = {"temperature-scaling": 1, "vector-scaling": 12, "bias-corrected-ts": 7, "ensemble-ts": 4,
         "matrix-scaling": 42, "dirichlet": 42}  # fmt: skip


@pytest.mark.parametrize("name", fast_only(SIZES.keys() - {"dirichlet"}, SIZES))
def test_never_worse_than_a_long_reference_optimisation(name, data):
    logits, labels = data
    options = {"off_diagonal": 0.3, "intercept": 0.3} if name == "dirichlet" else {}
    calibrator = registry.create(name, **options).fit(logits, labels)
    double = logits.double()

    def objective(values):
        point = torch.tensor(values, requires_grad=True)
        value = mapped_nll(name, point, double, labels) + penalty(name, point, 6)
        value.backward()
        return value.item(), point.grad.numpy()

    ours, gradient = objective(fitted_point(name, calibrator).double().numpy())
    start = np.zeros(SIZES[name])
    if name in ("matrix-scaling", "dirichlet"):
        start[:36] = np.eye(6).ravel()
    options = {"maxiter": 10000, "maxfun": 100000, "ftol": 0, "gtol": 1e-9}
    reference = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    assert ours <= reference.fun + 1e-7
    if name != "ensemble-ts":  # its optimum may lie on the edge of the simplex
        assert np.abs(gradient).max() < 2e-4


@pytest.mark.parametrize(
    ("name", "margin"),
    [("vector-scaling", 4.0), ("vector-scaling", 6.0), ("bias-corrected-ts", 4.0), ("bias-corrected-ts", 6.0),
     ("matrix-scaling", 4.0), ("dirichlet", 4.0), ("dirichlet", 6.0)],
)  # fmt: skip
def test_small_calibration_splits_are_fitted_to_the_optimum_without_a_warning(name, margin):
    generator = torch.Generator().manual_seed(1)
    logits, labels = 1.5 * torch.randn(290, 6, generator=generator), torch.randint(0, 6, (290,), generator=generator)
    logits[torch.arange(290), labels] += margin
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calibrator = registry.create(name, **({"intercept": 0.1} if name == "dirichlet" else {})).fit(logits, labels)
    point = fitted_point(name, calibrator).double().requires_grad_()
    value = mapped_nll(name, point, logits.double(), labels)
    if name == "dirichlet":
        weight, bias = point[:36].view(6, 6), point[36:]
        value = value + calibrator.strength_ / 30 * ((weight - weight.diag().diag()) ** 2).sum()
        value = value + 0.1 / 6 * (bias**2).sum()
        temperature = registry.create("temperature-scaling").fit(logits, labels).temperature_
        value = value + DIAGONAL / (2 * 290) * ((temperature * weight.diag() - 1) ** 2).sum()
    value.backward()
    assert point.grad.abs().max() < 1e-5


def test_a_class_that_the_calibration_split_separates_is_warned_of():
    logits = normal(400, 4)
    labels = sample(logits)
    labels[labels == 3] = 0
    clear = logits[:, 3] > 1.5
    labels[clear] = 3
    with pytest.warns(ConvergenceWarning, match="separates a class, or nearly so"):
        registry.create("vector-scaling").fit(logits, labels)


@pytest.mark.parametrize("shape", [(2000, 10), (5000, 100)])
def test_the_temperature_is_exact(shape):
    true = normal(*shape, scale=3)
    labels, logits = sample(true), 2.1 * true
    found = registry.create("temperature-scaling").fit(logits, labels).temperature_
    slope, curvature = slope_and_curvature(logits.double(), labels, 1 / found)
    assert abs(slope / curvature) * found < 1e-6
    assert found == pytest.approx(2.1, rel=0.05)


@pytest.mark.parametrize("temperature", [0.2, 1.0, 20.0])
def test_planted_temperatures_are_recovered(temperature):
    true = normal(20000, 5)
    found = registry.create("temperature-scaling").fit(true * temperature, sample(true)).temperature_
    assert found == pytest.approx(temperature, rel=0.05)


def test_planted_vectors_and_biases_are_recovered():
    true = normal(20000, 4)
    weight, bias = torch.tensor([0.5, 0.8, 1.2, 2.0]), torch.tensor([-0.6, -0.2, 0.2, 0.6])
    found = registry.create("vector-scaling").fit((true - bias) / weight, sample(true))
    torch.testing.assert_close(found.weight_, weight, atol=0.1, rtol=0.05)
    torch.testing.assert_close(found.bias_, bias, atol=0.1, rtol=0)
    found = registry.create("bias-corrected-ts").fit((true - bias) * 3, sample(true))
    assert found.inverse_temperature_ == pytest.approx(1 / 3, rel=0.03)
    torch.testing.assert_close(found.bias_, bias, atol=0.1, rtol=0)


def test_a_planted_matrix_is_recovered():
    true = normal(40000, 3)
    matrix = torch.tensor([[1.0, 0.3, 0.0], [0.0, 0.8, -0.2], [0.2, 0.0, 1.2]])
    logits = true @ torch.linalg.inv(matrix).T
    found = registry.create("matrix-scaling").fit(logits, sample(true)).weight_
    gauge = found - found.mean(0) - (matrix - matrix.mean(0))
    assert gauge.abs().max() < 0.06


def test_planted_mixtures_are_recovered():
    true = normal(60000, 4, scale=3)
    logits = 2 * true
    mixture = 0.8 * true.softmax(1) + 0.2 / 4
    found = registry.create("ensemble-ts").fit(logits, sample(mixture.log()))
    assert found.temperature_ == pytest.approx(2.0, rel=0.1)
    torch.testing.assert_close(found.weights_[[0, 2]], torch.tensor([0.8, 0.2]).double(), atol=0.06, rtol=0)


def test_the_ece_grid_is_that_of_the_metric():
    true = normal(3000, 8)
    logits, labels = 2.5 * true, sample(true)
    values = ece_by_temperature(logits, labels)
    for index in (0, 7, 24, 49, 50, 99):
        expected = metrics.evaluate(logits=logits / ((index + 1) / 10), labels=labels, metrics=["ece"], bins=15)["ece"]
        assert 100 * float(values[index]) == pytest.approx(expected, abs=0.05)
    found = registry.create("temperature-scaling", criterion="ece").fit(logits, labels).temperature_
    assert found == (int(values.argmin()) + 1) / 10


@pytest.mark.slow
def test_every_odir_strength_shrinks_more(data):
    logits, labels = data
    norms = []
    for strength in (0.01, 1.0, 100.0):
        found = registry.create("dirichlet", off_diagonal=strength, intercept=0.0).fit(logits, labels).weight_
        norms.append(float((found - found.diag().diag()).norm()))
    assert norms[0] > norms[1] > norms[2]


@pytest.mark.slow
def test_per_sample_temperatures_find_what_depends_on_the_sample():
    true = normal(4000, 5)
    sharp = torch.arange(4000) % 2 == 0
    logits = torch.where(sharp[:, None], 4 * true, true)
    features = torch.stack([sharp.float(), torch.randn(4000, generator=torch.Generator().manual_seed(3))], dim=1)
    calibrator = registry.create("calattn-frozen", steps=300, hidden=16).fit(logits, sample(true), features=features)
    single = registry.create("temperature-scaling").fit(logits, sample(true))
    labels = sample(true)
    with_features = functional.cross_entropy(calibrator.transform(logits, features=features), labels)
    assert with_features < functional.cross_entropy(single.transform(logits), labels) - 0.02


@pytest.mark.slow
def test_netcal_scales_in_float64_alone_and_agrees_there():
    """netcal 1.4.0 returns the identity for float32 input without a word: whoever compares must give float64."""
    from netcal.scaling import TemperatureScaling

    true = normal(1000, 4)
    labels, logits = sample(true), 3 * true
    probabilities = logits.double().softmax(1).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = TemperatureScaling().fit(probabilities, labels.numpy()).transform(probabilities)
    ours = registry.create("temperature-scaling").fit(logits.double(), labels).predict_proba(logits.double()).numpy()
    np.testing.assert_allclose(theirs, ours, atol=2e-3)


@pytest.mark.parametrize(("name", "library"), [("histogram-binning", "HistogramBinning"), ("bbq", "BBQ")])
def test_binning_agrees_with_netcal(name, library):
    import contextlib
    import io

    import netcal.binning

    true = normal(800, 3)
    labels, logits = sample(true), 3 * true
    ours = registry.create(name).fit(logits, labels).predict_proba(logits).double()
    probabilities = logits.softmax(1).double().numpy()
    options = {"bins": 15} if name == "histogram-binning" else {}
    columns = []
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for k in range(3):
            model = getattr(netcal.binning, library)(**options)
            model.fit(probabilities[:, k].copy(), (labels == k).long().numpy())
            columns.append(torch.from_numpy(model.transform(probabilities[:, k].copy())).flatten())
    theirs = torch.stack(columns, dim=1).clamp(1.2e-7, 1)
    torch.testing.assert_close(ours, theirs / theirs.sum(1, keepdim=True), atol=1e-5, rtol=0)


def test_a_class_of_few_rows_does_not_decide_the_strength_of_odir():
    """Log-probabilities of many classes with few rows each: some are separable, and would grow without a bound."""
    true = normal(3000, 40, scale=2.5)
    labels, logits = sample(true), 2 * true
    order = labels.argsort(stable=True)
    fit = torch.cat([order[labels[order] == k][:20] for k in range(40)]).sort().values
    rest = torch.ones(3000, dtype=torch.bool)
    rest[fit] = False
    nll = {}
    for name in ("temperature-scaling", "dirichlet"):
        calibrated = registry.create(name).fit(logits[fit], labels[fit]).transform(logits[rest])
        nll[name] = torch.nn.functional.cross_entropy(calibrated.double(), labels[rest]).item()
    assert nll["dirichlet"] < nll["temperature-scaling"] + 0.1


@pytest.mark.slow
@pytest.mark.parametrize("order", ["class by class in turn", "sorted", "random"])
def test_dirichlet_chooses_a_strength_that_generalises_whatever_the_order_of_the_rows(order):
    true = normal(6000, 10, scale=2)
    labels = sample(true)
    mixing = torch.eye(10) + 0.3 * normal(10, 10)
    logits = 1.5 * true.log_softmax(dim=1) @ mixing
    fit, held_out = slice(0, 4000), slice(4000, None)
    if order == "sorted":
        rows = labels[fit].argsort(stable=True)
    elif order == "random":
        rows = torch.arange(4000)
    else:
        by_class = [torch.nonzero(labels[fit] == k).squeeze(1) for k in range(10)]
        fewest = min(len(part) for part in by_class)
        rows = torch.stack([part[:fewest] for part in by_class], dim=1).flatten()

    def loss(calibrator):
        fitted = calibrator.fit(logits[fit][rows], labels[fit][rows])
        return float(functional.cross_entropy(fitted.transform(logits[held_out]), labels[held_out]))

    strengths = [10.0**power for power in range(5, -4, -2)]
    best = min(loss(registry.create("dirichlet", off_diagonal=one, intercept=one)) for one in strengths)
    assert loss(registry.create("dirichlet")) < best + 0.01
    assert loss(registry.create("dirichlet", off_diagonal=1e5, intercept=1e5)) > best + 0.1
