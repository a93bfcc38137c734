"""The key of the server that we start, and the Prefect profile that gives it to Prefect's own commands."""

from __future__ import annotations

import os
import secrets
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flows.server.address import PROFILE, active_profile
from flows.settings import home
from storage.locks import take_lock

if TYPE_CHECKING:
    from prefect.settings import ProfilesCollection

_RANDOM_BYTES = 32


def key_file() -> Path:
    """Holds the key, for this user alone; the UI asks for what stands in it."""
    return home() / "mscl-api-auth"


def make_key() -> None:
    """A key for a server that is to be started: of the environment, or of the last server, or a new one."""
    descriptor = os.open(key_file(), os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+") as file:
        take_lock(descriptor, wait=True)  # of two commands at once, one makes it
        os.fchmod(descriptor, 0o600)
        held = file.read().strip()
        key = os.environ.get("PREFECT_SERVER_API_AUTH_STRING") or held or f"mscl:{secrets.token_urlsafe(_RANDOM_BYTES)}"
        if key != held:
            file.seek(0)
            file.truncate()
            file.write(key)


def use_key() -> None:
    """Give the key of our server to this process and those that it starts. Before Prefect is imported."""
    os.environ["PREFECT_API_AUTH_STRING"] = _read()
    os.environ["PREFECT_PROFILES_PATH"] = str(_profiles())


def use_no_key() -> None:
    """Keep the key of our server from servers of others: a profile that holds it is not active in this process."""
    if active_profile()[0] == PROFILE:
        os.environ["PREFECT_PROFILE"] = "ephemeral"  # Prefect's name for the profile that says nothing


def write_profile(url: str) -> None:
    """Let Prefect's own commands with our `PREFECT_HOME` reach our server; a profile that was chosen stays active."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL

    with _changed_profiles() as profiles:
        profiles.update_profile(PROFILE, {PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: _read()})
        if profiles.active_name in (None, "ephemeral"):
            profiles.set_active(PROFILE)


def withdraw_profile() -> None:
    """Take the profile away: the server that it names has ended."""
    if not _profiles().is_file() or PROFILE not in tomllib.loads(_profiles().read_text()).get("profiles", {}):
        return
    with _changed_profiles() as profiles:
        profiles.remove_profile(PROFILE)
        if profiles.active_name == PROFILE:
            profiles.set_active(None)


@contextmanager
def _changed_profiles() -> Iterator[ProfilesCollection]:
    """The profiles of our `PREFECT_HOME`, written back for this user alone."""
    from prefect.settings import PREFECT_PROFILES_PATH, load_profiles, save_profiles, temporary_settings

    path = _profiles()
    with temporary_settings({PREFECT_PROFILES_PATH: path}):
        profiles = load_profiles(include_defaults=False)
        yield profiles
        path.touch(mode=0o600)
        path.chmod(0o600)
        save_profiles(profiles)


def _profiles() -> Path:
    return home() / "profiles.toml"


def _read() -> str:
    try:
        return key_file().read_text().strip()
    except FileNotFoundError:
        return ""
