"""Pages that mkdocs generates from the sources, in addition to the written ones.

The front page is the README; a card for every declaration comes from the registries, the bibliography from the BibTeX
files, the estimator study and the quick suite's leaderboard from the results.
"""

import importlib.util
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from calbench.benchmark.cli.catalogue import card, registries, summary
from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.config.suite_file import suite_files
from calbench.benchmark.report.render.papers import bibliography, citations

ROOT = Path(__file__).parent.parent
STUDIES = {"<!-- estimators -->": ("estimators", "Bias and spread of the estimators"),
           "<!-- ranking -->": ("ranking", "Rank correlation of each metric's order with the true order")}  # fmt: skip
PROSE = {"ARCHITECTURE.md": "architecture.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
MOVED = PROSE | {
    "results/estimators/estimators.md": "estimators.md",
    "results/estimators/ranking.md": "estimators.md",
    "docs/adr/README.md": "adr/README.md",
}
_FORMULA = re.compile(r"^\$\$(.+?)\$\$$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#:]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add a section for every registry to the written navigation."""
    for what, registry in registries().items():
        pages = [{name: f"{what}/{name}.md"} for name in registry]
        config.nav.append({what.capitalize(): [f"{what}/index.md", *pages]})
    shown = dict.fromkeys(shown_results())
    tables = [path.relative_to(ROOT).as_posix() for path in shown if path.suffix == ".md"]
    config.nav.append({"Results": [{_nav_title(path): path} for path in tables]})
    config.nav.append({"About": ["cite.md", "bibliography.md", *PROSE.values()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and the results that pages show."""
    pages = {"index.md": front_page(), "bibliography.md": bibliography_page(), "suites.md": suites_page()}
    reference, gallery = load_script("reference_pages"), load_script("gallery")
    pages |= {"cli.md": reference.cli_page(), "api.md": reference.api_page(), "gallery.md": gallery.gallery_page()}
    pages["suite-file.md"] = load_script("suite_file").suite_file_page()
    pages |= load_script("notebook_pages").notebook_pages()
    pages |= {target: relinked((ROOT / source).read_text("utf-8")) for source, target in PROSE.items()}
    for what, registry in registries().items():
        pages |= {f"{what}/{name}.md": card_page(what, registry[name]) for name in registry}
        pages[f"{what}/index.md"] = index_page(what, registry)
    methods = load_script("method_pages")
    registry = registries()["methods"]
    pages["methods/index.md"] = methods.index_page(registry)
    for name in registry:
        pages[f"methods/{name}.md"] += "\n" + methods.study_section(name, registry[name])
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    for path in dict.fromkeys([*shown_results(), *gallery.figures().values()]):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def load_script(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def formulas() -> dict[str, dict[str, str]]:
    """The typeset formulas, in LaTeX, by registry and name; those of measures of a score are put together."""
    texts = yaml.safe_load((Path(__file__).parent / "formulas.yaml").read_text("utf-8"))
    measures, scores = texts.pop("measures"), texts.pop("scores")
    for measure, of_measure in measures.items():
        texts["metrics"] |= {f"{measure}-{name}": rf"{of_measure}, \quad {text}" for name, text in scores.items()}
    return texts


def typeset(markdown: str) -> str:
    """Formulas between ``$$`` as MathML, which browsers show without a script or the network."""

    def math(match: re.Match[str]) -> str:
        return f'<div class="formula">{convert(match[1].strip(), display="block")}</div>'

    return _FORMULA.sub(math, markdown)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Typeset the formulas, and put the studies of estimators and of rankings where a page asks for them.

    Links of the pages in this folder to committed results, which lie above it, go to their copies in the site.
    """
    markdown = typeset(markdown)
    if "/" not in page.file.src_uri:
        markdown = markdown.replace("](../results/", "](results/")
    for place, (name, what) in STUDIES.items():
        study = ROOT / "results" / "estimators" / f"{name}.md"
        figure = f"![{what}](results/estimators/{name}.png)\n\n"
        text = figure + study.read_text("utf-8") if study.is_file() else "It was not run yet."
        markdown = markdown.replace(place, text)
    return markdown


def shown_results() -> Iterable[Path]:
    """The committed results that pages link to or show, and what the pages of results link to in turn."""
    for pattern in ("*/README.md", "*/leaderboard.md", "quick/figures/*.png", "*/sizes-*.png", "estimators/*.png"):
        found = (ROOT / "results").glob(pattern)
        for path in sorted(path for path in found if not path.parent.name.endswith("-smoke")):
            yield path
            if path.name == "README.md":
                yield from _linked(path)


def _linked(page: Path) -> Iterable[Path]:
    """The files next to a page of results, or below, that it links to."""
    targets = [target for _, _, target in _LINK.findall(page.read_text("utf-8")) if ".." not in target]
    yield from (page.parent / target for target in targets if (page.parent / target).is_file())


def _nav_title(path: str) -> str:
    """``results/quick/leaderboard.md`` as ``quick: leaderboard``."""
    _, folder, name = path.split("/")
    return folder if name == "README.md" else f"{folder}: {name.removesuffix('.md')}"


def front_page() -> str:
    """The README without its comments."""
    return relinked(re.sub(r"<!--.*?-->", "", (ROOT / "README.md").read_text("utf-8")))


def relinked(text: str) -> str:
    """A page of the repository's root, with its links as they are from the documentation's root."""

    def link(found: re.Match[str]) -> str:
        image, words, target = found.groups()
        if not (ROOT / target).is_file():
            return words
        return f"{image}[{words}]({MOVED.get(target, target.removeprefix('docs/'))})"

    return _LINK.sub(link, text)


def card_page(what: str, cls: Any) -> str:
    """The card of one declaration, its paper as a link, and how it is named in a suite or in Python."""
    text, key = card(what, cls), cls.spec.paper
    if formula := formulas().get(what, {}).get(cls.spec.name):
        heading, _, rest = text.partition("\n\n")
        text = f"{heading}\n\n$${formula}$$\n\n{rest}"
    known = citations([key]) if key else {}
    if key in known:
        text = text.replace(f"Paper: {key}.", f"Paper: [{known[key]}](../bibliography.md#{key}).")
    if getattr(cls, "kind", "") == "calibrator":
        text += f"\n```python\nfrom {cls.__module__} import {cls.__name__}\n```\n"
    return f"{text}\n`calbench show {cls.spec.name}`\n"


def index_page(what: str, registry: Any) -> str:
    """The table of all declarations of one kind."""
    lines = [f"# {what.capitalize()}", "", "| name | in tables | |", "|---|---|---|"]
    for name in registry:
        text = summary(registry[name]).replace("|", "\\|")
        lines.append(f"| [{name}]({name}.md) | {registry[name].spec.label} | {text} |")
    return "\n".join([*lines, ""])


def suites_page() -> str:
    """The suites that come with calbench."""
    lines = ["# Suites", "", "`calbench show NAME` prints the file; a suite of your own is such a file.", ""]
    for name in suite_files():
        config = load_suite(name).config
        lines += [f"## {name}", "", f"**{config.title}.** {config.description}", ""]
    return "\n".join(lines)


def bibliography_page() -> str:
    """The papers that declarations and published numbers cite, by key."""
    lines = ["# Bibliography", "", "Generated from `results/reference/papers/*.bib`.", ""]
    for key, entry in sorted(bibliography().items()):
        where = entry.get("booktitle") or entry.get("journal") or entry.get("institution") or ""
        eprint = entry.get("eprint", "")
        arxiv = f" [arXiv {eprint}](https://arxiv.org/abs/{eprint})." if eprint else ""
        venue = f" {where}," if where else ""
        title = entry.get("title", "")
        lines += [
            f"### {key} {{#{key}}}",
            "",
            f"{entry.get('author', '').replace(' and ', '; ')}: *{title}*{'' if title.endswith('?') else '.'}"
            f"{venue} {entry.get('year', '')}.{arxiv}",
            "",
        ]
    return "\n".join(lines)
