"""SEMANTICS 15: over the socket the kernel says who orders, and nobody can keep the others waiting."""

from __future__ import annotations

import contextlib
import grp
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.control import server as server_module
from gitopsd.control.client import talk
from gitopsd.control.peers import is_permitted
from gitopsd.control.server import ControlServer
from gitopsd.control.wire import LONGEST_REQUEST, Garbled, address, read_answer, read_request
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.orders import Answer, Peer, Request

ASK = Request("suspend", "shop", "why", {"seconds": 60.0, "now": True})


class Desk:
    """What the server hands requests to."""

    def __init__(self) -> None:
        self.seen: list[tuple[Peer, Request]] = []
        self.release = threading.Event()
        self.release.set()
        self.inside = threading.Semaphore(0)
        self.fault: Exception | None = None

    def handle(self, peer: Peer, request: Request) -> Answer:
        self.inside.release()
        assert self.release.wait(30)
        self.seen.append((peer, request))
        if self.fault is not None:
            raise self.fault
        return Answer(True, "taken", {"look": 1})


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sock"


@pytest.fixture
def server(path: Path, desk: Desk) -> Iterator[ControlServer]:
    made = ControlServer(path, "", desk.handle)
    made.start()
    yield made
    desk.release.set()
    made.close()


def raw(path: Path, data: bytes) -> bytes:
    """Everything that the server says to these bytes, until it hangs up."""
    with socket.socket(socket.AF_UNIX) as connection, address(path) as place:
        connection.settimeout(30)
        connection.connect(place)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_request_arrives_whole_with_the_user_that_the_kernel_names(server: ControlServer, desk: Desk) -> None:
    assert talk(server.path, ASK) == Answer(True, "taken", {"look": 1})
    ((peer, request),) = desk.seen
    assert request == ASK
    assert (peer.uid, peer.permitted) == (os.getuid(), True)


def test_everybody_may_connect_to_be_refused_in_words(server: ControlServer) -> None:
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o666


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"", "nothing was said"),
        (b'{"command": "sus', "ends in the middle"),
        (b"hello\n", "no JSON"),
        (b"[" * 5000 + b"\n", "no JSON"),
        (b"[]\n", "no JSON object"),
        (b"{}\n", "there has to be a command"),
        (b'{"command": 1}\n', "have to be texts"),
        (b'{"command": "suspend", "arguments": []}\n', "`arguments` is no object"),
        (b"x" * (LONGEST_REQUEST + 1), "longer than"),
    ],
)
def test_nonsense_gets_a_sentence_and_reaches_nobody(
    server: ControlServer, desk: Desk, line: bytes, answer: str
) -> None:
    said = read_answer(raw(server.path, line).splitlines()[0])
    assert not said.ok
    assert answer in said.text
    assert desk.seen == []
    assert talk(server.path, ASK).ok


@given(st.binary(max_size=200))
def test_no_line_is_more_than_garbled(line: bytes) -> None:
    for read in (read_request, read_answer):
        with contextlib.suppress(Garbled):
            read(line)


def test_a_client_that_says_nothing_is_let_go_and_holds_up_nobody(
    server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "REQUEST_TIMEOUT", 0.2)
    with socket.socket(socket.AF_UNIX) as mute, address(server.path) as place:
        mute.settimeout(30)
        mute.connect(place)
        assert talk(server.path, ASK).ok
        assert b"nothing was asked within" in mute.recv(4096)


def test_a_client_that_leaves_before_its_answer_harms_nobody(server: ControlServer, desk: Desk) -> None:
    desk.release.clear()
    with socket.socket(socket.AF_UNIX) as connection, address(server.path) as place:
        connection.connect(place)
        connection.sendall(b'{"command": "resume"}\n')
        assert desk.inside.acquire(timeout=30)
    desk.release.set()
    assert talk(server.path, ASK).ok


