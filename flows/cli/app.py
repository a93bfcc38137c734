"""The `mscl` command."""

from __future__ import annotations

import errno
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flows import settings
from flows.cli import (
    ablate,
    config,
    export,
    interrupted,
    motion_scores,
    motion_suite,
    run_and_stage,
    search_and_predict,
    service,
    tools,
    verify,
    workspace,
)
from flows.printing import print_line

console = Console()
# Typer carries a click of its own and gives its base of usage errors no public name.
_USAGE_ERROR: Any = typer.BadParameter.__base__
_TERMINATED = 143
_NO_MEMORY = ("failed to map segment", "can't allocate memory", "Cannot allocate memory", "Insufficient memory")
"""How the linker, PyTorch, the system and OpenCV say it."""
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


# `mscl --help` lists commands in this order.
for commands in (
    run_and_stage, config, workspace, motion_scores, verify, search_and_predict, export, motion_suite, tools, ablate,
    service,
):  # fmt: skip
    commands.register(app)


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


def _memory_ran_out(error: Exception) -> bool:
    """Whether the system gave no memory: to Python, or to a library, which says so in words of its own."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return any(words in str(error) for words in _NO_MEMORY)


def main() -> None:
    """Entry point: user errors are one clear line and exit code 2; Ctrl-C and SIGTERM say how to go on."""
    settings.apply()
    before = signal.signal(signal.SIGTERM, _on_sigterm)
    from mscl.errors import USER_ERRORS, UserError, one_line
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
    except Exception as error:  # the client is not imported here, so its errors have no names
        if _memory_ran_out(error):
            _complain(
                f"memory ran out ({one_line(error, named=True)}). What is done is kept: give more (`ulimit -v`, the "
                "limit of the job or container) or ask for less (runtime.workers, batch sizes), then run the same "
                "command again"
            )
        elif _server_is_gone(error):
            _complain(
                f"Prefect's server does not answer any more ({error}). What is done is kept: the same command goes on "
                "from there; with --no-prefect it needs no server."
            )
        else:
            raise
        code = 1
    finally:
        signal.signal(signal.SIGTERM, before)
    if code in (interrupted.CODE, _TERMINATED):  # Typer turns Ctrl-C into the first and keeps silent
        Console(stderr=True).print(interrupted.SAID)
    sys.exit(code if isinstance(code, int) else 0)
