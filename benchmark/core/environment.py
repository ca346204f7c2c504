"""Describes the environment of a run: versions, commit and hardware, without paths, user or host names."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

AFFECTS_RESULTS = False

PACKAGES = ("torch", "timm", "numpy", "scikit-learn", "netcal", "accelerate", "pandas")


@cache
def versions() -> dict[str, str]:
    """Versions of Python, calbench and the packages that results depend on."""
    found = {"python": platform.python_version(), "calbench": importlib.metadata.version("calbench")}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str | None:
    """The git commit of the code, with ``-dirty`` behind it where tracked files differ; None outside a checkout.

    A copy that is installed inside another repository, as in its ``.venv``, has no commit: that repository's is of
    other code.
    """
    here = Path(__file__).parent
    try:
        _git(here, "ls-files", "--error-unmatch", "--", Path(__file__).name)
        head = _git(here, "rev-parse", "HEAD")
        dirty = _git(here, "status", "--porcelain", "--untracked-files=no", "--", ":/*.py", ":/*.yaml", ":/*.toml")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head[:12]}-dirty" if dirty else head[:12]


@cache
def code_digest() -> str:
    """A hash of calbench's own source files: equal where the code that made a result is the code that runs."""
    root, found = Path(__file__).parents[2], hashlib.sha256()
    for part in ("benchmark", "methods", "datasets"):
        for path in sorted((root / part).rglob("*")):
            if path.suffix in (".py", ".yaml"):
                found.update(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


@cache
def hardware() -> dict[str, Any]:
    """Processor model, cores and accelerators."""
    import torch

    found: dict[str, Any] = {"processor": _processor(), "cores": os.cpu_count()}
    if torch.cuda.is_available():
        found["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()
