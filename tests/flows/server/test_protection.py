"""Nobody but this user gets at the server that we start: no page of others, no foreign name, nobody without the key.

One `mscl up` for all, with proxies in its environment and an address that lacks the API's path. The server of the
other tests, which Prefect starts by itself, shows that the attacks work where nothing stands against them.
"""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.server.background_processes import family
from flows.server.guard import is_allowed
from tests.flows.browser import browser
from tests.flows.running import finished, no_survivors

PROXIES = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"}
ATTACK = Path(__file__).with_name("attack.html")


@dataclass(frozen=True)
class Ours:
    """A server that `mscl up` has started."""

    home: Path
    port: int
    said: str

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api(self) -> str:
        return f"{self.origin}/api"

    @property
    def key(self) -> str:
        return (self.home / "mscl-api-auth").read_text()

    def call(
        self, path: str, body: object = None, *, method: str = "POST", key: str | None = None, **headers: str
    ) -> Any:
        """HTTP status and JSON; with the key unless another is given."""
        basic = b64encode((self.key if key is None else key).encode()).decode()
        sent = {"content-type": "application/json", **({"authorization": f"Basic {basic}"} if basic else {}), **headers}
        data = None if body is None else json.dumps(body).encode()
        try:
            request = urllib.request.Request(self.api + path, data=data, method=method, headers=sent)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    home, port = tmp_path_factory.mktemp("up") / "prefect", _free_port()
    variables = {"PREFECT_HOME": str(home), "PREFECT_API_URL": f"http://localhost:{port}/", **PROXIES}
    code, output = finished("up", timeout=400, **variables)
    assert code == 0, output
    yield Ours(home, port, output)
    members = {one for name in ("server.pid", "mscl-worker.pid") for one in family(int((home / name).read_text()))}
    code, output = finished("down", timeout=120, **variables)
    assert code == 0 and "server stopped" in output, output
    no_survivors(members)
    assert "mscl" not in (home / "profiles.toml").read_text()


def test_what_only_the_key_opens(ours: Ours) -> None:
    refused = 401
    assert ours.call("/flows/count")[0] == 200
    assert ours.call("/flows/count", key="")[0] == refused
    assert ours.call("/flows/count", key="mscl:guess")[0] == refused
    assert ours.call("/variables/", {"name": "evil", "value": "1"}, key="")[0] == refused
    assert len(ours.key) > 40
    assert ours.key not in ours.said


