"""SEMANTICS 11: what metadata proves to be harmless is free, and nothing else is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gitopsd.kinds.builtin import BUILTIN, exact_generation
from gitopsd.kinds.diff import diff
from gitopsd.kinds.drift import Appraisal, Calm, Verdict, appraise, calmer, repaired
from gitopsd.kinds.fields import keep_ignored, owns_all
from gitopsd.kinds.imprint import imprint_of
from gitopsd.model.imprint import Imprint
from gitopsd.model.live import LiveObject
from tests.support.simstate import ServerState, stamp, unit_of
from tests.support.simwatch import metadata_only
from tests.support.ssa import Body, Share, applied, shares, updated

BASE = Imprint("u1", 10, 1, "own", "marks", (("hpa Update v1 status", "s1"), ("kubectl Update v1 ", "k1")))
MAP, WEB, WIDGET = ("", "ConfigMap"), ("apps", "Deployment"), ("example.org", "Widget")

STATUS, FOREIGN, SCALE = "hpa Update v1 status", "kubectl Update v1 ", "hpa Update v1 scale"


def after(*changed: str, **more: Any) -> Imprint:
    """A newer imprint in which the entries of these have changed, or come."""
    others = dict(BASE.others) | dict.fromkeys(changed, "new")
    return replace(BASE, version=11, others=tuple(sorted(others.items())), **more)


@pytest.mark.parametrize(
    ("now", "kind", "verdict"),
    [
        pytest.param(replace(BASE, version=9), MAP, "stale", id="an event from before our own write"),
        pytest.param(BASE, MAP, "stale", id="the very same"),
        pytest.param(after(uid="u2"), WEB, "check", id="deleted and made anew"),
        pytest.param(replace(BASE, uid="u2", version=9), WEB, "check", id="made anew on a cluster that was put back"),
        pytest.param(after(terminating=True), WEB, "check", id="being deleted"),
        pytest.param(after(own="less"), WEB, "check", id="a field of ours was taken"),
        pytest.param(after(own=""), MAP, "check", id="our whole entry is gone"),
        pytest.param(after(marks="other"), WEB, "check", id="a label of ours has another value"),
        pytest.param(after(STATUS), MAP, "free", id="a status, of a kind without generation"),
        pytest.param(after(STATUS), WIDGET, "free", id="a status, of a custom kind"),
        pytest.param(after(STATUS), WEB, "free", id="a status, of a kind with generation"),
        pytest.param(after(STATUS, generation=2), WIDGET, "unexplained", id="a status, and a custom spec by nobody"),
        pytest.param(after(STATUS, generation=2), WEB, "unexplained", id="a status, and a spec that nobody wrote"),
        pytest.param(after(FOREIGN), WEB, "free", id="others, and the generation stayed"),
        pytest.param(after(FOREIGN, generation=2), WEB, "explained", id="others, and the generation moved"),
        pytest.param(after(FOREIGN), MAP, "explained", id="others, of a kind without generation"),
        pytest.param(after(FOREIGN, STATUS), MAP, "explained", id="others and a status"),
        pytest.param(after(FOREIGN), ("scheduling.k8s.io", "PriorityClass"), "explained", id="a generation that lies"),
        pytest.param(after(), MAP, "unexplained", id="nothing to see: a list was sorted, or the second has not passed"),
        pytest.param(after(generation=2), WEB, "unexplained", id="a spec that nobody wrote"),
        pytest.param(after(), WEB, "free", id="nothing to see, and the generation stayed"),
        pytest.param(after(SCALE, generation=2), WEB, "free", id="scaled, and the replicas are not ours"),
        pytest.param(after(SCALE, generation=3), WEB, "unexplained", id="scaled, and a spec that nobody wrote"),
        pytest.param(after(SCALE), WIDGET, "unexplained", id="scaled, by a server that does not count"),
        pytest.param(after(SCALE, STATUS, generation=2), WEB, "free", id="scaled, and its status"),
        pytest.param(after(SCALE, FOREIGN, generation=2), WEB, "explained", id="scaled, and others"),
    ],
)
def test_what_an_event_means(now: Imprint, kind: tuple[str, str], verdict: str) -> None:
    assert appraise(BASE, None, now, group=kind[0], kind=kind[1]).verdict == verdict


@pytest.mark.parametrize("kind", [("", "Pod"), WEB])
def test_a_server_that_does_not_count_a_kind_proves_nothing_by_it(kind: tuple[str, str]) -> None:
    """Pods have a generation since Kubernetes 1.33."""
    uncounted = replace(BASE, generation=0)
    for now, verdict in ((after(generation=0), "unexplained"), (after(FOREIGN, generation=0), "explained")):
        assert appraise(uncounted, None, now, group=kind[0], kind=kind[1]).verdict == verdict
    assert appraise(uncounted, None, after(STATUS, generation=0), group=kind[0], kind=kind[1]).verdict == "free"


def test_an_entry_that_goes_has_changed_too() -> None:
    left = replace(BASE, version=11, others=BASE.others[:1])
    assert appraise(BASE, None, left, group="", kind="ConfigMap") == Appraisal(Verdict.EXPLAINED, ("kubectl",))


def test_what_others_have_changed_counts_from_the_last_sight_and_what_is_ours_from_the_last_look() -> None:
    seen = after(FOREIGN)
    later = replace(seen, version=12, others=tuple(sorted({**dict(seen.others), STATUS: "s2"}.items())))
    assert appraise(BASE, seen, later, group="", kind="ConfigMap").verdict is Verdict.FREE
    taken = replace(seen, own="less")
    again = replace(taken, version=12, others=later.others)
    assert appraise(BASE, taken, again, group="", kind="ConfigMap").verdict is Verdict.CHECK


def test_what_is_on_its_way_out_is_looked_at_once() -> None:
    going = after(terminating=True)
    later = replace(going, version=12, others=tuple(sorted({**dict(going.others), STATUS: "s2"}.items())))
    assert appraise(BASE, going, later, group="", kind="ConfigMap").verdict is Verdict.FREE


def test_what_nobody_knows_anything_of_is_looked_at() -> None:
    assert appraise(None, None, BASE, group="", kind="ConfigMap").verdict is Verdict.CHECK


def test_a_server_whose_versions_are_no_numbers_is_never_ahead() -> None:
    odd = replace(BASE, version=0)
    assert appraise(odd, None, odd, group="", kind="ConfigMap").verdict is Verdict.UNEXPLAINED


@pytest.mark.parametrize(
    ("now", "health"),
    [(after(STATUS), True), (after(FOREIGN), False), (after(), True), (after(STATUS, own="less"), True)],
)
def test_whether_its_health_may_have_changed(now: Imprint, *, health: bool) -> None:
    assert appraise(BASE, None, now, group="apps", kind="Deployment").health is health


def test_a_manager_whose_name_has_spaces_is_named_whole() -> None:
    found = appraise(BASE, None, after("My Tool 2 Update v1 "), group="", kind="ConfigMap")
    assert found.managers == ("My Tool 2",)


def test_every_kind_with_a_true_generation_is_one_that_we_know() -> None:
    assert [key for key in BUILTIN if exact_generation(*key)]
    assert not exact_generation("scheduling.k8s.io", "PriorityClass")
    assert not exact_generation("example.org", "Widget")


def test_a_custom_kind_may_keep_its_status_among_its_other_fields() -> None:
    """Without a status subresource a controller's entry does not say that it was a status which it wrote."""
    assert appraise(BASE, None, after(FOREIGN), group="example.org", kind="Widget").health
    assert not appraise(BASE, None, after(FOREIGN), group="", kind="ConfigMap").health


