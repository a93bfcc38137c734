"""The thread that beats for a run: told to stop when the run ends, and not waited for."""

import logging
import threading
import time
from types import SimpleNamespace

import pytest


def test_a_run_does_not_wait_for_its_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect import flow_engine

    from flows.heartbeats import end_at_once

    monkeypatch.setattr(flow_engine, "_send_heartbeats", flow_engine._send_heartbeats)  # taken back afterwards
    end_at_once()
    end_at_once()
    beats: list[float] = []
    engine = SimpleNamespace(
        heartbeat_seconds=30, flow_run=None, logger=logging.getLogger("test"),
        _build_heartbeat_event_template=lambda: ({}, []),
        _emit_flow_run_heartbeat=lambda resource, related: beats.append(time.monotonic()),
    )  # fmt: skip
    before = set(threading.enumerate())
    with flow_engine._send_heartbeats(engine):
        (thread,) = set(threading.enumerate()) - before
        while not beats:
            time.sleep(0.01)
    assert thread.is_alive()  # nobody has waited: it sleeps for a second
    thread.join(30)
    assert not thread.is_alive()
    assert len(beats) == 1
