"""The number of compute threads, which bitwise reproducible results depend on."""

import contextlib
from collections.abc import Iterator

AFFECTS_RESULTS = False


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
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
