"""The command line as a user meets it: statuses, messages, files."""

import io
import json
import os
import re
import runpy
import signal
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from fast_set import slowly
from killing import fork_command, wait_for

from calbench.benchmark.cli.main import main

ROOT = Path(__file__).parents[2]


def test_run_writes_tables_and_a_second_run_finds_them_cached(calbench, tiny, tmp_path):
    status, out, err = calbench("run", tiny, "--jobs", 1)
    assert status == 0
    assert "2 cells: 0 done, 2 to do" in err
    assert "2/2 done" in err
    assert "cross-entropy" in out
    folder = tmp_path / "runs" / "tiny"
    names = {"results.csv", "comparisons.csv", "leaderboard.md", "leaderboard.csv", "leaderboard.tex", "run.json"}
    assert names <= {path.name for path in folder.iterdir()}
    status, _, err = calbench("run", tiny)
    assert status == 0
    assert "2 cells: 2 done" in err
    assert "2/2" not in err
    status, out, _ = calbench("status", tiny)
    assert (status, out.strip()) == (0, "tiny: 2 cells: 2 done")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_every_command_reads_what_a_run_wrote_at_an_address(calbench, tiny, tmp_path, scheme):
    from calbench.benchmark.store.folder import Folder

    address = f"memory://calbench-cli-{os.getpid()}" if scheme == "memory" else f"file://{tmp_path}/elsewhere"
    place = ("--results-dir", address)
    assert calbench("run", tiny, "--jobs", 1, *place)[0] == 0
    folder = Folder(address)
    for name in ("leaderboard.md", "index.html"):
        folder.remove(f"tiny/{name}")
    assert calbench("report", "tiny", *place)[1].startswith(f"written to {address}/tiny: leaderboard.md")
    assert {"leaderboard.md", "index.html"} <= set(folder.names("tiny"))
    for format_, part in {"terminal": "digits", "markdown": "| entry ", "csv": "entry,kind", "latex": "table}"}.items():
        assert part in calbench("report", "tiny", "--format", format_, *place)[1]
    folder.remove("tiny/index.html")
    assert calbench("report", tiny, "--format", "html", *place)[1] == f"written to {address}/tiny: index.html\n"
    assert folder.read("tiny/index.html").startswith(b"<!")
    assert calbench("plot", "tiny", "--figure", "ranks", "--figure", "reductions", *place)[0] == 0
    assert {"reductions.png", "reductions.pdf"} <= set(folder.names("tiny/figures"))
    reference = tmp_path / "theirs.csv"
    ours = pd.read_csv(io.BytesIO(folder.read("tiny/results.csv"))).query("metric == 'ece' and split == 'test'")
    ours.assign(value=5.25, source="them", suspect=False, note="").to_csv(reference, index=False)
    assert ",5.25," in calbench("compare", "tiny", "--reference", reference, "--format", "csv", *place)[1]
    assert calbench("status", tiny, *place)[1] == "tiny: 2 cells: 2 done\n"
    assert "2 cells, 0 damaged" in calbench("cache", "verify", *place)[1]
    assert calbench("cache", "list", *place)[1].count("done") == 2
    assert calbench("cache", "prune", *place)[1] == "removed 0 cells\n"
    assert not (tmp_path / "runs").exists()
    assert [path.name for path in tmp_path.glob("*:*")] == []


@pytest.mark.parametrize("place", ["nowhere", "memory://calbench-nowhere"])
def test_a_mistyped_address_is_told_and_not_made(calbench, tmp_path, place):
    from calbench.benchmark.store.folder import Folder

    for command in (["report", "tiny"], ["plot", "tiny"], ["compare", "tiny", "--reference", "calattn2026"]):
        status, _, err = calbench(*command, "--results-dir", place)
        assert (status, "no results in tiny: run the suite first" in err) == (2, True)
    assert not (tmp_path / "nowhere").exists()
    assert not Folder("memory://", make=False).exists("calbench-nowhere")


