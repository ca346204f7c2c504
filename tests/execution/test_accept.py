"""An edit of the training code makes cells stale, unless it is declared to change no result."""

import pytest

from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.core import sources, unchanged
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.execution.accept import accept
from calbench.benchmark.execution.options import RunOptions
from calbench.benchmark.execution.runner import plan_suite
from calbench.benchmark.store.store import Store


@pytest.fixture
def edited(monkeypatch, tmp_path):
    """Pretend that a definition of the training code was edited, and keep declarations out of the package."""
    monkeypatch.setattr(unchanged, "FILE", tmp_path / "unchanged.yaml")
    unchanged.FILE.write_text("[]")

    def edit():
        original = sources._hash
        monkeypatch.setattr(sources, "_hash", lambda *arguments: original(*arguments)[::-1])
        clear()

    yield edit
    monkeypatch.undo()
    clear()


def clear():
    for function in (sources.source_digest, sources.definition_digests, sources._parsed, sources._module):
        function.cache_clear()
    unchanged.declarations.cache_clear()


def statuses(suite, store):
    plan = plan_suite(load_suite(suite), RunOptions(results_dir=store))
    return plan, [Store(store).status(work.cell.key) for work in plan]


def test_accepted_cells_are_found_again(tiny, trained, tmp_path, edited):
    folder = str(tmp_path / "results")
    assert statuses(tiny, folder)[1] == ["done", "done"]
    edited()
    plan, found = statuses(tiny, folder)
    assert found == ["missing", "missing"]
    edits = accept(plan, Store(folder), "a rename")
    assert {"digits", "vit-micro", "cross-entropy", "calattn"} <= {edit["part"] for edit in edits}
    assert statuses(tiny, folder)[1] == ["done", "done"]


def test_a_cell_that_was_never_trained_cannot_be_accepted(tiny, trained, tmp_path, edited):
    edited()
    plan = plan_suite(load_suite(tiny, settings=["training.lr=0.5"]), RunOptions(results_dir=str(tmp_path / "results")))
    with pytest.raises(InputError, match="no stored cell differs from digits / vit-micro"):
        accept(plan, Store(str(tmp_path / "results")), "a rename")
    assert unchanged.FILE.read_text() == "[]"
