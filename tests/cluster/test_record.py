"""What people and programs are told afterwards: audit log, status, history, why; and who may be at work at all."""

from __future__ import annotations

import json
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import Cluster
from tests.support.moments import BROKEN, GOOD, NEWER, STUCK, Doorkeeper, processes_of, terminate, two_waves
from tests.support.world import World, wait_until


@pytest.fixture
def keeper() -> Iterator[Doorkeeper]:
    with Doorkeeper() as made:
        yield made


def entries(world: World, *filters: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.json("audit", *filters, "--limit", "500")["entries"]
    return found


def audit_file(world: World) -> Path:
    return world.state_dir / "audit.jsonl"


# ---------------------------------------------------------------- the audit log


def test_the_log_says_who_what_when_and_from_which_commit(world: World, namespace: str) -> None:
    commit = world.push(two_waves(world, namespace, "hello", GOOD), "say hello")
    world.once()
    applied = {e["unit"]: e for e in entries(world) if e["action"] == "create"}
    assert set(applied) == {
        f"ConfigMap/{namespace}/settings",
        f"ConfigMap/{namespace}/beside",
        f"Deployment.apps/{namespace}/web",
    }
    for entry in applied.values():
        assert entry["actor"] == {"kind": "git", "name": "Dana", "email": "dana@example.org"}
        assert (entry["revision"], entry["stack"], entry["result"]) == (commit, world.stack, "applied")
        assert entry["run"] == world.history()[0]["id"]
        assert entry["time"].endswith("Z")
    exported = [json.loads(line) for line in world.gitopsd("audit", "export").splitlines()]
    assert exported == entries(world)
    assert [e["seq"] for e in exported] == list(range(1, len(exported) + 1))
    assert world.gitopsd("audit", "verify")


def test_every_delivered_commit_is_named_although_one_run_brought_them_all(world: World, namespace: str) -> None:
    world.push(two_waves(world, namespace, "hello", GOOD))
    world.once()
    first = world.push(two_waves(world, namespace, "good day", GOOD), "first of two")
    second = world.push(two_waves(world, namespace, "good evening", NEWER), "second of two")
    world.once()
    assert world.verdicts() == [("deploy", "good"), ("deploy", "good")]
    run = world.history()[0]["id"]
    delivered = [e for e in entries(world, "--run", run) if e["action"] == "delivered"]
    assert [(e["revision"], e["detail"]) for e in delivered] == [(first, "first of two"), (second, "second of two")]
    assert {e["actor"]["name"] for e in delivered} == {"Dana"}


def edit_a_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"result":"applied"', b'"result":"refused"', 1))


def remove_a_line(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))


def cut_the_tail(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-3]))


def test_every_damage_of_the_log_is_found(world: World, namespace: str) -> None:
    world.push(two_waves(world, namespace, "hello", GOOD))
    world.once()
    whole = audit_file(world).read_bytes()
    assert world.json("audit", "verify", code=0)["ok"] is True
    damages: list[Callable[[Path], None]] = [edit_a_byte, remove_a_line, cut_the_tail]
    for damage in damages:
        damage(audit_file(world))
        assert audit_file(world).read_bytes() != whole
        # The host alone sees it; the clusters need not be asked.
        found = world.json("audit", "verify", "--offline", code=1)
        assert found["ok"] is False, damage.__name__
        assert found["findings"][0]["message"], damage.__name__
        audit_file(world).write_bytes(whole)
    assert world.json("audit", "verify", code=0)["ok"] is True


def test_the_parent_shows_a_log_that_was_cut_together_with_the_database(world: World, namespace: str) -> None:
    world.push(two_waves(world, namespace, "hello", GOOD))
    world.once()
    former = world.directory / "former"
    shutil.copytree(world.state_dir, former)
    world.push(two_waves(world, namespace, "good day", NEWER))
    world.once()
    shutil.rmtree(world.state_dir)
    former.rename(world.state_dir)

    assert world.json("audit", "verify", "--offline", code=0)["ok"] is True  # the host's own copies agree
    found = world.json("audit", "verify", code=1)
    assert any(world.stack in finding["message"] for finding in found["findings"])


