"""Run the study and write its results."""

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
import torch

from calbench.benchmark.core.hashing import digest
from calbench.benchmark.core.sources import source_digest
from calbench.benchmark.studies import coverage
from calbench.benchmark.studies.coverage.measure import (
    CHUNK,
    QUICK,
    SITUATIONS,
    Situation,
    Size,
    Truth,
    simulate,
    truth_of,
)
from calbench.benchmark.studies.coverage.report import write
from calbench.benchmark.studies.coverage.worlds import TemperedWorld


def truth_at(world: TemperedWorld, sharpness: float, size: Size, folder: Path) -> dict[str, float]:
    """The population values of one model, from `folder` if they were computed before."""
    key = digest({"model": repr((world, sharpness, size.truth)), "code": source_digest(truth_of)})
    path = folder / f"truth-{key[:12]}.json"
    if not path.is_file():
        torch.set_num_threads(1)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(truth_of(world, sharpness, size)))
        part.replace(path)
    return json.loads(path.read_text())


def rows_of(situation: Situation, size: Size, chunk: int, truth: Truth, folder: Path) -> pd.DataFrame:
    """The rows of one chunk of a situation, from `folder` if the same code has simulated it before."""
    key = digest({"situation": repr(situation), "size": repr(size), "code": source_digest(simulate)})
    path = folder / f"{situation.name}-{chunk}-{key[:12]}.csv"
    if not path.is_file():
        torch.set_num_threads(1)
        part = path.with_suffix(".part")
        simulate(situation, size, chunk, truth).to_csv(part, index=False)
        part.replace(path)
        print(f"{situation.name}: chunk {chunk + 1} of {-(-situation.sets(size) // CHUNK)}", flush=True)
    return pd.read_csv(path)


def run(size: Size, folder: Path, jobs: int, situations: Sequence[Situation] = SITUATIONS) -> pd.DataFrame:
    """The rows of the situations; what `folder` has already is not simulated again.

    Args:
        size: how much is simulated.
        folder: of the chunks that are done.
        jobs: number of processes.
        situations: those to simulate.
    """
    models = dict.fromkeys((s.world, t) for s in situations if isinstance(s.world, TemperedWorld) for t in s.sharpness)
    chunks = [(s, chunk) for s in situations for chunk in range(-(-s.sets(size) // CHUNK))]
    chunks.sort(key=lambda task: -task[0].samples)  # the slowest first
    with ProcessPoolExecutor(jobs) as pool:
        truths = {model: pool.submit(truth_at, *model, size, folder) for model in models}
        known: dict[object, Truth] = {}
        for (world, sharpness), future in truths.items():
            known.setdefault(world, {})[sharpness] = future.result()
        futures = [pool.submit(rows_of, s, size, chunk, known.get(s.world, {}), folder) for s, chunk in chunks]
        frames = [future.result() for future in futures]
    rows = pd.concat(frames, ignore_index=True)
    order = {situation.name: place for place, situation in enumerate(SITUATIONS)}
    return rows.sort_values("situation", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def main() -> None:
    """Run the study and write its results."""
    parser = argparse.ArgumentParser(prog="python -m calbench.benchmark.studies.coverage", description=coverage.__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/coverage"), help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="20 test sets per situation")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    names = [situation.name for situation in SITUATIONS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="SITUATION",
                        help=f"simulate these and keep the rows of the others: {', '.join(names)}")  # fmt: skip
    options = parser.parse_args()
    size = QUICK if options.quick else Size()
    folder = options.out / "partial"  # a run that was stopped goes on from here
    folder.mkdir(parents=True, exist_ok=True)
    situations = [situation for situation in SITUATIONS if situation.name in options.only]
    print(write(run(size, folder, options.jobs, situations), size, options.out, names))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


if __name__ == "__main__":
    main()
