"""Fitting a small network on frozen predictions: seeded, deterministic, with early stopping on held-out rows."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from calbench.benchmark.core.seeds import seed_for

BatchLoss = Callable[[Tensor], Tensor]
CHECKS = 25
"""How often, in one fit, the loss of the held-out rows is taken."""


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Everything random inside follows from `seed`; the global random state is as before afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed_for(seed, "network-fit"))
        yield


def fit_network(
    network: nn.Module, loss: BatchLoss, num_rows: int, *, steps: int, learning_rate: float, batch_size: int
) -> None:
    """Train `network` in place with Adam and a cosine learning rate. Call it inside `seeded`.

    A fifth of the rows is held out; the weights kept are those with the lowest loss there, those of the start among
    them. Below 100 rows all are used for both. The network ends in evaluation mode, without gradients.

    Args:
        network: the module to train.
        loss: gives the mean loss over the rows of an index tensor.
        num_rows: N.
        steps: steps of the optimiser.
        learning_rate: of Adam, at the start.
        batch_size: rows per step.
    """
    device = next(network.parameters()).device
    order = torch.randperm(num_rows).to(device)
    held_out, rows = (order[: num_rows // 5], order[num_rows // 5 :]) if num_rows >= 100 else (order, order)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, weights = _mean_loss(network, loss, held_out), copy.deepcopy(network.state_dict())
    for step, batch in enumerate(_batches(rows, batch_size, steps), start=1):
        network.train()
        with torch.enable_grad():
            optimizer.zero_grad()
            loss(batch).backward()
        optimizer.step()
        schedule.step()
        if step % max(1, steps // CHECKS) == 0 or step == steps:
            total = _mean_loss(network, loss, held_out)
            if total < best:
                best, weights = total, copy.deepcopy(network.state_dict())
    network.load_state_dict(weights)
    network.eval().requires_grad_(False)


def _batches(rows: Tensor, batch_size: int, steps: int) -> Iterator[Tensor]:
    """`steps` batches of `rows`, reshuffled on every pass."""
    done = 0
    while done < steps:
        for batch in rows[torch.randperm(len(rows)).to(rows.device)].split(batch_size):
            if done == steps:
                return
            yield batch
            done += 1


def _mean_loss(network: nn.Module, loss: BatchLoss, rows: Tensor) -> float:
    """The loss over `rows` in evaluation mode."""
    network.eval()
    with torch.no_grad():
        return sum(float(loss(part)) * len(part) for part in rows.split(4096)) / len(rows)
