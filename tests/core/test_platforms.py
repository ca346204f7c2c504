"""Windows and macOS, as far as Linux can show it: what they lack is taken away."""

import contextlib
import importlib
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import traceback

import pytest
from fast_set import slowly

from calbench.benchmark.cli import start
from calbench.benchmark.config.suite import load_suite, part_name
from calbench.benchmark.config.terms import parse_term
from calbench.benchmark.core import files, stopping
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.execution.local import run_processes
from calbench.benchmark.execution.produce import Context
from calbench.benchmark.execution.runner import RunOptions, plan_suite

WITHOUT_POSIX = """
import os, signal, sys, importlib
for name in ("fcntl", "resource", "pwd", "grp", "termios", "syslog"):
    sys.modules[name] = None
for name in ("SIGHUP", "SIGKILL", "SIGALRM", "pthread_sigmask", "sigwait"):
    if hasattr(signal, name):
        delattr(signal, name)
for name in ("fork", "getuid", "geteuid", "sched_getaffinity", "getloadavg", "killpg"):
    if hasattr(os, name):
        delattr(os, name)
"""


def run(code, *arguments):
    return subprocess.run([sys.executable, "-c", WITHOUT_POSIX + code, *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("arguments", [["list", "methods"], *slowly(["--version"], ["run", "-h"])], ids=" ".join)
def test_the_command_starts_without_modules_of_unix(arguments):
    done = run("from calbench.benchmark.cli.main import main; sys.exit(main(sys.argv[1:]))", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout


IMPORTED = ("execution.runner", "report", "cli.main", "predictions.files", "diagnostics.study", "training.trainer")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.slow
def test_everything_is_imported_without_modules_of_unix(tmp_path):
    """The packages of others may use what they like: they are imported before the modules are taken away, in a fork."""
    names = ["calbench.datasets", *(f"calbench.benchmark.{name}" for name in IMPORTED)]
    for name in names:
        importlib.import_module(name)
    child = os.fork()
    if not child:
        leave, status = os._exit, 1
        try:
            for module in [module for module in sys.modules if module.partition(".")[0] == "calbench"]:
                del sys.modules[module]
            exec(WITHOUT_POSIX, {})
            for name in names:
                importlib.import_module(name)
            status = 0
        except BaseException:
            (tmp_path / "error").write_text(traceback.format_exc())
        finally:
            leave(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, (tmp_path / "error").read_text()


@pytest.mark.slow
def test_workers_start_where_nothing_can_fork(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    monkeypatch.setattr(stopping, "blocked", contextlib.nullcontext)  # as without signal.pthread_sigmask
    suite, ended = load_suite(tiny, entries=["cross-entropy"]), []
    works = plan_suite(suite, RunOptions(results_dir=str(tmp_path)))
    context = Context(str(tmp_path), tmp_path, suite.protocol)
    run_processes(works, context, lambda work, kind, value: kind == "end" and ended.append(value), 2)
    assert ended == ["done"]


def test_output_in_a_code_page_loses_characters_and_not_the_table(monkeypatch):
    console = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", console)
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    start._print_any_character()
    print("ECE (%) \u2193 10 \u00b1 1", flush=True)
    assert console.buffer.getvalue().decode("cp1252").strip() == "ECE (%) ? 10 \u00b1 1"


def test_redirected_output_is_utf8(monkeypatch):
    redirected = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", redirected)
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    start._print_any_character()
    print("\u0394 \u25bc", flush=True)
    assert redirected.buffer.getvalue().decode("utf-8").strip() == "\u0394 \u25bc"


def test_a_file_that_a_reader_has_open_is_replaced_once_it_is_closed(tmp_path, monkeypatch):
    refused, replace = [], os.replace

    def windows(source, target):
        if len(refused) < 3:
            refused.append(target)
            raise PermissionError(13, "The process cannot access the file because it is being used by another process")
        replace(source, target)

    monkeypatch.setattr(os, "replace", windows)
    monkeypatch.setattr(files, "PAUSE", 0.0)
    with pytest.raises(PermissionError):
        files.write_atomically(tmp_path / "a", b"1")
    assert list(tmp_path.iterdir()) == [], "elsewhere a refusal is final, and nothing is left"
    refused.clear()
    monkeypatch.setattr(files, "WINDOWS", True)
    files.write_atomically(tmp_path / "a", b"2")
    assert (tmp_path / "a").read_bytes() == b"2"
    assert len(refused) == 3


def test_a_signal_to_this_process_reaches_its_handler_on_windows(monkeypatch):
    reached = []
    before = signal.signal(signal.SIGTERM, lambda number, _: reached.append(number))
    try:
        monkeypatch.setattr(stopping, "WINDOWS", True)
        monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("TerminateProcess: no handler runs"))
        stopping._signal_this_process(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert reached == [signal.SIGTERM]


@pytest.mark.parametrize("name", ["CON", "nul", "com1.first", "Cache", "REFERENCE", "mine."])
def test_names_that_cannot_be_folders_on_windows_are_refused_everywhere(name):
    with pytest.raises(InputError, match="name "):
        load_suite("quick").called(name)


@pytest.mark.parametrize("name", ["console", "com10", "mine.v2", "nullify"])
def test_names_like_those_of_devices_are_fine(name):
    assert load_suite("quick").called(name).name == name


def test_the_name_of_a_part_never_ends_with_a_dot():
    assert part_name("quick", [], [], ["training.lr=1."]) == "quick@training.lr=1"


def test_paths_with_drive_letters_and_backslashes_are_options():
    name, options = parse_term(r"image-folder(path=C:\data\photos, title=photos)")
    assert (name, options["path"]) == ("image-folder", r"C:\data\photos")


def test_entries_make_no_file_names_that_differ_in_case_only():
    from calbench.benchmark.report.figures.base import _free

    taken = set()
    assert [_free(stem, taken) for stem in ("ece-A", "ece-a", "ece-A")] == ["ece-A", "ece-a-2", "ece-A-3"]