def test_more_talks_than_there_is_room_for_are_told_so(
    server: ControlServer, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.release.clear()
    answers: list[Answer] = []
    busy = [threading.Thread(target=lambda: answers.append(talk(server.path, ASK))) for _ in range(server_module.TALKS)]
    for thread in busy:
        thread.start()
    for _ in busy:
        assert desk.inside.acquire(timeout=30)
    assert talk(server.path, ASK) == Answer(False, "gitopsd is busy with other requests; try again")
    desk.release.set()
    for thread in busy:
        thread.join(30)
    assert [a.ok for a in answers] == [True] * server_module.TALKS


@pytest.mark.parametrize(
    ("fault", "text"),
    [(EnvironmentFault("the disk is full"), "the disk is full"), (KeyError("x"), "a fault of gitopsd")],
)
def test_a_fault_is_an_answer_without_a_traceback(
    server: ControlServer, desk: Desk, fault: Exception, text: str
) -> None:
    desk.fault = fault
    answer = talk(server.path, ASK)
    assert not answer.ok
    assert text in answer.text
    assert "Traceback" not in answer.text


# ---------------------------------------------------------------- the file


def test_what_a_dead_daemon_left_is_replaced(path: Path, desk: Desk) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = ControlServer(path, "", desk.handle)
    server.start()
    assert talk(path, ASK).ok
    server.close()
    assert not path.exists()


def test_a_live_one_is_not_pushed_aside(server: ControlServer, desk: Desk) -> None:
    with pytest.raises(EnvironmentFault, match="another gitopsd listens here"):
        ControlServer(server.path, "", desk.handle).start()
    assert talk(server.path, ASK).ok


def test_a_file_in_the_way_is_left_alone(path: Path, desk: Desk) -> None:
    path.write_text("precious")
    with pytest.raises(EnvironmentFault, match="is in the way: it is no socket"):
        ControlServer(path, "", desk.handle).start()
    assert path.read_text() == "precious"


def test_a_directory_that_is_not_there_is_a_sentence(tmp_path: Path, desk: Desk) -> None:
    with pytest.raises(EnvironmentFault, match="cannot be listened at: No such file"):
        ControlServer(tmp_path / "gone" / "run.sock", "", desk.handle).start()


def test_a_path_longer_than_an_address_may_be_works(tmp_path: Path, desk: Desk) -> None:
    path = tmp_path / ("d" * 120) / "run.sock"
    path.parent.mkdir()
    server = ControlServer(path, "", desk.handle)
    server.start()
    assert talk(path, ASK).ok
    server.close()


def test_close_ends_every_thread_and_leaves_another_daemons_socket(path: Path, desk: Desk) -> None:
    before = set(threading.enumerate())
    server = ControlServer(path, "", desk.handle)
    server.start()
    talk(path, ASK)
    path.unlink()
    other = ControlServer(path, "", desk.handle)
    other.start()
    server.close()
    server.close()
    assert talk(path, ASK).ok
    other.close()
    assert {t for t in threading.enumerate() if t.is_alive()} <= before


@pytest.mark.parametrize("there", [False, True], ids=["no socket", "a dead one"])
def test_a_daemon_that_does_not_run_is_told_with_what_to_do(path: Path, there: bool) -> None:
    if there:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    with pytest.raises(EnvironmentFault, match=r"gitopsd does not run.*start it with"):
        talk(path, ASK)


def test_a_daemon_that_dies_in_the_middle_leaves_no_doubt_about_the_doubt(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def die() -> None:
            listener.accept()[0].close()

        thread = threading.Thread(target=die)
        thread.start()
        with pytest.raises(EnvironmentFault, match="whether it did what was asked, `gitopsd status` shows"):
            talk(path, ASK)
        thread.join()


# ---------------------------------------------------------------- who may


NOBODY = 65534


def test_root_and_the_daemons_own_user_may_and_others_only_by_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_permitted(0, 0, "")
    assert is_permitted(os.geteuid(), NOBODY, "")
    assert not is_permitted(NOBODY, NOBODY, "")
    assert not is_permitted(NOBODY, NOBODY, "no-such-group")
    assert not is_permitted(NOBODY, NOBODY, "daemon")
    theirs = grp.getgrgid(NOBODY).gr_name
    assert is_permitted(NOBODY, NOBODY, theirs), "the user's primary group"
    assert is_permitted(12345, NOBODY, theirs), "the process's own group, of a user that the host does not know"
    assert not is_permitted(12345, 12345, theirs)
    monkeypatch.setattr(os, "getgrouplist", lambda _name, _gid: [NOBODY, grp.getgrnam("daemon").gr_gid])
    assert is_permitted(NOBODY, NOBODY, "daemon"), "the list of the group's members"
