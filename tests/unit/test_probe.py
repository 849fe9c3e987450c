"""A gate's HTTP checks against a real server that answers well, badly, late or not at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import urllib3

from gitopsd import probe as probe_module
from gitopsd.model.live import Health
from gitopsd.model.spec import HttpCheck
from gitopsd.probe import HttpProbe


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/endless":
            self.send_response(200)
            self.send_header("Content-Length", str(1 << 40))
            self.end_headers()
            self.wfile.write(b"x" * 200_000)
            return
        if self.path == "/silent":
            self.server.released.wait(30)  # type: ignore[attr-defined]
            return
        status = int(self.path.strip("/"))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/200")
        body = b"y" * 100_000
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as served:
        served.released = threading.Event()  # type: ignore[attr-defined]
        served.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.released.set()  # type: ignore[attr-defined]
        served.shutdown()
        thread.join()


def test_the_wanted_status_is_healthy(server: str) -> None:
    assert HttpProbe()(HttpCheck(f"{server}/200")).health is Health.HEALTHY
    assert HttpProbe()(HttpCheck(f"{server}/503", status=503)).health is Health.HEALTHY


def test_another_status_is_not_healthy_yet_and_says_which_came(server: str) -> None:
    found = HttpProbe()(HttpCheck(f"{server}/503"))
    assert (found.health, found.reason, found.message) == (Health.PROGRESSING, "status 503", "200 is wanted")
    assert not found.final


def test_a_redirect_is_an_answer_of_its_own(server: str) -> None:
    probe = HttpProbe()
    assert probe(HttpCheck(f"{server}/302")).reason == "status 302"
    assert probe(HttpCheck(f"{server}/302", status=302)).health is Health.HEALTHY


def test_an_answer_that_is_not_read_to_its_end_spoils_no_later_one(server: str) -> None:
    probe = HttpProbe()
    for _ in range(5):
        assert probe(HttpCheck(f"{server}/200")).health is Health.HEALTHY
        assert probe(HttpCheck(f"{server}/503")).reason == "status 503"


def test_an_endless_answer_is_not_waited_for(server: str) -> None:
    assert HttpProbe()(HttpCheck(f"{server}/endless")).health is Health.HEALTHY


def test_a_server_that_says_nothing_is_given_up(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "TIMEOUT", urllib3.Timeout(connect=1.0, read=0.2))
    assert HttpProbe()(HttpCheck(f"{server}/silent")).reason == "no answer"


def test_nobody_there_is_not_healthy_yet() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        found = HttpProbe()(HttpCheck(f"http://127.0.0.1:{unused.getsockname()[1]}/"))
    assert (found.health, found.reason) == (Health.PROGRESSING, "no answer")


@pytest.mark.parametrize(
    "url",
    [
        "http://no-such-host.invalid/",
        "http://" + "a" * 64 + ".example/",
        "http://[::1/",
        "http://exa mple/",
        "http://\u0000/",
        "http://..example/",
        "https://127.0.0.1:1/",
    ],
)
def test_a_probe_never_raises(url: str) -> None:
    assert HttpProbe()(HttpCheck(url)).health is Health.PROGRESSING
