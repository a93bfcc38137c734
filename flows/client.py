"""One asynchronous client of Prefect's API for a whole run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.context import AsyncClientContext
from prefect.utilities.asyncutils import run_coro_as_sync


@contextmanager
def one_client() -> Iterator[None]:
    """Within, the calls that Prefect makes in its own event loop share a client.

    The engine of synchronous flows makes a new one for each subflow, which reads all certificates of this machine
    first: 0.06 s, ten times a run.
    """
    context = AsyncClientContext()
    run_coro_as_sync(context.client.__aenter__())
    try:
        # Not the context's own `async with`: that would set it in the loop's context and not in ours.
        with context:
            yield
    finally:
        run_coro_as_sync(context.client.__aexit__(None, None, None))
