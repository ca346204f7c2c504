"""Writes predictions and results of a suite as a dataset that others can load; never without the command."""

import hashlib
import re

import pandas as pd
import safetensors.torch
import yaml

from calbench.benchmark.config.publication import MANIFEST, Publication, PublishedFile
from calbench.benchmark.config.suite import Suite
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.text import counted
from calbench.benchmark.execution.options import RunOptions
from calbench.benchmark.execution.plan import Work
from calbench.benchmark.execution.runner import plan_suite
from calbench.benchmark.report.render.markdown import escape
from calbench.benchmark.results.records import RunRecord
from calbench.benchmark.results.results import Results
from calbench.benchmark.store.folder import Folder
from calbench.benchmark.store.store import Store

FIELDS = ("logits", "labels", "features", "temperature", "posterior")
CARD = """\
---
{head}tags: [calibration, predictions, image-classification]
---

# {title}

Collected by {provenance}.

Predictions and results of the calbench suite `{suite}`, written by `calbench publish`.

{protocol}

- `predictions/*.safetensors`: per network `<split>.logits` (N, K), `<split>.labels` (N,), and where there are any
  `<split>.features`, `<split>.temperature`, `<split>.posterior`.
- `results/`: tidy tables and the record of the run (versions, commits, options).
- `publication.json`: every file with its SHA-256.

{table}

Load all of it in a suite with `predictions: [{{publication: ADDRESS}}]`, or one file with `calbench calibrate FILE`.
"""


def publish(suite: Suite, options: RunOptions, address: str) -> Publication:
    """Write the predictions and results of a finished suite to a folder or fsspec address.

    Args:
        suite: a suite that was run.
        options: of the run: where its results are.
        address: a local folder, ``memory://...``, ``s3://...``, ``hf://datasets/...`` and the like.

    Returns:
        The manifest, which is written last.

    Raises:
        InputError: the suite was not run, or cells are missing.
    """
    store, target = Store(options.results_dir), Folder(address)
    plan = plan_suite(suite, options)
    missing = [work for work in plan if store.status(work.cell.key) != "done"]
    if missing:
        raise InputError(
            f"publish: {len(missing)} of {counted(len(plan), 'cell')} of {suite.name} not there; run it first"
        )
    with store.folder.fetched(suite.name) as folder:
        results = Results.load(folder)
        if changed := results.edited:
            raise InputError(f"publish: {', '.join(changed)} of {suite.name}: edited by hand; run the suite again")
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".csv", ".json")}
    paths = _paths([_names(work) for work in plan])
    published = [
        _write_predictions(work, store, target, suite.protocol.checkpoint, path)
        for work, path in zip(plan, paths, strict=True)
    ]
    for name, data in files.items():
        target.write(f"results/{name}", data)
    target.write("README.md", _card(suite.name, results.run, published).encode())
    checksums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    manifest = Publication(suite=suite.name, predictions=tuple(published), results=checksums)
    target.write(MANIFEST, manifest.model_dump_json(indent=1).encode())
    return manifest


def _names(work: Work) -> tuple[str, ...]:
    cell = work.cell
    return cell.dataset.spelled(), cell.backbone.spelled(), cell.recipe_name, f"seed-{cell.seed}"


def _paths(names: list[tuple[str, ...]]) -> list[str]:
    """A path for each tuple of names; those that are alike in ASCII letters and digits get a number."""
    paths: list[str] = []
    for parts in names:
        stem = path = f"predictions/{'--'.join(_plain(part) for part in parts)}"
        number = 1
        while f"{path}.safetensors" in paths:
            number += 1
            path = f"{stem}--{number}"
        paths.append(f"{path}.safetensors")
    return paths


def _write_predictions(work: Work, store: Store, target: Folder, checkpoint: str, path: str) -> PublishedFile:
    cell, predictions = work.cell, store.predictions(work.cell.key)
    tensors = {
        f"{split}.{field}": getattr(part, field).contiguous()
        for (rule, split), part in predictions.splits.items()
        for field in FIELDS
        if rule == checkpoint and getattr(part, field) is not None
    }
    data = safetensors.torch.save(tensors)
    target.write(path, data)
    dataset, backbone, recipe, _ = _names(work)
    return PublishedFile(
        path=path, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), dataset=dataset, backbone=backbone,
        recipe=recipe, seed=cell.seed,
    )  # fmt: skip


def _plain(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-").lower()


def _card(suite: str, run: RunRecord, published: list[PublishedFile]) -> str:
    protocol = "\n".join(f"- {escape(line)}" for line in run.protocol_text)
    title = run.title or suite
    rows = [one.model_dump(include={"dataset", "backbone", "recipe", "seed", "bytes"}) for one in published]
    rows = [{key: escape(value) if isinstance(value, str) else value for key, value in row.items()} for row in rows]
    return CARD.format(
        head=yaml.safe_dump({"pretty_name": title}, allow_unicode=True, width=10_000), title=escape(title), suite=suite,
        provenance=escape("; ".join(run.provenance)), protocol=protocol,
        table=pd.DataFrame(rows).to_markdown(index=False),
    )  # fmt: skip
