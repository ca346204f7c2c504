"""`calbench list` reads the source of what calbench ships; it says what the registries say, without importing torch."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
from fast_set import fast_only

from calbench.benchmark.cli.catalogue import REGISTRIES, card_of, registry_of, summary
from calbench.benchmark.cli.declared import declared
from calbench.benchmark.cli.info import OTHERS
from calbench.benchmark.cli.main import main
from calbench.benchmark.cli.source_card import card_from_source
from calbench.benchmark.config.suite_file import suite_files


@pytest.mark.parametrize("what", REGISTRIES)
def test_the_source_lists_what_the_registry_has(what):
    registry = registry_of(what)
    shipped = [name for name in registry if registry[name].__module__.startswith("calbench.")]
    kinds = {name: registry[name].kind if what == "methods" else "" for name in shipped}
    assert declared(what) == [(name, kinds[name], summary(registry[name])) for name in shipped]


@pytest.mark.parametrize("what", fast_only(set(REGISTRIES) - {"methods", "metrics"}, REGISTRIES))
def test_the_source_gives_the_card_of_the_class(what):
    registry = registry_of(what)
    cards = {name: card_from_source(what, name) for name in registry}
    read = {name: card for name, card in cards.items() if card is not None}
    assert read == {name: card_of(what, registry[name]) for name in read}
    assert len(read) > len(cards) / 3
    if what == "methods":
        assert len(read) == len(cards)


def test_computed_names_are_left_to_the_registry(tmp_path, monkeypatch):
    source = "from calbench.methods import register\nfor name in ('a', 'b'):\n    register(name)(type(name, (), {}))\n"
    (tmp_path / "computed.py").write_text(source)
    monkeypatch.setattr("calbench.benchmark.cli.declared._folders", lambda what: [tmp_path])
    assert declared("methods") is None


HEAVY = ("torch", "pandas", "sklearn", "scipy", "timm", "matplotlib")


@pytest.mark.slow
def test_what_needs_no_computing_imports_no_heavy_library(tmp_path):
    lists = [["list", what] for what in (*REGISTRIES, *OTHERS)]
    asked = [["--version"], ["-h"], ["run", "-h"], ["--show-completion"], ["show", "clean"], ["show", "quick"]]
    asked += [["show", name] for name in list(registry_of("methods"))[::9]]
    wrong = [["list", "x"], ["show", "x"], ["run", "x"], ["run", "x.yaml"], ["status", "x.yaml"], ["diagnose", "x"]]
    wrong += [["report", "x"], ["plot", "x"], ["compare", "x"], ["compare", "x", "--reference", "y"]]
    code = (
        "import sys; from calbench.benchmark.cli.main import main; import json\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    try:\n"
        "        status = main(arguments)\n"
        "    except SystemExit as stop:\n"
        "        status = stop.code or 0\n"
        "    loaded = sorted(set(json.loads(sys.argv[2])) & set(sys.modules))\n"
        "    print('\\n::', *arguments, status, *loaded)\n"
    )
    command = [sys.executable, "-c", code, json.dumps([*lists, *asked, *wrong]), json.dumps(HEAVY)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "SHELL": "/bin/bash"}
    )
    assert done.returncode == 0, done.stderr
    printed = [line.removeprefix(":: ") for line in done.stdout.splitlines() if line.startswith(":: ")]
    assert printed == [*(f"{' '.join(a)} 0" for a in [*lists, *asked]), *(f"{' '.join(a)} 2" for a in wrong)]


@pytest.mark.parametrize("command", [("status",), ("sizes",), ("diagnose",), ("cache", "prune"), ("cache", "accept")])
def test_commands_that_take_a_suite_choose_it_with_the_options_of_run(command):
    import typer.main

    from calbench.benchmark.cli.main import app
    from calbench.benchmark.cli.options import SuiteOptions

    def options(*path):
        found = typer.main.get_command(app)
        for name in path:
            found = found.commands[name]
        return {one.name: (one.opts, one.help, one.default) for one in found.params}

    shared = [field.name for field in dataclasses.fields(SuiteOptions)]
    run, other = options("run"), options(*command)
    assert {name: other[name] for name in shared} == {name: run[name] for name in shared}
    assert "--name" in other["name"][0]


def test_the_list_that_messages_refer_to_exists():
    from calbench.benchmark.corruptions.base import registry as corruptions
    from calbench.datasets.shifted import registry as shifted

    for what in REGISTRIES:
        assert registry_of(what).listing == f"calbench list {what}"
    assert corruptions.listing == shifted.listing == ""


@pytest.mark.parametrize("name", suite_files())
def test_a_suite_is_shown_as_its_file_is_whatever_the_width(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["show", name]) == 0
    assert capsys.readouterr().out == suite_files()[name].read_text("utf-8")


def test_a_name_of_a_method_and_of_a_metric_shows_both(capsys):
    from calbench.benchmark.cli.catalogue import registry_of

    both = set(registry_of("methods")) & set(registry_of("metrics"))
    assert "brier" in both
    for name in both:
        assert main(["show", name]) == 0
        out = capsys.readouterr().out
        assert "objective, in tables" in out
        assert "metric, in tables" in out
