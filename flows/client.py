"""One asynchronous client of Prefect's API for a whole run, and clients that ask a busy server again at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.context import AsyncClientContext, SyncClientContext
from prefect.utilities.asyncutils import run_coro_as_sync

_PAUSES_SECONDS = (0.02, 0.05, 0.1)


@contextmanager
def one_client() -> Iterator[None]:
    """Within, the calls that Prefect makes in its own event loop share a client; it and the engine's are patient.

    The engine of synchronous flows makes a new one for each subflow, which reads all certificates of this machine
    first: 0.06 s, ten times a run.
    """
    context, engine = AsyncClientContext(), SyncClientContext.get()
    http = context.client._client
    if isinstance(http._transport, httpx.AsyncHTTPTransport):
        http._transport = AsyncPatient(http._transport)
    if engine is not None and isinstance(engine.client._client._transport, httpx.HTTPTransport):
        engine.client._client._transport = Patient(engine.client._client._transport)
    run_coro_as_sync(context.client.__aenter__())
    try:
        # Not the context's own `async with`: that would set it in the loop's context and not in ours.
        with context:
            yield
    finally:
        run_coro_as_sync(context.client.__aexit__(None, None, None))


class Patient(httpx.BaseTransport):
    """Asks again, after milliseconds, a server that answers 503: busy. What is still busy then, Prefect asks again.

    A server on SQLite refuses a call where another one writes between its reading and its writing, and has kept
    nothing of it. Prefect's client waits two seconds then, in every third run of the pipeline.
    """

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        for seconds in _PAUSES_SECONDS:
            answer = self._inner.handle_request(request)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return answer
            answer.close()
            time.sleep(seconds)
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


class AsyncPatient(httpx.AsyncBaseTransport):
    """`Patient` of asynchronous clients."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        for seconds in _PAUSES_SECONDS:
            answer = await self._inner.handle_async_request(request)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return answer
            await answer.aclose()
            await asyncio.sleep(seconds)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()
