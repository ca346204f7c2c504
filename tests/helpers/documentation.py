"""The pages of the documentation: their code, their commands, and running both."""

import contextlib
import importlib.util
import io
import re
import shlex
from pathlib import Path

from calbench.benchmark.cli import main as cli

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
            assert printed or "print(" not in text, f"{path.name} shows code that prints nothing: {text}"
        elif language == "text":
            assert printed == text
        elif language == "bash":
            for line in text.splitlines():
                if line.startswith("calbench "):
                    command(shlex.split(line, comments=True)[1:])


def calbench(arguments):
    assert cli.main(arguments) == 0, arguments


def load_script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