def test_no_artefact_holds_a_path_or_a_name_of_this_machine(runs_of_tiny):
    import getpass
    import socket

    for path in runs_of_tiny.rglob("*"):
        if path.is_file() and path.suffix != ".safetensors":
            text = path.read_text("utf-8", errors="ignore")
            assert str(runs_of_tiny.parent) not in text, path.name
            assert f"/home/{getpass.getuser()}" not in text, path.name
            assert socket.gethostname() not in text or len(socket.gethostname()) < 5, path.name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quikc"], "did you mean 'quick'"),
        (["run", "quick", "--entry", "focall"], "--entry: unknown method 'focall' (did you mean 'focal'?)"),
        (["run", "quick", "--set", "training.epoch=1"], "--set training.epoch=1: training: unknown option 'epoch'"),
        (["run", "quick", "--seed", "-1"], "--seed: seeds"),
        (["run", "quick", "--seed", "x"], "--seed"),
        (["run", "quick", "--plugin", "none.py"], "plug-in none.py: no such file"),
        (["run", "quick", "--jobs", "-2", "--dry-run"], "--jobs -2"),
        (["run", "quick", "--device", "tpu", "--dry-run"], "device 'tpu'"),
        (["run", "quick", "--cache", "none"], "none"),
        (["run", "quick", "--results-dir", "file"], "results folder file"),
        (["show", "calatn"], "did you mean 'calattn'"),
        (["list", "method"], "methods"),
        (["report", "tiny"], "run the suite first"),
        (["report", "--results", "."], "is a folder, and a CSV file is expected; give a CSV file"),
        (
            ["compare", "tinny", "--reference", "calatn2026"],
            "unknown reference 'calatn2026' (did you mean 'calattn2026'?)",
        ),
        (["compare", "--reference", "calattn2026", "--as", "a=b"], "--as compares a suite with a reference"),
        (["compare", "tinny", "--reference", "calattn2026"], "no results in tinny: run the suite first"),
        (["nonsense"], "nonsense"),
    ],
)
def test_bad_input_is_one_clear_message_and_status_2(calbench, tmp_path, arguments, message):
    (tmp_path / "file").write_text("not a folder")
    status, out, err = calbench(*arguments)
    assert status == 2
    assert message in re.sub(r"\s+", " ", err + out)


def test_a_mistyped_name_of_results_gets_the_nearest_of_the_folder(calbench, finished):
    assert "no results in tinny (did you mean 'tiny'?): run the suite first" in calbench("report", "tinny")[2]
    assert "did you mean" not in calbench("report", "cache")[2]
    message = calbench("report", "--results", "runs/tiny")[2]
    assert "runs/tiny is a folder" in message
    assert "`calbench report tiny --results-dir runs`" in message


def test_a_failed_cell_gives_status_1_and_stands_in_the_table(calbench, tiny, tmp_path):
    status, out, err = calbench("run", tiny, "--jobs", 1, "--set", "training.lr=1e30")
    assert status == 1
    assert "the training diverged" in (out + err)
    assert re.search(r"failed: digits.* \(cache/[0-9a-f]{24}/failure.json\)", err)
    [table] = (tmp_path / "runs").glob("tiny@training.lr=1e30/leaderboard.md")
    assert "the training diverged" in table.read_text()
    assert "2 failed before (--retry-failed tries again)" in calbench("status", tiny, "--set", "training.lr=1e30")[1]


@pytest.mark.slow
def test_tables_of_an_earlier_run_do_not_stay_beside_those_of_a_smaller_one(calbench, tiny, tmp_path):
    both = ["--set", "backbones=['vit-micro(width=16, heads=2, depth=1)', 'vit-micro(width=8, heads=1, depth=1)']"]
    calbench("run", tiny, "--jobs", 1, *both, "--name", "tiny")
    assert (tmp_path / "runs" / "tiny" / "overall.csv").exists()
    calbench("run", tiny, "--jobs", 1)
    assert not (tmp_path / "runs" / "tiny" / "overall.csv").exists()
    assert calbench("status", tiny, *both)[1].endswith(": 4 cells: 4 done\n")
    assert calbench("cache", "prune", "--keep", tiny, *both)[1] == "removed 0 cells\n"
    assert calbench("cache", "prune", "--keep", tiny)[1] == "removed 2 cells\n"