# ---------------------------------------------------------------- where everything stands


def test_status_answers_whether_the_daemon_runs_or_not(world: World, namespace: str) -> None:
    commit = world.push(two_waves(world, namespace, "hello", GOOD))
    daemon = world.start()
    world.wait_good(commit)
    wait_until(lambda: world.phase() == "Synced", "the run is over")
    document = world.json("status", code=0)
    assert document["schema"] == "gitopsd.io/status/v1"
    assert document["daemon"]["running"] is True
    assert document["daemon"]["pid"] == daemon.pid

    world.kill(daemon)
    document = world.json("status", code=0)
    assert document["daemon"] | {"version": ""} == {"running": False, "pid": None, "since": None, "version": ""}
    (stack,) = document["stacks"]
    assert (stack["name"], stack["source"], stack["phase"]) == (world.stack, "main", "Synced")
    assert stack["revision"] == {"desired": commit, "good": commit, "quarantined": []}
    assert stack["units"]["total"] == stack["units"]["healthy"] == 3
    assert (stack["run"], stack["holds"], stack["attention"]) == (None, [], [])
    assert "not running" in world.gitopsd("status")


def test_a_failed_push_is_explained_by_every_command(world: World, namespace: str) -> None:
    good = world.push(two_waves(world, namespace, "hello", GOOD))
    world.once()
    bad = world.push(two_waves(world, namespace, "bad day", BROKEN), "break it")
    world.once(code=1)
    unit = f"Deployment.apps/{namespace}/web"

    assert world.json("status", code=2)["stacks"][0]["phase"] == "Held"
    rollback, failed, _ = world.history()
    assert world.json("history")["schema"] == "gitopsd.io/history/v1"
    assert {"id", "stack", "kind", "revision", "author", "started", "finished", "verdict", "reason", "cause"} <= set(
        failed
    )
    assert (failed["kind"], failed["verdict"], failed["cause"], failed["revision"]) == (
        "deploy",
        "failed",
        "commit",
        bad,
    )
    assert (rollback["kind"], rollback["verdict"], rollback["revision"]) == ("rollback", "good", good)

    assert world.json("show", "last", code=0)["id"] == rollback["id"]
    shown = world.json("show", failed["id"], code=0)
    assert shown["failing"] == unit
    assert shown["suspects"] == [bad]
    seen = {o["unit"]: o for o in shown["observations"]}
    assert "pull" in seen[unit]["message"]
    assert {o["unit"] for o in shown["outcomes"] if o["result"] == "applied"} >= {unit}
    assert shown["plan"]["waves"]

    waits = world.json("why", unit, code=0)["waitsFor"]
    assert "quarantine" in {wait["kind"] for wait in waits}
    assert bad[:12] in world.gitopsd("why", f"deployment/{namespace}/web")


def test_why_tells_what_a_unit_waits_for(world: World, namespace: str, keeper: Doorkeeper) -> None:
    first = world.push(two_waves(world, namespace, "hello", GOOD, keeper=keeper))
    world.start()
    world.wait_good(first)
    unit = f"Deployment.apps/{namespace}/web"
    wait_until(lambda: world.json("why", unit)["waitsFor"] == [], "a healthy unit waits for nothing")
    assert world.json("why", unit)["message"]

    world.push(two_waves(world, namespace, "hello", STUCK, keeper=keeper))
    found = wait_until(lambda: world.json("why", unit)["waitsFor"], "a unit in its gate waits for it")
    wait_until(lambda: [w["kind"] for w in world.json("why", unit)["waitsFor"]] == ["gate"], "the gate is named")
    assert found[0]["detail"]

    done = world.run("why", "deployment/wbe")
    assert done.returncode == 64
    assert "no stack has a unit 'deployment/wbe'" in done.stderr


def test_version_as_json(world: World) -> None:
    document = world.json("version", code=0)
    assert document["gitopsd"]
    assert document["tools"]["git"]["version"]
    assert document["tools"]["kubectl"]["version"]


