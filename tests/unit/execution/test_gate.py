"""SEMANTICS 4 and 8: what a gate waits for, what it does not, and when its time runs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from gitopsd.execution import gate as gate_module
from gitopsd.execution.clocks import GateClocks
from gitopsd.execution.gate import LONGEST_LOOK, Gate, GateFailure, Subject
from gitopsd.execution.session import Interrupted
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Assessment, Health
from gitopsd.model.ports import Interrupt
from gitopsd.model.run import RunKind
from gitopsd.model.spec import GateSpec, HttpCheck
from tests.unit.execution.fakes import Run, change, run_of
from tests.unit.planning.samples import component, crd, desired, document, manifest, stack

API = UnitId.parse("Deployment.apps/web/api")
JOB = UnitId.parse("Job.batch/web/migrate")
GOOD = Assessment(Health.HEALTHY)
WAIT = Assessment(Health.PROGRESSING, "Rollout")
SURE = Assessment(Health.DEGRADED, "ImagePullBackOff", "no such image", final=True)
AWAY = EnvironmentFault("cluster default does not answer")
CHECK = HttpCheck("http://web.example/healthz")

Script = Callable[[Run, int], Assessment | EnvironmentFault]


@contextmanager
def watched(
    script: Script | list[Assessment | EnvironmentFault],
    *objects: Mapping[str, Any],
    spec: GateSpec = GateSpec(timeout=60),  # noqa: B008 - frozen
    excused: Mapping[Subject, Assessment] | None = None,
    monkeypatch: pytest.MonkeyPatch,
    **more: Any,
) -> Iterator[tuple[Run, Gate]]:
    """A gate over these objects (default: a Deployment), all of which are at look N as the script says. A list is told
    look by look; its last entry stays."""
    whole = stack(component(gate=spec))
    made = desired(whole, *(objects or (manifest("Deployment", "api"),)))
    with run_of(whole, made, **more) as run:
        looks = 0

        def look(_: object, units: list[UnitId]) -> dict[UnitId, Assessment]:
            nonlocal looks
            seen = script(run, looks) if callable(script) else script[min(looks, len(script) - 1)]
            looks += 1
            if isinstance(seen, EnvironmentFault):
                raise seen
            return dict.fromkeys(units, seen)

        monkeypatch.setattr(gate_module, "look", look)
        yield run, Gate(run.session, excused or {})


def test_a_healthy_unit_passes_without_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    with watched([GOOD], monkeypatch=monkeypatch) as (run, gate):
        gate.watch([API], components=())
        assert run.time.waits == []


def test_a_sure_failure_ends_the_gate_at_the_second_look_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with watched([SURE], monkeypatch=monkeypatch) as (run, gate):
        with pytest.raises(GateFailure) as failed:
            gate.watch([API], components=())
        assert (failed.value.unit, failed.value.reason) == (API, "ImagePullBackOff: no such image")
        assert len(run.time.waits) == 1
        assert [o.reason for o in run.journal.seen] == ["ImagePullBackOff"]


def test_a_failure_seen_once_in_passing_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with watched([SURE, WAIT, SURE, GOOD], monkeypatch=monkeypatch) as (_, gate):
        gate.watch([API], components=())


def test_the_timeout_ends_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    with watched([WAIT], monkeypatch=monkeypatch) as (run, gate):
        with pytest.raises(GateFailure, match="not healthy after 60 s"):
            gate.watch([API], components=())
        assert 60 <= run.time.seconds < 63


def test_time_stands_still_while_the_gate_is_blind(monkeypatch: pytest.MonkeyPatch) -> None:
    script: list[Assessment | EnvironmentFault] = [WAIT, *[AWAY] * 1000, WAIT, GOOD]
    with watched(script, monkeypatch=monkeypatch) as (run, gate):
        gate.watch([API], components=())
        assert run.time.seconds > 600
        assert run.pauses[-1] is None
        assert set(run.pauses[:-1]) == {AWAY}


def test_time_stands_still_while_the_api_server_keeps_a_look_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(run: Run, number: int) -> Assessment:
        run.time.seconds += 50
        return GOOD if number == 8 else WAIT

    with watched(slow, monkeypatch=monkeypatch) as (run, gate):
        gate.watch([API], components=())
        assert run.time.seconds > 400


def test_looks_that_are_always_slow_do_not_make_a_gate_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(run: Run, _: int) -> Assessment:
        run.time.seconds += LONGEST_LOOK
        return WAIT

    with watched(slow, monkeypatch=monkeypatch) as (run, gate):
        with pytest.raises(GateFailure):
            gate.watch([API], components=())
        assert run.time.seconds < 75


def test_time_stands_still_while_the_record_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    full = EnvironmentFault("disk full")
    with watched([WAIT, WAIT, WAIT, GOOD], monkeypatch=monkeypatch) as (run, gate):
        run.journal.faults["observed"] = [full] * 30
        gate.watch([API], components=())
        assert run.time.seconds > 200
        assert run.pauses[-1] is None
        assert [o.health for o in run.journal.seen] == [Health.PROGRESSING, Health.HEALTHY]


def test_stable_for_counts_only_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float | None] = []

    def script(run: Run, number: int) -> Assessment | EnvironmentFault:
        if 8 <= number < 60:
            seen.append(None)
            return AWAY
        seen.append(run.time.seconds)
        return GOOD

    with watched(script, monkeypatch=monkeypatch, spec=GateSpec(timeout=300, stable_for=10)) as (run, gate):
        gate.watch([API], components=())
        pairs = [(a, b) for a, b in itertools.pairwise(seen) if a is not None and b is not None]
        assert sum(b - a for a, b in pairs) >= 10
        assert run.time.seconds > 50


def test_what_was_degraded_before_for_the_same_reason_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with watched([SURE], monkeypatch=monkeypatch, excused={API: SURE}) as (_, gate):
        gate.watch([API], components=())


def test_another_reason_than_before_is_a_failure_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Assessment(Health.DEGRADED, "CrashLoopBackOff", final=True)
    with watched([SURE], monkeypatch=monkeypatch, excused={API: before}) as (_, gate), pytest.raises(GateFailure):
        gate.watch([API], components=())


def test_kinds_that_say_nothing_of_success_do_not_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = (manifest("ConfigMap"), manifest("Ingress"), manifest("PodDisruptionBudget"))
    with watched([WAIT], *objects, monkeypatch=monkeypatch) as (run, gate):
        gate.watch(run.session.units, components=())
        assert run.journal.seen == []


def test_what_the_commit_no_longer_has_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with watched([WAIT], monkeypatch=monkeypatch) as (_, gate):
        gate.watch([UnitId.parse("Deployment.apps/web/gone")], components=())


# ---------------------------------------------------------------- Jobs

MISSING = Assessment(Health.MISSING, "NotFound")


def job(**spec: Any) -> dict[str, Any]:
    return manifest("Job", "migrate", spec={"template": {}, **spec})


def test_a_job_that_its_time_to_live_took_away_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    with watched([WAIT, MISSING], job(ttlSecondsAfterFinished=1), monkeypatch=monkeypatch) as (run, gate):
        gate.watch([JOB], components=())
        assert [done.unit for done in run.jobs] == [JOB]


def test_a_job_that_is_gone_without_one_was_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with watched([MISSING], job(), monkeypatch=monkeypatch) as (run, gate):
        with pytest.raises(GateFailure):
            gate.watch([JOB], components=())
        assert run.jobs == []


def test_a_finished_job_is_noted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with watched([GOOD], job(), monkeypatch=monkeypatch) as (run, gate):
        gate.watch([JOB], components=())
        assert len(run.jobs) == 1


# ---------------------------------------------------------------- checks


def test_a_components_check_gates_also_without_any_gating_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = GateSpec(timeout=60, checks=(CHECK,))
    with watched([GOOD], manifest("ConfigMap"), monkeypatch=monkeypatch, spec=spec) as (run, gate):
        run.probes[CHECK.url] = Health.PROGRESSING
        with pytest.raises(GateFailure, match=CHECK.url) as failed:
            gate.watch(run.session.units, components={"app"})
        assert failed.value.unit is None


def test_checks_of_other_components_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = GateSpec(timeout=60, checks=(CHECK,))
    with watched([GOOD], monkeypatch=monkeypatch, spec=spec) as (run, gate):
        run.probes[CHECK.url] = Health.PROGRESSING
        gate.watch([API], components={"other"})


def test_a_check_that_turns_green_in_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = GateSpec(timeout=60, checks=(CHECK,))
    with watched([GOOD], monkeypatch=monkeypatch, spec=spec) as (run, gate):
        run.probes[CHECK.url] = Health.PROGRESSING
        run.time.meanwhile = lambda: run.probes.update({CHECK.url: Health.HEALTHY}) if run.time.seconds > 5 else None
        gate.watch([API], components={"app"})
        assert run.time.seconds > 5


@pytest.mark.parametrize(("before", "passes"), [("asked", True), ("another reason", False)])
def test_a_check_that_failed_in_the_same_way_before_the_run_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, before: str, passes: bool
) -> None:
    spec = GateSpec(timeout=60, checks=(CHECK,))
    excused: dict[Subject, Assessment] = {CHECK: Assessment(Health.PROGRESSING, before)}
    with watched([GOOD], monkeypatch=monkeypatch, spec=spec, excused=excused) as (run, gate):
        run.probes[CHECK.url] = Health.PROGRESSING
        if passes:
            gate.watch([API], components={"app"})
            return
        with pytest.raises(GateFailure, match=CHECK.url):
            gate.watch([API], components={"app"})


def test_only_components_with_checks_that_are_good_are_green() -> None:
    red = HttpCheck("http://red.example")
    whole = stack(
        component("a", gate=GateSpec(checks=(CHECK,))),
        component("b", gate=GateSpec(checks=(CHECK, red))),
        component("c"),
    )
    with run_of(whole, desired(whole, document(manifest("ConfigMap"), "a"))) as run:
        run.probes[red.url] = Health.PROGRESSING
        assert Gate(run.session, {}).green_now() == {"a"}


# ---------------------------------------------------------------- safe points and layers


def test_a_newer_commit_ends_a_gate_of_a_deploy_but_not_of_a_rollback(monkeypatch: pytest.MonkeyPatch) -> None:
    newer = Interrupt("d" * 40)
    with watched([WAIT], monkeypatch=monkeypatch) as (run, gate):
        run.time.interrupts = lambda at: newer if at > 3 else None
        with pytest.raises(Interrupted) as ended:
            gate.watch([API], components=())
        assert ended.value.interrupt == newer
    with watched([WAIT, WAIT, GOOD], monkeypatch=monkeypatch, kind=RunKind.ROLLBACK) as (run, gate):
        run.time.interrupts = lambda _: newer
        gate.watch([API], components=())
    with watched([WAIT], monkeypatch=monkeypatch, kind=RunKind.ROLLBACK) as (run, gate):
        run.time.interrupts = lambda _: Interrupt()
        with pytest.raises(Interrupted):
            gate.watch([API], components=())


def test_a_superseding_run_goes_on_with_the_clock_of_what_it_leaves_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = GateClocks()
    with watched([WAIT], monkeypatch=monkeypatch, clocks=clocks) as (run, gate):
        run.time.interrupts = lambda at: Interrupt("d" * 40) if at > 50 else None
        with pytest.raises(Interrupted):
            gate.watch([API], components=())
    with watched([WAIT], monkeypatch=monkeypatch, clocks=clocks) as (run, gate):
        with pytest.raises(GateFailure):
            gate.watch([API], components=())
        assert run.time.seconds < 15


def test_the_next_layer_waits_for_definitions_and_namespaces_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = (crd("Widget"), manifest("Namespace", "web"), manifest("Deployment", "api"))

    def script(run: Run, number: int) -> Assessment:
        return GOOD if number == 3 else WAIT

    with watched(script, *objects, monkeypatch=monkeypatch) as (run, gate):
        gate.wait_usable([change(run.session.desired, u) for u in run.session.units])
        assert {o.unit.split("/")[0] for o in run.journal.seen} == {
            "CustomResourceDefinition.apiextensions.k8s.io",
            "Namespace",
        }
