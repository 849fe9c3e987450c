"""SEMANTICS 6: what is adopted from the sealed-secrets controller no longer goes when its SealedSecret does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from gitopsd.execution.actuate import actuate, former_values
from gitopsd.execution.freeing import TRIES
from gitopsd.kinds.marks import is_ours
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import LiveObject, Rejection, RejectionKind
from gitopsd.model.memory import Dirty
from gitopsd.model.plan import Action
from gitopsd.model.run import Result, RunKind
from gitopsd.record.merge import touched
from tests.unit.execution.fakes import FakeCluster, Run, change, removal, run_of
from tests.unit.planning.samples import APPLYSET, STACK, applied, component, desired, live_object, manifest, only, stack

SPEC = stack(component(adopt=("sealed-secrets",)))
WANTED = desired(SPEC, manifest("Secret", "db", data={"password": "bmV3"}))
UNIT = only(WANTED)
SEALED = {"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "name": "db", "uid": "ss-1", "controller": True}
BYSTANDER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": "cm-1"}
ADOPT = change(WANTED, UNIT.id, Action.ADOPT, live_uid="uid-1")


def owned(*references: Mapping[str, Any], ours: bool = False) -> LiveObject:
    live = applied(UNIT) if ours else live_object(UNIT.id, UNIT.manifest, manager="controller")
    return LiveObject(live.id, {**live.body, "metadata": {**live.metadata, "ownerReferences": list(references)}})


@pytest.fixture
def run() -> Iterator[Run]:
    with run_of(SPEC, WANTED) as made:
        yield made


def have(run: Run, live: LiveObject) -> None:
    run.cluster.objects[live.id] = live


def test_the_reference_goes_after_both_uids_were_tested_and_other_owners_stay(run: Run) -> None:
    have(run, owned(BYSTANDER, SEALED))
    effect = actuate(run.session, ADOPT)
    assert run.cluster.patches == [
        [
            {"op": "test", "path": "/metadata/uid", "value": "uid-1"},
            {"op": "test", "path": "/metadata/ownerReferences/1/uid", "value": "ss-1"},
            {"op": "remove", "path": "/metadata/ownerReferences/1"},
        ]
    ]
    live = run.cluster.objects[UNIT.id]
    assert live.owner_references == (BYSTANDER,)
    assert effect.baseline is not None
    assert effect.baseline.resource_version == live.resource_version, "the baseline is what it is after both writes"
    assert (effect.outcome.result, effect.outcome.detail) == (Result.APPLIED, "adopted from SealedSecret web/db")


def test_the_audit_names_the_owner_it_was_taken_from(run: Run) -> None:
    have(run, owned(SEALED))
    run.session.conclude([ADOPT], [actuate(run.session, ADOPT)])
    (event,) = run.journal.events
    assert (event.action, event.before, event.unit) == ("adopt", "ss-1", "Secret/web/db")
    assert "adopted from SealedSecret web/db" in event.detail


def test_without_adopt_and_without_an_owner_nothing_is_patched(run: Run) -> None:
    have(run, owned())
    assert actuate(run.session, ADOPT).freed == ""
    assert run.cluster.patches == []
    plain = stack(component())
    wanted = desired(plain, UNIT.manifest)
    with run_of(plain, wanted) as other:
        have(other, owned(SEALED))
        actuate(other.session, change(wanted, UNIT.id, Action.UPDATE, live_uid="uid-1"))
        assert other.cluster.patches == []


def test_a_controller_that_writes_it_once_more_in_between_does_not_get_it_back(run: Run) -> None:
    """Its write takes our marks off and gives it the reference of a SealedSecret that was made anew."""
    have(run, owned(SEALED))
    writes = [owned({**SEALED, "uid": "ss-2"})]

    def rewrite(_unit: UnitId) -> None:
        if writes:
            have(run, writes.pop())

    run.cluster.on_patch = rewrite
    effect = actuate(run.session, ADOPT)
    live = run.cluster.objects[UNIT.id]
    assert effect.outcome.result is Result.APPLIED
    assert live.owner_references == ()
    assert is_ours(live, STACK, APPLYSET)


def test_marks_that_the_controller_took_off_are_put_back(run: Run) -> None:
    have(run, owned(SEALED))
    writes = [owned(SEALED)]

    def rewrite(_unit: UnitId) -> None:
        if writes:
            have(run, writes.pop())

    run.cluster.on_patch = rewrite
    actuate(run.session, ADOPT)
    assert is_ours(run.cluster.objects[UNIT.id], STACK, APPLYSET)
    assert run.cluster.verbs() == ["apply", "patch", "apply"]


def test_a_race_that_does_not_end_is_the_environments(run: Run) -> None:
    have(run, owned(SEALED))
    numbers = iter(range(100))
    run.cluster.on_patch = lambda _: have(run, owned({**SEALED, "uid": f"ss-{next(numbers)}-new"}))
    with pytest.raises(EnvironmentFault, match="faster than it can be taken over"):
        actuate(run.session, ADOPT)
    assert len(run.cluster.patches) == TRIES


def test_one_that_is_gone_in_between_is_tried_anew(run: Run) -> None:
    have(run, owned(SEALED))
    run.cluster.on_patch = lambda _: run.cluster.objects.clear()
    with pytest.raises(EnvironmentFault, match="is gone since it was applied"):
        actuate(run.session, ADOPT)
    run.cluster.on_patch = lambda _: None
    assert actuate(run.session, ADOPT).outcome.created


def test_an_owner_that_may_not_be_taken_off_fails_it_and_a_rollback_gives_it_back() -> None:
    class Guarded(FakeCluster):
        def patch(self, unit: UnitId, operations: Any) -> Rejection:
            return Rejection(RejectionKind.ADMISSION, "owners stay", (), 403)

    with run_of(SPEC, WANTED, Guarded({UNIT.id: owned(SEALED)})) as run:
        effect = actuate(run.session, ADOPT)
        assert effect.outcome.result is Result.REFUSED
        assert effect.dirty is not None
        assert (effect.dirty.action, effect.dirty.created) == (Action.ADOPT, False)


def test_a_rollback_says_whose_it_no_longer_is(run: Run) -> None:
    have(run, owned(SEALED))
    mark = former_values(run.session, ADOPT)
    assert mark is not None
    assert (mark.owner, mark.before) == ("SealedSecret web/db", None)
    for live, told in ((owned(ours=True), True), (owned(SEALED, ours=True), False)):
        with run_of(SPEC, WANTED, kind=RunKind.ROLLBACK, dirty=[mark]) as back:
            have(back, live)
            effect = actuate(back.session, removal(UNIT.id, action=Action.RELEASE))
            assert ("SealedSecret web/db does not own it any more" in effect.outcome.detail) is told
            assert back.cluster.objects[UNIT.id].owner_references == live.owner_references
            assert not is_ours(back.cluster.objects[UNIT.id], STACK, APPLYSET)


def test_a_later_touch_does_not_forget_the_former_owner() -> None:
    first = Dirty(UNIT.id, "web-1", Action.ADOPT, (0, 0), "app", owner="SealedSecret web/db")
    assert touched(first, replace(first, run="web-2", owner="")).owner == "SealedSecret web/db"
