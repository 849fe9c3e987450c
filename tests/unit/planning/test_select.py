"""Which units a run looks at: changed, drifted, unknown; never a Job that has run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gitopsd.kinds.jobs import job_digest
from gitopsd.model.ids import UnitId
from gitopsd.model.memory import Dirty, JobDone
from gitopsd.model.plan import Action
from gitopsd.planning.select import select
from tests.unit.planning.samples import STATE, applied, baseline, component, desired, manifest, only, stack

WANTED = desired(stack(), manifest("ConfigMap", data={"a": "1"}))
UNIT = only(WANTED)
KNOWN = baseline(applied(UNIT), UNIT)


@pytest.mark.parametrize(
    ("more", "drifted", "reason"),
    [
        ({}, False, ""),
        ({"digest": "former"}, False, "changed"),
        ({"order": (-1, 0)}, False, "changed"),
        ({"component": "former"}, False, "changed"),
        ({"certain": False}, False, "unknown outcome"),
        ({"digest": "", "certain": False}, False, "untracked"),
        ({}, True, "drifted"),
    ],
)
def test_a_deploy_looks_at_what_differs_from_its_baseline(more: dict[str, Any], drifted: bool, reason: str) -> None:
    known = {UNIT.id: replace(KNOWN, **more)}
    found = select(WANTED, known, STATE, drifted={UNIT.id} if drifted else ())
    assert [c.reason for c in found.apply] == ([reason] if reason else [])
    assert found.remove == ()


def test_a_unit_without_baseline_is_new_and_one_that_is_not_asked_for_is_removed() -> None:
    other = replace(KNOWN, unit=UNIT.id._replace(name="gone"))
    found = select(WANTED, {other.unit: other}, STATE)
    assert [(c.unit.id, c.reason) for c in found.apply] == [(UNIT.id, "new")]
    assert found.remove == (other,)


def test_a_scope_limits_the_run_to_its_units_and_removes_nothing() -> None:
    wanted = desired(stack(), manifest("ConfigMap", "a"), manifest("ConfigMap", "b"))
    first, second = wanted.units.values()
    gone = replace(KNOWN, unit=UNIT.id._replace(name="gone"))
    found = select(wanted, {gone.unit: gone}, STATE, scope={second.id, gone.unit}, drifted={first.id, second.id})
    assert [(c.unit.id, c.reason) for c in found.apply] == [(second.id, "drifted")]
    assert found.remove == ()


@pytest.mark.parametrize("scope", [None, {UNIT.id}], ids=["deploy", "rollback"])
def test_a_dirty_unit_is_looked_at_even_if_its_baseline_says_that_it_is_right(scope: set[UnitId] | None) -> None:
    state = replace(STATE, dirty=(Dirty(UNIT.id, "run", Action.UPDATE, (0, 0), "app"),))
    assert [c.reason for c in select(WANTED, {UNIT.id: KNOWN}, state, scope=scope).apply] == ["dirty"]


@pytest.mark.parametrize("scoped", [False, True])
def test_a_job_that_finished_is_not_looked_at_until_its_spec_changes(scoped: bool) -> None:
    def job(image: str, **labels: str) -> Any:
        containers = [{"name": "c", "image": image}]
        body = manifest("Job", spec={"template": {"spec": {"containers": containers}}}, labels=labels)
        return desired(stack(component()), body)

    done = only(job("migrate:1"))
    memory = replace(STATE.memory, jobs=(JobDone(done.id, job_digest(done.manifest), "2026-01-01T00:00:00Z"),))
    state = replace(STATE, memory=memory)
    scope = {done.id} if scoped else None
    for same in (job("migrate:1"), job("migrate:1", team="a")):
        assert select(same, {}, state, scope=scope, drifted={done.id}).apply == ()
    assert len(select(job("migrate:2"), {}, state, scope=scope).apply) == 1
