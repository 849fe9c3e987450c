"""What a rebuilt host believes of a run that was under way: everything may have been touched, nothing was gated."""

from __future__ import annotations

from typing import Any

import pytest

from gitopsd.model.ids import UnitId
from gitopsd.model.live import LiveObject
from gitopsd.model.memory import Attempt, Memory, Quarantined
from gitopsd.model.plan import Action
from gitopsd.model.run import RunKind
from gitopsd.model.units import KubernetesUnit, Origin
from gitopsd.stack import remember
from gitopsd.stack.rebuild import ungated


def unit(name: str) -> UnitId:
    return UnitId("default", "", "ConfigMap", "web", name)


def live(name: str, born: str) -> LiveObject:
    metadata: dict[str, Any] = {"name": name, "namespace": "web", "uid": f"uid-{name}", "creationTimestamp": born}
    return LiveObject(unit(name), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


def attempt(run: str, at: str, kind: RunKind = RunKind.DEPLOY) -> Attempt:
    return Attempt(run, kind, "c" * 40, f"digest-{run}", at)


def wanted(name: str) -> KubernetesUnit:
    return KubernetesUnit(unit(name), "base", (5, 1), {}, Origin("base/one.yaml", 1), "digest")


def test_all_that_is_there_and_all_that_is_missing_is_dirty() -> None:
    going_on = attempt("s-2", "2026-11-22T12:00:05.700Z")
    found = [live("kept", "2026-11-22T11:00:00Z"), live("made", "2026-11-22T12:00:06Z")]
    marks = {m.unit.name: m for m in ungated(going_on, found, {unit(n): wanted(n) for n in ("kept", "deleted")}, ())}
    assert {name: (m.action, m.created, m.uid, m.order, m.component) for name, m in marks.items()} == {
        "kept": (Action.UPDATE, False, "uid-kept", (5, 1), "base"),
        "made": (Action.UPDATE, True, "uid-made", (0, 0), ""),
        "deleted": (Action.DELETE, False, "", (5, 1), "base"),
    }


@pytest.mark.parametrize(
    ("born", "created"),
    [
        ("2026-11-22T12:00:04Z", False),
        ("2026-11-22T12:00:05Z", True),  # the API server drops the part of a second that the run began in
        ("2026-11-22T12:00:06Z", True),
    ],
)
def test_what_was_born_since_the_run_began_was_made_by_it(born: str, created: bool) -> None:
    (mark,) = ungated(attempt("s-2", "2026-11-22T12:00:05.700Z"), [live("one", born)], {}, ())
    assert mark.created is created


def test_runs_that_go_on_after_each_other_began_with_the_first() -> None:
    memory = remember.attempting(Memory("s", "host", "main"), attempt("s-2", "2026-11-22T12:00:00.000Z"))
    memory = remember.attempting(memory, attempt("s-3", "2026-11-22T12:05:00.000Z"))  # supersedes it
    bad = Quarantined("digest-s-3", "c" * 40, "s-3", "broken", "2026-11-22T12:06:00.000Z")
    memory = remember.failed(memory, bad, attempt("s-3", "2026-11-22T12:06:00.000Z", RunKind.ROLLBACK))
    memory = remember.attempting(memory, attempt("s-4", "2026-11-22T12:06:01.000Z", RunKind.ROLLBACK))
    assert memory.attempting is not None
    assert (memory.attempting.run, memory.attempting.since) == ("s-4", "2026-11-22T12:00:00.000Z")
    (mark,) = ungated(memory.attempting, [live("made", "2026-11-22T12:00:30Z")], {}, ())
    assert mark.created

    memory = remember.attempting(remember.settled(memory), attempt("s-5", "2026-11-22T12:10:00.000Z"))
    assert memory.attempting is not None
    assert memory.attempting.since == "2026-11-22T12:10:00.000Z"
