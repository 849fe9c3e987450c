"""SEMANTICS 9: what may be deleted, what waits, what needs a person, and in which order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gitopsd.kinds.marks import PART_OF_LABEL
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, LiveObject
from gitopsd.model.memory import Baseline
from gitopsd.model.plan import Action, Change, Plan, Postponed
from gitopsd.model.spec import PruneLimit, StackSpec
from gitopsd.planning.prune import descending
from tests.unit.planning.samples import (
    STATE,
    applied,
    baseline,
    component,
    crd,
    desired,
    document,
    live_object,
    manifest,
    only,
    plan,
    stack,
)

KEPT = manifest("ConfigMap", "kept")
SPEC = stack()
WANTED = desired(SPEC, KEPT)


def known(*bodies: Any, spec: StackSpec = SPEC) -> dict[UnitId, LiveObject]:
    """Objects that an earlier commit brought."""
    units = desired(spec, *(document(body, spec.components[0].name) for body in bodies)).units
    return {unit.id: applied(unit, uid=f"uid-{unit.id.name}") for unit in units.values()}


def removing(
    live: dict[UnitId, LiveObject], *, seen: dict[UnitId, LiveObject | Absence] | None = None, **more: Any
) -> Plan:
    """The plan of a commit that asks for `kept` alone, where all of `live` was known before."""
    known_before: dict[UnitId, Baseline] = {unit: baseline(found) for unit, found in live.items()}
    keep = baseline(applied(only(WANTED)), only(WANTED))
    found: Plan = plan(
        more.pop("spec", SPEC),
        more.pop("wanted", WANTED),
        baselines={**known_before, keep.unit: keep},
        removals_live={**live, **(seen or {})},
        **more,
    )
    return found


def unit_of(live: dict[UnitId, LiveObject]) -> UnitId:
    (unit,) = live
    return unit


def test_what_left_git_is_deleted_with_the_uid_it_was_seen_with() -> None:
    live = known(manifest("ConfigMap", "old"))
    (change,) = removing(live).prune
    assert (change.unit, change.action, change.live_uid) == (unit_of(live), Action.DELETE, "uid-old")
    assert change.reason == "no longer in git"


def test_what_is_gone_is_forgotten_without_a_request() -> None:
    live = known(manifest("ConfigMap", "old"))
    found = removing(live, seen={unit_of(live): Absence.GONE})
    assert found.empty
    assert [left.unit for left in found.forget] == [unit_of(live)]


def test_an_unserved_kind_is_not_taken_for_absence() -> None:
    live = known(crd("Widget"), manifest("Widget.example.org", "w"))
    widget = next(u for u in live if u.kind == "Widget")
    found = removing(live, seen={widget: Absence.KIND_UNSERVED})
    assert widget in {p.unit for p in found.postponed}
    assert found.forget == ()


def test_objects_of_a_kind_whose_definition_is_gone_are_gone_with_it() -> None:
    live = known(crd("Widget"), manifest("Widget.example.org", "w"))
    definition, widget = sorted(live)[::-1] if sorted(live)[0].kind == "Widget" else sorted(live)
    found = removing(live, seen={widget: Absence.KIND_UNSERVED, definition: Absence.GONE})
    assert {left.unit for left in found.forget} == {widget, definition}


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"uid": "uid-another"}, "another uid"),
        ({"ownerReferences": [{"kind": "Operator", "name": "op"}]}, "Operator op owns it"),
        ({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"]}, "a/b"),
    ],
)
def test_an_object_that_is_not_simply_ours_waits_with_its_reason(metadata: dict[str, Any], words: str) -> None:
    live = known(manifest("ConfigMap", "old"))
    found = live[unit_of(live)]
    changed = LiveObject(found.id, {**found.body, "metadata": {**found.metadata, **metadata}})
    planned = removing(live, seen={found.id: changed})
    assert planned.empty
    assert [p.unit for p in planned.postponed] == [found.id]
    assert words in planned.postponed[0].reason


def test_a_copied_label_does_not_make_an_object_ours() -> None:
    live = known(manifest("ConfigMap", "old"))
    found = live[unit_of(live)]
    copied = live_object(found.id, manifest("ConfigMap", "old", labels={PART_OF_LABEL: found.labels[PART_OF_LABEL]}))
    planned = removing(live, seen={found.id: copied})
    assert planned.empty
    assert [left.unit for left in planned.forget] == [found.id]


def test_prune_disabled_counts_live_and_as_it_was_in_git() -> None:
    annotated = known(manifest("ConfigMap", "old", annotations={"gitopsd.io/prune": "disabled"}))
    unit = unit_of(annotated)
    plain = known(manifest("ConfigMap", "old"))
    for live, seen in ((annotated, plain[unit]), (plain, annotated[unit])):
        found = removing(live, seen={unit: seen})
        assert found.empty
        assert found.postponed == (Postponed(unit, "gitopsd.io/prune: disabled"),)


@pytest.mark.parametrize(
    "body",
    [
        manifest("Namespace", "old"),
        crd("Old"),
        manifest("PersistentVolume", "old"),
        manifest("PersistentVolumeClaim", "old"),
    ],
)
def test_what_takes_its_contents_along_waits_for_a_person(body: dict[str, Any]) -> None:
    live = known(body)
    found = removing(live)
    assert found.empty
    assert [p.unit for p in found.postponed] == [unit_of(live)]
    body = {**body, "metadata": {**body["metadata"], "annotations": {"gitopsd.io/prune": "first"}}}
    assert [c.unit for c in removing(known(body)).first] == [unit_of(live)]


def test_prune_first_deletes_before_the_waves() -> None:
    found = removing(known(manifest("Service", "old", annotations={"gitopsd.io/prune": "first"})))
    assert [str(c.unit) for c in found.first] == ["Service/web/old"]
    assert found.prune == ()


def test_a_unit_that_another_stack_asks_for_is_released_not_deleted() -> None:
    live = known(manifest("ConfigMap", "old"))
    (change,) = removing(live, claims={unit_of(live): "shop"}).changes()
    assert change.action is Action.RELEASE
    assert "shop" in change.reason


def test_a_deletion_that_waits_keeps_the_time_since_when() -> None:
    live = known(manifest("Namespace", "old"))
    state = replace(STATE, postponed=(Postponed(unit_of(live), "as before", "2026-01-01T00:00:00Z"),))
    assert removing(live, state=state).postponed[0].since == "2026-01-01T00:00:00Z"


# ---------------------------------------------------------------- approvals


@pytest.mark.parametrize(
    ("count", "limit", "asked"),
    [
        (5, PruneLimit(), False),
        (6, PruneLimit(), True),
        (6, PruneLimit(count=6, percent=None), False),
        (7, PruneLimit(count=6, percent=None), True),
        (6, PruneLimit(percent=90.0), False),
    ],
)
def test_more_deletions_than_the_stack_allows_need_a_person(count: int, limit: PruneLimit, asked: bool) -> None:
    found = removing(known(*(manifest("ConfigMap", f"old-{n}") for n in range(count))), spec=replace(SPEC, prune=limit))
    assert len(found.prune) == count  # shown all the same
    assert bool(found.approvals) is asked
    if asked:
        assert found.approvals[0].units == tuple(sorted(c.unit for c in found.prune))


def test_what_waits_anyway_does_not_count_against_the_limit() -> None:
    found = removing(known(*(manifest("Namespace", f"old-{n}") for n in range(9))))
    assert found.approvals == ()


def test_a_component_that_renders_nothing_any_more_needs_a_person() -> None:
    spec = stack(component("app"), component("more"))
    live = known(manifest("ConfigMap", "old"), spec=spec)
    wanted = desired(spec, document(KEPT, "more"))
    (approval,) = removing(live, spec=spec, wanted=wanted).approvals
    assert "component app renders nothing" in approval.summary
    assert approval.units == (unit_of(live),)
    removed = stack(component("more"))
    assert removing(live, spec=removed, wanted=desired(removed, document(KEPT, "more"))).approvals == ()


def test_an_approval_is_bound_to_the_objects_and_to_nothing_else() -> None:
    spec = replace(SPEC, prune=PruneLimit(count=0, percent=None))
    live = known(*(manifest("ConfigMap", f"old-{n}") for n in range(6)))
    (first,) = removing(live, spec=spec).approvals
    newer = desired(SPEC, KEPT, manifest("ConfigMap", "added"))
    (again,) = removing(dict(reversed(live.items())), spec=spec, wanted=newer).approvals
    assert again.digest == first.digest
    more = {**live, **known(manifest("ConfigMap", "old-6"))}
    (other,) = removing(more, spec=spec).approvals
    assert other.digest != first.digest


# ---------------------------------------------------------------- order


def order(*bodies: tuple[dict[str, Any], str, int], spec: StackSpec) -> list[str]:
    made = desired(
        spec,
        *(
            document({**b, "metadata": {**b["metadata"], "annotations": {"gitopsd.io/wave": str(w)}}}, c)
            for b, c, w in bodies
        ),
    )
    changes = [Change(u.id, Action.DELETE, u.component, u.order) for u in made.units.values()]
    found = descending(changes, spec)
    assert found == descending(reversed(changes), spec)
    return [c.unit.name for c in found]


def test_deletions_go_backwards_through_waves_dependencies_and_kinds() -> None:
    spec = stack(component("base", wave=-1), component("app"), component("front", depends_on=("app",)))
    assert order(
        (manifest("Namespace", "space"), "base", 0),
        (manifest("ConfigMap", "conf"), "app", 0),
        (manifest("Deployment", "api"), "app", 0),
        (manifest("ConfigMap", "front-conf"), "front", 0),
        (manifest("ConfigMap", "late"), "front", 5),
        spec=spec,
    ) == ["late", "front-conf", "api", "conf", "space"]


def test_webhook_configurations_go_first_and_namespaces_wait_for_api_services() -> None:
    spec = stack(component("early"), component("late", wave=10))
    assert order(
        (manifest("ValidatingWebhookConfiguration", "hook"), "early", 0),
        (manifest("APIService", "v1.metrics"), "early", 0),
        (manifest("Deployment", "api", "kube-system"), "late", 0),
        (manifest("Namespace", "space"), "late", 0),
        spec=spec,
    ) == ["hook", "api", "v1.metrics", "space"]
