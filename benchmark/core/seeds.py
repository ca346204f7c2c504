"""The seed of every random stream: a function of the run's seed, the purpose of the stream and an index."""

import hashlib


def seed_for(seed: int, purpose: str, *index: int | str) -> int:
    """The seed of one random stream; streams that differ in seed, purpose or index are independent.

    Args:
        seed: the seed of the run, as a suite gives it.
        purpose: what the stream is for, a fixed word such as ``"backbone"`` or ``"bootstrap"``.
        index: what distinguishes streams of one purpose, such as the epoch or the name of a split.

    Returns:
        An integer in 0..2^63 - 1, which torch and NumPy generators take.

    Example:
        >>> seed_for(0, "head") != seed_for(0, "backbone") != seed_for(1, "head")
        True
    """
    parts = repr((int(seed), purpose, *(int(part) if isinstance(part, int) else str(part) for part in index)))
    return int.from_bytes(hashlib.sha256(parts.encode()).digest()[:8], "little") >> 1
