"""SEMANTICS 11: what a watch saw is judged by what is on record, and each unit gets its look when it deserves one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest

from gitopsd.kinds.imprint import imprint_of
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.imprint import Imprint
from gitopsd.model.live import LiveObject
from gitopsd.model.memory import Baseline
from gitopsd.model.status import Addition
from gitopsd.model.watching import Blind, Removed, Seen, Sighted, Whole
from gitopsd.stack.vigil import HEALTH_PAUSE, RULES_PAUSE, SOON, Topic, Vigil

MAP, OTHER = (UnitId("default", "", "ConfigMap", "web", name) for name in ("settings", "other"))
WEB = UnitId("default", "apps", "Deployment", "web", "web")
MAPS = Topic("default", "", "ConfigMap")
OURS = {
    "manager": "gitopsd",
    "operation": "Apply",
    "apiVersion": "v1",
    "time": "t0",
    "fieldsV1": {"f:data": {"f:k": {}}},
}


@dataclass
class Time:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def vigil(time: Time) -> Vigil:
    return Vigil(time)


def entry(manager: str, fields: str = "f:x", *, subresource: str = "", at: str = "t1") -> dict[str, object]:
    made: dict[str, object] = {"manager": manager, "operation": "Update", "apiVersion": "v1", "time": at}
    made["fieldsV1"] = {fields: {}}
    return {**made, "subresource": subresource} if subresource else made


def live(unit: UnitId, version: int, *others: dict[str, object], uid: str = "u1", own: object = OURS) -> LiveObject:
    fields = [own, *others] if own else list(others)
    metadata = {"uid": uid, "resourceVersion": str(version), "generation": 1, "managedFields": fields}
    return LiveObject(unit, {"metadata": {**metadata, "name": unit.name}})


def baseline(unit: UnitId, seen: LiveObject | None = None) -> Baseline:
    imprint: Imprint = imprint_of(seen or live(unit, 10))
    return Baseline(unit, "app", (0, 0), "wish", "u1", str(imprint.version), "v1", "t", imprint=imprint)


BASE = {unit: baseline(unit) for unit in (MAP, OTHER, WEB)}


def told(vigil: Vigil, *seen: LiveObject) -> None:
    for each in seen:
        vigil.told(Topic("default", each.id.group, each.id.kind), Seen(each))
    vigil.judge(BASE)


def test_what_others_have_added_is_told_from_the_first_list_on(vigil: Vigil) -> None:
    noted: dict[UnitId, tuple[Addition, ...]] = {}
    vigil.noted = noted.__setitem__
    vigil.ignored = {OTHER: ("y",)}
    vigil.told(MAPS, Seen(live(MAP, 11, entry("injector", "f:x")), listed=True))
    vigil.told(MAPS, Seen(live(OTHER, 12, entry("injector", "f:y"))))
    assert noted == {MAP: (Addition("injector", ("x",), at="t1"),), OTHER: ()}


def test_our_own_write_is_no_drift_also_if_the_watch_is_quicker_than_the_record(vigil: Vigil) -> None:
    mine = live(MAP, 11, own={**OURS, "time": "t5"})
    vigil.told(MAPS, Seen(mine))
    vigil.judge({MAP: baseline(MAP, mine)})
    assert vigil.take().suspects == frozenset()
    assert vigil.due_in() == float("inf")


def test_what_takes_a_field_of_ours_deserves_a_look_at_once(vigil: Vigil) -> None:
    told(vigil, live(MAP, 11, entry("kubectl", "f:data"), own=None))
    assert vigil.due_in() <= 0
    assert vigil.take().suspects == {MAP}
    assert vigil.take().suspects == frozenset(), "told twice"


def test_what_others_write_beside_us_gets_its_look_in_a_moment(vigil: Vigil, time: Time) -> None:
    told(vigil, live(MAP, 11, entry("annotator")))
    assert vigil.take().suspects == frozenset()
    assert vigil.due_in() == pytest.approx(SOON)
    time.now += SOON
    assert vigil.take().suspects == {MAP}


def test_the_same_writers_are_looked_at_less_and_less_as_long_as_they_do_no_harm(vigil: Vigil, time: Time) -> None:
    waits = []
    for version in range(11, 25):
        told(vigil, live(MAP, version, entry("elector", at=f"t{version}")))
        waits.append(round(vigil.due_in(), 3))
        time.now += vigil.due_in() + 0.01
        assert vigil.take().suspects == {MAP}
        vigil.clean([MAP])
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == 600.0
    vigil.mended([MAP])
    told(vigil, live(MAP, 30, entry("elector", at="t30")))
    assert vigil.due_in() == pytest.approx(SOON), "who did harm once is not trusted any more"


def test_others_who_come_are_not_trusted_because_somebody_else_was(vigil: Vigil, time: Time) -> None:
    for version in (11, 12):
        told(vigil, live(MAP, version, entry("elector", at=f"t{version}")))
        time.now += 10
        vigil.take()
        vigil.clean([MAP])
    told(vigil, live(MAP, 13, entry("elector", at="t12"), entry("stranger")))
    assert vigil.due_in() == pytest.approx(SOON)


def test_a_status_is_no_drift_but_its_health_is_looked_at_not_too_often(vigil: Vigil, time: Time) -> None:
    told(vigil, live(WEB, 11, entry("controller", subresource="status")))
    time.now += SOON
    look = vigil.take()
    assert (look.suspects, look.ailing) == (frozenset(), frozenset({WEB}))
    told(vigil, live(WEB, 12, entry("controller", subresource="status", at="t2")))
    assert vigil.due_in() == pytest.approx(HEALTH_PAUSE)


def test_what_is_removed_or_missing_in_a_whole_list_deserves_a_look(vigil: Vigil) -> None:
    vigil.told(MAPS, Removed(live(MAP, 12)))
    vigil.judge(BASE)
    assert vigil.take().suspects == {MAP}
    vigil.told(MAPS, Seen(live(MAP, 10), listed=True))
    vigil.told(MAPS, Whole(frozenset({MAP})))
    vigil.judge(BASE)
    assert vigil.take().suspects == {OTHER}, "and nothing of another kind"


def test_an_object_that_was_made_anew_is_another_one(vigil: Vigil) -> None:
    vigil.told(MAPS, Removed(live(MAP, 11)))
    told(vigil, live(MAP, 12, uid="u2"))
    assert vigil.take().suspects == {MAP}


def test_what_is_not_tracked_is_nobodys_business(vigil: Vigil) -> None:
    stranger = UnitId("default", "", "ConfigMap", "web", "leaked")
    told(vigil, live(stranger, 11, own=None))
    assert vigil.due_in() == float("inf")


@pytest.mark.parametrize("why", ["no digest", "no imprint"])
def test_what_nobody_knows_the_state_of_deserves_a_look_once(vigil: Vigil, why: str) -> None:
    unknown = replace(BASE[MAP], digest="") if why == "no digest" else replace(BASE[MAP], imprint=None)
    vigil.told(MAPS, Seen(live(MAP, 10)))
    vigil.judge({MAP: unknown})
    assert vigil.take().suspects == {MAP}
    vigil.told(MAPS, Seen(live(MAP, 10)))
    vigil.judge({MAP: unknown})
    assert vigil.take().suspects == frozenset()


def test_a_reported_drift_is_looked_at_again_when_it_changes(vigil: Vigil) -> None:
    """Where drift is only reported nothing is right on record; what was seen last is what counts."""
    theirs = live(MAP, 11, entry("kubectl", "f:data"), own=None)
    told(vigil, theirs)
    vigil.take()
    reported = {MAP: replace(BASE[MAP], digest="", resource_version="11")}
    vigil.told(MAPS, Seen(theirs))
    vigil.judge(reported)
    assert vigil.due_in() == float("inf")
    vigil.told(MAPS, Seen(live(MAP, 12)))
    vigil.judge(reported)
    assert vigil.take().suspects == {MAP}


def test_a_watch_covers_its_kind_until_it_is_blind(vigil: Vigil) -> None:
    assert not vigil.covers(MAP)
    vigil.expect([MAPS])
    assert vigil.covers(MAP)
    assert not vigil.covers(WEB)
    stirred: list[Mapping[str, str]] = []
    vigil.stir = lambda: stirred.append(vigil.unwatched())
    for _ in range(2):
        vigil.told(MAPS, Blind(EnvironmentFault("connection refused")))
    assert not vigil.covers(MAP)
    for _ in range(2):
        vigil.told(MAPS, Sighted())
    assert vigil.covers(MAP)
    assert stirred == [{"ConfigMap in cluster default": "connection refused"}, {}], "told once each"
    vigil.told(MAPS, Blind(EnvironmentFault("gone")))
    vigil.told(MAPS, Whole(frozenset({MAP, OTHER})))
    assert vigil.covers(MAP)
    vigil.expect([])
    assert not vigil.covers(MAP)


def test_a_definition_that_changes_has_its_objects_looked_at_and_no_others(vigil: Vigil, time: Time) -> None:
    vigil.redefined("default", ("apps", "Deployment"))
    vigil.judge(BASE)
    time.now += SOON
    assert vigil.take().suspects == {WEB}
    vigil.redefined("elsewhere", ("apps", "Deployment"))
    vigil.judge(BASE)
    assert vigil.due_in() == float("inf")


def test_a_rule_about_everything_has_everything_looked_at_and_not_again_and_again(vigil: Vigil, time: Time) -> None:
    vigil.redefined("default", None)
    vigil.judge(BASE)
    time.now += SOON
    assert vigil.take().suspects == BASE.keys()
    vigil.redefined("default", None)
    vigil.judge(BASE)
    assert vigil.due_in() == pytest.approx(RULES_PAUSE, abs=1)


def test_paths_that_are_left_to_others_are_none_of_ours(vigil: Vigil) -> None:
    owned = {**OURS, "fieldsV1": {"f:data": {"f:k": {}, "f:mine": {}}}}
    without = {**OURS, "fieldsV1": {"f:data": {"f:mine": {}}}}
    vigil.ignored = {MAP: ("data.k",)}
    base = replace(BASE[MAP], imprint=imprint_of(live(MAP, 10, own=owned), ("data.k",)))
    vigil.told(MAPS, Seen(live(MAP, 11, entry("scaler", "f:data"), own=without)))
    vigil.judge({MAP: base})
    assert vigil.due_in() == pytest.approx(SOON), "a change of others, and none of ours"


def test_everything_is_forgotten_of_what_is_not_tracked_any_more(vigil: Vigil) -> None:
    told(vigil, live(MAP, 11, entry("annotator")), live(WEB, 11, entry("controller", subresource="status")))
    vigil.forget([])
    assert vigil.due_in() == float("inf")


def test_a_listener_is_stirred_by_what_there_is_to_judge_and_not_by_each_object_of_a_list(vigil: Vigil) -> None:
    stirs: list[int] = []
    vigil.stir = lambda: stirs.append(1)
    for version in range(10, 15):
        vigil.told(MAPS, Seen(live(MAP, version), listed=True))
    assert stirs == []
    vigil.told(MAPS, Whole(frozenset({MAP})))
    vigil.told(MAPS, Seen(live(MAP, 20)))
    vigil.told(MAPS, Removed(live(MAP, 21)))
    assert len(stirs) == 3


def test_a_list_of_older_versions_is_that_of_a_backup_and_an_older_event_is_just_late(vigil: Vigil) -> None:
    vigil.told(MAPS, Seen(live(MAP, 9)))
    vigil.judge(BASE)
    assert vigil.due_in() == float("inf")
    vigil.told(MAPS, Seen(live(MAP, 9), listed=True))
    vigil.told(MAPS, Whole(frozenset({MAP, OTHER})))
    vigil.judge(BASE)
    assert vigil.take().suspects == {MAP}
