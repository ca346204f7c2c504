"""Training of one cell: the loop, the model, the optimiser, checkpoints, devices."""
