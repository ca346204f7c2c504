"""Random numbers for a batch of images, from one stream per image."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Draws:
    """Random numbers with one independent stream per image.

    The streams are Philox sequences under one key, at counters 2^192 apart, one per index. So
    the numbers of an image are the same whichever other images are drawn with it, and on every machine.

    Args:
        key: of `calbench.benchmark.core.seeds.seed_for`.
        indices: the number of each image's stream.
    """

    def __init__(self, key: int, indices: Sequence[int]) -> None:
        self._bits = np.random.Philox(key=key)
        self._generator = np.random.Generator(self._bits)
        self._states: list[Any] = [None] * len(indices)
        self._start = self._bits.state
        self.indices = list(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def _fill(self, shape: tuple[int, ...], dtype: Any, draw: Callable[[int, np.ndarray], object]) -> Tensor:
        """Let `draw` write each image's numbers into its row; the streams go on where they were left."""
        rows = np.empty((len(self), *shape), dtype)
        for row, index in enumerate(self.indices):
            state = self._states[row]
            if state is None:
                state = self._start
                state["state"]["counter"][3] = index
            self._bits.state = state
            draw(row, rows[row])
            self._states[row] = self._bits.state
        return torch.from_numpy(rows)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal float32 (N, *shape)."""
        return self._fill(shape, np.float32, lambda _, out: self._generator.standard_normal(dtype=np.float32, out=out))

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform float32 in [low, high), (N, *shape)."""
        unit = self._fill(shape, np.float32, lambda _, out: self._generator.random(dtype=np.float32, out=out))
        return unit.mul_(high - low).add_(low) if (low, high) != (0.0, 1.0) else unit

    def integers(self, *shape: int, low: int, high: int) -> Tensor:
        """Whole numbers int64 in low..high - 1, (N, *shape)."""

        def draw(_: int, out: np.ndarray) -> None:
            out[...] = self._generator.integers(low, high, size=shape, dtype=np.int8)

        return self._fill(shape, np.int64, draw)

    def poisson(self, mean: Tensor) -> Tensor:
        """Poisson counts of `mean` (N, ...), float32 of its shape."""
        means = mean.double().numpy()

        def draw(row: int, out: np.ndarray) -> None:
            out[...] = self._generator.poisson(means[row])

        return self._fill(tuple(mean.shape[1:]), np.float32, draw)
