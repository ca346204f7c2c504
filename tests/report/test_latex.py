import re
import shutil
import subprocess

import pytest

from calbench.benchmark.config.table_layout import parse_layout
from calbench.benchmark.report.render.document import main_tex
from calbench.benchmark.report.render.latex import comment, escape, latex
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.layout import layout_table
from calbench.benchmark.report.tables.table import Cell, Column, Row, Table
from calbench.benchmark.report.write import write_reports

HOSTILE = (
    "cross-entropy", "a_b", "50%", "x & y", "<b>", "back\\slash", "#1 \"quoted\" 'name'", "$m$ ^ ~ {b}", "pipe | `t`",
    "émile Łukasz 中文 ↑ \x07", "\\input{/etc/passwd}", "[bracket]", "*star",
)  # fmt: skip


def one_table(*cells, column=None):
    rows = tuple(Row((f"m{i}",), (f"m{i}",), (cell,)) for i, cell in enumerate(cells))
    return Table("t", "Title", ("entry",), (column or Column("ece", ("ECE",), "%", "lower", interval=True),), rows)


def test_special_characters_are_literal():
    assert escape("50% of a_b & #1 {x} $y$ ~ ^ \\n") == (
        r"50\% of a\_b \& \#1 \{x\} \$y\$ $\sim$ \textasciicircum{} \textbackslash{}n"
    )
    assert escape("é中\x07") == "é??"
    assert escape("two\n\nparagraphs") == "two paragraphs"


def test_booktabs_siunitx_units_and_directions():
    text = latex(one_table(Cell(3.14159), Cell(12.5)))
    for part in (r"\toprule", r"\midrule", r"\bottomrule", "S[table-format=2.2]", r"\caption{Title.}\label{tab:t}"):
        assert part in text
    assert r"(\%) $\downarrow$" in text
    assert "3.14" in text


def test_best_is_bold_and_intervals_are_small():
    text = latex(one_table(Cell(1, 0.5, 1.5, bold=True, marks=("calibrated",)), Cell(2, 1.5, 2.5)))
    assert r"\bfseries 1.00 & {\tiny[0.50, 1.50]}\,{\tiny $\approx$0}" in text
    assert r"2.00 & {\tiny[1.50, 2.50]}" in text
    assert text.count("bfseries") == 1
    assert "not distinguishable from perfect calibration" in text


def test_missing_cells_and_words_do_not_break_the_columns():
    text = latex(one_table(Cell(notes=("the loss is not finite",)), Cell(text="baseline"), Cell(1.0), Cell(text="")))
    assert r"{--} & \textsuperscript{a}" in text
    assert "{baseline} &" in text
    assert "(a) the loss is not finite." in text
    body = text[text.index(r"\midrule") :]
    assert {line.count(" & ") for line in body.splitlines() if line.endswith(r"\\")} == {2}


def test_signs():
    text = latex(one_table(Cell(-30.5), Cell(79.94), Cell(-0.001), column=Column("r", ("R",), decimals=1, signed=True)))
    assert "S[table-format=+2.1,retain-explicit-plus]" in text
    assert "-30.5" in text
    assert "+79.9" in text
    assert re.search(r"m2 & 0\.0 ", text)


def test_multirow_and_multicolumn_follow_the_layout(results):
    layout = parse_layout(
        {"name": "t", "rows": ["dataset", "entry"], "columns": ["backbone"], "metrics": ["ece", "nll"]}
    )
    text = latex(layout_table(Report(results).views, layout))
    assert r"\multirow{5}{*}{digits}" in text
    # two metrics with a column of marks each: the ECE of some entries is within noise, the NLL of some a loss
    assert r"\multicolumn{4}{c}{vit-micro} & \multicolumn{4}{c}{swin-micro}" in text
    assert r"\cmidrule(lr){3-6}" in text
    assert r"\cmidrule(lr){7-10}" in text


def test_long_tables_break_over_pages():
    text = latex(one_table(*(Cell(float(i)) for i in range(60))))
    assert r"\begin{longtable}" in text
    assert r"\endhead" in text
    assert r"\begin{table}" not in text


