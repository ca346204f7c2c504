"""The site: its pages of methods, formulas, figures, papers and fields."""

import json
import logging
import re
import tomllib
from typing import Annotated

import pandas as pd
import pytest
import yaml
from documentation import ROOT, load_script
from pydantic import TypeAdapter

from calbench.benchmark.cli.catalogue import card, registries
from calbench.benchmark.report.render.papers import bibliography, plain


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


@pytest.mark.parametrize("what", ["methods", "metrics"])
def test_every_method_and_metric_has_a_formula(what):
    pytest.importorskip("latex2mathml", reason="the extra docs is not installed: no latex2mathml")
    registry = registries()[what]
    shipped = {name for name in registry if registry[name].__module__.startswith("calbench.")}
    assert shipped == load_script("hooks").formulas()[what].keys() & shipped


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
    methods = registries()["methods"]
    for name in methods:
        if methods[name].__module__.startswith("calbench."):  # not a plug-in of another test
            assert f"[{name}]({name}.md)" in index, name
        assert "## When to take it" in pages.study_section(name, registries()["methods"][name])
    families = pages.groups(registries()["methods"])
    described = [pages.described(package) for package in families]
    assert len({group.title for group in described}) == len(described)
    assert all(len(group.title) < 60 and len(group.advice) > 60 for group in described), "a docstring for every folder"
    assert "temperature-scaling" in families["calbench.methods.calibrators.temperature"]
    assert max(len(names) for names in families.values()) < 30, "a folder that can be surveyed"
    assert 0.5 < pages.training_times()["mixup"][0] < 3
    costs = "\n".join(pages.cost_section())
    assert costs.startswith("## What calibrators cost")
    assert costs in index
    row = next(line for line in costs.splitlines() if line.startswith("| [temperature-scaling]"))
    assert row.endswith("| 1 | kept |")
    assert "| [catboost](catboost.md) | – | – |" in costs


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
