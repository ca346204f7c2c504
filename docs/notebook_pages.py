"""Notebooks as pages of the documentation: text, code and outputs as they are stored in the file."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "notebooks"
_STYLE = re.compile(r"<style.*?</style>", re.DOTALL)


def notebook_pages() -> dict[str, str]:
    """A Markdown page for each notebook, by its path in the documentation."""
    return {f"notebooks/{path.stem}.md": page(path) for path in sorted(FOLDER.glob("*.ipynb"))}


def page(path: Path) -> str:
    """One notebook as Markdown."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    parts = [part for cell in cells for part in _cell(cell)]
    return "\n\n".join([*parts, f"This page is the notebook `docs/notebooks/{path.name}`, which the tests run.", ""])


def _cell(cell: dict[str, Any]) -> Iterator[str]:
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield text
    elif cell["cell_type"] == "code":
        yield f"```python\n{text}\n```"
        for output in cell["outputs"]:
            yield from _output(output)


def _output(output: dict[str, Any]) -> Iterator[str]:
    if output["output_type"] == "stream":
        yield f"```text\n{''.join(output['text']).rstrip()}\n```"
        return
    data = output.get("data", {})
    if "image/png" in data:
        image = "".join(data["image/png"]).replace("\n", "")
        yield f'<img alt="output of the cell above" src="data:image/png;base64,{image}">'
    elif "text/html" in data:
        yield (
            '<div class="md-typeset__scrollwrap">'
            + _STYLE.sub("", "".join(data["text/html"])).replace("\n", "")
            + "</div>"
        )
    elif "text/plain" in data:
        yield f"```text\n{''.join(data['text/plain'])}\n```"