# ---------------------------------------------------------------- pauses


def test_harmless_writers_are_looked_at_less_and_less() -> None:
    calm = Calm(("elector",))
    waits = [calm.seconds]
    for _ in range(12):
        calm = calmer(calm)
        waits.append(calm.seconds)
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert waits[-2:] == [600.0, 600.0]


def test_who_writes_again_and_again_is_mended_less_and_less_and_called_a_conflict() -> None:
    contest, now, waits = None, 0.0, []
    for _ in range(9):
        contest = repaired(contest, ["argo"], now)
        waits.append(round(contest.until - now, 3))
        now = contest.until + 0.1
    assert waits == [0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 600.0]
    assert contest is not None
    assert contest.contested
    assert not repaired(contest, ["somebody else"], now).contested
    assert not repaired(contest, ["argo"], now + 4000).contested, "an hour of peace is forgotten about"


def test_two_who_write_by_turns_are_one_conflict_each() -> None:
    contest, now, waits = None, 0.0, []
    for turn in range(6):
        contest = repaired(contest, [("argo", "kubectl")[turn % 2]], now)
        waits.append(round(contest.until - now, 3))
        now = contest.until + 0.1
    assert waits == [0.0, 0.0, 10.0, 10.0, 20.0, 20.0]
    assert contest is not None
    assert (contest.contested, contest.managers, contest.repairs) == (True, ("kubectl",), 3)