def test_requests_of_foreign_pages_and_names_are_refused_even_with_the_key(ours: Ours) -> None:
    refused = 403
    for headers in ({"Host": f"evil.example:{ours.port}"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        status, sent = ours.call("/flows/count", **headers)
        assert status == refused
        assert not [name for name in sent if name.lower().startswith("access-control")]
    asks = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    assert ours.call("/flows/count", method="OPTIONS", **asks)[0] == refused
    assert ours.call("/flows/count", Origin=ours.origin)[0] == 200
    with urllib.request.urlopen(ours.origin, timeout=60) as page:
        assert page.headers["content-security-policy"] == "frame-ancestors 'none'"
    assert ours.call("/flows/count", Host=f"localhost:{ours.port}")[0] == 200


def test_websockets_of_foreign_pages_are_refused(ours: Ours) -> None:
    with socket.create_connection(("127.0.0.1", ours.port), timeout=60) as connection:
        connection.sendall(
            f"GET /api/events/in HTTP/1.1\r\nHost: 127.0.0.1:{ours.port}\r\nOrigin: http://evil.example\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    ("host", "origin", "allowed"),
    [
        ("127.0.0.1:4200", None, True),
        ("localhost:4200", "http://localhost:4200", True),
        ("localhost:8000", "http://localhost:8000", True),  # a forwarded port
        ("[::1]:4200", "http://[::1]:4200", True),
        ("127.0.0.1:4200", "http://127.0.0.1:9999", False),
        ("127.0.0.1:4200", "https://127.0.0.1:4200", False),
        ("127.0.0.1:4200", "null", False),
        ("127.0.0.1:4200", "http://localhost:4200", False),
        ("evil.example:4200", "http://evil.example:4200", False),
        ("127.0.0.1.evil.example", None, False),
        ("localhost.evil.example:4200", None, False),
        ("[::1", None, False),
        ("", None, False),
        (None, None, False),
    ],
)
def test_which_requests_the_guard_lets_through(host: str | None, origin: str | None, allowed: bool) -> None:
    given = {b"host": host, b"origin": origin}
    assert is_allowed([(name, value.encode()) for name, value in given.items() if value is not None]) is allowed
    assert not is_allowed([(b"host", b"127.0.0.1"), (b"host", b"evil.example")])


def test_key_database_logs_and_profile_are_this_user_s_alone(ours: Ours) -> None:
    names = {"mscl-api-auth", "prefect.db", "server.log", "mscl-worker.log", "profiles.toml"}
    files = {path.name: path for path in ours.home.iterdir() if path.name.startswith(tuple(names))}
    assert names <= set(files)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}


def test_what_up_prints_starts_a_run_from_any_folder_and_our_worker_takes_it(ours: Ours, tmp_path: Path) -> None:
    (line,) = re.findall(r"^Run +(.+) prefect (deployment run \S+)", ours.said, re.MULTILINE)
    assert ours.api in line[0]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    given = dict(one.split("=", 1) for one in line[0].split())
    asked = [
        *line[1].split(),
        "-p",
        "preset=nothing.yaml",
        "-p",
        f"workspace={tmp_path}",
        "--watch",
        "--watch-interval",
        "1",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *asked], cwd=tmp_path, env=plain | given, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    # The worker has reached the server, and so has the run: it is its own words that refuse the preset.
    ((_, (run,)),) = (ours.call("/flow_runs/filter", {"limit": 1}),)
    assert "nothing.yaml does not exist" in run["state"]["message"], done.stdout + done.stderr


def test_status_says_whose_server_it_is_at_another_form_of_its_address(ours: Ours) -> None:
    variables = {"PREFECT_HOME": str(ours.home), "PREFECT_API_URL": f"http://localhost:{ours.port}/api/"}
    code, output = finished("status", **variables)
    assert code == 0, output
    assert f"answers at {ours.api} (process" in output and f"what stands in {ours.home}/mscl-api-auth" in output


class _Pages(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        page = ATTACK.read_bytes()
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_arguments: object) -> None: ...


@pytest.fixture
def stranger() -> Iterator[str]:
    """Address of a page of another origin, on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_page_of_another_origin_neither_reads_nor_writes(ours: Ours, api: str, stranger: str, tmp_path: Path) -> None:
    """In a real browser; the same page reads and writes on a server that nothing protects."""
    rebound = f"http://evil.example:{ours.port}"
    with browser(tmp_path / "browser", "--host-resolver-rules=MAP evil.example 127.0.0.1") as page:
        page.open(stranger)
        taken = page.run(f"attack('{api}')")
        held = page.run(f"attack('{ours.api}')")
        page.open(f"{rebound}/api/health")
        page.shows("This server answers this machine")
        page.open(ours.origin)
        page.shows("Login")
        page.run("document.querySelector('input[type=password]').focus()")
        page.call("Input.insertText", text=ours.key)
        page.run("document.querySelector('input[type=password]').form.requestSubmit()")
        page.shows("Work Pools")
        page.open(f"{ours.origin}/deployments")
        page.shows("pretrain")  # what the UI loads with the key
    assert taken == {"read": "read", "written": "sent", "socket": "open"}
    with urllib.request.urlopen(f"{api}/variables/name/evil", timeout=60) as answer:
        assert json.loads(answer.read())["value"] == "1"
    assert held == {"read": "refused", "written": "sent", "socket": "refused"}
    assert ours.call("/variables/name/evil", method="GET")[0] == 404
