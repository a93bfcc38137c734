"""`mscl run` and `mscl stage`: the whole pipeline, at a Prefect server or without one, and one stage alone."""

from __future__ import annotations

import time
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows import settings
from flows.cli import completion
from flows.cli.options import ForceOption, Overrides, PresetArgument, StageArgument, WorkspaceOption
from flows.printing import print_line
from storage.user_paths import user_path

if TYPE_CHECKING:
    from mscl.config import ExperimentConfig, RuntimeConfig
    from mscl.pipeline import Outcome
    from mscl.progress import Progress
    from storage.workspace import Workspace

console = Console()


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (run, stage):
        app.command()(command)


def run(
    preset: PresetArgument,
    overrides: Overrides = None,
    workspace: WorkspaceOption = Path("workspace"),
    prefect: Annotated[
        bool,
        typer.Option(help="Show the run in the Prefect UI, if there is anything to do; a server is started if needed."),
    ] = True,
    force: ForceOption = None,
    until: Annotated[
        str, typer.Option(help="Last stage to run, with what it reads.", autocompletion=completion.stages)
    ] = "",
) -> None:
    """Run the pipeline: every stage that is not done yet.

    PRESET is a preset's name (`mscl presets`) or a YAML file; after it come settings like
    data.root=videos or pretrain.epochs=20.
    """
    from flows.progress import ConsoleProgress

    started = time.monotonic()
    progress = ConsoleProgress(console)
    progress.start("Reading the settings", None, "")
    from flows.cli.results import print_beginning, print_outcome, print_results
    from mscl.config import load_config
    from mscl.pipeline import (
        done_so_far,
        execute,
        refuse_early,
        reused,
        reused_from_elsewhere,
        run_pipeline,
        stages_until,
    )
    from mscl.pipeline.without_effect import idle_settings
    from storage.workspace import Workspace

    config = load_config(preset, overrides or [])
    stages = stages_until(until, force=force or [])
    place = Workspace(workspace)
    print_beginning(console, preset, config, place)
    for line in idle_settings(config, overrides or []):
        print_line(console, line, style="yellow")
    progress.start("Looking at the dataset", None, "")
    done = done_so_far(place, config, stages=stages, force=force or [])
    for line in reused_from_elsewhere(config, list(done.values())):
        print_line(console, line, style="yellow")
    if not force and len(done) == len(stages):
        # Neither Prefect nor its server is waited for to say so.
        progress.done()
        print_results(console, reused(place, done), seconds=time.monotonic() - started)
        return
    if prefect:
        refuse_early(place, config, stages=stages, done=done)  # before a server is waited for
        outcomes = _run_as_flow(place, config, progress, preset=preset, force=force or [], until=until)
    else:
        _say_what_needs_prefect(config.runtime)
        outcomes = run_pipeline(
            place, config, stages=stages, force=force or [],
            run_one=partial(execute, progress=progress, preset=preset),
            on_outcome=lambda outcome: print_outcome(console, outcome),
        )  # fmt: skip
    progress.done()
    print_results(console, outcomes, seconds=time.monotonic() - started)
    if prefect:
        from flows.server.prefect_server import ui_for_people

        print_line(console, "Prefect UI:")
        print_line(console, ui_for_people())


def _run_as_flow(
    place: Workspace, config: ExperimentConfig, progress: Progress, *, preset: str, force: list[str], until: str
) -> dict[str, Outcome]:
    """The flow `full`, at a server that is started if there is none.

    Raises:
        UserError: there is none, and none starts.
    """
    from flows.server.prefect_server import ensure_server, ui_for_people
    from mscl.errors import UserError

    progress.start("Asking Prefect", None, "")
    try:
        ensure_server(progress, meanwhile=lambda: import_module("flows.pipeline"))
    except UserError as error:
        raise UserError(f"{error}; --no-prefect needs no server") from error
    from prefect import tags

    from flows.pipeline import full

    print_line(console, f"Prefect UI: {ui_for_people()}")
    sections = {name: getattr(config, name) for name in type(config).model_fields}
    with tags(settings.TAG):
        outcomes: dict[str, Outcome] = full(
            workspace=str(place.root), preset=preset_for_flow(preset), **sections, force=force, until=until
        )
    return outcomes


def stage(
    name: StageArgument,
    preset: PresetArgument,
    overrides: Overrides = None,
    workspace: WorkspaceOption = Path("workspace"),
    input_keys: Annotated[list[str] | None, typer.Option("--input", help="Key of a result to read.")] = None,
    force: Annotated[bool, typer.Option(help="Compute again although it is done.")] = False,
) -> None:
    """Run one stage on the workspace's latest finished inputs, or on those given by key.

    Where the workspace has results of the videos in data.root, its inputs are the latest of these.
    """
    from flows.progress import ConsoleProgress

    progress = ConsoleProgress(console)
    progress.start("Reading the settings", None, "")
    from flows.cli.results import print_left_out, print_outcome, print_scores
    from mscl.config import load_config
    from mscl.pipeline import execute, latest_inputs, other_settings, reads, run_stage, stage_named
    from mscl.pipeline.without_effect import idle_settings, unread_settings
    from mscl.stage.view import stage_view
    from storage.workspace import Workspace

    chosen = stage_named(name)
    config = load_config(preset, overrides or [])
    place = Workspace(workspace)
    given = {key: key for key in input_keys or []}
    inputs = latest_inputs(place, chosen, given=given, config=config)
    for line in idle_settings(config, overrides or []):
        print_line(console, line, style="yellow")
    for name in unread_settings(chosen, preset, overrides or []):
        print_line(console, f"{name} has no effect on {chosen.name}, which is run alone", style="yellow")
    if inputs:
        behind = place.lineage(*inputs.values())
        print_line(console, f"reads {reads(inputs, behind)}")
        for line in other_settings(config, behind):
            print_line(console, line, style="yellow")
    _say_what_needs_prefect(config.runtime)
    run_here = partial(execute, progress=progress, preset=preset)
    outcome = run_stage(place, config, chosen, inputs, force=force, run_one=run_here)
    progress.done()
    print_outcome(console, outcome)
    print_left_out(console, {chosen.name: outcome})
    print_scores(console, {chosen.name: stage_view(outcome.result)})


def _say_what_needs_prefect(runtime: RuntimeConfig) -> None:
    for name in ("timeout_minutes", "retries", "pools", "pause_before"):
        if value := getattr(runtime, name):
            print_line(console, f"runtime.{name}={value} has no effect without Prefect", style="yellow")


def preset_for_flow(preset: str) -> str:
    """A YAML file is named by its full path, for a run's page shows it and a worker may read it."""
    from mscl.config.presets import is_file_name, layers_of

    return "+".join(str(user_path(name).resolve()) if is_file_name(name) else name for name in layers_of(preset))
