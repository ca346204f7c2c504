"""Fitting a small network on frozen predictions: seeded, deterministic, and never worse than where it started."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

BatchLoss = Callable[[Tensor], Tensor]


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Everything random inside follows from `seed`; the global random state is as before afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def fit_network(
    network: nn.Module, loss: BatchLoss, num_rows: int, *, epochs: int, learning_rate: float, batch_size: int
) -> float:
    """Train `network` with Adam and a cosine learning rate; it keeps the weights of the epoch with the lowest loss.

    The loss of an epoch is taken over all rows in evaluation mode, before the first step too. Call inside `seeded`.

    Args:
        network: the module to train, in place.
        loss: the mean loss over the rows of an index tensor.
        num_rows: N.
        epochs: passes over the rows.
        learning_rate: of Adam, at the start.
        batch_size: rows per step.

    Returns:
        The lowest loss over all rows.
    """
    device = next(network.parameters()).device
    steps = epochs * -(-num_rows // batch_size)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, weights = _total_loss(network, loss, num_rows, device), copy.deepcopy(network.state_dict())
    for _ in range(epochs):
        network.train()
        for rows in torch.randperm(num_rows, device=device).split(batch_size):
            with torch.enable_grad():
                batch_loss = loss(rows)
                optimizer.zero_grad()
                batch_loss.backward()
            optimizer.step()
            schedule.step()
        total = _total_loss(network, loss, num_rows, device)
        if total < best:
            best, weights = total, copy.deepcopy(network.state_dict())
    network.load_state_dict(weights)
    network.eval().requires_grad_(False)
    return best


@torch.no_grad()
def _total_loss(network: nn.Module, loss: BatchLoss, num_rows: int, device: torch.device) -> float:
    network.eval()
    pieces = torch.arange(num_rows, device=device).split(8192)
    return sum(float(loss(rows)) * len(rows) for rows in pieces) / num_rows