def test_of_several_only_those_are_named_who_have_written_most_often() -> None:
    contest = repaired(repaired(repaired(None, ["argo"], 0), ["argo", "kubectl"], 1), ["argo"], 20)
    assert (contest.managers, contest.repairs) == (("argo",), 3)
    later = repaired(contest, ["kubectl"], 3700)
    assert (later.managers, later.repairs) == (("kubectl",), 1), "its last was an hour ago"


def test_a_fight_with_nobody_that_we_can_name_is_one_too() -> None:
    """Who removes a field or deletes an object leaves no entry."""
    contest = None
    for now in (0.0, 1.0, 20.0):
        contest = repaired(contest, [], now)
    assert contest is not None
    assert (contest.contested, contest.managers, contest.until) == (True, (), 40.0)


# ---------------------------------------------------------------- against a simulated server


CUSTOM = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.org"},
    "spec": {
        "group": "example.org",
        "names": {"kind": "Widget", "plural": "widgets"},
        "scope": "Namespaced",
        "versions": [{"name": "v1"}],
    },
    "status": {"ok": True},
}
LABEL = {"applyset.kubernetes.io/part-of": "set-1"}


@dataclass(frozen=True)
class Sort:
    """A kind by what its generation tells, and fields of it; `ignore` are those left to others."""

    api_version: str
    kind: str
    top: Mapping[str, Any]
    ignore: tuple[str, ...] = ()


_WORKLOAD = {"replicas": 2, "paused": False, "template": {"containers": [{"name": "app", "image": "app:1"}]}}
_PLAIN = {"a": "1", "b": "2"}
SORTS = {
    "no generation": Sort("v1", "ConfigMap", {"data": _PLAIN}),
    "exact": Sort("apps/v1", "Deployment", {"spec": _WORKLOAD}),
    "exact, its replicas ignored": Sort("apps/v1", "StatefulSet", {"spec": _WORKLOAD}, ("spec.replicas",)),
    "exact, on a server that does not count it yet": Sort("v1", "Pod", {"spec": _PLAIN}),
    "frozen": Sort("scheduling.k8s.io/v1", "PriorityClass", {"parameters": _PLAIN}),
    "frozen, of an aggregated API": Sort("wardle.example.com/v1", "Flunder", {"spec": _PLAIN}),
    "custom": Sort("example.org/v1", "Widget", {"spec": _PLAIN}),
    "custom, a field ignored": Sort("example.org/v1", "Widget", {"spec": _PLAIN}, ("spec.b",)),
}
COUNTED = frozenset({"Deployment", "StatefulSet", "Widget"})
"""Kinds whose generation shows a write that managedFields do not."""


def wished(sort: Sort) -> Body:
    metadata = {"name": "x", "namespace": "web", "labels": LABEL, "annotations": {"ours": "1"}}
    return copy.deepcopy({"apiVersion": sort.api_version, "kind": sort.kind, "metadata": metadata, **sort.top})