def test_groups_have_room_between_them_also_within_one_dataset():
    labels = [("digits", backbone, entry) for backbone in ("vit", "swin") for entry in ("CE", "TS")]
    rows = tuple(Row(label, label, (Cell(1.0),)) for label in labels)
    text = latex(Table("t", "T", ("dataset", "backbone", "entry"), (Column("x", ("x",)),), rows))
    lines = text[text.index(r"\midrule") :].splitlines()
    (room,) = [index for index, line in enumerate(lines) if line == r"\addlinespace"]
    assert "TS" in lines[room - 1]
    assert "swin" in lines[room + 1]


def test_in_a_long_table_every_group_has_its_heads_and_no_page_break():
    groups = [("digits", "vit"), ("digits", "swin"), ("faces", "vit"), ("faces", "swin")]
    rows = tuple(Row((f"m{i}",), (*group, f"m{i}"), (Cell(1.0),)) for group in groups for i in range(12))
    text = latex(Table("t", "Title", ("dataset", "backbone", "entry"), (Column("ece", ("ECE",)),), rows))
    lines = [line for line in text.splitlines() if re.search(r"& m\d+ &", line)]
    assert "multirow" not in text, "its text is set in the middle of the rows, which may be on the next page"
    assert [tuple(line.split(" & ")[:2]) for line in lines[::12]] == groups
    assert [line.endswith(r"\\*") for line in lines] == [i % 12 != 11 for i in range(48)]


def test_the_comment_tells_protocol_versions_and_commit(results):
    text = comment(Report(results))
    assert all(line.startswith("% ") for line in text.splitlines())
    for part in ("0123abc", "torch 2.15", "Checkpoint: last epoch.", "calbench run synthetic"):
        assert part in text


def test_a_comment_cannot_be_left(builder):
    results = builder(command="x\n\\input{evil}")
    assert all(line.startswith("%") for line in comment(Report(results)).splitlines())


def compiled(folder):
    if shutil.which("latexmk") is None or shutil.which("pdflatex") is None:
        pytest.skip("compiling needs latexmk and pdflatex (texlive), which are not installed")
    command = ["latexmk", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == 0, done.stdout[-3000:]
    return (folder / "main.log").read_text(errors="replace")


@pytest.mark.latex
@pytest.mark.slow
@pytest.mark.parametrize("case", ["plain", "hostile"])
def test_the_document_compiles(builder, tmp_path, case):
    if case == "plain":
        table = {"name": "rules_1", "rows": ["dataset", "entry"], "columns": ["backbone"], "metrics": ["ece", "nll"],
                 "intervals": True}  # fmt: skip
        results = builder(missing=[("overlap", "vit-micro", "focal")], datasets=("overlap",), backbones=("vit-micro",),
                          config={"tables": [table]})  # fmt: skip
    else:
        entries = [*HOSTILE, *(f"m_{i}" for i in range(50))]
        texts = {"title": "100% _x_ & #1", "description": "$\\alpha", "commit": "a_b", "command": "run\n\\evil"}
        where = {"datasets": ("d_1 & <2>",), "backbones": ("50%\\b",), "seeds": (0,)}
        results = builder(entries=entries, **where, oracle=False, **texts)
    if case == "plain":
        written = write_reports(results, tmp_path, ["document"])
        assert tmp_path / "main.tex" in written
    else:
        write_reports(results, tmp_path, ["latex"])
        (tmp_path / "main.tex").write_text(main_tex(Report(results), [], []))
    log = compiled(tmp_path)
    assert "Undefined control sequence" not in log
    assert "Missing character" not in log
    assert (tmp_path / "main.pdf").stat().st_size > 10_000


def test_every_block_has_a_label_of_its_own(results):
    labels = re.findall(r"\\label\{([^}]*)\}", "".join(latex(block.table) for block in Report(results).blocks))
    assert len(labels) == len(set(labels)) == 6
