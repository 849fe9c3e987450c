"""How the process speaks: JSON lines in a pipe, lines for people on a terminal, nothing on standard output."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

SPEAK = """
import logging, structlog
from gitopsd.logs import set_up_logs
set_up_logs()
log = structlog.get_logger("gitopsd.test")
log.debug("not said")
log.info("run", stack="web", path=__import__("pathlib").Path("/x"))
try:
    password = "hunter2"
    raise ValueError("boom")
except ValueError:
    log.exception("a fault")
logging.getLogger("apscheduler.scheduler").warning("a poll takes longer than its interval")
logging.getLogger("urllib3").warning("a library speaks")
"""


def test_in_a_pipe_every_line_is_json_with_time_and_level() -> None:
    spoken = subprocess.run([sys.executable, "-c", SPEAK], capture_output=True, check=True, timeout=60)
    assert spoken.stdout == b""
    lines = [json.loads(line) for line in spoken.stderr.decode().splitlines()]
    assert [(entry["event"], entry["level"]) for entry in lines] == [
        ("run", "info"),
        ("a fault", "error"),
        ("a library speaks", "warning"),
    ]
    assert lines[0]["stack"] == "web"
    assert all(entry["timestamp"].endswith("Z") for entry in lines)
    assert "ValueError: boom" in lines[1]["exception"]
    assert lines[2]["logger"] == "urllib3"
    assert b"hunter2" not in spoken.stderr


def test_on_a_terminal_people_read_lines() -> None:
    terminal, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", SPEAK], stderr=theirs, stdout=subprocess.PIPE) as process:
        os.close(theirs)
        said = b""
        while chunk := _read(terminal):
            said += chunk
        assert process.wait(60) == 0
    os.close(terminal)
    assert b"web: run" in said
    assert b"ValueError: boom" in said
    assert b"a library speaks" in said
    assert b"interval" not in said
    assert b"hunter2" not in said, "a traceback must not show values"
    assert not any(line.startswith(b"{") for line in said.splitlines())


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # what Linux says when the last writer of a terminal is gone
        return b""
