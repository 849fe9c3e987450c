"""The commands that read: exit codes, JSON and text, and what they say when the daemon is down."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gitopsd.model.audit import AuditEvent
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Assessment, Health
from gitopsd.model.memory import AuditHead, Baseline, HoldReason, Memory
from gitopsd.model.plan import Action, Edit, FieldChange
from gitopsd.model.run import Outcome, Result
from gitopsd.model.status import DaemonInfo, UnitDrift, UnitHealth
from tests.unit.cli.conftest import GIT, Host, store_run, synced
from tests.unit.views.samples import API, CONFIG, GOOD, at, hold, memory, run

# ---------------------------------------------------------------- status


def test_status_answers_with_the_daemon_down_and_says_so(host: Host) -> None:
    answer = host.gitopsd("status")
    assert answer.out.startswith("gitopsd is not running. What follows was last known")
    assert "website  Synced" in answer.out
    assert (answer.code, answer.err) == (0, "")


def test_status_does_not_believe_the_file_of_a_daemon_that_was_killed(host: Host) -> None:
    daemon = json.loads(host.gitopsd("status", "--json").out)["daemon"]
    assert daemon == {"running": False, "pid": None, "version": "0.1.0", "since": None}


def test_status_finds_the_daemon_by_the_lock_that_it_holds(host: Host) -> None:
    with host.record():
        running = json.loads(host.gitopsd("status", "--json").out)["daemon"]
        again = json.loads(host.gitopsd("status", "--json").out)["daemon"]
    assert (running["running"], running["pid"]) == (True, os.getpid())
    assert running == again, "asking disturbs nobody"


def test_status_of_a_private_state_directory_goes_by_the_process(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_directory: Path) -> None:
        raise EnvironmentFault("permission denied")

    monkeypatch.setattr("gitopsd.record.dirlock.owner", refused)
    assert json.loads(host.gitopsd("status", "--json").out)["daemon"]["running"] is False
    host.status(synced(), daemon=DaemonInfo(True, os.getpid(), "0.1.0", at(3)))
    assert json.loads(host.gitopsd("status", "--json").out)["daemon"]["running"] is True


def test_status_falls_back_on_the_record(host: Host) -> None:
    (host.runtime / "status.json").unlink()
    document = json.loads(host.gitopsd("status", "--json").out)
    (stack,) = document["stacks"]
    assert (stack["name"], stack["source"], stack["revision"]["good"]) == ("website", "main", GOOD)
    assert stack["lastRun"]["id"] == "website-2"
    assert stack["units"]["total"] == 2


def test_holds_are_known_without_a_status_file(host: Host) -> None:
    with host.record() as record:
        record.save_memory(memory(holds=(hold(HoldReason.ROLLBACK_FAILED),)))
    (host.runtime / "status.json").unlink()
    answer = host.gitopsd("status")
    assert "website  Failed" in answer.out
    assert "hold rollback-failed" in answer.out
    assert answer.code == 2


def test_status_on_a_host_where_nothing_ever_ran(bare_host: Host) -> None:
    answer = bare_host.gitopsd("status")
    assert answer.out == "gitopsd is not running.\nNo stack is known yet.\n"
    assert answer.code == 2
    assert not bare_host.state.exists(), "who only looks makes nothing"


@pytest.mark.parametrize("ill", ["drift", "degraded", "held"])
def test_status_exits_2_unless_all_is_in_sync(host: Host, ill: str) -> None:
    facts = synced()
    if ill == "drift":
        facts = replace(facts, drifted={API: UnitDrift(at(1), "spec.replicas")})
    elif ill == "degraded":
        facts = replace(facts, health={API: UnitHealth(Assessment(Health.DEGRADED, "CrashLoopBackOff"), at(1))})
    else:
        facts = replace(facts, desired=None)
    host.status(synced())
    assert host.gitopsd("status").code == 0
    host.status(facts)
    assert host.gitopsd("status").code == 2


def test_what_is_wrong_with_the_configuration_is_told_whole_and_with_its_lines(bare_host: Host) -> None:
    text = bare_host.config.read_text().replace("stateDir: state", "stateDir: [state]")
    bare_host.config.write_text(text.replace("branch: main", "branhc: main"))
    answer = bare_host.gitopsd("status")
    assert answer.code == 78
    assert "config.yaml:2: stateDir" in answer.err
    assert "config.yaml:7: sources[0].branhc" in answer.err


def test_a_broken_status_file_is_named(host: Host) -> None:
    (host.runtime / "status.json").write_text('{"schema"')
    answer = host.gitopsd("status")
    assert answer.code == 1
    assert str(host.runtime / "status.json") in answer.err
    assert "Traceback" not in answer.err


# ---------------------------------------------------------------- history, show, why


def test_history_is_newest_first(host: Host) -> None:
    answer = json.loads(host.gitopsd("history", "--json").out)
    assert [(run["id"], run["verdict"]) for run in answer["runs"]] == [("website-2", "failed"), ("website-1", "good")]
    assert len(json.loads(host.gitopsd("history", "-n", "1", "--json").out)["runs"]) == 1
    assert host.gitopsd("history").out.splitlines()[1].startswith("website-2  website  deploy")


def test_history_of_a_stack_that_is_not_there(host: Host) -> None:
    answer = host.gitopsd("history", "--stack", "webside")
    assert (answer.code, answer.out) == (64, "")
    assert answer.err == "gitopsd: there is no stack 'webside' (did you mean website?)\n"


def test_history_before_the_first_start(bare_host: Host) -> None:
    answer = bare_host.gitopsd("history")
    assert answer.code == 1
    assert "there is no record of this host yet (start gitopsd first)" in answer.err


@pytest.mark.parametrize("name", ["last", "website-2"])
def test_show(host: Host, name: str) -> None:
    document = json.loads(host.gitopsd("show", name, "--json").out)
    assert document["id"] == "website-2"
    assert document["failing"] == str(API)
    assert document["plan"]["waves"]
    assert [o["result"] for o in document["outcomes"]] == ["applied", "applied", None, None]
    answer = host.gitopsd("show", name)
    assert answer.out.startswith("run website-2: deploy of stack website: failed\n")
    assert "spec.replicas: 2 -> 3" not in answer.out
    assert "spec.replicas: 2 -> 3" in host.gitopsd("show", name, "--plan").out


def test_show_of_a_run_that_is_not_there(host: Host) -> None:
    answer = host.gitopsd("show", "website-9")
    assert answer.code == 64
    assert "website-9" in answer.err
    assert "gitopsd history" in answer.err


def test_why(host: Host) -> None:
    document = json.loads(host.gitopsd("why", str(CONFIG), "--json").out)
    assert (document["unit"], document["stack"]) == (str(CONFIG), "website")
    assert [wait["kind"] for wait in document["waitsFor"]] == ["daemon"]
    with host.record():
        assert "waits for nothing" in host.gitopsd("why", "configmap/settings").out


def test_why_of_a_unit_that_was_planned_only(host: Host) -> None:
    with host.record():
        assert "it is not tracked" in host.gitopsd("why", "Deployment.apps/web/worker").out


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("Deployment.apps/web/apy", "did you mean Deployment.apps/web/api"),
        ("api", "'api' is no unit; write KIND[.GROUP]/[NAMESPACE/]NAME"),
    ],
)
def test_why_of_something_that_is_no_unit(host: Host, typed: str, said: str) -> None:
    answer = host.gitopsd("why", typed)
    assert (answer.code, answer.out) == (64, "")
    assert said in answer.err


# ---------------------------------------------------------------- drift and blame

DRIFT = UnitDrift(at(1), "spec.replicas", (FieldChange("spec.replicas", Edit.REPLACE, 5, 3),))


def test_drift_is_shown_field_by_field_with_the_daemon_down(host: Host) -> None:
    host.status(replace(synced(), drifted={API: DRIFT}))
    answer = host.gitopsd("status", "--drift")
    assert answer.code == 2
    assert answer.out.startswith("gitopsd is not running. What follows was last known")
    assert "      ~ spec.replicas: 5 -> 3" in answer.out
    document = json.loads(host.gitopsd("status", "--drift", "--json").out)
    assert document == json.loads(host.gitopsd("status", "--json").out)
    assert document["stacks"][0]["drift"][0]["unit"] == str(API)


def test_no_drift_is_an_answer_too(host: Host) -> None:
    answer = host.gitopsd("status", "--drift")
    assert (answer.code, answer.out.splitlines()[-1]) == (0, "No drift is known, and nothing that others have added.")


def test_blame_names_the_last_run_that_changed_a_unit(host: Host) -> None:
    host.status(replace(synced(), drifted={API: DRIFT}))
    document = json.loads(host.gitopsd("blame", "deployment/api", "--json").out)
    assert document["schema"] == "gitopsd.io/blame/v1"
    last = document["last"]
    assert (last["run"], last["kind"], last["author"]) == ("website-2", "deploy", "Ann <ann@example.org>")
    assert last["warnings"] == ["deprecated"]
    assert [f["path"] for f in last["fields"]] == ["spec.replicas"]
    assert document["drift"]["detail"] == "spec.replicas"
    answer = host.gitopsd("blame", "deployment/api")
    assert answer.code == 0
    assert "deploy website-2 of commit bbbbbbbbbbbb Raise the replicas" in answer.out
    assert "that run failed: gitopsd show website-2" in answer.out


def test_blame_of_a_unit_that_is_gone_finds_who_deleted_it(host: Host) -> None:
    gone = UnitId.parse("Service/web/former")
    deleted = replace(
        run(), id="website-3", outcomes=(Outcome(gone, Action.DELETE, Result.DELETED, at(2), "x" * 2000),)
    )
    with host.record() as record:
        store_run(record, deleted)
        store_run(record, replace(run(), id="website-4"))
    document = json.loads(host.gitopsd("blame", str(gone), "--json").out)
    assert (document["tracked"], document["last"]["run"], document["last"]["action"]) == (False, "website-3", "delete")


def test_blame_asks_the_audit_log_for_what_the_record_has_forgotten(host: Host) -> None:
    other = UnitId.parse("ConfigMap/web/other")
    with host.record() as record:
        record.rebase("website", [Baseline(other, "web", (0, 0), "d", "u", "1", "v1", at(60))])
        for result in ("applied", "refused"):
            event = AuditEvent(GIT, "update", "website", "website-0", GOOD, str(other), result=result)
            record.audit([event])
    last = json.loads(host.gitopsd("blame", str(other), "--json").out)["last"]
    assert (last["from"], last["run"], last["result"]) == ("audit", "website-0", "applied")


def test_blame_says_when_nothing_is_known_any_more(host: Host) -> None:
    other = UnitId.parse("ConfigMap/web/other")
    with host.record() as record:
        record.rebase("website", [Baseline(other, "web", (0, 0), "d", "u", "1", "v1", at(60))])
    answer = host.gitopsd("blame", str(other))
    assert answer.code == 0
    assert "not known: no change of it is on record here, which goes back to: runs since" in answer.out


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("Deployment.apps/web/apy", "did you mean Deployment.apps/web/api"),
        ("api", "'api' is no unit; write KIND[.GROUP]/[NAMESPACE/]NAME"),
        ("terraform/network", "no stack has a unit 'terraform/network'"),
    ],
)
def test_blame_of_something_that_is_no_unit(host: Host, typed: str, said: str) -> None:
    answer = host.gitopsd("blame", typed)
    assert (answer.code, answer.out) == (64, "")
    assert said in answer.err


# ---------------------------------------------------------------- audit


def test_audit_lists_what_was_asked_for(host: Host) -> None:
    document = json.loads(host.gitopsd("audit", "--json").out)
    assert document["schema"] == "gitopsd.io/audit/v1"
    assert [entry["seq"] for entry in document["entries"]] == [1, 2, 3, 4, 5, 6]
    only = json.loads(host.gitopsd("audit", "--unit", str(API), "--run", "website-2", "--json").out)["entries"]
    assert [entry["action"] for entry in only] == ["update"]
    assert [e["seq"] for e in json.loads(host.gitopsd("audit", "-n", "2", "--json").out)["entries"]] == [5, 6]
    assert json.loads(host.gitopsd("audit", "--since", "2h", "--json").out)["entries"] == document["entries"]
    assert json.loads(host.gitopsd("audit", "--since", "2999-01-01", "--json").out)["entries"] == []
    text = host.gitopsd("audit", "--stack", "website").out.splitlines()
    assert len(text) == 6
    assert text[-1].endswith("Ann verdict website-2: failed (Deployment.apps/web/api: ImagePullBackOff: no such image)")


def test_audit_export_is_the_log_itself(host: Host) -> None:
    exported = [json.loads(line) for line in host.gitopsd("audit", "export").out.splitlines()]
    assert exported == [json.loads(line) for line in (host.state / "audit.jsonl").read_text().splitlines()]


def test_audit_verify_says_what_it_could_not_ask(host: Host) -> None:
    answer = host.gitopsd("audit", "verify", "--offline")
    assert answer.code == 0
    assert "checked against state.db" in answer.out
    assert "not checked against the clusters: not asked" in answer.out
    assert "The audit log is whole" in answer.out
    assert json.loads(host.gitopsd("audit", "verify", "--offline", "--json").out)["ok"] is True


@pytest.mark.parametrize("damage", ["edited", "removed", "cut"])
def test_audit_verify_exits_1_on_a_finding(host: Host, damage: str) -> None:
    log = host.state / "audit.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    if damage == "edited":
        lines[1] = lines[1].replace(b"Ann", b"Eve")
    else:
        del lines[1 if damage == "removed" else -1]
    log.write_bytes(b"".join(lines))
    answer = host.gitopsd("audit", "verify", "--offline")
    assert answer.code == 1
    assert "wrong: audit.jsonl" in answer.out
    assert "cannot be trusted" in answer.out


@pytest.mark.parametrize("text", ["yesterday", "3 fortnights", "99999999999d", ""])
def test_audit_since_wants_a_time(host: Host, text: str) -> None:
    answer = host.gitopsd("audit", "--since", text)
    assert answer.code == 64
    assert "is no time; write 2h" in answer.err


# ---------------------------------------------------------------- version


def test_version_names_the_tools(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    for name, body in {"git": "echo git version 2.39.5", "kubectl": "exit 3"}.items():
        (bin_dir / name).write_text(f"#!/bin/sh\n{body}\n")
        (bin_dir / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_dir}:/nowhere")
    document = json.loads(host.gitopsd("version", "--json").out)
    assert document["tools"] == {
        "git": {"path": str(bin_dir / "git"), "version": "2.39.5"},
        "kubectl": {"path": str(bin_dir / "kubectl"), "version": None},
        "kustomize": None,
    }
    assert "kustomize not found on PATH" in host.gitopsd("version").out


# ---------------------------------------------------------------- audit verify against the clusters


class Parents:
    """In place of the clusters: one cluster whose parents answer with this."""

    def __init__(self, answer: Memory | Exception | None) -> None:
        self.answer, self.asked, self.closed = answer, list[str](), False
        self.namespaces = {"default": "gitopsd-system"}

    def __call__(self, _name: str) -> Parents:
        return self

    def load_memory(self, stack: str) -> Memory | None:
        self.asked.append(stack)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def close(self) -> None:
        self.closed = True


def verify_against(host: Host, monkeypatch: pytest.MonkeyPatch, answer: Memory | Exception | None) -> dict[str, Any]:
    parents = Parents(answer)
    monkeypatch.setitem(sys.modules, "gitopsd.assembly", SimpleNamespace(Clusters=lambda _configs: parents))
    found = host.gitopsd("audit", "verify", "--json")
    document: dict[str, Any] = json.loads(found.out)
    assert parents.asked == ["website"]
    assert parents.closed
    assert found.code == (0 if document["ok"] else 1)
    return document


def test_audit_verify_asks_the_parents_of_every_stack_in_the_log(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    last = json.loads((host.state / "audit.jsonl").read_text().splitlines()[-1])
    known = memory(audit=AuditHead(last["seq"], last["hash"]))
    document = verify_against(host, monkeypatch, known)
    assert document["ok"] is True
    assert document["checked"] == ["state.db", "the parent of stack website in cluster default"]
    assert document["unchecked"] == []


def test_audit_verify_sees_by_the_parent_that_log_and_record_were_cut_alike(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = verify_against(host, monkeypatch, memory(audit=AuditHead(9, "f" * 64)))
    assert document["ok"] is False
    assert "the parent of stack website in cluster default knows entry 9" in document["findings"][0]["message"]


def test_audit_verify_says_which_cluster_it_could_not_ask(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    document = verify_against(host, monkeypatch, EnvironmentFault("connection refused"))
    assert document["ok"] is True
    assert document["unchecked"] == ["cluster default: connection refused"]


def test_audit_verify_says_that_a_parent_is_missing_as_a_witness(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    document = verify_against(host, monkeypatch, None)
    assert document["ok"] is True
    assert document["unchecked"] == ["the parent of stack website: no cluster has it any more"]


def test_audit_verify_does_not_take_the_word_of_another_instance(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = memory(instance="stage", audit=AuditHead(9, "f" * 64))
    assert verify_against(host, monkeypatch, foreign)["ok"] is True
