"""`mscl up`, `mscl down` and `mscl status`; what they do is imported when one of them is called."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (up, down, status):
        app.command()(command)


def up() -> None:
    """Start what deployments need: server, work pool, worker, deployments. Again: only what is missing.

    Relative paths in a run's parameters are relative to the folder where this was started last.
    """
    from flows.server import service

    service.up()


def down(
    force: Annotated[bool, typer.Option(help="Stop the server under runs at a terminal, too.")] = False,
) -> None:
    """Stop the worker, the runs it works on, and the server that `mscl up` or `mscl run` started.

    A server that an `mscl run` still needs goes on.
    """
    from flows.server import service

    service.down(force=force)


def status() -> None:
    """Whether server, worker and deployments are there. Exit code 1 if one is not."""
    from flows.server import service

    if not service.status():
        raise typer.Exit(1)