def test_a_plugin_that_fails_to_import_names_file_line_and_cause(calbench, tmp_path):
    (tmp_path / "mine.py").write_text("import calbench\n\nprint(undefined)\n")
    status, _, err = calbench("list", "methods", "--plugin", "mine.py")
    assert status == 2
    assert "plug-in mine.py, line 3 fails to import: NameError" in err
    (tmp_path / "mine.py").write_text("def broken(:\n")
    message = calbench("list", "methods", "--plugin", "mine.py")[2]
    assert "line 1 fails to import: SyntaxError" in message
    assert message.count("line 1") == 1


@pytest.mark.slow
def test_an_unknown_method_of_the_user_needs_a_plugin(calbench, tiny, monkeypatch):
    monkeypatch.setattr("calbench.benchmark.core.registry._plugin_digests", {})
    for arguments in (["show", "my-own-scaling"], ["run", tiny, "--entry", "my-own-scaling"]):
        assert calbench(*arguments)[2].strip().endswith("lists all; one of your own needs --plugin FILE")


@pytest.mark.slow
def test_lists_and_cards_show_every_declaration(calbench):
    from calbench.benchmark.cli.catalogue import registries

    for what, registry in registries().items():
        status, out, _ = calbench("list", what)
        assert status == 0
        for name in registry:
            assert name in out
    status, out, _ = calbench("show", "focal")
    assert status == 0
    assert "gamma" in out
    assert "3.0" in out
    assert "quick" in calbench("list", "suites")[1]
    assert "calattn2026" in calbench("list", "references")[1]
    assert "calibration_fraction" in calbench("show", "clean")[1]
    assert "arXiv" in calbench("show", "calattn2026")[1]
    status, _, err = calbench("list", "method")
    assert (status, "did you mean 'methods'" in err) == (2, True)


@pytest.mark.slow
def test_parts_of_a_suite_have_results_of_their_own(calbench, tiny, tmp_path, finished):
    whole = (tmp_path / "runs" / "tiny" / "results.csv").read_bytes()
    assert calbench("run", tiny, "--jobs", 1, "--entry", "vector-scaling")[0] == 0
    assert (tmp_path / "runs" / "tiny" / "results.csv").read_bytes() == whole
    assert (tmp_path / "runs" / "tiny@vector-scaling" / "leaderboard.md").is_file()
    assert calbench("report", "tiny@vector-scaling", "--format", "csv")[0] == 0
    assert calbench("run", tiny, "--jobs", 1, "--entry", "vector-scaling", "--name", "mine")[0] == 0
    assert (tmp_path / "runs" / "mine" / "results.csv").is_file()
    status, _, err = calbench("run", tiny, "--name", "../up")
    assert (status, "use letters, digits" in err) == (2, True)


def test_dry_run_says_what_would_be_done_and_does_nothing(calbench, tiny, tmp_path):
    status, out, _ = calbench("run", tiny, "--dry-run")
    assert status == 0
    assert "tiny: 2 cells: 0 done, 2 to do" in out
    assert "digits / vit-micro" in out
    assert not (tmp_path / "runs" / "tiny").exists()


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("status", "tiny.yaml"), "tiny: 2 cells: 0 done, 2 to do\n"),
        (("run", "tiny.yaml", "--dry-run"), "tiny: 2 cells: 0 done, 2 to do, "),
        (("cache", "list"), "key"),
        (("cache", "verify"), "0 cells, 0 damaged\n"),
        (("cache", "prune"), "removed 0 cells\n"),
    ],
    ids=["status", "dry run", "list", "verify", "prune"],
)
@pytest.mark.parametrize("place", ["runs", "a/new/place"])
def test_commands_that_only_look_create_nothing(calbench, tiny, tmp_path, arguments, answer, place):
    before = sorted(tmp_path.rglob("*"))
    status, out, _ = calbench(*arguments, "--results-dir", place)
    assert (status, answer in out) == (0, True), out
    assert sorted(tmp_path.rglob("*")) == before


def test_the_name_of_a_part_of_a_suite_is_no_suite(calbench):
    status, _, err = calbench("status", "quick@seed-0")
    assert (status, err.count("\n")) == (2, 1)
    assert "give suite quick and the options of that run" in err


