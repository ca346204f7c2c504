"""A LaTeX document that shows all tables and figures of a suite: ``latexmk -pdf main.tex`` gives a PDF report."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from calbench.benchmark.report.render.latex import PACKAGES, comment, escape
from calbench.benchmark.report.report import Report


def main_tex(report: Report, tables: list[str], figures: list[tuple[str, str]]) -> str:
    """The document.

    Args:
        report: what it is about.
        tables: names of the files under ``tables``, in addition to the leaderboard.
        figures: stem and caption of each file under ``figures``.
    """
    run = report.run
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
        comment=comment(report),
        packages=",".join(PACKAGES),
        title=escape(run.shown_title),
        provenance=escape("; ".join(run.provenance)),
        description=escape(run.description),
        protocol=[escape(line) for line in report.protocol],
        tables=tables,
        figures=[{"stem": stem, "caption": escape(caption), "width": r"0.55\textwidth"} for stem, caption in figures],
    )
