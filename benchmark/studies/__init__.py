"""Studies of calbench itself, each run as `python -m calbench.benchmark.studies.<name>`; nothing imports them."""
