"""`mscl motion page`: what moves in a dataset, to look at, without a run that trains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli import completion
from flows.cli.options import WorkspaceOption, at_home
from flows.printing import print_line

console = Console()


def page(
    out: Annotated[Path, typer.Argument(metavar="OUT.html", help="Page to write.", callback=at_home)] = Path(
        "motion.html"
    ),
    workspace: WorkspaceOption = Path("workspace"),
    key: Annotated[
        str, typer.Option(help="Key of a result of screen; without it the latest.", autocompletion=completion.keys)
    ] = "",
    show: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
) -> None:
    """Page of a screened dataset: how much moves, the slowest, fastest and most camera-driven clips, what was dropped.

    It is the report without what only training tells.
    """
    from flows.progress import ConsoleProgress

    progress = ConsoleProgress(console)
    progress.start("Drawing the page", None, "")
    from mscl.pipeline import stages_for
    from mscl.report.page import build_report
    from mscl.stage.latest import latest_of, made_of
    from mscl.stage.view import stage_view
    from storage.verify import refuse_changed
    from storage.workspace import Workspace

    place = Workspace(workspace)
    results = made_of(place, latest_of(place, "screen", key)).values()
    refuse_changed(*results)
    views = [stage_view(result) for result in results]
    build_report(views, out, stages=stages_for("screen"), title="Motion")
    progress.done()
    print_line(console, f"Page         {out}")
    if show:
        typer.launch(out.resolve().as_uri())
