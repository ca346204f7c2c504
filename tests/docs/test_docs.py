"""The README and the documentation say what is so: their code runs, their commands exist, their tables are in step."""

import contextlib
import importlib.util
import io
import json
import logging
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import pytest
import typer
import yaml
from pydantic import TypeAdapter

from calbench.benchmark.cli import main as cli
from calbench.benchmark.cli.catalogue import card, registries
from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.config.suite_file import suite_files
from calbench.benchmark.core import registry as registry_module
from calbench.benchmark.report.render.papers import bibliography, plain

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(path):
    """(language, file name or '', text) of every fenced block."""
    return _FENCE.findall(path.read_text("utf-8"))


def command_lines(path):
    """Every ``calbench`` or ``python`` command of a page's shell blocks and inline code, as words."""
    shell = [line for language, _, text in blocks(path) if language == "bash" for line in text.splitlines()]
    inline = re.findall(r"`((?:calbench|python) [^`]+)`", re.sub(_FENCE, "", path.read_text("utf-8")))
    parts = [part for line in [*shell, *inline] for part in line.split("&&")]
    words = [shlex.split(part, comments=True) for part in parts]
    return [line for line in words if line and line[0] in ("calbench", "python")]


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A folder of its own, and registries that forget what a plug-in declared."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for registry in registries().values():
        list(registry)  # entry points are loaded before the copy
        monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    monkeypatch.setattr(registry_module, "_plugin_digests", dict(registry_module._plugin_digests))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("calbench_plugin_"):
            del sys.modules[name]


def run_blocks(path, command):
    """Write titled blocks into files, run Python in one namespace and shell lines by `command`; check shown output."""
    namespace, printed = {"__name__": "documentation"}, ""
    for language, title, text in blocks(path):
        if title:
            Path(title).write_text(text, "utf-8")
        elif language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(compile(text, path.name, "exec"), namespace)
            printed = output.getvalue()
        elif language == "text":
            assert printed == text
        elif language == "bash":
            for line in text.splitlines():
                if line.startswith("calbench "):
                    command(shlex.split(line, comments=True)[1:])


def calbench(arguments):
    assert cli.main(arguments) == 0, arguments


SECONDS = {"calibrate-your-logits"}
"""Tutorials that take more than a second."""


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] if path.stem in SECONDS else []) for path in TUTORIALS],
    ids=lambda path: path.stem,
)
def test_tutorials_run(path, workspace, capsys):
    run_blocks(path, lambda arguments: calbench([*arguments, "--jobs", "1"] if arguments[0] == "run" else arguments))


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


def load_script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
def test_the_documentation_builds_with_a_page_for_every_declaration(tmp_path, workspace):
    pytest.importorskip("latex2mathml", reason="the extra docs is not installed: no latex2mathml")
    pytest.importorskip("material", reason="the extra docs is not installed: no mkdocs-material")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    logging.getLogger("mkdocs").setLevel(logging.WARNING)
    site = tmp_path / "site"
    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(site)))  # strict: a warning aborts
    index = json.loads((site / "search" / "search_index.json").read_text("utf-8"))
    assert any("weight_decay" in one["text"] for one in index["docs"] if one["location"].startswith("suite-file/"))
    for what, registry in registries().items():
        index = (site / what / "index.html").read_text("utf-8")
        for name in registry:
            page = (site / what / name / "index.html").read_text("utf-8")
            assert name in page
            assert f'href="{name}/"' in index
            assert "Paper: " not in page or "/bibliography/#" in page, f"{name}: its paper is not a link"


def test_every_formula_is_of_something_registered_and_becomes_mathml(workspace):
    pytest.importorskip("latex2mathml", reason="the extra docs is not installed: no latex2mathml")
    hooks = load_script("hooks")
    for what, formulas in hooks.formulas().items():
        for name, formula in formulas.items():
            assert name in registries()[what], name
            page = hooks.typeset(f"words\n\n$${formula}$$\n\nwords")
            assert "<math" in page
            assert "$$" not in page
            assert "\\" not in page, f"{name}: a command of LaTeX is left"
    assert hooks.typeset("costs $$5") == "costs $$5"


def test_the_gallery_has_a_committed_figure_of_each_kind_and_no_copies():
    gallery = load_script("gallery")
    figures = gallery.figures()
    assert {"reliability", "reductions", "ece-accuracy", "ece-intervals", "temperatures"} <= figures.keys()
    for kind, path in figures.items():
        assert path.is_file()
        assert path.name.startswith(kind)
        assert path.relative_to(ROOT / "results")
    assert figures["shift"].stem.startswith("shift-")
    assert "boxes" not in figures["shift"].stem
    assert not list((ROOT / "docs").rglob("*.png")), "figures stay where the results are"


def test_pages_of_methods_quote_the_committed_results():
    pages = load_script("method_pages")
    committed = pd.read_csv(ROOT / "results" / "real-predictions" / "leaderboard.csv")
    row = committed[committed.entry == "vector-scaling"].iloc[0]
    section = pages.study_section("vector-scaling", registries()["methods"]["vector-scaling"])
    assert f"{row.nll_improvement:+.3f}" in section
    assert f"{row.dataset} / {row.backbone}" in section
    index = pages.index_page(registries()["methods"])
    for name in registries()["methods"]:
        assert f"[{name}]({name}.md)" in index, name
        assert "## When to take it" in pages.study_section(name, registries()["methods"][name])
    families = pages.groups(registries()["methods"])
    described = [pages.described(package) for package in families]
    assert len({group.title for group in described}) == len(described)
    assert all(len(group.title) < 60 and len(group.advice) > 60 for group in described), "a docstring for every folder"
    assert "temperature-scaling" in families["calbench.methods.calibrators.temperature"]
    assert max(len(names) for names in families.values()) < 30, "a folder that can be surveyed"
    assert 0.5 < pages.training_times()["mixup"][0] < 3


