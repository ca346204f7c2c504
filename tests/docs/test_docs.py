"""The README and the documentation say what is so: their code runs, their commands exist, their tables are in step."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import typer
from documentation import NOTEBOOKS, PAGES, ROOT, TUTORIALS, calbench, command_lines, load_script, run_blocks

from calbench.benchmark.cli import main as cli
from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.config.suite_file import suite_files

SECONDS = {"calibrate-your-logits", "read-results"}


"""Tutorials that take more than a second."""


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] if path.stem in SECONDS else []) for path in TUTORIALS],
    ids=lambda path: path.stem,
)
def test_tutorials_run(path, workspace, capsys):
    run_blocks(path, lambda arguments: calbench([*arguments, "--jobs", "1"] if arguments[0] == "run" else arguments))


@pytest.mark.slow
def test_the_readme_runs_with_its_own_method(workspace, capsys, tiny):
    generator = np.random.default_rng(0)
    for name in ("cal", "test", "preds"):
        logits = generator.normal(scale=2, size=(300, 3))
        labels = (logits + generator.gumbel(size=logits.shape)).argmax(1)
        np.savez(f"{name}.npz", logits=2 * logits, labels=labels)
    done = []

    def command(arguments):
        """The quick suite is replaced by a tiny one; a whole experiment is read and no more."""
        if arguments[:2] == ["run", "quick"]:
            calbench(["run", tiny, *arguments[2:], "--jobs", "1"])
        elif arguments[0] == "run":
            assert load_suite(arguments[1], smoke="--smoke" in arguments).entries
        elif arguments[0] == "show" or arguments[:2] == ["compare", "--reference"]:
            calbench(arguments)
        done.append(arguments)

    run_blocks(ROOT / "README.md", command)
    assert done
    from calbench.benchmark.results.results import Results

    table = Results.load(next(Path("runs").glob("tiny@*"))).table
    nll = {name: table[(table.entry == name) & (table.metric == "nll")].value.item() for name in table.entry.unique()}
    assert nll["uniform-mixing"] != nll["cross-entropy"]
    accuracy = table[table.metric == "accuracy"].set_index("entry").value
    assert accuracy["uniform-mixing"] == accuracy["cross-entropy"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_on_the_pages_exist_with_their_options(path):
    for program, *arguments in command_lines(path):
        if program == "python":
            check_python(arguments)
            continue
        command, words = typer.main.get_command(cli.app), arguments
        if words and words[0].startswith("-"):
            assert words[0] in {"--help", *(option for parameter in command.params for option in parameter.opts)}
            continue
        names = []
        while hasattr(command, "commands"):
            assert words, f"{path.name}: {' '.join(names)} needs a command"
            assert words[0] in command.commands, f"{path.name}: calbench {' '.join(arguments)}"
            names.append(words[0])
            command, words = command.commands[words[0]], words[1:]
        if "--scheduler" not in words:
            command.make_context(names[-1], list(words))
        if names == ["run"] and words and words[0] != "SUITE" and not words[0].endswith(".yaml"):
            assert words[0] in suite_files(), f"{path.name}: no suite {words[0]}"


def check_python(arguments):
    """``python FILE`` names a file of the repository, ``python -m MODULE`` a module that is there."""
    if arguments[0] == "-m":
        assert arguments[1] == "venv" or importlib.util.find_spec(arguments[1]), arguments
    else:
        assert (ROOT / arguments[0]).is_file(), arguments


def test_the_leaderboard_in_the_readme_is_the_one_in_the_results():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert load_script("leaderboard").in_step(readme) == readme, "run: python docs/leaderboard.py"


def test_overall_tables_are_copied_into_their_blocks_and_blocks_without_results_are_empty(tmp_path):
    script = load_script("leaderboard")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "leaderboard.md").write_text("# T\n\n- rule\n\n## All\n\n|a|\n\n## digits\n\n|b|\n")
    text = (
        "before\n<!-- table:mine:begin (x) -->\nold\n<!-- table:mine:end -->\n"
        "<!-- table:gone:begin -->\nold\n<!-- table:gone:end -->\nafter\n"
    )
    new = script.in_step(text, tmp_path)
    assert "<!-- table:mine:begin (x) -->\n**All**\n\n|a|\n<!-- table:mine:end -->" in new
    assert "<!-- table:gone:begin -->\n<!-- table:gone:end -->" in new
    assert "old" not in new
    assert script.in_step(new, tmp_path) == new
    with pytest.raises(ValueError, match="no table"):
        script.overall_block("# T\n")


def test_links_between_the_pages_lead_to_files():
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text("utf-8")):
            if not target.startswith("results/quick/") or (ROOT / "results" / "quick").is_dir():
                assert (ROOT / target).is_file(), f"{path.name}: {target}"


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_and_have_outputs(path, tmp_path, monkeypatch, capsys):
    """In this process: a kernel of its own would import everything again, for seconds."""
    interactive = pytest.importorskip("IPython.core.interactiveshell", reason="the extra test is not installed")
    nbformat = pytest.importorskip("nbformat", reason="the extra test is not installed")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.chdir(ROOT)
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.outputs or cell.source.startswith("import") for cell in cells)
    shell = interactive.InteractiveShell()
    for cell in cells:
        shell.run_cell(cell.source, store_history=False).raise_error()
