"""What holds for every plan, whatever the stack and the world look like."""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
from hypothesis import assume, given
from hypothesis import strategies as st

from gitopsd.kinds.marks import is_ours
from gitopsd.model.codec import to_plain
from gitopsd.model.errors import GitopsdError
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, LiveObject, RejectionKind
from gitopsd.model.memory import Baseline, Dirty
from gitopsd.model.plan import Action, Plan
from gitopsd.model.units import Manifest
from gitopsd.planning.assemble import assemble_rollback
from tests.unit.planning.samples import (
    APPLYSET,
    APPLYSETS,
    STATE,
    applied,
    baseline,
    component,
    desired,
    document,
    finding,
    live_object,
    manifest,
    only,
    plan,
    refusal,
    stack,
)

SPEC = stack(component("a"), component("b", wave=5, depends_on=("a",)))
KINDS = ("ConfigMap", "Secret", "Service", "Deployment", "Namespace", "PersistentVolumeClaim", "Job")

names = st.sampled_from(["one", "two", "three"])
texts = st.text("abcdef", min_size=1, max_size=4)


@st.composite
def manifests(draw: st.DrawFn) -> list[tuple[str, Manifest]]:
    chosen = draw(st.sets(st.tuples(st.sampled_from("ab"), st.sampled_from(KINDS), names), max_size=12))
    unique = {(kind, name): owner for owner, kind, name in sorted(chosen)}
    return [
        (owner, manifest(kind, f"{name}-{kind.lower()}", "space", labels={"l": draw(texts)}, spec={"s": draw(texts)}))
        for (kind, name), owner in unique.items()
    ]


def world(made: list[tuple[str, Manifest]]) -> Any:
    return desired(SPEC, *(document(body, owner, line=n) for n, (owner, body) in enumerate(made)))


@given(manifests(), st.booleans())
def test_the_plan_of_equal_states_is_empty(made: list[tuple[str, Manifest]], certain: bool) -> None:
    wanted = world(made)
    live = {u: applied(unit) for u, unit in wanted.units.items()}
    known = {u: baseline(live[u], unit, certain=certain) for u, unit in wanted.units.items()}
    found = plan(SPEC, wanted, live, baselines=known)
    assert found.empty
    assert (found.postponed, found.approvals, found.forget, found.leftovers) == ((), (), (), ())
    assert set(found.equal) == (set() if certain else set(wanted.units))
    rebuilt = plan(SPEC, wanted, live)
    assert rebuilt.empty


