"""A user's mistake is a line in a run's log; a traceback is for whoever changes the code."""

from __future__ import annotations

import logging

from mscl.errors import USER_ERRORS

_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
"""Prefect logs what a flow or a task raised, three times over and with its traceback, into the run's log."""


class _WithoutTraceback(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], USER_ERRORS):
            record.exc_info = None
        return True


_FILTER = _WithoutTraceback()


def shorten_user_errors() -> None:
    """In this process the logs of runs say an error of ours by its message alone; again: nothing."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)
