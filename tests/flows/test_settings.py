"""One set of Prefect settings, said twice: to our commands and to Prefect's own."""

import json
import os
import tomllib
from pathlib import Path

import pytest

from flows import settings

CHECKOUT = Path(__file__).resolve().parents[2]


def _flat(tree: dict[str, object], prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in tree.items():
        key = f"{prefix}_{name.upper()}"
        if isinstance(value, dict) and any("." in inner for inner in value):
            found[key] = json.dumps(value)  # a setting whose value is a table
        elif isinstance(value, dict):
            found |= _flat(value, key)
        else:
            found[key] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


def test_prefect_toml_says_what_our_settings_say() -> None:
    said = _flat(tomllib.loads((CHECKOUT / "prefect.toml").read_text()), "PREFECT")
    assert said.pop("PREFECT_HOME") == settings.HOME
    assert said.pop("PREFECT_API_URL") == settings.API_URL
    assert said == settings.SETTINGS


def test_prefect_knows_every_setting() -> None:
    from prefect.settings import get_current_settings

    known = get_current_settings().to_environment_variables(exclude_unset=False, include_aliases=True)
    assert set(settings.SETTINGS) <= set(known)


def test_heartbeats_are_dropped_after_hours_for_a_run_of_weeks_makes_ten_thousand() -> None:
    from datetime import timedelta

    from prefect.settings import get_current_settings

    overrides = get_current_settings().server.services.db_vacuum.event_retention_overrides
    assert overrides == {"prefect.flow-run.heartbeat": timedelta(hours=6)}


def test_the_user_s_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_WORKER_QUERY_SECONDS", "7")
    settings.apply()
    assert os.environ["PREFECT_WORKER_QUERY_SECONDS"] == "7"


def test_the_package_carries_the_deployments() -> None:
    assert (CHECKOUT / "flows" / "prefect.yaml").read_text() == (CHECKOUT / "prefect.yaml").read_text()
