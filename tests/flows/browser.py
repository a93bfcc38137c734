"""A headless Chromium that tests drive over its own protocol; skipped where there is none."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.flows.running import wait_until

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_SECONDS = 120


class Browser:
    """One page of a browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._calls = 0

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A method of the DevTools protocol."""
        self._calls += 1
        self._connection.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._connection.recv(timeout=_SECONDS))
            if answer.get("id") == self._calls:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        wait_until(lambda: self.run("document.readyState") == "complete", seconds=_SECONDS, why=f"{url} is loaded")

    def run(self, script: str) -> Any:
        """Value of a JavaScript expression in the page; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        return found["result"].get("value")

    def shows(self, text: str) -> None:
        """Wait until the page has a text."""
        wait_until(
            lambda: text in str(self.run("document.body ? document.body.innerText : ''")), seconds=_SECONDS, why=text
        )


@contextmanager
def browser(folder: Path, *options: str) -> Iterator[Browser]:
    """A browser with a profile of its own in `folder`."""
    program = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(_NAMES)} is installed")
    process = subprocess.Popen(
        [program, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
         f"--user-data-dir={folder}", *options, "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        said = folder / "DevToolsActivePort"
        wait_until(lambda: said.exists() and said.read_text().count("\n") > 0, seconds=_SECONDS, why="it listens")
        address = f"http://127.0.0.1:{said.read_text().split()[0]}/json"
        with urllib.request.urlopen(address, timeout=_SECONDS) as answer:
            pages = [one for one in json.loads(answer.read()) if one["type"] == "page"]
        with connect(pages[0]["webSocketDebuggerUrl"], max_size=None, proxy=None, open_timeout=_SECONDS) as connection:
            page = Browser(connection)
            yield page
            with suppress(Exception):  # it ends while it answers
                page.call("Browser.close")
        process.wait(timeout=_SECONDS)
    finally:
        process.kill()
        process.wait()
