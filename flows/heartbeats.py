"""Heartbeats of flow runs that do not keep a finished run waiting."""

from functools import partial
from inspect import signature

from prefect import flow_engine


def end_at_once() -> None:
    """Let runs of this process end without waiting for the thread that beats for them.

    The thread sleeps for a second at a time and Prefect waits for it: half a second for each of ten subflows, about
    2 % of the demo. It is a daemon, has been told to stop and says nothing more, so nobody has to wait; Prefect's own
    asynchronous engine does not. Where a later Prefect does this differently, nothing is changed.
    """
    beat = getattr(flow_engine, "_send_heartbeats", None)
    if beat is not None and not isinstance(beat, partial) and "join_on_exit" in signature(beat).parameters:
        flow_engine._send_heartbeats = partial(beat, join_on_exit=False)
