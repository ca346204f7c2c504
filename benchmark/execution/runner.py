"""Runs a suite: plan, status, work, results; for the command line and for notebooks."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import joblib

from calbench.benchmark.config.cell import Cell
from calbench.benchmark.config.suite import Suite
from calbench.benchmark.core import stopping
from calbench.benchmark.core.errors import InputError, check_names
from calbench.benchmark.core.text import counted, typed_command
from calbench.benchmark.evaluation.tuning import stored_names
from calbench.benchmark.execution.collect import collect, inputs_digest, standing_results
from calbench.benchmark.execution.collector import TO_EVALUATE
from calbench.benchmark.execution.cost import Cost, Estimate, Probe
from calbench.benchmark.execution.evaluate import oracle_name
from calbench.benchmark.execution.extra_splits import extra_names
from calbench.benchmark.execution.local import default_jobs, run_processes, run_serial
from calbench.benchmark.execution.options import RunOptions
from calbench.benchmark.execution.plan import Work, make_plan
from calbench.benchmark.execution.produce import RANK, WORLD, Context
from calbench.benchmark.execution.progress import Reporter
from calbench.benchmark.results.results import Results
from calbench.benchmark.store.store import Store
from calbench.datasets import Dataset
from calbench.datasets.shifted import ShiftedSet


@dataclass(frozen=True)
class Status:
    """The finished and the remaining cells of a plan, and the cost of the remaining ones if it can be estimated."""

    counts: Counter[str]
    todo: list[Work]
    cost: Cost | None

    def line(self) -> str:
        """One line for people."""
        total = sum(self.counts.values())
        parts = [f"{counted(total, 'cell')}: {self.counts['done']} done"]
        parts += [f"{self.counts[name]} {word}" for name, word in _STATUS_WORDS.items() if self.counts[name]]
        if self.cost is not None:
            low, high = (duration(self.cost.seconds * power) for power in (1 / self.cost.factor, self.cost.factor))
            parts.append(
                f"{low if low == high else f'about {low} to {high}'} of one process to go, then evaluation and tables"
            )
            parts.append(f"about {self.cost.bytes / 1e6:.0f} MB to write")
        return ", ".join(parts)


_STATUS_WORDS = {
    TO_EVALUATE: "to evaluate", "partial": "partly done", "missing": "to do",
    "damaged": "damaged and to do again", "failed": "failed before (--retry-failed tries again)",
}  # fmt: skip

_NO_LOCKS = "; two runs here would compute everything twice, since this address has no locks: start one at a time"


def plan_suite(suite: Suite, options: RunOptions) -> list[Work]:
    """The plan of a suite, with the content hash of every dataset.

    Raises:
        InputError: the files of a dataset are not as they should be; the message names its line in the suite.
    """
    root = options.data_root.expanduser()
    places = {id(dataset): place for dataset, place in zip(suite.datasets, suite.dataset_places, strict=False)}

    def fingerprint(dataset: Dataset) -> str:
        try:
            return dataset.fingerprint(root)
        except InputError as error:
            place = places.get(id(dataset))
            raise InputError(f"{place}: {error}" if place else str(error)) from error

    def shifted(one: ShiftedSet, dataset: Dataset) -> tuple[str, tuple[int, ...] | None]:
        return one.fingerprint(dataset, root), one.classes(dataset, root)

    return make_plan(suite, fingerprint, shifted, options.device)


def status(plan: list[Work], suite: Suite, store: Store, options: RunOptions, probe: Probe | None = None) -> Status:
    """Check which cells of `plan` are in the store; `probe` estimates the cost of cells of an unknown kind."""
    counts, todo, estimate = Counter(), [], Estimate()
    unpredicted: list[Work] = []  # evaluation takes seconds, and is not counted
    names = {one.name: stored_names(one, suite.protocol) for entry in suite.entries for one in entry.evaluated}
    for work in plan:
        state = store.status(work.cell.key)
        if options.cache == "refresh":
            state = "missing"
        if state == "done":
            estimate.sample(work, store)
            state = _evaluated(work, names, suite, store, options.retry_failed)
        counts[state] += 1
        if state != "done" and (state != "failed" or options.retry_failed):
            todo.append(work)
            if state != TO_EVALUATE:
                unpredicted.append(work)
    return Status(counts, todo, estimate.total(unpredicted, probe) if unpredicted else None)


def _evaluated(work: Work, names: dict[str, list[str]], suite: Suite, store: Store, retry_failed: bool) -> str:
    wanted = [name for entry in work.entries for name in names[entry.name]]
    if work.oracle:
        wanted.append(oracle_name(suite.protocol))
    extra = {
        store.evaluation_status(work.cell.key, name)
        for name in extra_names(work.entries, suite.protocol, work.extra).values()
    }
    found = {store.evaluation_status(work.cell.key, name) for name in wanted}
    if "missing" in found | extra or (retry_failed and "failed" in extra):
        return TO_EVALUATE
    return "failed" if "failed" in found else "done"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 100 else "more than 100 h"


def run_suite(suite: Suite, options: RunOptions, reporter: Reporter | None = None) -> Results:
    """Run what is missing of a suite and write its results.

    Returns:
        The results, also written to ``<results_dir>/<suite>/``; failed cells are listed in ``run["cells"]``.

    Raises:
        InputError: the results folder cannot be written, or the plan cannot be made.
        KeyboardInterrupt: after Ctrl-C; what was finished stays.
    """
    reporter = reporter or Reporter()
    started = time.perf_counter()
    store = Store(options.results_dir)
    plan = plan_suite(suite, options)
    found = status(plan, suite, store, options)
    if RANK == 0:
        store.folder.check_writable()
    reporter.plan(suite, found.line() + ("" if store.folder.has_locks else _NO_LOCKS))
    inputs = inputs_digest(suite, plan)
    if not found.todo and not found.counts["failed"]:
        standing = standing_results(store, suite, inputs)
        if standing is not None:
            return standing
    if options.cache != "only" and found.todo:
        if options.retry_failed:
            for work in found.todo:
                store.forget_failures(work.cell.key)
        with reporter.working(found.todo):
            execute(found.todo, suite, options, reporter)
    command = typed_command()
    results = collect(suite, plan, store, inputs, command, time.perf_counter() - started)
    again = [w for w, cell in zip(plan, results.run.cells, strict=True) if cell.status == TO_EVALUATE]
    if again and options.cache != "only":
        with reporter.working(again):
            execute(again, suite, options, reporter)
        results = collect(suite, plan, store, inputs, command, time.perf_counter() - started)
    if RANK == 0:
        with store.folder.publishing(suite.name) as folder:
            results.save(folder)
    return results


def _absolute(results_dir: str) -> str:
    """The results folder as workers elsewhere find it."""
    return results_dir if "://" in results_dir else str(Path(results_dir).resolve())


def _from_anywhere(path: Path) -> Path:
    """A folder as workers elsewhere find it: a home folder stays each one's own."""
    return path if str(path).startswith("~") else path.resolve()


