"""One set of Prefect settings and deployments, for our commands and for Prefect's own."""

import os
import tomllib
from pathlib import Path

import pytest

from flows import settings

CHECKOUT = Path(__file__).resolve().parents[2]


def test_what_prefect_s_own_commands_read_is_made_from_what_ours_do() -> None:
    from flows.server.checkout_files import prefect_toml, prefect_yaml

    again = "run `python -m flows.server.checkout_files`"
    assert (CHECKOUT / "prefect.toml").read_text() == prefect_toml(), again
    assert (CHECKOUT / "prefect.yaml").read_text() == prefect_yaml(), again
    said = tomllib.loads(prefect_toml())
    assert (said.pop("home"), said.pop("api")) == (settings.HOME, {"url": settings.API_URL})
    assert said == settings.SETTINGS


def test_prefect_knows_every_setting() -> None:
    from prefect.settings import get_current_settings

    known = get_current_settings().to_environment_variables(exclude_unset=False, include_aliases=True)
    assert {name for name, _ in settings.variables()} <= set(known)


def test_heartbeats_are_dropped_after_hours_for_a_run_of_weeks_makes_ten_thousand() -> None:
    from datetime import timedelta

    from prefect.settings import get_current_settings

    overrides = get_current_settings().server.services.db_vacuum.event_retention_overrides
    assert overrides == {"prefect.flow-run.heartbeat": timedelta(hours=6)}


def test_the_user_s_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_WORKER_QUERY_SECONDS", "7")
    settings.apply()
    assert os.environ["PREFECT_WORKER_QUERY_SECONDS"] == "7"
