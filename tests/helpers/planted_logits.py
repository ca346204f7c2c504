"""Over-confident logits, their labels, and features."""

import torch


def data(rows=400, classes=4):
    generator = torch.Generator().manual_seed(0)
    true = 2 * torch.randn(rows, classes, generator=generator)
    labels = torch.multinomial(true.softmax(1), 1, generator=generator).squeeze(1)
    return 3 * true, labels, torch.randn(rows, 5, generator=generator)
