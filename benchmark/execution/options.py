"""The options of a run and their defaults; fast to import, since the command line needs them at once."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from calbench.benchmark.core.errors import InputError

CacheMode = Literal["default", "refresh", "only"]
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class RunOptions:
    """How a suite is run; none of it changes a result.

    Attributes:
        results_dir: local folder or fsspec address for cache and tables.
        data_root: folder of downloaded datasets.
        plugins: plug-in files, loaded again in every worker.
        jobs: worker processes; 0 chooses by the machine, 1 works in this process.
        device: ``auto``, ``cpu`` or ``cuda``.
        cache: ``default`` computes what is missing, ``refresh`` everything again, ``only`` nothing.
        retry_failed: try cells again that failed before.
        scheduler: address of a Dask scheduler, ``slurm``, or empty for this machine.
        scheduler_options: a YAML file of dask-jobqueue's SLURMCluster options.
        tensorboard: whether running cells write their curves for TensorBoard.
    """

    results_dir: str = "runs"
    data_root: Path = Path("~/.cache/calbench")
    plugins: tuple[Path, ...] = ()
    jobs: int = 0
    device: str = "auto"
    cache: CacheMode = "default"
    retry_failed: bool = False
    scheduler: str = ""
    scheduler_options: Path | None = None
    tensorboard: bool = False

    def __post_init__(self) -> None:
        """Check what can be checked before anything is planned; ``~`` in the results folder is expanded here, once."""
        object.__setattr__(self, "results_dir", os.path.expanduser(self.results_dir))
        if self.jobs < 0:
            raise InputError(f"--jobs {self.jobs}: expected 0 (chosen by the machine) or more")
        if self.device not in DEVICES:
            raise InputError(f"device {self.device!r}: expected one of {', '.join(DEVICES)}")
