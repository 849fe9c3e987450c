"""Real git for tests: repositories made in one go, and servers for them over HTTP and SSH that can misbehave."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

QUIET_GIT = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "LC_ALL": "C"}
READY_TIMEOUT = 20.0


@dataclass(frozen=True)
class Link:
    """A symlink in a commit."""

    target: str


@dataclass(frozen=True)
class Script:
    """An executable file in a commit."""

    content: bytes


Content = str | bytes | Link | Script | None
"""What a commit does to a file; None removes it."""


def wait_until(condition: Callable[[], bool], what: str, timeout: float = READY_TIMEOUT) -> None:
    """Wait for a condition of the outside; an AssertionError names `what` did not come."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(0.01)


class GitRepo:
    """A bare repository that is written by `git fast-import`: a commit costs one process and no checkout."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._clock = 1_700_000_000
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--bare", "--template=", "--initial-branch=main")
        self.git("config", "http.uploadpack", "true")

    def git(self, *arguments: str, stdin: bytes = b"") -> str:
        environment = {**os.environ, **QUIET_GIT, "GIT_DIR": str(self.path)}
        done = subprocess.run(["git", *arguments], input=stdin, capture_output=True, env=environment, check=False)
        assert done.returncode == 0, f"git {arguments}: {done.stderr.decode()}"
        return done.stdout.decode(errors="surrogateescape").rstrip("\n")

    def commit(
        self,
        files: Mapping[str, Content],
        message: str = "change",
        *,
        branch: str = "main",
        author: str = "Dev <dev@example.com>",
        committer: str = "Bot <bot@example.com>",
        rewrite: bool = False,
    ) -> str:
        """Commit on top of `branch` (`rewrite`: instead of all its history) and return the id. Each commit is one
        second younger than the one before."""
        self._clock += 1
        lines = [f"commit refs/heads/{branch}\nauthor {author} {self._clock} +0200\n".encode()]
        lines.append(f"committer {committer} {self._clock} +0200\n".encode() + _data(message.encode()))
        head = "" if rewrite else self._head(branch)
        if rewrite:
            self.git("update-ref", "-d", f"refs/heads/{branch}")
        if head:
            lines.append(f"from {head}\n".encode())
        lines += [_change(path, content) for path, content in files.items()]
        self.git("fast-import", "--quiet", "--force", stdin=b"".join(lines) + b"\ndone\n")
        return self.head(branch)

    def head(self, branch: str = "main") -> str:
        return self.git("rev-parse", "--verify", f"refs/heads/{branch}")

    def _head(self, branch: str) -> str:
        return self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")

    def commit_raw(self, entries: Mapping[bytes, bytes], *, branch: str = "main") -> str:
        """A commit of files in its root whose names git itself would not make."""
        tree = b""
        for name, content in entries.items():
            blob = self.git("hash-object", "-w", "--stdin", stdin=content)
            tree += b"100644 blob " + blob.encode() + b"\t" + name + b"\x00"
        return self.commit_tree(self.git("mktree", "-z", stdin=tree), branch=branch)

    def commit_tree(self, tree: str, *, branch: str = "main") -> str:
        """Point `branch` at a new commit of an existing tree."""
        who = ("-c", "user.name=Dev", "-c", "user.email=dev@example.com")
        commit = self.git(*who, "commit-tree", tree, "-m", "raw")
        self.git("update-ref", f"refs/heads/{branch}", commit)
        return commit


def _data(content: bytes) -> bytes:
    return f"data {len(content)}\n".encode() + content + b"\n"


def _change(path: str, content: Content) -> bytes:
    quoted = b'"' + b"".join(b"\\%03o" % byte for byte in path.encode()) + b'"'
    if content is None:
        return b"D " + quoted + b"\n"
    mode, data = b"100644", content
    if isinstance(content, Link):
        mode, data = b"120000", content.target
    elif isinstance(content, Script):
        mode, data = b"100755", content.content
    raw = data.encode() if isinstance(data, str) else data
    assert isinstance(raw, bytes)
    return b"M " + mode + b" inline " + quoted + b"\n" + _data(raw)


# ---------------------------------------------------------------- HTTP


@dataclass(frozen=True)
class Request:
    """A request that the HTTP server got."""

    method: str
    path: str
    authorization: str | None


@dataclass
class Behaviour:
    """How the HTTP server treats the next requests; may be changed while it runs.

    `authorization` is the only header value let in; `challenge` what the others are told. `redirect` is the address
    that every request is sent on to, `status` an answer in place of git's. `silent` takes requests and says nothing;
    `cut_pack` sends that many bytes of a pack and then nothing, until the server is closed.
    `on_request` is called before each answer.
    """

    authorization: str | None = None
    challenge: str = 'Basic realm="git"'
    redirect: str | None = None
    status: int | None = None
    silent: bool = False
    cut_pack: int | None = None
    on_request: Callable[[Request], None] = field(default=lambda request: None)


class GitHttpServer:
    """Serves every repository below `root` through `git http-backend` on a free port of 127.0.0.1."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.behaviour = Behaviour()
        self.requests: list[Request] = []
        self.stalled = threading.Event()
        self.closing = threading.Event()
        outer = self

        class Handler(_GitHandler):
            server_of_tests = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._server.block_on_close = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, repo: GitRepo, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{repo.path.relative_to(self.root)}"

    def close(self) -> None:
        """Refuse connections from now on; requests that hang are dropped."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.closing.is_set():
            self.close()


class _GitHandler(BaseHTTPRequestHandler):
    server_of_tests: GitHttpServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: `requests` tells what was asked."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        owner = self.server_of_tests
        behaviour = owner.behaviour
        request = Request(self.command, self.path, self.headers.get("Authorization"))
        owner.requests.append(request)
        behaviour.on_request(request)
        if behaviour.silent:
            self._stall()
        elif behaviour.redirect is not None:
            self._plain(302, {"Location": behaviour.redirect + self.path})
        elif behaviour.authorization is not None and request.authorization != behaviour.authorization:
            self._plain(401, {"WWW-Authenticate": behaviour.challenge})
        elif behaviour.status is not None:
            self._plain(behaviour.status, {})
        else:
            self._backend(body)

    def _stall(self) -> None:
        self.server_of_tests.stalled.set()
        self.server_of_tests.closing.wait()
        self.close_connection = True

    def _plain(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _backend(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        environment = {
            **os.environ,
            **QUIET_GIT,
            "GIT_PROJECT_ROOT": str(self.server_of_tests.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        done = subprocess.run(["git", "http-backend"], input=body, capture_output=True, env=environment, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        cut = self.server_of_tests.behaviour.cut_pack
        if cut is not None and b"PACK" in content:
            self.wfile.write(content[: content.index(b"PACK") + cut])
            self.wfile.flush()
            self._stall()
        else:
            self.wfile.write(content)


@contextmanager
def silent_listener() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


# ---------------------------------------------------------------- SSH


class SshServer:
    """A real sshd on a free port of 127.0.0.1 that lets the current user in with one key. Needs openssh-server."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True)
        self.user = getpass.getuser()
        self.host_key = self._key("host")
        self.user_key = self._key("user")
        self.other_key = self._key("other")
        self._log = directory / "sshd.log"
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd, started by root, puts itself into a jail
        self.port, self._process = self._start()

    def url(self, repo: GitRepo) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}{repo.path}"

    def known_hosts(self, key: Path | None = None) -> Path:
        """A file of known hosts with this server's key, or with the one of `key`."""
        kind, text = (key or self.host_key).with_suffix(".pub").read_text().split()[:2]
        path = self._directory / f"known_hosts_{(key or self.host_key).name}"
        path.write_text(f"[127.0.0.1]:{self.port} {kind} {text}\n")
        return path

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _key(self, name: str) -> Path:
        path = self._directory / name
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        return path

    def _start(self) -> tuple[int, subprocess.Popen[bytes]]:
        allowed = self._directory / "authorized_keys"
        shutil.copyfile(self.user_key.with_suffix(".pub"), allowed)
        for _ in range(5):  # another process may take the port between the look and the start
            with socket.create_server(("127.0.0.1", 0)) as probe:
                port = int(probe.getsockname()[1])
            process = self._sshd(port, allowed)
            wait_until(lambda p=process, n=port: p.poll() is not None or _says_ssh(n), "sshd answers")  # type: ignore[misc]
            if process.poll() is None:
                return port, process
        raise AssertionError(f"sshd does not start: {self._log.read_text()}")

    def _sshd(self, port: int, allowed: Path) -> subprocess.Popen[bytes]:
        settings = self._directory / "sshd_config"
        settings.write_text(
            f'ListenAddress 127.0.0.1:{port}\nHostKey "{self.host_key}"\nAuthorizedKeysFile "{allowed}"\n'
            f"PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n"
            f"KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
        )
        binary = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
        assert binary is not None, "these tests need sshd: install the package openssh-server"
        command = [binary, "-D", "-f", str(settings), "-E", str(self._log)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _says_ssh(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


# ---------------------------------------------------------------- witnesses


def command_lines() -> dict[int, str]:
    """The arguments of every process of this host, by process id."""
    return _proc("cmdline")


def processes_on(path: Path) -> dict[int, str]:
    """The git processes, by id, that work on the repository `path`."""
    wanted = f"GIT_DIR={path}\0"
    lines = command_lines()
    return {pid: lines.get(pid, "") for pid, text in _proc("environ").items() if wanted in text}


def _proc(name: str) -> dict[int, str]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                text = (entry / name).read_bytes().decode(errors="replace")
            except OSError:
                continue  # it has ended, or is somebody else's
            found[int(entry.name)] = text if name == "environ" else text.replace("\0", " ").strip()
    return found
