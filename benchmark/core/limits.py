"""Bounds on what a file may ask for, so that a small hostile file cannot take all memory or time."""

import os

from calbench.benchmark.core.errors import InputError

AFFECTS_RESULTS = False
VARIABLE = "CALBENCH_LIMITS"
"""The environment variable that multiplies every bound, for files that are trusted: ``CALBENCH_LIMITS=10``."""


def limit(bound: int) -> int:
    """`bound` times the factor of `VARIABLE`.

    Raises:
        InputError: the variable is no positive number.
    """
    text = os.environ.get(VARIABLE, "1")
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor < 1e12:
        raise InputError(f"{VARIABLE}={text!r}: expected a positive number, the factor by which all limits are raised")
    return int(bound * factor)


def check_limit(amount: int, bound: int, what: str) -> None:
    """Raise an `InputError` where `amount` exceeds `bound` times the factor of `VARIABLE`.

    Args:
        amount: how much the file asks for.
        bound: the bound without the factor.
        what: the thing counted, such as ``"pixels"``.
    """
    most = limit(bound)
    if amount > most:
        raise InputError(
            f"{amount:,} {what} exceed the limit of {most:,} (if the file is trusted, raise all limits tenfold with "
            f"{VARIABLE}=10)"
        )
