"""What a person sees of drift: fields, old and new and masked, who and when; and never so much that it costs memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gitopsd.model.ids import UnitId
from gitopsd.model.live import Accepted, LiveObject, Rejection, RejectionKind
from gitopsd.model.modules import Edit, FieldChange, ResourceAction, ResourceChange
from gitopsd.model.plan import Action, Change, Layer, Plan, Wave
from gitopsd.model.status import Addition, UnitDrift, Writer
from gitopsd.planning.findings import Finding
from gitopsd.stack.differences import FIELDS, LONGEST, awaited, bounded, drift_of, foreign
from tests.unit.kinds.samples import entry
from tests.unit.planning import samples

API = UnitId.parse("Deployment.apps/web/api")
NETWORK = UnitId.terraform("network")
REPLICAS = FieldChange("spec.replicas", Edit.REPLACE, 5, 3)


def plan(*changes: Change) -> Plan:
    return Plan("website", "c" * 40, "digest", waves=(Wave((0, 0), (Layer(changes),)),))


def change(unit: UnitId = API, **more: Any) -> Change:
    return replace(Change(unit, Action.UPDATE, "app", (0, 0), live_uid="u"), **more)


def drift(given: Change) -> UnitDrift:
    return drift_of(plan(given))[given.unit]


def resource(action: ResourceAction, *fields: FieldChange) -> Change:
    return change(NETWORK, resources=(ResourceChange("aws_vpc.main", action, fields),))


TAG = FieldChange("tags.env", Edit.REPLACE, "by hand", "prod")
SECRET = FieldChange("data.password", Edit.REPLACE, masked=True)

ROWS: dict[str, tuple[Change, str, tuple[FieldChange, ...]]] = {
    "a field that somebody changed": (change(diff=(REPLICAS,)), "spec.replicas", (REPLICAS,)),
    "an object that is gone": (
        change(action=Action.CREATE, live_uid="", diff=(FieldChange("spec", Edit.ADD, after={"replicas": 3}),)),
        "it is gone",
        (),
    ),
    "equal values that somebody else owns": (change(overrides=("edit",)), "its fields are owned by others", ()),
    "a value that must not be seen": (change(diff=(SECRET,)), "data.password", (SECRET,)),
    "an attribute of a resource": (
        resource(ResourceAction.UPDATE, TAG),
        "aws_vpc.main.tags.env",
        (replace(TAG, path="aws_vpc.main.tags.env"),),
    ),
    "what only follows from it is not told": (
        resource(ResourceAction.UPDATE, TAG, FieldChange("id", Edit.REPLACE, "a", unknown=True)),
        "aws_vpc.main.tags.env",
        (replace(TAG, path="aws_vpc.main.tags.env"),),
    ),
    "a resource that is gone": (
        resource(ResourceAction.CREATE, FieldChange("cidr", Edit.ADD, after="10.0.0.0/8")),
        "aws_vpc.main is gone",
        (FieldChange("aws_vpc.main", Edit.ADD, unknown=True),),
    ),
    "a resource too many": (
        resource(ResourceAction.DESTROY),
        "aws_vpc.main",
        (FieldChange("aws_vpc.main", Edit.REMOVE, unknown=True),),
    ),
    "an output alone": (
        change(NETWORK, diff=(FieldChange("address", Edit.REPLACE, "a", "b"),)),
        "output address",
        (FieldChange("output.address", Edit.REPLACE, "a", "b"),),
    ),
    "a module that waits for another": (
        change(NETWORK, deferred="known after apply of terraform/base"),
        "known after apply of terraform/base",
        (),
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_drift_in_words_and_fields(name: str) -> None:
    given, detail, fields = ROWS[name]
    found = drift(given)
    assert (found.detail, found.fields, found.more) == (detail, fields, 0)


def test_what_waits_for_a_person_says_so() -> None:
    module = ROWS["an attribute of a resource"][0]
    found = awaited(plan(module, change(diff=(REPLICAS,))), {NETWORK})
    assert [(unit, d.detail) for unit, d in found.items()] == [
        (NETWORK, "aws_vpc.main.tags.env; what mends it waits for approval")
    ]


def test_many_fields_are_cut_and_counted() -> None:
    fields = tuple(FieldChange(f"data.k{number:03}", Edit.REPLACE, "a", "b") for number in range(FIELDS + 20))
    found = drift(change(diff=fields))
    assert (found.fields, found.more) == (fields[:FIELDS], 20)
    assert found.detail == f"data.k000, data.k001, data.k002, data.k003 and {FIELDS + 16} more"


@pytest.mark.parametrize("value", ["x" * 5000, ["x" * 100] * 50, {"a": {"b": "x" * 5000}}])
def test_a_long_value_is_cut_whatever_it_is(value: Any) -> None:
    (found,) = drift(change(diff=(FieldChange("data.big", Edit.REMOVE, value),))).fields
    assert isinstance(found.before, str)
    assert found.before.endswith(" characters)")
    assert len(found.before) < LONGEST + 30


@pytest.mark.parametrize("value", [None, 0, False, 1.5, "", "x" * LONGEST, [], {"a": [1, "b"]}])
def test_a_short_value_stays_what_it_is(value: Any) -> None:
    (found,) = drift(change(diff=(FieldChange("spec.a", Edit.REPLACE, value, value),))).fields
    assert found.before is value


def test_of_too_many_units_only_the_number_of_fields_is_kept() -> None:
    units = [API._replace(name=f"api-{number}") for number in range(4)]
    seen = [UnitDrift(fields=(REPLICAS,), more=2), UnitDrift(detail="it is gone"), *[UnitDrift(fields=(REPLICAS,))] * 2]
    found = bounded(zip(units, seen, strict=True), 2)
    assert [(len(d.fields), d.more) for d in found.values()] == [(1, 2), (0, 0), (1, 0), (0, 1)]


# ---------------------------------------------------------------- who

TIME = "2026-11-23T05:00:00Z"


WANTED = samples.desired(
    samples.stack(), *(samples.manifest("ConfigMap", name, data={"a": "1"}) for name in ("settings", "other", "gone"))
)
SETTINGS, OTHER, GONE = (UnitId.parse(f"ConfigMap/web/{name}") for name in ("settings", "other", "gone"))


def config(unit: UnitId, *managers: dict[str, Any]) -> LiveObject:
    manifest = WANTED.units[unit].manifest
    return LiveObject(unit, {**manifest, "metadata": {**manifest["metadata"], "managedFields": list(managers)}})


def test_who_and_when_comes_from_the_live_object_and_additions_from_all_that_were_looked_at() -> None:
    ours, nothing = entry("gitopsd", {"f:data": {"f:a": {}}}), entry("gitopsd", {})
    taken = entry("kubectl-edit", {"f:data": {"f:a": {}, "f:b": {}}}, time=TIME)
    answer = Accepted(config(SETTINGS, ours, taken), created=False)
    findings = {
        SETTINGS: Finding(SETTINGS, config(SETTINGS, nothing, taken), None, answer),
        OTHER: Finding(OTHER, config(OTHER, ours), None, Accepted(config(OTHER, ours), created=False)),
        GONE: Finding(GONE, None, None, Rejection(RejectionKind.INVALID, "")),
    }
    made = plan(change(SETTINGS, overrides=("kubectl-edit",), diff=(FieldChange("data.a", Edit.REPLACE, "2", "1"),)))
    found = foreign(made, findings, WANTED)
    assert found.managers == {SETTINGS: (Writer("kubectl-edit", TIME),)}
    added = (Addition("kubectl-edit", ("data.b",), at=TIME),)
    assert found.additions == {SETTINGS: added, OTHER: (), GONE: ()}, "that there is nothing is worth knowing, too"
    (shown,) = drift_of(made, found.managers).values()
    assert shown.managers == (Writer("kubectl-edit", TIME),)
    (untimed,) = drift_of(made).values()
    assert untimed.managers == (Writer("kubectl-edit"),)
