"""The number of compute threads, which bitwise reproducible results depend on."""

# pyright: reportMissingTypeStubs=false
# threadpoolctl has no stubs.
import contextlib
from collections.abc import Generator

AFFECTS_RESULTS = False

LARGE_BYTES = 100_000_000
"""Bytes of predictions up to which they are evaluated with one thread: more gain nothing, and take many times as long
on a machine whose cores are busy, where they wait for each other."""


@contextlib.contextmanager
def threads(count: int) -> Generator[None]:
    """Compute with `count` threads inside: torch, OpenMP and BLAS libraries.

    Sums are made in another order with another number of threads, so that trained weights differ in their last digits.
    """
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    with threadpool_limits(count):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)