# ---------------------------------------------------------------- exit codes and log lines


@pytest.mark.parametrize("command", [["nonsense"], ["show"], ["history", "-n", "none"], ["run", "--nonsense"]])
def test_wrong_usage_exits_64(world: World, command: list[str]) -> None:
    done = world.run(*command)
    assert done.returncode == 64
    assert done.stderr.startswith("gitopsd: ")


@pytest.mark.parametrize("command", ["run", "once", "plan"])
def test_a_bad_configuration_exits_78_and_lists_every_error_with_its_line(world: World, command: str) -> None:
    world.config.write_text(
        "instance: test\nstateDir: state\nsuorces: []\nsources:\n"
        "- {name: Main, url: /nowhere, poll: soon}\nclusters:\n- {name: default, kubeconfig: a, colour: red}\n"
    )
    done = world.run(command)
    assert done.returncode == 78
    assert all(f"config.yaml:{line}:" in done.stderr for line in (3, 5, 7)), done.stderr
    assert not world.state_dir.exists()


def test_log_lines_in_a_pipe_are_json(world: World, namespace: str) -> None:
    commit = world.push(two_waves(world, namespace, "hello", GOOD))
    daemon = world.start()
    world.wait_good(commit)
    assert terminate(daemon, 20) == 0
    lines = [json.loads(line) for line in world.log.read_text().splitlines()]
    assert all({"event", "level", "timestamp"} <= set(line) for line in lines)
    events = [line["event"] for line in lines]
    assert events.index("started") < events.index("run") < events.index("run ended") < events.index("stopped")


# ---------------------------------------------------------------- who may be at work


def test_another_instance_on_the_same_stack_is_refused(
    world: World, sandbox_cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    commit = world.push(two_waves(world, namespace, "hello", GOOD))
    world.start()
    world.wait_good(commit)
    other = World(tmp_path / "other", sandbox_cluster, world.stack, instance="other")
    try:
        other.push(two_waves(other, namespace, "from the other one", NEWER))
        mark = world.mark()
        other.start()
        wait_until(lambda: other.holds() == {"instance"}, "the second instance is held")
        (hold,) = other.status()["holds"]
        assert "'test'" in hold["detail"]
        assert f"gitopsd takeover {world.stack}" in hold["detail"]
        assert other.phase() == "Held"
        assert world.writes(mark, own=True) == []
        assert world.data(namespace, "settings") == {"greeting": "hello"}
    finally:
        other.close()


def test_one_state_directory_is_for_one_process(world: World, namespace: str) -> None:
    commit = world.push(two_waves(world, namespace, "hello", GOOD))
    daemon = world.start()
    world.wait_good(commit)
    for command in ("run", "once"):
        refused = world.run(command)
        assert refused.returncode == 1
        assert f"in use by process {daemon.pid}" in refused.stderr
    assert daemon.poll() is None
    assert terminate(daemon, 20) == 0
    assert processes_of(world) == []
    world.once()


def test_a_state_directory_of_a_newer_gitopsd_is_left_alone(world: World, namespace: str) -> None:
    world.push(two_waves(world, namespace, "hello", GOOD))
    world.once()
    with sqlite3.connect(world.state_dir / "state.db") as database:
        database.execute("PRAGMA user_version=999")
    database.close()
    mark = world.mark()
    done = world.run("once")
    assert done.returncode == 1
    assert "newer gitopsd" in done.stderr
    assert world.writes(mark, own=True) == []


def test_two_stacks_do_not_mix_in_the_log(world: World, namespace: str) -> None:
    """`audit --stack` and `history --stack` of one that is not there say so."""
    world.push(two_waves(world, namespace, "hello", GOOD))
    world.once()
    unknown = f"s{uuid.uuid4().hex[:8]}"
    done = world.run("history", "--stack", unknown)
    assert done.returncode == 64
    assert unknown in done.stderr
    assert entries(world, "--stack", unknown) == []
    assert entries(world, "--stack", world.stack) != []
