"""What stands at the address of an API: our server, one of somebody else, another program, or nobody."""

from __future__ import annotations

import json
import re
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from enum import Enum
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from flows.server import background_processes as processes
from flows.server.address import Address, authorisation, wanted
from flows.server.guard import FACTORY
from flows.settings import home
from mscl.errors import UserError

_DENIED = (401, 403)
_CONNECT_SECONDS = 1.0


class Kind(Enum):
    """Who answers."""

    OURS = "ours"
    OTHERS = "others"
    PROGRAM = "program"
    NOBODY = "nobody"


@dataclass(frozen=True)
class Found:
    """Who answers at an address."""

    address: Address
    kind: Kind
    detail: str = ""
    """Of another program or of nobody: what came instead of an answer."""

    @property
    def url(self) -> str:
        return self.address.url

    @property
    def is_wanted(self) -> bool:
        """Whether it is our server, or one that somebody asked for."""
        return self.kind is Kind.OURS or (self.kind is Kind.OTHERS and bool(self.address.named_by))

    @property
    def advice(self) -> str:
        """What to do about it, where it cannot be used."""
        if self.kind is Kind.OTHERS:
            return (
                f"`export PREFECT_API_URL={self.url}` uses it, PREFECT_API_URL={self._beside()} starts ours beside it"
            )
        if self.kind is Kind.NOBODY and self.address.is_loopback:
            return "`mscl up` starts one"
        if self.address.is_loopback:
            return f"PREFECT_API_URL={self._beside()} takes another port"
        return f"check {self.address.named_by} and the network"

    def _beside(self) -> str:
        """An address of the same host where nobody listens."""
        port = next(port for port in range(self.address.port + 1, 2**16) if not _accepts(self.address.host, port))
        return f"http://{self.address.host}:{port}/api"

    def __str__(self) -> str:
        """For people, without advice."""
        url, port = self.url, self.address.port
        if self.kind is Kind.OURS:
            return f"answers at {url} (process {our_pid()})"
        if self.kind is Kind.OTHERS and self.address.named_by:
            return f"answers at {url} (not started by us; named by {self.address.named_by})"
        if self.kind is Kind.OTHERS:
            return f"a Prefect server that this mscl did not start answers at {url}"
        if self.kind is Kind.PROGRAM and self.address.is_loopback:
            return f"port {port} of {self.address.host} is held by another program{self.detail}"
        if self.kind is Kind.PROGRAM:
            return f"what answers at {url} is no Prefect API{self.detail}"
        return f"no answer at {url}" if self.address.is_loopback else f"no Prefect API answers at {url}{self.detail}"


def find() -> Found:
    """Ask at the address that is wanted; where none was named, at the one where our server listens.

    Raises:
        UserError: what was named is no address.
    """
    named, ours = wanted(), our_address()
    if ours is not None and named.is_loopback and (named.port == ours.port or not named.named_by):
        return Found(replace(ours, named_by=named.named_by), Kind.OURS)
    status, answer = ask(f"{named.url}/health")
    if answer is True or (status in _DENIED and authorisation()):
        return Found(named, Kind.OTHERS)
    if status is not None:
        return Found(named, Kind.PROGRAM, f" (it answers HTTP {status})" if status != 200 else "")
    if named.is_loopback and _accepts(named.host, named.port):
        return Found(named, Kind.PROGRAM, _name_of_holder(named.port))
    if named.host == "localhost":
        named = replace(named, url=named.url.replace("localhost", "127.0.0.1", 1))
    return Found(named, Kind.NOBODY, "" if named.is_loopback else f" ({answer})")


def check_version(url: str) -> str:
    """What is to be said of the server's version beside ours; nothing where they are the same, or it is Cloud.

    Raises:
        UserError: it is older than Prefect's clients are made for, or asks for a key that it was not given.
    """
    status, theirs = ask(f"{url}/admin/version")
    if status in _DENIED:
        raise UserError(
            f"the Prefect server at {url} asks for a key (HTTP {status}): export PREFECT_API_AUTH_STRING, or "
            "PREFECT_API_KEY for Prefect Cloud"
        )
    ours = version("prefect")
    if not isinstance(theirs, str) or theirs == ours:
        return ""
    said = f"the Prefect server at {url} is version {theirs}, and Prefect here is {ours}"
    if _release(theirs) < _release(ours):
        raise UserError(
            f"{said}: a server must not be older than what asks it; bring it up to date (if ours: `mscl down`), or "
            "name another by PREFECT_API_URL"
        )
    return said


def ask(address: str, *, timeout_seconds: float = 3.0) -> tuple[int | None, Any]:
    """HTTP status and JSON of an address of an API; no status where no HTTP comes, with the reason in its place."""
    try:
        request = urllib.request.Request(address, headers=authorisation())
        with urllib.request.urlopen(request, timeout=timeout_seconds) as answer:
            return int(answer.status), json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, None
    except urllib.error.URLError as error:
        return None, str(error.reason)
    except (OSError, HTTPException) as error:
        return None, str(error)
    except ValueError:  # HTTP, but no JSON
        return 200, None


def our_pid() -> int | None:
    """Process id of the server that we started, if it runs."""
    return processes.running(pid_file(), FACTORY)


def our_address() -> Address | None:
    """Where our server listens; None while it does not."""
    pid = our_pid()
    try:
        sockets = psutil.Process(pid).net_connections("tcp") if pid is not None else []
    except psutil.Error:
        return None
    for one in sockets:
        if one.status == psutil.CONN_LISTEN:
            host = f"[{one.laddr.ip}]" if ":" in one.laddr.ip else one.laddr.ip
            return Address(f"http://{host}:{one.laddr.port}/api")
    return None


def pid_file() -> Path:
    """The name that `prefect server stop` looks for."""
    return home() / "server.pid"


def _accepts(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_SECONDS):
            return True
    except OSError:
        return False


def _name_of_holder(port: int) -> str:
    """Name and process id of who listens at a port; nothing where the system keeps it from us."""
    try:
        for one in psutil.net_connections("tcp"):
            if one.laddr and one.laddr.port == port and one.status == psutil.CONN_LISTEN and one.pid:
                return f" ({psutil.Process(one.pid).name()}, process {one.pid})"
    except psutil.Error:
        pass
    return ""


def _release(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", name)[:2])
