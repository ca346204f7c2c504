"""A LaTeX document that shows all tables and figures of a suite: ``latexmk -pdf main.tex`` gives a PDF report."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from calbench.benchmark.report.render.latex import PACKAGES, comment, escape
from calbench.benchmark.report.tables.leaderboard import protocol_lines
from calbench.benchmark.results.results import Results


def main_tex(results: Results, tables: list[str], figures: list[tuple[str, str]]) -> str:
    """The document.

    Args:
        results: what it is about.
        tables: names of the files under ``tables``, besides the leaderboard.
        figures: stem and caption of each file under ``figures``.
    """
    run = results.run
    environment = Environment(
        loader=PackageLoader("calbench.benchmark.report.render", "templates"),
        undefined=StrictUndefined,
        autoescape=False,
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        keep_trailing_newline=True,
    )
    return environment.get_template("main.tex.j2").render(
        comment=comment(results),
        packages=",".join(PACKAGES),
        title=escape(str(run.get("title") or run.get("suite") or "Results")),
        version=escape(str(run.get("calbench", "?"))),
        commit=escape(str(run.get("commit") or "unknown")),
        created=escape(str(run.get("created", ""))),
        description=escape(str(run.get("description") or "")),
        protocol=[escape(line) for line in protocol_lines(results)],
        tables=tables,
        figures=[{"stem": stem, "caption": escape(caption), "width": r"0.55\textwidth"} for stem, caption in figures],
    )