@dataclass
class Server:
    """One object on a server, everybody who writes it, and the truth about it."""

    sort: Sort
    state: ServerState = field(default_factory=ServerState)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.unit = unit_of(wished(self.sort))
        self.apply()

    @property
    def kind(self) -> str:
        return self.sort.kind

    @property
    def body(self) -> Body | None:
        return self.state.objects.get(self.unit)

    def live(self) -> LiveObject | None:
        return None if self.body is None else metadata_only(self.unit, self.body)

    def sent(self) -> Body:
        """What we apply: what is left to others goes out as it is."""
        live = None if self.body is None else LiveObject(self.unit, self.body)
        return dict(keep_ignored(wished(self.sort), live, self.sort.ignore))

    def apply(self, manifest: Body | None = None, manager: str = "gitopsd") -> None:
        made = applied(self.body, manifest or self.sent(), manager, stamp(self.seconds))
        self.state.put(made, self.seconds)

    def write(self, change: Callable[[Body], None], manager: str, subresource: str = "") -> None:
        if self.body is None:
            return
        body = copy.deepcopy(self.body)
        change(body)
        made = updated(self.body, body, manager, stamp(self.seconds), subresource)
        self.state.put(made, self.seconds)

    def status(self, value: str) -> None:
        """A controller writes the status; its entry says so."""
        if self.body is None:
            return
        body = copy.deepcopy(self.body)
        body["status"] = {"value": value}
        others = [s for s in shares(body) if s.subresource != "status"]
        own = Share("controller", "Update", body["apiVersion"], frozenset({("f:status", "f:value")}),
                    stamp(self.seconds), "status")  # fmt: skip
        body["metadata"]["managedFields"] = [s.entry() for s in (*others, own)]
        self.state.put(body, self.seconds)

    def drifted(self) -> bool:
        """What a look would find: a dry run that differs from what is live, or a field that we do not own any more."""
        body = self.body
        if body is None:
            return True
        sent = self.sent()
        tried = applied(body, sent, "gitopsd", stamp(self.seconds))
        lost = not owns_all(sent, LiveObject(self.unit, body))
        return bool(diff(_visible(body), _visible(tried), secret=False)) or lost


def _visible(body: Mapping[str, Any]) -> Body:
    metadata = {
        k: v for k, v in body["metadata"].items() if k not in {"managedFields", "resourceVersion", "generation"}
    }
    return {**{k: v for k, v in body.items() if k != "status"}, "metadata": metadata}


def _values(body: Body) -> Body:
    values: Body = body[next(key for key in ("data", "spec", "parameters") if key in body)]
    return values


def _own_field(body: Body, value: str) -> None:
    values = _values(body)
    if "template" in values:
        values["template"]["containers"] = [{"name": "app", "image": value}]
    else:
        values["a"] = value


def _drop_field(body: Body) -> None:
    _values(body).pop("b" if "b" in _values(body) else "paused", None)


def _unlabel(body: Body) -> None:
    body["metadata"].get("labels", {}).pop("applyset.kubernetes.io/part-of", None)


def _annotate(body: Body, **texts: str) -> None:
    body["metadata"].setdefault("annotations", {}).update(texts)


def _second_writer(server: Server, value: str) -> None:
    """Somebody applies under our manager's name, with our paths and other values."""
    other = server.sent()
    _own_field(other, value)
    server.apply(other)


def _second_note(server: Server, value: str) -> None:
    """The same, of what metadata shows."""
    other = server.sent()
    _annotate(other, ours=value)
    server.apply(other)


def _policy(server: Server, value: str) -> None:
    """A mutating policy fires on somebody's annotation and changes a field of ours: nobody's entry tells of that."""
    if server.body is None:
        return
    body = copy.deepcopy(server.body)
    _annotate(body, theirs=value)
    made = updated(server.body, body, "notes", stamp(server.seconds))
    _own_field(made, value)
    server.state.put(made, server.seconds)


def _anew(server: Server) -> None:
    if server.body is not None:
        kept = copy.deepcopy(server.body)
        server.state.remove(server.unit)
        server.state.put(kept, server.seconds)


def _cleared(server: Server) -> None:
    """Somebody empties managedFields, as the API allows."""
    if server.body is not None:
        body = copy.deepcopy(server.body)
        body["metadata"]["managedFields"] = []
        server.state.put(body, server.seconds)


def _scale(server: Server, replicas: int) -> None:
    if "replicas" in wished(server.sort).get("spec", {}):
        server.write(lambda body: body["spec"].update(replicas=replicas), "hpa", "scale")


