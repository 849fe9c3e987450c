"""A host with a configuration, a record of two runs and a status file, as a daemon that has ended leaves it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gitopsd.cli.main import main
from gitopsd.model.audit import Actor, ActorKind, AuditEvent
from gitopsd.model.live import Assessment, Health
from gitopsd.model.memory import Baseline, StackState
from gitopsd.model.ports import Effect
from gitopsd.model.run import RunRecord
from gitopsd.model.status import DaemonInfo, StackFacts, UnitHealth, Wanted
from gitopsd.record import SqliteRecord, open_record
from gitopsd.record.statusfile import write_status
from gitopsd.views.status import status_document
from tests.unit.views.samples import API, CONFIG, GOOD, at, failed_run, memory, run

GIT = Actor(ActorKind.GIT, "Ann", "ann@example.org")


class StillClock:
    """The clock of the record under test: wall time, which is all that it asks for."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return 0.0


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Host:
    """`state` and `runtime` are the directories that `config` names."""

    config: Path
    state: Path
    runtime: Path
    capture: pytest.CaptureFixture[str]

    def gitopsd(self, *arguments: str) -> Answer:
        """Run a command in this process."""
        code = main(["--config", str(self.config), *arguments])
        said = self.capture.readouterr()
        return Answer(code, said.out, said.err)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "gitopsd", "--config", str(self.config), *arguments]

    def process(self, *arguments: str, python: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run a command in a process of its own, its output in a pipe."""
        command = [sys.executable, *python, *self.command(*arguments)[1:]]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment())

    def record(self) -> SqliteRecord:
        return open_record(self.state, StillClock())

    def status(self, *stacks: StackFacts, daemon: DaemonInfo | None = None) -> None:
        """Write the status file as a daemon does that was killed later."""
        info = daemon or DaemonInfo(True, 999_999_999, "0.1.0", at(60))
        write_status(self.runtime / "status.json", status_document(info, stacks, at(1)))


def environment() -> dict[str, str]:
    """Ours without what would colour or configure a child."""
    return {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "GITOPSD_CONFIG", "COLUMNS"}}


@pytest.fixture
def bare_host(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host on which gitopsd was never started."""
    monkeypatch.delenv("GITOPSD_CONFIG", raising=False)
    config = tmp_path / "config.yaml"
    config.write_text(
        "instance: prod\n"
        "stateDir: state\n"
        "socket: run/gitopsd.sock\n"
        "sources:\n"
        "  - name: main\n"
        f"    url: {tmp_path / 'repository'}\n"
        "    branch: main\n"
        "clusters:\n"
        f"  - {{name: default, kubeconfig: {tmp_path / 'kubeconfig'}}}\n"
    )
    (tmp_path / "run").mkdir()
    return Host(config, tmp_path / "state", tmp_path / "run", capsys)


@pytest.fixture
def host(bare_host: Host) -> Host:
    """A host that has seen a good run and a failed one; its status file says that all is in sync."""
    with bare_host.record() as record:
        record.save_memory(memory())
        store_run(record, replace(run(), id="website-1", revision=GOOD, digest="digest-a"))
        store_run(record, failed_run())
        baselines = [Baseline(unit, "web", (0, 0), "d" * 64, "uid", "1", "v1", at(60)) for unit in (CONFIG, API)]
        record.rebase("website", baselines)
    bare_host.status(synced())
    return bare_host


def synced() -> StackFacts:
    """A stack at its desired revision, with two healthy units."""
    health = {unit: UnitHealth(Assessment(Health.HEALTHY), at(60)) for unit in (CONFIG, API)}
    return StackFacts(
        "website", "main", StackState(memory()), Wanted(GOOD, "digest-a"), last=run(), health=health, tracked=2
    )


def store_run(record: SqliteRecord, done: RunRecord) -> None:
    """Write a run with its outcomes, as the daemon does."""
    started = RunRecord(
        done.id, done.stack, done.kind, done.revision, done.digest, done.author, done.started, subject=done.subject
    )
    record.begin(started, [AuditEvent(GIT, "start", stack=done.stack, run=done.id, revision=done.revision)])
    if done.plan:
        record.save_plan(done.id, done.plan)
    effects = [Effect(outcome) for outcome in done.outcomes]
    events = [
        AuditEvent(GIT, o.action.value, done.stack, done.id, done.revision, str(o.unit), result=o.result.value)
        for o in done.outcomes
    ]
    record.conclude(done.stack, done.id, effects, events)
    record.observed(done.id, done.observations)
    verdict = done.verdict.value if done.verdict else ""
    record.finish(done, [AuditEvent(GIT, "verdict", stack=done.stack, run=done.id, result=verdict, detail=done.reason)])
