"""Which Prefect API is meant: the environment says it, or the active Prefect profile, or it is our own on loopback."""

from __future__ import annotations

import base64
import os
import tomllib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flows import settings
from mscl.errors import UserError

PROFILE = "mscl"
"""The profile that names our own server and its key; nobody asked for the address that it gives."""
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@dataclass(frozen=True)
class Address:
    """Where an API is, and who named it."""

    url: str
    """As Prefect's clients need it: with the API's path, without a slash at its end."""
    named_by: str = ""
    """A variable or a profile of the person; empty where nobody named an address."""

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def is_loopback(self) -> bool:
        return self.host in settings.LOOPBACK


def wanted() -> Address:
    """The API that `PREFECT_API_URL` or the active profile names, else our own.

    Raises:
        UserError: what they name is no address, or the profiles cannot be read.
    """
    if url := os.environ.get("PREFECT_API_URL"):
        return Address(_normal(url, "PREFECT_API_URL"), "PREFECT_API_URL")
    name, profile = active_profile()
    if name != PROFILE and (url := profile.get("PREFECT_API_URL")):
        return Address(_normal(str(url), f"Prefect profile {name!r}"), f"Prefect profile {name!r}")
    return Address(settings.API_URL)


def authorisation() -> dict[str, str]:
    """The header that Prefect's clients send to the API that is wanted: none to one that nobody named."""
    name, profile = active_profile()
    given = os.environ if name == PROFILE else {**profile, **os.environ}
    if not wanted().named_by:
        return {}
    if auth := given.get("PREFECT_API_AUTH_STRING"):  # before the key, as with them
        return {"Authorization": f"Basic {base64.b64encode(str(auth).encode()).decode()}"}
    key = given.get("PREFECT_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


def active_profile() -> tuple[str, dict[str, Any]]:
    """Name and settings of the Prefect profile that is active for this process; without importing Prefect."""
    path = profiles_path()
    try:
        found = tomllib.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return "", {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as Prefect's profiles: {error}") from error
    name = os.environ.get("PREFECT_PROFILE") or str(found.get("active") or "")
    profile = found.get("profiles", {}).get(name, {})
    return name, profile if isinstance(profile, dict) else {}


def profiles_path() -> Path:
    """The file with the profiles of whoever runs this: as Prefect looks for it, after `settings.apply`."""
    named = os.environ.get("PREFECT_PROFILES_PATH")
    return Path(named or Path(os.environ["PREFECT_HOME"]) / "profiles.toml").expanduser()


def check_proxies(address: Address) -> None:
    """Proxies that Prefect's client cannot use would end it although it needs none for the loopback.

    Raises:
        UserError: the API is elsewhere, so that the proxy may be needed.
    """
    usable = {"http", "https"} | ({"socks5", "socks5h"} if find_spec("socksio") else set())
    for name in (*_PROXIES, *map(str.upper, _PROXIES)):
        scheme, divider, _ = os.environ.get(name, "").partition("://")
        if not divider or scheme.lower() in usable:
            continue
        if not address.is_loopback:
            raise UserError(
                f"{name} names a {scheme} proxy, which Prefect's client cannot use for {address.url}: "
                "`pip install 'httpx[socks]'`, or name an http proxy"
            )
        del os.environ[name]


def _normal(url: str, named_by: str) -> str:
    try:
        parts = urlsplit(url.strip())
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is no number, say
        is_address = False
    if not is_address:
        raise UserError(f"{named_by} says {url!r}, which is no address of an API; write it like {settings.API_URL}")
    path = parts.path.rstrip("/") or "/api"
    return f"{parts.scheme}://{parts.netloc}{path}"