OPERATIONS: dict[str, Callable[[Server, str], None]] = {
    "annotate": lambda s, v: s.write(lambda b: _annotate(b, theirs=v), "notes"),
    "edit": lambda s, v: s.write(lambda b: _own_field(b, v), "kubectl"),
    "drop": lambda s, _: s.write(_drop_field, "kubectl"),
    "put back": lambda s, _: s.write(lambda b: _own_field(b, "app:1" if "template" in _values(b) else "1"), "kubectl"),
    "their field": lambda s, v: s.write(lambda b: _values(b).update(theirs=v), "kubectl"),
    "forced apply": lambda s, v: s.apply(_changed(s, v), "argo"),
    "the same apply": lambda s, _: s.apply(manager="flux"),
    "their own apply": lambda s, v: s.apply(_theirs(s, v), "flux"),
    "cleared": lambda s, _: _cleared(s),
    "second writer": _second_writer,
    "second writer's note": _second_note,
    "our label": lambda s, _: s.write(_unlabel, "kubectl"),
    "our annotation": lambda s, v: s.write(
        lambda b: b["metadata"].setdefault("annotations", {}).update(ours=v), "notes"
    ),
    "policy": _policy,
    "status": lambda s, v: s.status(v),
    "scale": lambda s, v: _scale(s, int(v)),
    "anew": lambda s, _: _anew(s),
    "delete": lambda s, _: s.state.remove(s.unit) if s.body is not None else None,
    "wait": lambda s, _: setattr(s, "seconds", s.seconds + 1),
}


def _changed(server: Server, value: str) -> Body:
    other = wished(server.sort)
    _own_field(other, value)
    return other


def _theirs(server: Server, value: str) -> Body:
    """Fields that nobody else sets: no force is needed, and what they owned with us they give up."""
    other = wished(server.sort)
    other["metadata"] = {"name": "x", "namespace": "web", "annotations": {"theirs": value}}
    for key in server.sort.top:
        other[key] = {"theirs": value}
    return other


operations = st.tuples(st.sampled_from(sorted(OPERATIONS)), st.sampled_from(["1", "2", "3"]), st.booleans())


@settings(max_examples=400)
@given(sort=st.sampled_from(sorted(SORTS)), done=st.lists(operations, max_size=25))
@example(sort="custom", done=[("second writer", "2", False), ("status", "2", True)])
@example(sort="exact, its replicas ignored", done=[("scale", "3", False), ("policy", "2", True)])
@example(
    sort="exact, its replicas ignored", done=[("annotate", "1", True), ("scale", "1", False), ("policy", "1", True)]
)
@example(sort="no generation", done=[("policy", "2", True), ("policy", "3", False), ("status", "2", True)])
@example(sort="frozen", done=[("second writer", "2", True)])
def test_no_free_event_ever_hides_a_change_of_ours(sort: str, done: list[tuple[str, str, bool]]) -> None:
    """Random writes of everybody. Some events are not seen, as where a watch had to list anew or where several came
    before one was judged; a look comes at once, and mends. One thing is left to the full sweep: of a kind without a
    true generation, the second write of one manager within a second, whose event is not seen alone, may be hidden by
    another's status."""
    server = Server(SORTS[sort])
    server.state.put(copy.deepcopy(CUSTOM), 0)
    ignore = server.sort.ignore
    live = server.live()
    assert live is not None
    verified, last, missed = imprint_of(live, ignore), None, False
    for name, value, sighted in done:
        if name in {"second writer", "policy"} and (missed or not sighted) and server.kind not in COUNTED:
            server.seconds += 1
        missed = not sighted
        OPERATIONS[name](server, value)
        if not sighted:
            continue
        found = server.live()
        verdict = None
        if found is not None:
            seen = imprint_of(found, ignore)
            verdict = appraise(verified, last, seen, group=server.unit.group, kind=server.kind).verdict
            if verdict in {Verdict.FREE, Verdict.STALE}:
                assert not server.drifted(), (name, verdict)
                last = last if verdict is Verdict.STALE else seen
                continue
        server.apply()  # what a look does: it finds nothing, or mends
        found = server.live()
        assert found is not None
        assert not server.drifted()
        verified, last = imprint_of(found, ignore), None
