"""The command that says whether an encoder sees motion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.options import WorkspaceOption, at_home, int_option
from flows.printing import print_blocks, print_line

console = Console()


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("motion-suite")(motion_suite)


def motion_suite(
    encoders: Annotated[
        list[str],
        typer.Argument(
            metavar="ENCODER...",
            help="Key of a result, a checkpoint or export, or a video network of torchvision (r3d_18, ...).",
        ),
    ],
    part: Annotated[
        list[str] | None, typer.Option(help="direction, kind, order, stills, shortcut; several; all for none.")
    ] = None,
    suite: Annotated[Path, typer.Option(help="Folder of the videos; written if absent.", callback=at_home)] = Path(
        "motion-suite"
    ),
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for table, figure and scores; default: SUITE/results.", callback=at_home),
    ] = None,
    seed: Annotated[int, int_option(help="Of the videos.")] = 1000,
    train_per_class: Annotated[int, int_option(least=4)] = 96,
    test_per_class: Annotated[int, int_option(least=2)] = 32,
    side: Annotated[int, int_option(help="Height and width of the videos in px.")] = 64,
    slower: Annotated[int, int_option(help="So many times as many frames, for long clips.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    workspace: WorkspaceOption = Path("workspace"),
) -> None:
    """Does an encoder see motion? Scores it on generated videos beside every control; see docs/motion-suite.md."""
    from flows.progress import ConsoleProgress

    progress = ConsoleProgress(console)
    progress.start("Loading the encoders", None, "")
    import torch

    from mscl.devices import resolve_device
    from mscl.motion_suite.named_encoders import named_encoders
    from mscl.motion_suite.page import replaced_by, scores_table, write_page
    from mscl.motion_suite.run_suite import score_encoders, videos_folder
    from mscl.motion_suite.suite_scores import part_names, verdict
    from storage.workspace import Workspace

    part_names(part or ())  # before weights are fetched
    named = named_encoders(encoders, workspace=Workspace(workspace))
    for one in named:
        if one.assumed:
            print_line(console, f"{one.name} does not say all that its videos go through; assumed: {one.input}")
    settings = {
        "seed": seed, "train_per_class": train_per_class, "test_per_class": test_per_class, "side_px": side,
        "slower": slower,
    }  # fmt: skip
    results = out or suite / "results"
    if lost := replaced_by(results, [one.name for one in named], parts=part or (), settings=settings):
        print_line(
            console,
            f"{results} holds scores of {', '.join(lost)}, which will be replaced; another --out keeps both",
            style="yellow",
        )
    found = score_encoders(
        named, videos_folder(suite, **settings), parts=part or (), device=torch.device(resolve_device(device)),
        progress=progress, **settings,
    )  # fmt: skip
    page = write_page(results, found, settings=settings)
    print_blocks(console, [scores_table(found)])
    for name, scores in found.items():
        print_line(console, verdict(name, scores))
    print_line(console, f"Table and figure: {page}")