@pytest.mark.slow
def test_written_to_names_a_place_that_can_be_opened(calbench, tiny, tmp_path, finished):
    for command in (("run", tiny), ("report", "tiny")):
        line = calbench(*command)[1].splitlines()[-1]
        place, names = line.removeprefix("written to ").split(": ")
        assert all((tmp_path / place / name).is_file() for name in names.split(", ")), line


@pytest.mark.slow
def test_cache_commands_find_and_mend_damage(calbench, tiny, tmp_path, finished):
    assert calbench("cache", "verify")[:2] == (0, "2 cells, 0 damaged\n")
    assert "cross-entropy" in calbench("cache", "list")[1]
    file = next((tmp_path / "runs" / "cache").glob("*/predictions.safetensors"))
    file.write_bytes(file.read_bytes()[:-1])
    status, out, _ = calbench("cache", "verify")
    assert status == 1
    assert f"{file.parent.name}: the predictions are truncated or altered" in out
    assert calbench("cache", "prune") == (0, "removed 1 cell\n", "")
    assert calbench("cache", "verify")[0] == 0
    assert calbench("run", tiny, "--jobs", 1)[0] == 0
    assert calbench("cache", "prune", "--keep", tiny)[1] == "removed 0 cells\n"
    assert calbench("cache", "prune", "--keep", "quick")[1] == "removed 2 cells\n"


def test_report_writes_the_tables_again_without_computing(calbench, tiny, tmp_path, monkeypatch, finished):
    from calbench.benchmark.execution import work

    table = tmp_path / "runs" / "tiny" / "leaderboard.tex"
    before = table.read_text()
    table.unlink()
    monkeypatch.setattr(work, "process", None)
    assert calbench("report", "tiny")[0] == 0
    assert table.read_text() == before
    status, out, _ = calbench("report", "tiny", "--format", "markdown")
    assert status == 0
    assert out.startswith("# Tiny")


@pytest.mark.slow
def test_ctrl_c_leaves_whole_files_and_the_next_run_goes_on(tiny, tmp_path, capsys):
    options = ["--set", "training.epochs=10", "--set", "seeds=40"]  # a minute's work: it is not over when we interrupt
    words = [tiny, "--results-dir", str(tmp_path / "r"), *options]
    log = tmp_path / "log"
    with log.open("wb") as errors:
        child = fork_command(["run", *words, "--jobs", "2"], "ctrl-c", errors)
    assert wait_for(lambda: re.search(r"/80 done ", log.read_text()) or child.poll() is not None, 120)
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 130
    err = log.read_text()
    assert "interrupted: what is stored is whole" in err
    assert "Traceback" not in err
    assert not list((tmp_path / "r").rglob(".writing-*"))
    main(["cache", "verify", "--results-dir", str(tmp_path / "r")])
    capsys.readouterr()
    assert main(["run", *words, "--dry-run"]) == 0
    done = int(re.search(r"80 cells: (\d+) done", capsys.readouterr().out)[1])
    assert 1 <= done < 80


@pytest.mark.parametrize(("suite", "cells"), [(["tiny.yaml"], "tiny: 2 cells"), *slowly(([], "quick: 72 cells"))])
def test_run_all_is_calbench_run(tiny, tmp_path, monkeypatch, capsys, suite, cells):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run_all.py", *suite, "--dry-run"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "run_all.py"), run_name="__main__")
    assert end.value.code == 0
    assert cells in capsys.readouterr().out


def test_the_record_of_a_run_is_whole(runs_of_tiny):
    run = json.loads((runs_of_tiny / "tiny" / "run.json").read_text())
    assert run["versions"].keys() >= {"python", "calbench", "torch", "timm"}
    assert run["hardware"]["cores"] >= 1
    assert [cell["status"] for cell in run["cells"]] == ["done", "done"]
    assert all(cell["seconds"] > 0 for cell in run["cells"])
    assert run["config"]["training"]["epochs"] == 2
    assert any("Baseline" in line for line in run["protocol_text"])
    assert time.strptime(run["created"][:19], "%Y-%m-%dT%H:%M:%S")


def test_nothing_computed_is_no_success(calbench, tiny):
    assert calbench("run", tiny, "--cache", "only")[0] == 1
