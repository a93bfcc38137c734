"""Servers of others, other programs, profiles, proxies and homes: what `up`, `run` and `doctor` make of them."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

import pytest

from flows import settings
from flows.cli import app as console
from flows.server.address import active_profile, check_proxies, wanted
from flows.server.found import Kind, find
from flows.server.prefect_server import choose_server
from mscl.errors import UserError
from mscl.progress import Silent

Command = Callable[..., tuple[int, str]]


class Listener:
    """A program on loopback that answers each path with what it is given, and keeps what it was asked."""

    def __init__(self, answers: dict[str, object]) -> None:
        self.asked: list[tuple[str, str]] = []
        """Path and the header of authorisation, in order."""
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                listener.asked.append((self.path, self.headers.get("authorization", "")))
                body = json.dumps(answers.get(self.path)).encode()
                self.send_response(200 if self.path in answers else 404)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_arguments: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    with ExitStack() as stack:

        def start(answers: dict[str, object]) -> Listener:
            listener = Listener(answers)
            stack.callback(listener.server.server_close)
            stack.callback(listener.server.shutdown)
            return listener

        yield start


def prefect(of: str) -> dict[str, object]:
    """Answers of a Prefect server of that version."""
    return {"/api/health": True, "/api/admin/version": of}


@pytest.fixture(autouse=True)
def person(tmp_path: Path) -> Iterator[Path]:
    """The home of a person who has set nothing, in an environment that is given back."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    kept = {name: value for name, value in kept.items() if not name.startswith("PREFECT_")}
    with patch.dict(os.environ, kept | {"HOME": str(tmp_path), "COLUMNS": "400"}, clear=True):
        yield tmp_path


@pytest.fixture
def mscl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs the command in this process: (exit code, standard error where it is refused, else output)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.avi").write_bytes(b"")  # `run` looks for videos before it looks for a server

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["mscl", *arguments])
        with pytest.raises(SystemExit) as left:
            console.main()
        out, err = capsys.readouterr()
        code = int(left.value.code or 0)
        return code, err if code == 2 else out

    return run


def profiles(home: Path, active: str, **names: str) -> None:
    """Write Prefect's profiles: name -> lines of settings."""
    tables = "".join(f"[profiles.{name}]\n{lines}\n" for name, lines in names.items())
    home.mkdir(parents=True, exist_ok=True)
    (home / "profiles.toml").write_text(f'active = "{active}"\n{tables}')


@pytest.mark.parametrize(
    ("named", "url"),
    [
        ("http://127.0.0.1:4300", "http://127.0.0.1:4300/api"),
        ("http://127.0.0.1:4300/", "http://127.0.0.1:4300/api"),
        ("http://127.0.0.1:4300/api/", "http://127.0.0.1:4300/api"),
        (" https://prefect.example.org ", "https://prefect.example.org/api"),
        ("https://example.org/prefect/api", "https://example.org/prefect/api"),
        (
            "https://api.prefect.cloud/api/accounts/a/workspaces/w/",
            "https://api.prefect.cloud/api/accounts/a/workspaces/w",
        ),
    ],
)
def test_an_address_with_or_without_slash_and_path(person: Path, named: str, url: str) -> None:
    os.environ["PREFECT_API_URL"] = named
    settings.apply()
    assert wanted().url == url


@pytest.mark.parametrize("named", ["127.0.0.1:4200", "localhost", "http://", "http://host:port/api", "ftp://host/api"])
def test_what_is_no_address_is_one_line(mscl: Command, named: str) -> None:
    os.environ["PREFECT_API_URL"] = named
    for command in (["up"], ["status"], ["run", "demo", "data.root=."]):
        code, said = mscl(*command)
        assert code == 2
        assert "PREFECT_API_URL" in said and repr(named) in said and said.count("\n") == 1


@pytest.mark.parametrize("older", ["3.1.15", "2.20.0"])
def test_an_older_server_is_refused_before_anything_is_sent(
    mscl: Command, listen: Callable[..., Listener], older: str
) -> None:
    server = listen(prefect(older))
    for command in (["up"], ["run", "demo", "data.root=."]):
        os.environ["PREFECT_API_URL"] = server.origin
        code, said = mscl(*command)
        assert code == 2
        assert f"version {older}" in said and version("prefect") in said and said.count("\n") == 1
    assert {path for path, _ in server.asked} == {"/api/health", "/api/admin/version"}


def test_a_newer_server_is_used_and_its_version_said(listen: Callable[..., Listener]) -> None:
    os.environ["PREFECT_API_URL"] = listen(prefect("3.999.0")).origin
    said: list[str] = []
    progress = Silent()
    with patch.object(progress, "say", said.append):
        assert choose_server(progress).kind is Kind.OTHERS
    assert "3.999.0" in said[0] and version("prefect") in said[0]
    os.environ["PREFECT_API_URL"] = listen(prefect(version("prefect"))).origin
    with patch.object(progress, "say", said.append):
        choose_server(progress)
    assert len(said) == 1


