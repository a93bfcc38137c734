"""The Prefect server that we start: Prefect's own application, behind a guard against web pages of others.

A browser sends a request to 127.0.0.1 for any page that it shows. The key keeps such pages out of the API; the guard
refuses them before that, and pages that reach the server under a name of their own (DNS rebinding).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from flows.settings import LOOPBACK

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

FACTORY = f"{__name__}:create_app"
_NO_FRAMES = (b"content-security-policy", b"frame-ancestors 'none'")
"""No page shows ours inside its own, where a person would click on what they do not see."""
_ANSWER = b"This server answers this machine and its own pages only.\n"


class Guard:
    """ASGI: lets requests through that ask for a loopback name, and come from no page or from one of this server."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        async def send_unframed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), _NO_FRAMES]
            await send(message)

        if scope["type"] == "lifespan" or is_allowed(scope["headers"]):
            await self._app(scope, receive, send_unframed)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            plain = [(b"content-type", b"text/plain"), (b"content-length", str(len(_ANSWER)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": plain})
            await send({"type": "http.response.body", "body": _ANSWER})


def is_allowed(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a request with these headers names the loopback as its host, and no page elsewhere as its origin."""
    hosts = [value.decode("latin-1").lower() for name, value in headers if name == b"host"]
    origins = [value.decode("latin-1").lower() for name, value in headers if name == b"origin"]
    return len(hosts) == 1 and _host_name(hosts[0]) in LOOPBACK and all(one == f"http://{hosts[0]}" for one in origins)


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def create_app() -> Application:
    """Prefect's API, UI and services behind the guard; for uvicorn."""
    from prefect.server.api.server import create_app as create_prefect_app

    if not os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
        raise RuntimeError("a server of ours has a key; it is started by `mscl up` or `mscl run`")
    return Guard(create_prefect_app(final=True))