@given(manifests(), manifests(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_is_irrelevant(
    old: list[tuple[str, Manifest]], new: list[tuple[str, Manifest]], shuffle: random.Random
) -> None:
    before, wanted = world(old), world(new)
    live = {u: applied(unit, uid=f"uid-{u}") for u, unit in before.units.items()}
    known = {u: baseline(live[u], unit) for u, unit in before.units.items()}
    found = plan(SPEC, wanted, live, baselines=known)

    def mixed(items: Mapping[Any, Any]) -> dict[Any, Any]:
        pairs = list(items.items())
        shuffle.shuffle(pairs)
        return dict(pairs)

    again = plan(
        SPEC, replace(wanted, units=mixed(wanted.units)), mixed(live), baselines=mixed(known), removals_live=mixed(live)
    )
    assert again == found
    assert to_plain(again) == to_plain(found)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[UnitId, Baseline], dict[UnitId, LiveObject | Absence]]:
    """An inventory, and a cluster in which anything may have happened to its objects since."""
    before = world(draw(manifests()))
    live: dict[UnitId, LiveObject | Absence] = {}
    known = {u: baseline(applied(unit), unit) for u, unit in before.units.items()}
    for u, unit in before.units.items():
        fate = draw(st.sampled_from(["same", "gone", "unserved", "anew", "unmarked", "copied", "owned", "taken"]))
        found = applied(unit)
        mutated: dict[str, LiveObject | Absence] = {
            "same": found,
            "gone": Absence.GONE,
            "unserved": Absence.KIND_UNSERVED,
            "anew": applied(unit, uid="uid-2"),
            "unmarked": live_object(u, unit.manifest),
            "copied": live_object(u, unit.manifest, labels=dict(found.labels)),
            "owned": applied(unit, ownerReferences=[{"kind": "Operator", "name": "op"}]),
            "taken": applied(unit, labels={"applyset.kubernetes.io/part-of": "applyset-other-v1"}),
        }
        live[u] = mutated[fate]
    return known, live


def deletes_only_ours(found: Plan, uids: Mapping[UnitId, str], live: Mapping[UnitId, LiveObject | Absence]) -> None:
    for change in (*found.first, *found.prune):
        seen = live[change.unit]
        assert isinstance(seen, LiveObject)
        assert seen.uid == uids[change.unit] == change.live_uid
        assert is_ours(seen, SPEC.name, APPLYSET)
        assert not seen.owner_references


@given(worlds())
def test_a_prune_never_holds_an_object_whose_uid_or_marks_differ(
    made: tuple[dict[UnitId, Baseline], dict[UnitId, LiveObject | Absence]],
) -> None:
    known, live = made
    found = plan(SPEC, world([]), baselines=known, removals_live=live)
    deletes_only_ours(found, {u: b.uid for u, b in known.items()}, live)
    assert not any(c.unit.kind in {"Namespace", "PersistentVolumeClaim"} for c in found.prune)
    accounted = [c.unit for c in found.changes()] + [p.unit for p in found.postponed] + [f.unit for f in found.forget]
    assert sorted(accounted) == sorted(known)


@given(worlds(), st.sampled_from(["uid-1", "uid-2", ""]))
def test_a_rollback_never_deletes_an_object_whose_uid_or_marks_differ(
    made: tuple[dict[UnitId, Baseline], dict[UnitId, LiveObject | Absence]], uid: str
) -> None:
    known, live = made
    marks = tuple(Dirty(u, "run", Action.CREATE, b.order, b.component, True, uid) for u, b in known.items())
    found = assemble_rollback(SPEC, None, replace(STATE, dirty=marks), known, {}, live, APPLYSETS)
    deletes_only_ours(found, dict.fromkeys(known, uid), live)
    assert not any(c.unit.kind == "PersistentVolumeClaim" for c in found.prune)


# ---------------------------------------------------------------- secrets

values = st.binary(max_size=24).map(lambda tail: b"S3cr3t" + tail)


@given(
    values,
    values,
    st.sampled_from(["new", "changed", "foreign", "applied by kubectl", "wedged", "anew", "refused", "immutable"]),
    st.booleans(),
)
def test_a_secrets_values_are_in_no_rendering_of_a_plan(old: bytes, new: bytes, case: str, moved: bool) -> None:
    assume(old != new)
    annotations = {"gitopsd.io/recreate": "true"} if case == "anew" else {}

    def secret(value: bytes, *, renamed: bool = False) -> Manifest:
        data = {"other" if renamed else "key": base64.b64encode(value).decode()}
        return manifest("Secret", data=data, annotations=annotations)

    wanted = desired(SPEC, secret(new))
    unit, former = only(wanted), only(desired(SPEC, secret(old, renamed=moved)))
    live: LiveObject | None = applied(former)
    told = "the server quotes " + " ".join(text for value in (old, new) for text in spellings(value))
    refused = {
        "wedged": refusal(RejectionKind.WEDGED, told),
        "anew": refusal(RejectionKind.NEEDS_RECREATE, told),
        "immutable": refusal(RejectionKind.NEEDS_RECREATE, told),
        "refused": refusal(RejectionKind.INVALID, told),
    }.get(case)
    if case == "new":
        live = None
    elif case == "foreign":
        live = live_object(unit.id, former.manifest)
    elif case == "applied by kubectl":
        kept = {"kubectl.kubernetes.io/last-applied-configuration": orjson.dumps(former.manifest).decode()}
        live = applied(former, annotations={**applied(former).annotations, **kept})
    text = rendered(wanted, finding(unit, live, refused))
    for value in (old, new):
        for spelling in spellings(value):
            assert spelling not in text


def rendered(wanted: Any, found: Any) -> str:
    """A plan as it is stored, printed and shown in an exception."""
    try:
        made = plan(SPEC, wanted, findings=[found])
    except GitopsdError as error:
        return f"{error}{error.problems!r}"
    return orjson.dumps(to_plain(made)).decode() + repr(made)


def spellings(value: bytes) -> set[str]:
    found = {base64.b64encode(value).decode().rstrip("=")}
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return found
    return {*found, text, orjson.dumps(text).decode().strip('"')}
