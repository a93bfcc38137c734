"""One client for the calls that Prefect makes in its own event loop."""

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