def _check_optimizers(todo: list[Work]) -> None:
    """Refuse a name that timm does not have, before a hundred cells fail of it."""
    names = {work.cell.training.optimizer for work in todo if isinstance(work.cell, Cell)}
    if names:
        from timm.optim import list_optimizers  # heavy: a run with nothing to train does not import it

        check_names("training.optimizer", sorted(names), map(str, list_optimizers()))


def _preflight(todo: list[Work], options: RunOptions) -> None:
    from calbench.benchmark.execution.preflight import preflight  # heavy: torch

    preflight(todo, Store(options.results_dir), options.cache == "refresh")


def execute(todo: list[Work], suite: Suite, options: RunOptions, reporter: Reporter) -> None:
    """Do the work where the options say."""
    _check_optimizers(todo)
    _preflight(todo, options)
    context = Context(
        results_dir=_absolute(options.results_dir),
        data_root=_from_anywhere(options.data_root),
        protocol=suite.protocol,
        device=options.device,
        plugins=tuple(plugin.expanduser().resolve() for plugin in options.plugins),
        refresh=options.cache == "refresh",
        tensorboard=options.tensorboard,
        keep_weights=suite.config.keep == "weights",
        threads=max(1, joblib.cpu_count() // _jobs(todo, options)),
    )
    with stopping.handled():
        _place(todo, context, options, reporter)


def _jobs(todo: list[Work], options: RunOptions) -> int:
    return 1 if WORLD > 1 else min(options.jobs or default_jobs(), len(todo))


def _place(todo: list[Work], context: Context, options: RunOptions, reporter: Reporter) -> None:
    if options.scheduler:
        from calbench.benchmark.execution.cluster import run_dask  # an optional extra

        run_dask(todo, context, reporter.event, options.scheduler, options.scheduler_options)
        return
    jobs = _jobs(todo, options)
    if jobs == 1:
        run_serial(todo, context, reporter.event)
    else:
        run_processes(todo, context, reporter.event, jobs)
