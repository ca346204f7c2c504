"""The reference page of the suite file, from the models that check it: every field, type, default and an example."""

import inspect
import re
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from calbench.benchmark.cli.catalogue import type_name
from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.config.shift import OODOptions, Patches, ShiftOptions
from calbench.benchmark.config.suite_model import Override, PredictionSource, SuiteConfig
from calbench.benchmark.config.table_layout import Layout
from calbench.benchmark.config.training import TrainingConfig
from calbench.benchmark.predictions.generated import Generated

SECTIONS: dict[str, type[BaseModel]] = {
    "The top level": SuiteConfig,
    "training": TrainingConfig,
    "protocol": Protocol,
    "overrides": Override,
    "predictions": PredictionSource,
    "predictions.generated": Generated,
    "shift": ShiftOptions,
    "shift.patches": Patches,
    "ood": OODOptions,
    "tables": Layout,
}
"""The headings of the page, which are the places in the file, and their models."""

INTRODUCTION = """# The suite file

A suite is a YAML file with the fields below; every other name is an error with its line, and the nearest name. A suite
needs `entries`, and `datasets` with `backbones` or `predictions`; everything else has a default. `calbench show quick`
prints one that comes with calbench, to be copied and changed; `--set training.lr=0.01` changes a field from the command
line.

```yaml
title: My first suite
datasets: [digits]
backbones: [vit-micro]
entries: [cross-entropy, temperature-scaling, "focal(gamma=2) + temperature-scaling"]
seeds: 3
training: {epochs: 30, batch_size: 64, lr: 0.003}
```

"""


class FieldText(NamedTuple):
    """A field's sentence and the example in it, or ``""``."""

    text: str
    example: str


_ATTRIBUTE = re.compile(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", re.DOTALL | re.MULTILINE)
_EXAMPLE = re.compile(r"\s*Example:\s*``(.*?)``\.", re.DOTALL)


def field_texts(model: type[BaseModel]) -> dict[str, FieldText]:
    """What the docstring of a model says of each of its fields."""
    doc = inspect.getdoc(model) or ""
    texts = {}
    for name, text in _ATTRIBUTE.findall(doc.partition("Attributes:\n")[2]):
        example = _EXAMPLE.search(text)
        sentence = " ".join(_EXAMPLE.sub("", text).split())
        texts[name] = FieldText(sentence[:1].upper() + sentence[1:], " ".join(example[1].split()) if example else "")
    return texts


def suite_file_page() -> str:
    """The page, as Markdown."""
    return INTRODUCTION + "\n".join(_section(title, model) for title, model in SECTIONS.items())


def _section(title: str, model: type[BaseModel]) -> str:
    summary = (inspect.getdoc(model) or "").partition("Attributes:")[0].strip()
    heading = title if model is SuiteConfig else f"`{title}`"
    lines = [f"## {heading}", "", _markdown(summary), ""]
    texts = field_texts(model)
    for name, info in model.model_fields.items():
        text, shown = texts.get(name, FieldText("", "")), info.alias or name
        default = (
            "required" if info.is_required() else f"default `{_default(info.get_default(call_default_factory=True))}`"
        )
        lines += [" · ".join([f"**`{shown}`**", *_type(info), default]), ""]
        lines += [f": {_markdown(text.text)}"] if text.text else []
        if text.example:
            lines += [f"    Example: `{_placed(title, shown, text.example)}`"]
        lines += [""]
    return "\n".join(lines)


def _type(info: FieldInfo) -> list[str]:
    """The type of a field where it says anything: what names and options may be is in the sentence."""
    text = (
        type_name(info.annotation, info.metadata).replace("list of Any", "list").replace("dict of str, Any", "mapping")
    )
    return [] if text == "Any" else [re.sub(r"\bstr\b", "text", text)]


def _placed(title: str, field: str, example: str) -> str:
    """An example as it is written in the file, under the field's parents."""
    parents = [] if title == "The top level" else title.split(".")
    text = f"{field}: {example}"
    for depth, parent in enumerate(reversed(parents)):
        one = parent in ("overrides", "predictions", "tables") and depth == len(parents) - 1
        text = f"{parent}: [{{{text}, ...}}]" if one else f"{parent}: {{{text}}}"
    return text


def _default(value: Any) -> str:
    if value is PydanticUndefined or value is None:
        return "none"
    if isinstance(value, tuple):
        value = list(value)
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).strip().removesuffix("\n...") or '""'


def _markdown(text: str) -> str:
    """Double backquotes of docstrings as single ones."""
    return " ".join(text.replace("``", "`").split())
