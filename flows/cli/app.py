"""The `mscl` command."""

from __future__ import annotations

import signal
import sys
import time
import warnings
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from flows import settings
from flows.cli import (
    ablate,
    completion,
    config,
    export,
    interrupted,
    motion_scores,
    motion_suite,
    search_and_predict,
    service,
    tools,
    verify,
    workspace,
)
from flows.cli.options import ForceOption, Overrides, PresetArgument, StageArgument, WorkspaceOption
from flows.printing import print_line
from storage.user_paths import user_path

if TYPE_CHECKING:
    from mscl.config import ExperimentConfig, RuntimeConfig
    from mscl.pipeline import Outcome
    from mscl.progress import Progress
    from storage.workspace import Workspace

console = Console()
# Typer carries a click of its own and gives its base of usage errors no public name.
_USAGE_ERROR: Any = typer.BadParameter.__base__
_TERMINATED = 143
app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print_line(console, f"mscl {version('mscl-pipeline')}")
        raise typer.Exit


@app.callback()
def whole(
    _version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version and end.")
    ] = False,
) -> None:
    """From a folder of videos to a motion-sensitive video encoder and its scores."""


@app.command()
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
    from mscl.errors import UserError
    from mscl.pipeline import (
        PIPELINE,
        done_so_far,
        execute,
        refuse_early,
        reused,
        run_pipeline,
        stage_named,
        stages_for,
    )  # fmt: skip
    from mscl.pipeline.without_effect import idle_settings
    from storage.workspace import Workspace

    config = load_config(preset, overrides or [])
    stages = stages_for(stage_named(until).name) if until else PIPELINE
    for name in force or []:
        if stage_named(name) not in stages:
            raise UserError(f"--force {name}: that stage is no part of a run until {until}; leave one of the two out")
    place = Workspace(workspace)
    print_beginning(console, preset, config, place)
    for line in idle_settings(config, overrides or []):
        print_line(console, line, style="yellow")
    progress.start("Looking at the dataset", None, "")
    done = done_so_far(place, config, stages=stages, force=force or [])
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
        from flows.server.prefect_server import ui_url

        print_line(console, "Prefect UI:")
        print_line(console, ui_url())


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
        )  # fmt: skip
    return outcomes


@app.command()
def stage(
    name: StageArgument,
    preset: PresetArgument,
    overrides: Overrides = None,
    workspace: WorkspaceOption = Path("workspace"),
    input_keys: Annotated[list[str] | None, typer.Option("--input", help="Key of a result to read.")] = None,
    force: Annotated[bool, typer.Option(help="Compute again although it is done.")] = False,
) -> None:
    """Run one stage on the workspace's latest finished inputs, or on those given by key."""
    from flows.progress import ConsoleProgress

    progress = ConsoleProgress(console)
    progress.start("Reading the settings", None, "")
    from flows.cli.results import KEY_DIGITS, print_left_out, print_outcome, print_scores
    from mscl.config import load_config
    from mscl.pipeline import execute, latest_inputs, run_stage, stage_named
    from mscl.pipeline.without_effect import idle_settings, unread_settings
    from mscl.stage.view import stage_view
    from storage.workspace import Workspace

    chosen = stage_named(name)
    config = load_config(preset, overrides or [])
    place = Workspace(workspace)
    given = {key: key for key in input_keys or []}
    inputs = latest_inputs(place, chosen, given=given)
    for line in idle_settings(config, overrides or []):
        print_line(console, line, style="yellow")
    for name in unread_settings(chosen, preset, overrides or []):
        print_line(console, f"{name} has no effect on {chosen.name}, which is run alone", style="yellow")
    if inputs:
        print_line(console, f"reads {', '.join(f'{of} {result.key[:KEY_DIGITS]}' for of, result in inputs.items())}")
    _say_what_needs_prefect(config.runtime)
    run_here = partial(execute, progress=progress, preset=preset)
    outcome = run_stage(place, config, chosen, inputs, force=force, run_one=run_here)
    progress.done()
    print_outcome(console, outcome)
    print_left_out(console, {chosen.name: outcome})
    print_scores(console, {chosen.name: stage_view(outcome.result)})


# `mscl --help` lists commands in this order.
for commands in (
    config, workspace, motion_scores, verify, search_and_predict, export, motion_suite, tools, ablate, service,
):  # fmt: skip
    commands.register(app)


def _say_what_needs_prefect(runtime: RuntimeConfig) -> None:
    for name in ("timeout_minutes", "retries", "pools", "pause_before"):
        if value := getattr(runtime, name):
            print_line(console, f"runtime.{name}={value} has no effect without Prefect", style="yellow")


def preset_for_flow(preset: str) -> str:
    """A YAML file is named by its full path, for a run's page shows it and a worker may read it."""
    from mscl.config.presets import is_file_name, layers_of

    return "+".join(str(user_path(name).resolve()) if is_file_name(name) else name for name in layers_of(preset))


class _Terminated(BaseException):
    """SIGTERM came: as at Ctrl-C, children are asked to stop and write what they have."""


def _on_sigterm(number: int, frame: object) -> None:
    raise _Terminated


def _complain(message: str, *, style: str = "red") -> None:
    print_line(Console(stderr=True), f"mscl: {message}", style=style)


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """What was assumed is a line for the user; other warnings are for whoever changes the code."""
    from mscl.errors import AssumptionWarning

    if issubclass(category, AssumptionWarning):
        _complain(str(message), style="yellow")
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def _end_bar() -> None:
    """What is said in the end stands below the bar, and the cursor is shown again."""
    if "flows.progress" in sys.modules:
        from flows.progress import end_bar

        end_bar()


def _output_is_refused() -> bool:
    """Whether what is said has no place to go: `> FILE` on a full disk."""
    try:
        print(flush=True)  # what was refused is forgotten by now: once more
    except OSError:
        return True
    return False


def _server_is_gone(error: Exception) -> bool:
    """Whether Prefect's client raised it; the client is not imported for the question."""
    httpx = sys.modules.get("httpx")
    return httpx is not None and isinstance(error, httpx.TransportError)


def main() -> None:
    """Entry point: user errors are one clear line and exit code 2; Ctrl-C and SIGTERM say how to go on."""
    settings.apply()
    before = signal.signal(signal.SIGTERM, _on_sigterm)
    from mscl.errors import USER_ERRORS, UserError
    from storage.atomic import disk_errors

    try:
        with warnings.catch_warnings(), disk_errors(Path()):
            warnings.showwarning = _show_warning
            try:
                code = app(standalone_mode=False)
            except OSError as error:
                if error.filename is not None or not _output_is_refused():
                    raise
                raise UserError(
                    f"cannot write to the standard output: {error.strerror}; send it to a disk that has room, then run "
                    "the same command again: what is already stored is kept"
                ) from error
            finally:
                _end_bar()
    except USER_ERRORS as error:
        _complain(str(error))
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        code = interrupted.CODE
    except _Terminated:
        code = _TERMINATED
    except _USAGE_ERROR as error:
        error.show()
        code = error.exit_code
    except Exception as error:
        if not _server_is_gone(error):
            raise
        _complain(
            f"Prefect's server does not answer any more ({error}). What is done is kept: the same command goes on from "
            "there; with --no-prefect it needs no server."
        )
        code = 1
    finally:
        signal.signal(signal.SIGTERM, before)
    if code in (interrupted.CODE, _TERMINATED):  # Typer turns Ctrl-C into the first and keeps silent
        Console(stderr=True).print(interrupted.SAID)
    sys.exit(code if isinstance(code, int) else 0)
