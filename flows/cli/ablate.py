"""`mscl ablate`: several variants trained on equal budget and seeds, then scored alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.cli.options import WorkspaceOption, at_home
from flows.printing import print_blocks, print_line

if TYPE_CHECKING:
    from mscl.ablation.plan import AblationPlan

console = Console()


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(ablate)


def ablate(
    variants: Annotated[
        list[str], typer.Argument(metavar="VARIANT... [SECTION.NAME=VALUE]...", help="mscl, moco, mscl-no-fra, ...")
    ],
    base: Annotated[str, typer.Option(help="Preset or YAML file that all variants share.")] = "demo",
    name: Annotated[str, typer.Option(help="Name of the dataset in tables.")] = "dataset",
    seeds: Annotated[str, typer.Option(help="One paired run each.")] = "0,1,2",
    fold: Annotated[list[str] | None, typer.Option(help="A setting for one seed; once per seed, in order.")] = None,
    sweep: Annotated[
        list[str] | None, typer.Option(help="VARIANT:SECTION.NAME=V1,V2: the best value stands for the variant.")
    ] = None,
    equal_time: Annotated[
        list[str] | None, typer.Option(help="Variant trained once more, for as long as mscl takes.")
    ] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(help="Variant also scored on single frames and shuffled ones; default: mscl and moco."),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(help="Also write rows, page and pictures here, beside other datasets' results.", callback=at_home),
    ] = None,
    workspace: WorkspaceOption = Path("workspace"),
) -> None:
    """Train variants on equal budget and seeds, then probe and retrieve: one table, one picture.

    A variant is an overlay that is laid over the base (`mscl presets` lists them), mscl (the base as it is), or
    supervised (the ceiling). Finished runs are reused: the same command goes on where it stopped.
    """
    from flows.progress import ConsoleProgress
    from mscl.ablation.page import PAGE, merge_results, refuse_another_dataset, scores_table
    from mscl.ablation.run import run_ablation
    from storage.workspace import Workspace

    plan = make_plan(
        variants, base=base, name=name, seeds=seeds, folds=fold, sweeps=sweep, equal_time=equal_time, controls=control
    )
    if export is not None:
        refuse_another_dataset(export, plan)
    done = run_ablation(Workspace(workspace), plan, progress=ConsoleProgress(console))
    if export is not None:  # first, for what is printed may go to a pipe that ends early
        merge_results(export, done.rows, done.settings)
    print_blocks(console, [scores_table([r for r in done.rows if r.set == name], name) for name in done.settings])
    if export is not None:
        print_line(console, f"Exported     {export / PAGE}")
    print_line(console, f"Results      {done.result.folder / PAGE}")


def make_plan(
    variants: list[str],
    *,
    base: str,
    name: str,
    seeds: str,
    folds: list[str] | None,
    sweeps: list[str] | None,
    equal_time: list[str] | None,
    controls: list[str] | None = None,
) -> AblationPlan:
    """The plan that the command's arguments describe.

    Raises:
        ConfigError: arguments that are no numbers, names or sweeps, or that do not fit together.
    """
    from pydantic import ValidationError

    from mscl.ablation.plan import CONTROLS, AblationPlan, Sweep
    from mscl.errors import ConfigError

    try:
        numbers = tuple(int(seed) for seed in seeds.split(","))
    except ValueError:
        raise ConfigError(f"--seeds {seeds!r} is not a list of whole numbers like 0,1,2") from None
    try:
        return AblationPlan(
            name=name,
            base=base,
            overrides=tuple(item for item in variants if "=" in item),
            variants=tuple(item for item in variants if "=" not in item),
            seeds=numbers,
            folds=tuple(folds or ()),
            sweeps=tuple(Sweep.parse(text) for text in sweeps or ()),
            equal_time=tuple(equal_time or ()),
            controls=tuple(controls or CONTROLS),
        )
    except ValidationError as error:
        raise ConfigError("; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())) from error