def test_the_reference_pages_have_every_command_and_public_name():
    script = load_script("reference_pages")
    cli_text, api = script.cli_page(), script.api_page()
    for command in ("run", "cache verify", "calibrate", "export", "compare", "list"):
        assert f"## calbench {command}\n" in cli_text
    assert "`--results-dir`" in cli_text
    import calbench as cb

    for name in cb._PUBLIC:
        assert f"### cb.{name}\n" in api
    for name in ("Representation", "Outputs", "HeadModule"):
        assert f".{name}\n" in api
    assert "- `patch_tokens`: the patch tokens after the final norm" in api


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_and_have_outputs(path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="the extra test is not installed: no nbclient")
    pytest.importorskip("ipykernel", reason="the extra test is not installed: no ipykernel")
    import nbformat

    stored = nbformat.read(path, as_version=4)
    assert all(cell.outputs or cell.source.startswith("import") for cell in stored.cells if cell.cell_type == "code")
    nbclient.NotebookClient(
        stored, timeout=600, kernel_name="python3", resources={"metadata": {"path": ROOT}}
    ).execute()


def test_the_suite_file_page_has_every_field_with_a_sentence_and_an_example_that_its_model_takes():
    script = load_script("suite_file")
    page = script.suite_file_page()
    for title, model in script.SECTIONS.items():
        texts = script.field_texts(model)
        assert texts.keys() == model.model_fields.keys(), title
        for name, info in model.model_fields.items():
            assert f"**`{info.alias or name}`**" in page
            assert texts[name].text, f"{title}.{name}"
            assert texts[name].example, f"{title}.{name} has no example"
            kind = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
            TypeAdapter(kind).validate_python(yaml.safe_load(texts[name].example))
    assert "**`lr`** · float > 0 · default `0.001`" in page
    assert "Example: `training: {lr: 0.1}`" in page


def test_every_paper_is_in_the_bibliography_once_and_with_what_a_reference_needs():
    for what, registry in registries().items():
        for name in registry:
            key = registry[name].spec.paper
            assert key is None or key in bibliography(), f"{what} {name}: no paper {key!r}"
    for key, entry in bibliography().items():
        assert all(entry.get(field) for field in ("author", "title")), key
        assert not re.search(r"[\\{}]", "".join(entry.values())), f"{key}: a command of TeX is left"
        assert re.fullmatch(r"(19|20)\d\d", entry["year"]), key
        assert re.fullmatch(r"\d{4}\.\d{4,5}", entry.get("eprint", "0000.0000")), key
    files = (ROOT / "results" / "reference" / "papers").glob("*.bib")
    keys = [key for file in files for key in re.findall(r"^@\w+\{([^,]+),", file.read_text("utf-8"), re.MULTILINE)]
    assert sorted(keys) == sorted(bibliography())


def test_names_of_people_and_titles_are_read_from_bibtex_as_people_write_them():
    assert plain(r"Neumann, Luk{\'a}{\v{s}} and M{\"u}ller") == "Neumann, Lukáš and Müller"
    assert plain(r"B{\l}asiok and \v Cech and {\c c}") == "Błasiok and Čech and ç"
    assert plain(r"{ImageNet} Transformers \& Distillation, \url{https://x}") == (
        "ImageNet Transformers & Distillation, https://x"
    )


def test_cards_show_the_choices_and_bounds_of_options():
    methods = registries()["methods"]
    assert "| criterion | 'nll' or 'ece' | `'nll'` |" in card("methods", methods["temperature-scaling"])
    assert "| epsilon | float >= 0, < 1 | `0.05` |" in card("methods", methods["label-smoothing"])
    assert "| rho | float > 0 or None | `None` |" in card("methods", methods["tempnet-posthoc"])


def test_the_citation_file_names_this_version_and_licence():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors", "version", "date-released"} <= citation.keys()
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert f"## {project['version']}, {citation['date-released']}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")[:200]


SOURCES = ("benchmark", "datasets", "methods", "results")


def test_a_wheel_holds_every_module_and_every_data_file(tmp_path):
    pytest.importorskip("setuptools", minversion="77", reason="no setuptools to build a wheel with")
    ignored = shutil.ignore_patterns("__pycache__", "cache", ".*", "*-smoke")
    for name in SOURCES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    code = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    wheel = next((tmp_path / "dist").glob("calbench-*.whl"))
    held = {name.removeprefix("calbench/") for name in zipfile.ZipFile(wheel).namelist()}
    data = [path for path in (ROOT / "results" / "reference").rglob("*") if path.suffix in (".csv", ".yaml", ".bib")]
    for name in SOURCES[:-1]:
        data += [path for path in (ROOT / name).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    missing = {path.relative_to(ROOT).as_posix().removeprefix("benchmark/api/") for path in data} - held
    assert not missing
