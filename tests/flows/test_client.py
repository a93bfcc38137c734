"""One client for the calls that Prefect makes in its own event loop."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest


def test_calls_within_share_a_client_that_is_closed_behind_them() -> None:
    from prefect.client.orchestration import PrefectClient, get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.utilities.asyncutils import run_coro_as_sync

    from flows.client import one_client

    async def used() -> PrefectClient:
        async with get_client() as client:  # as the engine does for each subflow
            return client

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        with one_client():
            first, second = run_coro_as_sync(used()), run_coro_as_sync(used())
            assert first is second
            assert not first._client.is_closed
        assert first._client.is_closed
        assert run_coro_as_sync(used()) is not first


def test_the_client_is_closed_where_the_run_fails() -> None:
    from prefect.context import AsyncClientContext
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.client import one_client

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        with pytest.raises(RuntimeError, match="of the run"), one_client():
            context = AsyncClientContext.get()
            assert context is not None
            raise RuntimeError("of the run")
        assert context.client._client.is_closed
        assert AsyncClientContext.get() is None


class _Busy(BaseHTTPRequestHandler):
    """A server that is busy for some calls; it keeps the bodies that it was sent."""

    busy = 0
    bodies: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(503 if len(self.bodies) <= self.busy else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize(("busy", "asked", "code"), [(0, 1, 200), (1, 2, 200), (3, 4, 200), (9, 4, 503)])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_busy_server_is_asked_again_at_once(
    busy: int, asked: int, code: int, asynchronous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    import httpx

    from flows.client import AsyncPatient, Patient

    monkeypatch.setattr(_Busy, "busy", busy)
    monkeypatch.setattr(_Busy, "bodies", [])

    async def ask_beside(address: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=AsyncPatient(httpx.AsyncHTTPTransport())) as client:
            return await client.post(address, json={"a": 1})

    def ask(address: str) -> httpx.Response:
        with httpx.Client(transport=Patient(httpx.HTTPTransport())) as client:
            return client.post(address, json={"a": 1})

    with ThreadingHTTPServer(("127.0.0.1", 0), _Busy) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            address = f"http://127.0.0.1:{server.server_port}/"
            answer = asyncio.run(ask_beside(address)) if asynchronous else ask(address)
        finally:
            server.shutdown()
            thread.join()
    assert answer.status_code == code
    assert _Busy.bodies == [b'{"a":1}'] * asked


def test_the_shared_client_and_the_engine_s_are_patient() -> None:
    from prefect.context import AsyncClientContext, SyncClientContext
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.client import AsyncPatient, Patient, one_client

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        engine = SyncClientContext()  # not entered as a whole, which would ask the server for its version
        token = SyncClientContext.__var__.set(engine)
        try:
            with one_client():
                shared = AsyncClientContext.get()
                assert shared is not None
                assert isinstance(shared.client._client._transport, AsyncPatient)
                assert isinstance(engine.client._client._transport, Patient)
        finally:
            SyncClientContext.__var__.reset(token)
