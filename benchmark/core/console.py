"""Terminal output of all commands: printed as literal text, without markup or control characters."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from calbench.benchmark.core.text import visible

AFFECTS_RESULTS = False


class Console(RichConsole):
    """rich's console, with markup off unless asked for, and control characters of texts shown as escapes."""

    def __init__(self, **options: Any) -> None:
        settings: dict[str, Any] = {"markup": False, "highlight": False, **options}
        super().__init__(**settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich renders, with harmless texts; its own control codes stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
