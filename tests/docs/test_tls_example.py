"""The example of an encrypted cluster in docs/scale.md, run to its end as it is written."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from calbench.benchmark.results.results import Results
from calbench.benchmark.store.store import Store

TEXT = (Path(__file__).parents[2] / "docs/scale.md").read_text("utf-8")


def free_port():
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return str(opened.getsockname()[1])


@pytest.mark.slow
@pytest.mark.cluster
def test_the_documented_tls_cluster_runs_a_suite(tiny, runs_of_tiny, tmp_path):
    """Host, port, suite, folder and length of the keys are the test's; scheduler and worker run in the background."""
    pytest.importorskip("distributed")
    [example] = [block for block in re.findall(r"```bash\n(.*?)```", TEXT, re.S) if "openssl" in block]
    stand_ins = {
        "8786": free_port(), "HOST": "127.0.0.1", "quick": tiny, "/shared/results": "r", "--nworkers 8": "--nworkers 1",
        "rsa:4096 -nodes -days": "rsa:2048 -nodes -days", "rsa:4096 -nodes -subj": "rsa:2048 -nodes -subj",
    }  # fmt: skip
    for written, used in stand_ins.items():
        assert written in example
        example = example.replace(written, used)
    script = "".join(
        f'{line} 2>{line.split()[1]}.log & started="$started $!"\n' if line.startswith("dask ") else f"{line}\n"
        for line in example.splitlines()
    )
    script = f"set -eu; started=''; trap 'status=$?; kill $started || true; wait || true; exit $status' EXIT\n{script}"
    python = f'exec "{sys.executable}" -m'
    for name, module in (("dask", "dask"), ("calbench", "calbench")):  # as installed, by this interpreter
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f'#!/bin/sh\n{python} {module} "$@"\n')
        command.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    logs = "\n".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert done.returncode == 0, (done.stderr, logs)
    assert "not encrypted" not in done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(r"tls://127\.0\.0\.1:", logs), "the scheduler and the worker spoke without encryption"
    results = Results.load(tmp_path / "r/tiny")
    assert {cell.status for cell in results.run.cells} == {"done"}
    alone, together = Store(runs_of_tiny), Store(tmp_path / "r")
    assert alone.cells() == together.cells()
    for key in alone.cells():
        one, two = (store.predictions(key)["last", "test"] for store in (alone, together))
        assert torch.equal(one.logits, two.logits)