def test_a_server_on_the_default_port_that_nobody_asked_for_is_not_used(
    mscl: Command, listen: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = listen(prefect(version("prefect")))
    os.environ["PREFECT_API_KEY"] = "for-another-server"
    monkeypatch.setattr(settings, "API_URL", f"{server.origin}/api")
    for command in (["up"], ["run", "demo", "data.root=."]):
        code, said = mscl(*command)
        assert code == 2
        assert f"`export PREFECT_API_URL={server.origin}/api` uses it" in said and said.count("\n") == 1
    code, said = mscl("status")
    assert code == 1 and "this mscl did not start" in said
    assert set(server.asked) == {("/api/health", "")}


def test_the_active_profile_is_honoured_and_named_with_its_key(person: Path, listen: Callable[..., Listener]) -> None:
    server = listen(prefect(version("prefect")))
    lab = f'PREFECT_API_URL = "{server.origin}/"\nPREFECT_API_AUTH_STRING = "me:lab"'
    profiles(person / ".prefect", "lab", lab=lab, other='PREFECT_API_URL = "http://192.0.2.1/api"')
    said: list[str] = []
    progress = Silent()
    with patch.object(progress, "say", said.append):
        found = choose_server(progress)
    assert (found.url, found.kind) == (f"{server.origin}/api", Kind.OTHERS)
    assert said == [f"Prefect profile 'lab' names the server: {found.url}"]
    assert set(server.asked) == {("/api/health", "Basic bWU6bGFi"), ("/api/admin/version", "Basic bWU6bGFi")}
    # Prefect finds the same, in this process and in those that it starts.
    assert active_profile()[0] == "lab"
    assert os.environ["PREFECT_API_URL"] == found.url


def test_a_profile_chosen_by_variable_goes_before_the_active_one(person: Path) -> None:
    profiles(person / ".prefect", "lab", lab="", other='PREFECT_API_URL = "http://192.0.2.1/api"')
    os.environ["PREFECT_PROFILE"] = "other"
    settings.apply()
    assert (wanted().url, wanted().named_by) == ("http://192.0.2.1/api", "Prefect profile 'other'")


def test_profiles_that_cannot_be_read_are_one_line(mscl: Command, person: Path) -> None:
    (person / ".prefect").mkdir()
    (person / ".prefect" / "profiles.toml").write_text("active = \n")
    code, said = mscl("up")
    assert code == 2 and ".prefect/profiles.toml" in said and said.count("\n") == 1


def test_the_key_of_our_server_goes_to_no_other(person: Path, listen: Callable[..., Listener]) -> None:
    ours = 'PREFECT_API_URL = "http://127.0.0.1:4200/api"\nPREFECT_API_AUTH_STRING = "mscl:ours"'
    profiles(person / ".mscl" / "prefect", "mscl", mscl=ours)
    server = listen(prefect(version("prefect")))
    os.environ["PREFECT_API_URL"] = server.origin
    assert choose_server(Silent()).kind is Kind.OTHERS
    assert {header for _, header in server.asked} == {""}
    assert active_profile()[1] == {}
    assert "PREFECT_API_AUTH_STRING" not in os.environ


def test_a_server_that_asks_for_a_key_says_so(mscl: Command) -> None:
    class Denying(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.path == "/api/health"
            self.send_response(200 if allowed else 401)
            self.end_headers()
            self.wfile.write(b"true" if allowed else b"")

        def log_message(self, *_arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Denying) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{server.server_port}"
        code, said = mscl("up")
        server.shutdown()
    assert code == 2 and "PREFECT_API_AUTH_STRING" in said and said.count("\n") == 1


@pytest.mark.parametrize("talks", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"])
def test_a_port_that_another_program_holds_is_called_that_by_all(mscl: Command, talks: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    connection.sendall(talks)
                    connection.recv(1000)

        threading.Thread(target=serve, daemon=True).start()
        port = server.getsockname()[1]
        for command, code in ((["up"], 2), (["run", "demo", "data.root=."], 2), (["doctor"], 0), (["status"], 1)):
            os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
            returned, said = mscl(*command)
            assert returned == code, said
            assert f"port {port} of 127.0.0.1 is held by another program" in said
            assert "takes another port" in said
            if talks.startswith(b"SSH"):
                assert f"process {os.getpid()}" in said
        server.shutdown(socket.SHUT_RDWR)


def test_proxies_see_nothing_of_the_loopback(mscl: Command, listen: Callable[..., Listener]) -> None:
    server, proxy = listen(prefect(version("prefect"))), listen({})
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY"):
        os.environ[name] = proxy.origin
    os.environ |= {"ALL_PROXY": "socks5://127.0.0.1:9", "no_proxy": "example.org", "PREFECT_API_URL": server.origin}
    began = time.monotonic()
    found = choose_server(Silent())
    assert found.kind is Kind.OTHERS
    import httpx  # as Prefect's client does it: a proxy that httpx cannot use ends it at once

    with httpx.Client() as client:
        assert client.get(f"{found.url}/health").json() is True
    assert time.monotonic() - began < 60
    assert not proxy.asked
    assert os.environ["HTTP_PROXY"] == proxy.origin
    assert os.environ["NO_PROXY"].split(",") == ["example.org", *settings.LOOPBACK]


def test_a_proxy_that_cannot_be_used_for_a_server_elsewhere_is_one_line() -> None:
    os.environ |= {"ALL_PROXY": "socks4://127.0.0.1:9", "PREFECT_API_URL": "https://prefect.example.org"}
    settings.apply()
    with pytest.raises(UserError, match=r"ALL_PROXY names a socks4 proxy"):
        check_proxies(wanted())


def test_a_home_that_cannot_be_written_is_one_line_and_needed_by_servers_only(mscl: Command, person: Path) -> None:
    (person / "file").write_text("")
    os.environ["PREFECT_HOME"] = str(person / "file" / "prefect")
    for command in (["up"], ["status"], ["down"], ["run", "demo", "data.root=."]):
        code, said = mscl(*command)
        assert code == 2
        assert f"PREFECT_HOME={person}/file/prefect cannot be written" in said and said.count("\n") == 1
    assert mscl("presets")[0] == 0
    code, said = mscl("doctor")
    assert code == 0 and "cannot be written" in said


def test_nobody_at_the_default_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "API_URL", "http://127.0.0.1:9/api")
    settings.apply()
    found = find()
    assert (found.kind, found.advice) == (Kind.NOBODY, "`mscl up` starts one")
