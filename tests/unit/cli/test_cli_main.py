"""The frame of every command: usage, errors, exit codes, pipes, terminals, and what `status` may import."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from gitopsd.cli.main import COMMANDS, main
from gitopsd.model.audit import AuditEvent
from gitopsd.model.errors import CommitError, ConfigurationError, EnvironmentFault, Problem
from tests.unit.cli.conftest import GIT, Host, environment, synced

ESCAPE = "\x1b["


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: COMMAND"),
        (["stauts"], "invalid choice: 'stauts'"),
        (["status", "--jsn"], "unrecognized arguments: --jsn"),
        (["status", "now"], "unrecognized arguments: now"),
        (["show"], "required: RUN"),
        (["history", "-n", "0"], "no whole number above 0"),
        (["history", "-n", "many"], "no whole number above 0"),
        (["audit", "verfy"], "invalid choice: 'verfy'"),
        (["--config"], "expected one argument"),
    ],
)
def test_wrong_usage_exits_64_and_points_to_the_help(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 64
    answer = capsys.readouterr()
    assert answer.out == ""
    assert said in answer.err
    assert "--help" in answer.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"example:\n  gitopsd {command}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--config", "FILE", "status"], ["status", "--config", "FILE"]])
def test_common_options_may_stand_before_and_after_the_command(
    host: Host, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(host.config) if part == "FILE" else part for part in arguments]) == 0


def test_the_environment_names_the_configuration(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITOPSD_CONFIG", str(host.config))
    assert main(["status"]) == 0


def test_a_missing_configuration_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(tmp_path / "none.yaml"), "status"]) == 78
    assert str(tmp_path / "none.yaml") in capsys.readouterr().err


def test_every_error_of_the_configuration_is_listed_with_its_line(host: Host) -> None:
    host.config.write_text(host.config.read_text() + "colour: red\nlisten: 7\n")
    answer = host.gitopsd("plan")
    assert answer.code == 78
    assert f"{host.config}:10" in answer.err
    assert f"{host.config}:11" in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            CommitError(Problem("one", "a.yaml", 3), Problem("two", remedy="mend it")),
            1,
            "gitopsd: a.yaml:3: one\ngitopsd: two (mend it)\n",
        ),
        (EnvironmentFault("the cluster is away"), 1, "gitopsd: the cluster is away\n"),
        (ConfigurationError(Problem("wrong", "c.yaml", 2)), 78, "gitopsd: c.yaml:2: wrong\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_failures_are_sentences(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fail_with(monkeypatch, error)
    assert main(["version"]) == code
    assert capsys.readouterr() == ("", said)


def test_an_unexpected_failure_is_one_line_unless_debugging(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fail_with(monkeypatch, ZeroDivisionError("division by zero"))
    assert main(["version"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("gitopsd: unexpected ZeroDivisionError: division by zero\n")
    assert "--debug" in said
    assert "Traceback" not in said
    with pytest.raises(ZeroDivisionError):
        main(["version", "--debug"])


def _fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(_given: Namespace) -> int:
        raise error

    monkeypatch.setattr("gitopsd.cli.version.execute", fail)


# ---------------------------------------------------------------- pipes and terminals


def test_a_pipe_gets_plain_lines(host: Host) -> None:
    answer = host.process("status")
    assert answer.returncode == 0
    assert ESCAPE not in answer.stdout
    assert re.search(r"^website {2}Synced", answer.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("more", "extra", "coloured"),
    [
        ([], {}, True),
        (["--no-color"], {}, False),
        ([], {"NO_COLOR": "1"}, False),
        ([], {"NO_COLOR": ""}, True),
        ([], {"TERM": "dumb"}, False),
        (["--json"], {}, False),
    ],
)
def test_a_terminal_gets_colours_unless_somebody_refuses_them(
    host: Host, more: list[str], extra: dict[str, str], coloured: bool
) -> None:
    shown = on_terminal(host.command("status", *more), {"TERM": "xterm", **extra})
    assert "Synced" in shown
    assert (ESCAPE in shown) is coloured


def on_terminal(command: list[str], extra: dict[str, str]) -> str:
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=theirs, stdin=subprocess.DEVNULL, env=environment() | extra) as child:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux answers EIO when the last writer has gone
                break
            if not piece:
                break
            shown += piece
        os.close(ours)
        assert child.wait(60) == 0
    return shown.decode()


def test_a_reader_that_goes_away_is_no_error(host: Host) -> None:
    with subprocess.Popen(
        host.command("audit", "follow"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        with host.record() as record:  # what it wants to tell next finds nobody
            record.audit([AuditEvent(GIT, "hold", stack="website")])
        assert child.wait(60) == 141
        assert child.stderr.read() == b""


def test_a_followed_log_shows_entries_as_they_come(host: Host) -> None:
    with subprocess.Popen(
        host.command("audit", "follow", "--json", "-n", "1"), stdout=subprocess.PIPE, text=True, env=environment()
    ) as child:
        try:
            assert child.stdout is not None
            assert json.loads(child.stdout.readline())["seq"] == 6
            with host.record() as record:
                record.audit([AuditEvent(GIT, "hold", stack="website"), AuditEvent(GIT, "lift", stack="website")])
            assert [json.loads(child.stdout.readline())["action"] for _ in range(2)] == ["hold", "lift"]
        finally:
            child.kill()


def test_what_a_terminal_cannot_encode_is_escaped(host: Host) -> None:
    host.status(replace(synced(), source="größe", name="日本"))
    command = [sys.executable, "-m", "gitopsd", "--config", str(host.config), "status"]
    answer = subprocess.run(
        command, capture_output=True, timeout=60, check=False, env=environment() | {"PYTHONIOENCODING": "ascii"}
    )
    assert answer.returncode == 0
    assert b"\\u65e5\\u672c" in answer.stdout
    assert answer.stderr == b""


# ---------------------------------------------------------------- quick


HEAVY = {"kubernetes", "pydantic", "git", "structlog", "rich", "urllib3", "apscheduler", "sqlite3", "yaml", "orjson"}
"""Each of these alone costs a good part of the time in which `gitopsd status` has to answer (DESIGN 5)."""


def test_status_imports_nothing_heavy(host: Host) -> None:
    host.config.write_text(host.config.read_text().replace("stateDir: state", f"stateDir: {host.state}"))
    answer = host.process("status", python=["-X", "importtime"])
    assert answer.returncode == 0
    assert "Synced" in answer.stdout
    imported = {
        line.rpartition("|")[2].strip() for line in answer.stderr.splitlines() if line.startswith("import time:")
    }
    assert "gitopsd.views.status_text" in imported, "the measurement works"
    assert {name.partition(".")[0] for name in imported} & HEAVY == set()
    ours = {name for name in imported if name.startswith("gitopsd.")}
    assert {name for name in ours if name.startswith("gitopsd.model.")} <= {"gitopsd.model.errors"}
