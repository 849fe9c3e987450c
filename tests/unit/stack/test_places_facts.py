"""Where a person finds a problem, and since when something is as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from gitopsd.model.errors import CommitError, Problem
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Assessment, Health
from gitopsd.model.memory import Baseline
from gitopsd.model.modules import Edit, FieldChange
from gitopsd.model.plan import Postponed
from gitopsd.model.ports import Record
from gitopsd.model.run import Verdict
from gitopsd.model.status import Addition, StackFacts, UnitDrift
from gitopsd.record import SqliteRecord, open_record
from gitopsd.stack.facts import DETAILED, Facts
from gitopsd.stack.ledger import Ledger
from gitopsd.stack.places import placed
from tests.support.trees import MemoryTree
from tests.unit.record.samples import FakeClock, run

FILE = """kind: ConfigMap
metadata: {name: a}
---
kind: Deployment
metadata:
  name: api
spec:
  replicas: x
  template:
    spec:
      containers:
        - name: app
          imag: typo
"""
TREE = MemoryTree({"k8s/all.yaml": FILE})
ROWS = {
    "a field of the second document": (Problem("m", "k8s/all.yaml", 4, "spec.replicas"), 8),
    "a list element by its place": (Problem("m", "k8s/all.yaml", 4, "spec.template.spec.containers[0].imag"), 13),
    "the first of several fields": (Problem("m", "k8s/all.yaml", 4, "spec.replicas, spec.template"), 8),
    "a field that is not written stays at what is nearest": (Problem("m", "k8s/all.yaml", 4, "spec.selector"), 7),
    "no field": (Problem("m", "k8s/all.yaml", 4), 4),
    "no line": (Problem("m", "k8s/all.yaml", None, "spec.replicas"), None),
    "a file that the commit has not": (Problem("m", "gone.yaml", 4, "spec.replicas"), 4),
    "no file": (Problem("m", unit="Deployment.apps/web/api"), None),
}


@pytest.mark.parametrize("row", ROWS)
def test_a_problem_is_placed_at_the_line_of_its_field(row: str) -> None:
    problem, line = ROWS[row]
    (found,) = placed(CommitError(problem), TREE).problems
    assert found.line == line
    assert (found.message, found.file, found.field, found.unit) == (
        problem.message,
        problem.file,
        problem.field,
        problem.unit,
    )


def test_only_files_with_something_to_place_are_read() -> None:
    tree = MemoryTree({"a.yaml": FILE, "b.yaml": FILE, "c.yaml": FILE})
    placed(CommitError(Problem("m", "a.yaml", 4, "spec.replicas"), Problem("m", "b.yaml", 4)), tree)
    assert tree.reads == ["a.yaml"]


# ---------------------------------------------------------------- facts

API, OLD = UnitId.parse("Deployment.apps/web/api"), UnitId.parse("ConfigMap/web/old")


@pytest.fixture
def record(tmp_path: Path) -> Iterator[SqliteRecord]:
    with open_record(tmp_path / "state", FakeClock()) as made:
        yield made


@pytest.fixture
def facts(record: SqliteRecord) -> Facts:
    ledger = Ledger("website", "main", "test", cast(Record, record), FakeClock())
    base = Baseline(API, "app", (0, 0), "d", "u", "1", "apps/v1", "t")
    record.adopt_memory(ledger.memory)
    record.rebase("website", [base])
    return Facts(ledger, list[StackFacts]().append)


def test_a_unit_keeps_its_time_as_long_as_health_and_reason_stay(facts: Facts) -> None:
    facts.see({API: Assessment(Health.PROGRESSING, "Rollout", "1 of 2")})
    first = facts.snapshot().health[API]
    facts.see({API: Assessment(Health.PROGRESSING, "Rollout", "2 of 2")})
    same = facts.snapshot().health[API]
    assert (same.since, same.assessment.message) == (first.since, "2 of 2")
    facts.see({API: Assessment(Health.PROGRESSING, "Other")})
    assert facts.snapshot().health[API].since > first.since


def test_drift_keeps_its_time_until_it_is_over_and_only_of_what_is_tracked(facts: Facts) -> None:
    facts.drift({API: "spec.replicas", OLD: "gone"})
    first = facts.snapshot().drifted
    assert set(first) == {API}
    facts.drift({API: "spec.replicas, spec.paused"})
    again = facts.snapshot().drifted[API]
    assert (again.since, again.detail) == (first[API].since, "spec.replicas, spec.paused")
    facts.drift({})
    assert facts.snapshot().drifted == {}


DRIFT = UnitDrift(detail="spec.replicas", fields=(FieldChange("spec.replicas", Edit.REPLACE, 5, 3),))


def test_what_is_fought_over_is_told_with_the_fields_of_its_last_repair(facts: Facts) -> None:
    facts.drift({API: DRIFT})
    facts.drift({})
    facts.contest({API: ""})
    waiting = facts.snapshot().drifted[API]
    assert (waiting.detail, waiting.fields) == ("written again since it was mended: spec.replicas", DRIFT.fields)
    facts.contest({API: "contested: kubectl-edit has written it again"})
    fought = facts.snapshot().drifted[API]
    assert fought == replace(waiting, contested="contested: kubectl-edit has written it again")
    facts.drift({API: DRIFT})
    assert facts.snapshot().drifted[API].contested == "", "it was looked at again"


def test_a_fight_over_what_nobody_remembers_is_told_all_the_same(facts: Facts) -> None:
    facts.contest({API: "contested: x"})
    found = facts.snapshot().drifted[API]
    assert (found.detail, found.contested, found.since != "") == (
        "written again since it was mended",
        "contested: x",
        True,
    )


def test_additions_are_replaced_unit_by_unit_and_only_of_what_is_tracked(facts: Facts) -> None:
    added = (Addition("injector", ("spec.template.spec.containers[proxy]",)),)
    facts.add({API: added, OLD: added})
    facts.add({})
    assert facts.snapshot().additions == {API: added}
    facts.add({API: ()})
    assert facts.snapshot().additions == {}


def test_thousands_of_drifted_units_cost_no_more_than_their_names(facts: Facts) -> None:
    units = [API._replace(name=f"api-{number}") for number in range(DETAILED + 50)]
    facts.ledger.record.rebase("website", [Baseline(u, "app", (0, 0), "d", "u", "1", "v1", "t") for u in units])
    facts.drift(dict.fromkeys(units, DRIFT))
    facts.add(dict.fromkeys(units, (Addition("injector", ("spec.a",)),)))
    known = facts.snapshot()
    assert len(known.drifted) == len(units)
    assert sum(len(d.fields) for d in known.drifted.values()) == DETAILED
    assert all(len(d.fields) + d.more == 1 for d in known.drifted.values())
    assert (len(known.additions), known.more_additions) == (DETAILED, 50)
    facts.add(dict.fromkeys(units, ()))
    assert (facts.snapshot().additions, facts.snapshot().more_additions) == ({}, 0)


def test_a_glimpse_tells_of_additions_but_not_of_what_has_drifted(facts: Facts) -> None:
    added = (Addition("injector", ("spec.a",)),)
    facts.glimpse(API, added)
    assert facts.snapshot().additions == {API: added}
    facts.drift({API: DRIFT})
    facts.glimpse(API, (Addition("kubectl-edit", ("spec.replicas",)),))
    assert facts.snapshot().additions == {API: added}


def test_the_last_run_is_the_newest_that_ended(facts: Facts, record: SqliteRecord) -> None:
    record.begin(run("r1", verdict=Verdict.GOOD))
    record.begin(run("r2"))
    last = facts.snapshot().last
    assert last is not None
    assert last.id == "r1"


def test_a_deletion_that_waits_for_finalizers_is_an_orphan_and_others_are_not(
    facts: Facts, record: SqliteRecord
) -> None:
    stuck = Postponed(OLD, "is being deleted; waits for its finalizers: x/y", "t")
    record.set_postponed("website", [stuck, Postponed(API, "gitopsd.io/prune: disabled", "t")])
    assert [o.unit for o in facts.snapshot().orphans] == [OLD]
