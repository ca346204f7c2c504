"""Which parameters of a test are in the fast set (``-m "not slow"``)."""

import pytest


def slowly(*parameters):
    """Parameters, each a value or a tuple of several, that are marked slow."""
    return [pytest.param(*(one if isinstance(one, tuple) else (one,)), marks=pytest.mark.slow) for one in parameters]


def fast_only(fast, values):
    """Parameters, each a value or a tuple, of which those in `fast` are in the fast set; all others are marked slow."""
    return [value if value in fast else slowly(value)[0] for value in values]
