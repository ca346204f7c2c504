"""Plain formulas of training losses, for the tests of objectives: Python floats, no vectorising."""

import math

import pytest


def _softmax(z):
    weights = [math.exp(a - max(z)) for a in z]
    return [w / sum(weights) for w in weights]


def _cross_entropy(z, t):
    return -sum(b * math.log(a) for a, b in zip(_softmax(z), t, strict=True) if b)


def _expected(term):
    """A mean loss over samples of the expectation of `term`(p_k) under the target."""
    return lambda rows, soft: (
        sum(sum(b * term(p) for p, b in zip(_softmax(z), t, strict=True)) for z, t in zip(rows, soft, strict=True))
        / len(rows)
    )


def _added(penalty):
    """Cross-entropy plus the mean over samples of `penalty`(z, t)."""
    return lambda rows, soft: (
        sum(_cross_entropy(z, t) + penalty(z, t) for z, t in zip(rows, soft, strict=True)) / len(rows)
    )


def _relu(x):
    return max(x, 0.0)


def _acls(z, t):
    top, gaps = max(z), [_relu(max(z) - a - 10) ** 2 for a in z]
    return 0.1 * _relu(top - min(z) - 10) ** 2 + 0.01 * sum(gaps) / (len(z) - 1)


def _cals_alm(z, t):
    """The first epoch: multipliers of 1e-6 and rho of 1 in (relu(m + rho h)^2 - m^2) / (2 rho)."""
    constraints = [(max(z) - a) / 10 - 1 for a in z]
    return sum((_relu(1e-6 + h) ** 2 - 1e-12) / 2 for h in constraints) / len(z)


def _cpc(z, t):
    y, k = t.index(1), len(z)
    log_sigmoid = lambda x: -math.log1p(math.exp(-x))  # noqa: E731
    first = -sum(log_sigmoid(z[y] - z[j]) for j in range(k) if j != y) / (k - 1)
    pairs = [(i, j) for i in range(k) for j in range(k) if i != j and y not in (i, j)]
    return 0.1 * first - 0.1 * sum(log_sigmoid(z[i] - z[j]) for i, j in pairs) / ((k - 1) * (k - 2))


def _focal_brier(rows, soft):
    focal = _expected(lambda p: -((1 - p) ** 3) * math.log(p))(rows, soft)
    brier = sum((a - b) ** 2 for z, t in zip(rows, soft, strict=True) for a, b in zip(_softmax(z), t, strict=True))
    return focal + 0.5 * brier / len(rows)


def _esd(rows, soft):
    p = [_softmax(z) for z in rows]
    r = [max(q) for q in p]
    c = [float(q.index(max(q)) == t.index(1)) for q, t in zip(p, soft, strict=True)]
    n, total = len(rows), 0.0
    for i in range(n):
        g = [(c[j] - r[j]) * (r[j] <= r[i]) for j in range(n) if j != i]
        mean = sum(g) / (n - 1)
        total += mean**2 - sum((x - mean) ** 2 for x in g) / (n - 2) / (n - 1)
    return _added(lambda z, t: 0.0)(rows, soft) + total / n


def _evidential(rows, targets):
    """In the first epoch the divergence has no weight."""
    losses = []
    for z, t in zip(rows, targets, strict=True):
        alpha = [math.exp(min(10, max(-10, a))) for a in z]
        error = sum((b - p) ** 2 + p * (1 - p) / (sum(alpha) + 1) for p, b in zip(_softmax(z), t, strict=True))
        losses.append(error)
    return sum(losses) / len(losses)


@pytest.fixture(scope="session")
def formulas_of_logits():
    """Name to a function of logits and target distributions, both lists of rows; the mean loss with default options."""
    return {
        "mbls": _added(lambda z, t: 0.1 * sum(_relu(max(z) - a - 10) for a in z) / len(z)),
        "acls": _added(_acls),
        "confidence-penalty": _added(lambda z, t: 0.1 * sum(p * math.log(p) for p in _softmax(z))),
        "max-sup": _added(lambda z, t: 0.1 * (max(z) - sum(z) / len(z))),
        "focal-brier": _focal_brier,
        "cpc": _added(_cpc),
        "esd": _esd,
        "poly-loss": _expected(lambda p: -math.log(p) + 2 * (1 - p)),
        "evidential": _evidential,
        "crl": _added(lambda z, t: 0.0),
        "ada-focal": _expected(lambda p: -(1 - p) * math.log(p)),
        "cals-alm": _added(_cals_alm),
        "inverse-focal": _expected(lambda p: -((1 + p) ** 2) * math.log(p)),
    }
