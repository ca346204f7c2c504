"""The command ``diagnose``: relate the attention of a suite's trained networks to their confidence."""

from dataclasses import asdict
from typing import Annotated, Literal

import typer
from rich.console import Console

from calbench.benchmark.cli.options import SuiteOptions, place, takes_suite_options
from calbench.benchmark.core.text import typed_command

app = typer.Typer()


@app.command()
@takes_suite_options
def diagnose(
    chosen: SuiteOptions,
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A suite that was run with `keep: weights`.")],
    images: Annotated[int, typer.Option(min=2, help="Test images per network.")] = 256,
    null_images: Annotated[
        int, typer.Option("--null-images", min=1, help="How many of them are compared with null images.")
    ] = 256,
    null: Annotated[Literal["pixel", "patch", "noise"], typer.Option(help="How null images are made.")] = "pixel",
    draws: Annotated[int, typer.Option(min=20, help="Null images per image.")] = 20,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> int:
    """Measure attention: entropy, spikiness, significance, and how each relates to errors and temperatures."""
    from calbench.benchmark.diagnostics.cell import Options
    from calbench.benchmark.diagnostics.study import diagnose as run_diagnosis
    from calbench.benchmark.diagnostics.write import write_diagnosis
    from calbench.benchmark.execution.runner import plan_suite
    from calbench.benchmark.store.store import Store

    loaded, options = chosen.load(suite), chosen.run_options(device=device)
    store, asked = Store(chosen.results_dir), Options(images=images, null_images=null_images, null=null, draws=draws)
    messages = Console(stderr=True, highlight=False)
    cells = [work.cell for work in plan_suite(loaded, options)]
    diagnosis = run_diagnosis(
        cells, store, chosen.data_dir.expanduser(), asked, device,
        lambda line: messages.print(line, markup=False, soft_wrap=True),
    )  # fmt: skip
    record = {"suite": loaded.name, "options": asdict(asked), "command": typed_command()}
    with store.folder.publishing(f"{loaded.name}/diagnostics") as folder:
        files = [path.name for path in write_diagnosis(diagnosis, record, folder)]
    Console(highlight=False).print(
        f"written to {place(chosen.results_dir, loaded.name)}/diagnostics: {', '.join(files)}",
        markup=False,
        soft_wrap=True,
    )
    return 0
