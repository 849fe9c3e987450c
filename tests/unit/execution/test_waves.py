"""SEMANTICS 4, 7, 8 and 9: what becomes of a plan's changes when some of them do not go as planned."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event, Semaphore
from typing import Any

import pytest

from gitopsd.execution import gate as gate_module
from gitopsd.execution import waves as waves_module
from gitopsd.execution.session import Interrupted
from gitopsd.execution.waves import SPREAD, Ending, execute
from gitopsd.model.errors import Cause, EnvironmentFault, NeedsPerson
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Assessment, Health, RejectionKind
from gitopsd.model.plan import Action, Change, Layer, Leftover, Plan, Wave
from gitopsd.model.ports import Interrupt
from gitopsd.model.run import RunKind, Verdict
from gitopsd.model.spec import GateSpec, HttpCheck
from tests.unit.execution.fakes import FakeCluster, Run, change, removal, run_of
from tests.unit.planning.samples import applied, component, desired, document, manifest, refusal, stack

SPEC = stack()
AWAY = EnvironmentFault("cluster default does not answer")
FULL = EnvironmentFault("disk full")


def configs(count: int) -> Any:
    return desired(SPEC, *(manifest("ConfigMap", f"c{n:03}") for n in range(count)))


def plan_of(*changes: Change, prune: Sequence[Change] = (), leftovers: Sequence[Leftover] = ()) -> Plan:
    """One wave for each order, all changes of it in one layer."""
    orders = sorted({c.order for c in changes})
    waves = tuple(Wave(o, (Layer(tuple(c for c in changes if c.order == o)),)) for o in orders)
    return Plan("web", "c" * 40, "digest", waves, prune=tuple(prune), leftovers=tuple(leftovers))


def all_of(wanted: Any) -> Plan:
    return plan_of(*(change(wanted, u) for u in sorted(wanted.units)))


def in_step(run: Run) -> None:
    """Let no request be sent before the outcome of the one before was looked at, as a slow API server would."""
    permits, keep_lease, apply = Semaphore(1), run.session.keep_lease, run.cluster.apply

    def looked_at() -> None:
        permits.release()
        keep_lease()

    def slow(unit: UnitId, manifest: Any, *, dry_run: bool = False) -> Any:
        permits.acquire(timeout=0.2)  # after the end of a wave nobody looks any more at what is under way
        return apply(unit, manifest, dry_run=dry_run)

    run.session.keep_lease = looked_at  # type: ignore[method-assign]
    run.cluster.apply = slow  # type: ignore[method-assign]


def carry_out(run: Run, plan: Plan) -> Ending:
    return execute(run.session, plan, run.session.dirty_before, {})


def test_a_wave_is_intended_whole_before_its_first_request() -> None:
    wanted = configs(3)
    with run_of(SPEC, wanted) as run:
        run.cluster.replies["c000"] = [None]
        assert carry_out(run, all_of(wanted)) == Ending(Verdict.GOOD)
        assert run.journal.calls[0] == "intend"
        assert {i.unit for i in run.journal.intents} == set(wanted.units)
        assert set(run.journal.concluded().values()) == {"applied"}


def test_without_a_durable_intent_there_is_no_effect() -> None:
    wanted = configs(2)
    with run_of(SPEC, wanted) as run:
        run.journal.faults["intend"] = [FULL] * 5
        run.time.meanwhile = lambda: (_ for _ in ()).throw(AssertionError) if run.cluster.asked else None
        assert carry_out(run, all_of(wanted)).verdict is Verdict.GOOD
        assert run.pauses == [FULL] * 5 + [None]


def test_what_can_be_superseded_while_its_intents_cannot_be_written() -> None:
    wanted = configs(1)
    with run_of(SPEC, wanted) as run:
        run.journal.faults["intend"] = [FULL] * 50
        run.time.interrupts = lambda at: Interrupt("d" * 40) if at > 10 else None
        with pytest.raises(Interrupted):
            carry_out(run, all_of(wanted))
        assert run.cluster.asked == []


def test_every_outcome_of_a_wave_is_recorded_although_one_of_it_is_refused() -> None:
    wanted = configs(4)
    with run_of(SPEC, wanted, width=4) as run:
        run.cluster.replies["c001"] = [refusal(RejectionKind.ADMISSION, "denied")]
        ending = carry_out(run, all_of(wanted))
        assert (ending.verdict, ending.cause, str(ending.failing)) == (
            Verdict.FAILED,
            Cause.COMMIT,
            "ConfigMap/web/c001",
        )
        assert ending.reason == "refused by the API server: denied"
        made = {str(u) for u in run.cluster.objects}
        assert made == {u for u, result in run.journal.concluded().items() if result == "applied"}
        assert run.journal.concluded()["ConfigMap/web/c001"] == "refused"


def test_a_failed_run_sends_nothing_more_of_its_wave() -> None:
    wanted = configs(200)
    with run_of(SPEC, wanted, width=2) as run:
        in_step(run)
        run.cluster.replies["c000"] = [refusal(RejectionKind.ADMISSION, "denied")]
        assert carry_out(run, all_of(wanted)).verdict is Verdict.FAILED
        assert len(run.journal.effects) < 200
        assert len(run.journal.effects) == len(run.cluster.asked)


def test_a_fault_at_one_object_is_paused_for_while_the_rest_goes_on() -> None:
    wanted = configs(20)
    with run_of(SPEC, wanted) as run:
        run.cluster.replies["c003"] = [AWAY, AWAY]
        assert carry_out(run, all_of(wanted)).verdict is Verdict.GOOD
        applies = [str(u) for verb, u in run.cluster.asked if verb == "apply"]
        assert applies.count("ConfigMap/web/c003") == 3
        assert len(applies) == 22
        assert run.pauses == [AWAY, AWAY, None]


def test_a_cluster_that_is_away_is_not_asked_for_every_object() -> None:
    wanted = configs(300)
    with run_of(SPEC, wanted, width=2) as run:
        in_step(run)
        run.cluster.replies.update({u.name: [AWAY] for u in wanted.units})
        run.time.interrupts = lambda _: Interrupt() if run.cluster.asked else None
        with pytest.raises(Interrupted):
            carry_out(run, all_of(wanted))
        assert SPREAD <= len(run.cluster.asked) < 300
        assert run.journal.effects == []


def test_an_outcome_that_cannot_be_recorded_is_tried_again_until_it_is() -> None:
    wanted = configs(1)
    with run_of(SPEC, wanted) as run:
        run.journal.faults["conclude"] = [FULL, FULL]
        assert carry_out(run, all_of(wanted)).verdict is Verdict.GOOD
        (effect,) = run.journal.effects
        assert effect.dirty is not None
        assert effect.dirty.created, "the second try found what the first had made"


def test_a_lost_lease_ends_the_run_after_what_is_under_way() -> None:
    wanted = configs(200)
    with run_of(SPEC, wanted, width=2) as run:
        in_step(run)
        lost = NeedsPerson("another instance holds the lease")
        conclude = run.journal.conclude

        def lose(*arguments: Any, **more: Any) -> None:
            conclude(*arguments, **more)
            run.session.leased_at = -1e9
            run.cluster.leases = [lost] * 500

        run.journal.conclude = lose  # type: ignore[method-assign]
        with pytest.raises(NeedsPerson):
            carry_out(run, all_of(wanted))
        assert 0 < len(run.journal.effects) < 200
        assert len(run.journal.effects) == len(run.cluster.objects)


def test_a_lease_that_cannot_be_renewed_pauses_the_run_before_the_wave() -> None:
    wanted = configs(1)
    with run_of(SPEC, wanted) as run:
        run.cluster.leases = [AWAY, AWAY]
        assert carry_out(run, all_of(wanted)).verdict is Verdict.GOOD
        assert run.pauses == [AWAY, AWAY, None]


def test_a_newer_commit_waits_between_intent_and_outcome() -> None:
    wanted = configs(1)
    with run_of(SPEC, wanted) as run:
        run.cluster.replies["c000"] = [AWAY] * 5
        run.time.interrupts = lambda at: Interrupt("d" * 40) if at > 0 else None
        assert carry_out(run, all_of(wanted)).verdict is Verdict.GOOD


# ---------------------------------------------------------------- waves, gates, prune

API = manifest("Deployment", "api")
LATER = manifest("Deployment", "later", annotations={"gitopsd.io/wave": "5"})


@pytest.fixture
def health(monkeypatch: pytest.MonkeyPatch) -> dict[str, Assessment]:
    """Health by name; healthy unless told. As a look at the clusters would find it."""
    told: dict[str, Assessment] = {}

    def look(_: object, units: Sequence[UnitId]) -> dict[UnitId, Assessment]:
        return {u: told.get(u.name, Assessment(Health.HEALTHY)) for u in units}

    monkeypatch.setattr(gate_module, "look", look)
    return told


SURE = Assessment(Health.DEGRADED, "ImagePullBackOff", "no such image", final=True)


def test_a_higher_wave_does_not_start_before_the_lower_one_is_healthy(health: dict[str, Assessment]) -> None:
    wanted = desired(SPEC, API, LATER)
    health["api"] = SURE
    with run_of(SPEC, wanted) as run:
        ending = carry_out(run, all_of(wanted))
        assert (ending.verdict, ending.reason) == (Verdict.FAILED, "ImagePullBackOff: no such image")
        assert set(run.journal.concluded()) == {"Deployment.apps/web/api"}


def test_nothing_is_pruned_after_a_failed_gate(health: dict[str, Assessment]) -> None:
    wanted = desired(SPEC, API)
    old = applied(next(iter(configs(1).units.values())))
    health["api"] = SURE
    with run_of(SPEC, wanted, FakeCluster({old.id: old})) as run:
        plan = plan_of(*(change(wanted, u) for u in wanted.units), prune=[removal(old.id)])
        assert carry_out(run, plan).verdict is Verdict.FAILED
        assert old.id in run.cluster.objects


def test_what_breaks_by_the_prune_fails_the_last_gate(health: dict[str, Assessment]) -> None:
    wanted = desired(SPEC, API)
    old = applied(next(iter(configs(1).units.values())))
    with run_of(SPEC, wanted, FakeCluster({old.id: old})) as run:
        run.cluster.on_delete = lambda _: health.update(api=SURE)
        ending = carry_out(run, plan_of(prune=[removal(old.id)]))
        assert (ending.verdict, str(ending.failing)) == (Verdict.FAILED, "Deployment.apps/web/api")


def test_what_was_broken_before_the_prune_does_not(health: dict[str, Assessment]) -> None:
    wanted = desired(SPEC, API)
    old = applied(next(iter(configs(1).units.values())))
    health["api"] = SURE
    with run_of(SPEC, wanted, FakeCluster({old.id: old})) as run:
        assert carry_out(run, plan_of(prune=[removal(old.id)])).verdict is Verdict.GOOD


CHECK = HttpCheck("http://web.example/healthz")
CHECKED = stack(component(gate=GateSpec(timeout=30, checks=(CHECK,))))


@pytest.mark.usefixtures("health")
@pytest.mark.parametrize("broken", ["by the prune", "before it"])
def test_a_check_is_asked_after_a_prune_if_it_was_good_before(broken: str) -> None:
    wanted = desired(CHECKED, manifest("ConfigMap", "stays"))
    old = applied(next(iter(configs(1).units.values())))
    with run_of(CHECKED, wanted, FakeCluster({old.id: old})) as run:
        run.probes[CHECK.url] = Health.HEALTHY if broken == "by the prune" else Health.PROGRESSING
        run.cluster.on_delete = lambda _: run.probes.update({CHECK.url: Health.PROGRESSING})
        verdict = carry_out(run, plan_of(prune=[removal(old.id)])).verdict
        assert verdict is (Verdict.FAILED if broken == "by the prune" else Verdict.GOOD)


@pytest.mark.usefixtures("health")
def test_a_check_waits_for_the_last_wave_of_its_component() -> None:
    wanted = desired(CHECKED, API, LATER)
    with run_of(CHECKED, wanted) as run:
        run.probes[CHECK.url] = Health.PROGRESSING

        def apply(unit: UnitId, manifest: Any, *, dry_run: bool = False) -> Any:
            if unit.name == "later":
                run.probes[CHECK.url] = Health.HEALTHY
            return FakeCluster.apply(run.cluster, unit, manifest, dry_run=dry_run)

        run.cluster.apply = apply  # type: ignore[method-assign]
        assert carry_out(run, all_of(wanted)).verdict is Verdict.GOOD
        assert run.time.seconds < 1


def test_a_commit_that_changes_only_configuration_is_judged_by_its_components_check() -> None:
    wanted = desired(CHECKED, manifest("ConfigMap", "settings"))
    with run_of(CHECKED, wanted) as run:
        run.probes[CHECK.url] = Health.PROGRESSING
        ending = carry_out(run, all_of(wanted))
        assert ending.verdict is Verdict.FAILED
        assert CHECK.url in ending.reason


# ---------------------------------------------------------------- rollback


def test_a_rollback_does_the_rest_when_one_unit_cannot_go_back(health: dict[str, Assessment]) -> None:
    wanted = desired(SPEC, API, LATER, manifest("ConfigMap"))
    added = applied(next(iter(configs(1).units.values())))
    health["api"] = SURE
    with run_of(SPEC, wanted, FakeCluster({added.id: added}), kind=RunKind.ROLLBACK) as run:
        run.cluster.replies["x"] = [refusal(RejectionKind.ADMISSION, "denied")]
        plan = plan_of(*(change(wanted, u, Action.UPDATE) for u in sorted(wanted.units)), prune=[removal(added.id)])
        ending = carry_out(run, plan)
        assert ending.verdict is Verdict.FAILED
        assert run.journal.concluded()["Deployment.apps/web/later"] == "applied"
        assert added.id not in run.cluster.objects
        left = {str(leftover.unit): leftover.reason for leftover in run.session.leftovers}
        assert left["ConfigMap/web/x"] == "refused by the API server: denied"
        assert left["Deployment.apps/web/api"] == "ImagePullBackOff: no such image"


def test_what_a_rollback_has_given_up_holds_up_no_later_gate(health: dict[str, Assessment]) -> None:
    wanted = desired(SPEC, API, LATER)
    health.update(api=SURE, later=Assessment(Health.PROGRESSING, "Rollout"))
    with run_of(SPEC, wanted, kind=RunKind.ROLLBACK) as run:

        def ready() -> None:
            if run.time.seconds > 20:
                health["later"] = Assessment(Health.HEALTHY)

        run.time.meanwhile = ready
        carry_out(run, all_of(wanted))
        assert run.time.seconds > 20, "the later wave was waited for"
        assert [str(left.unit) for left in run.session.leftovers] == ["Deployment.apps/web/api"]


def test_what_a_plan_could_not_take_back_fails_the_rollback_after_the_rest() -> None:
    wanted = configs(2)
    first, second = sorted(wanted.units)
    with run_of(SPEC, wanted, kind=RunKind.ROLLBACK) as run:
        plan = plan_of(change(wanted, second), leftovers=[Leftover(first, "immutable")])
        ending = carry_out(run, plan)
        assert (ending.verdict, ending.failing, ending.reason) == (Verdict.FAILED, first, "immutable")
        assert set(run.journal.concluded()) == {str(second)}


def test_deletions_of_one_kind_go_together_and_kinds_one_after_the_other() -> None:
    wanted = desired(SPEC, manifest("Service", "s"), *(manifest("ConfigMap", f"c{n}") for n in range(3)))
    live = {u.id: applied(u) for u in wanted.units.values()}
    order = sorted(live, key=lambda u: u.kind, reverse=True)
    with run_of(SPEC, desired(SPEC), FakeCluster(dict(live))) as run:
        assert carry_out(run, plan_of(prune=[removal(u) for u in order])).verdict is Verdict.GOOD
        deleted = [u.kind for verb, u in run.cluster.asked if verb == "delete"]
        assert deleted == ["Service", "ConfigMap", "ConfigMap", "ConfigMap"]


def test_what_an_earlier_run_left_dirty_is_gated_before_a_higher_wave(health: dict[str, Assessment]) -> None:
    wanted = desired(SPEC, API, LATER)
    low, high = sorted(wanted.units)
    health["api"] = SURE
    with run_of(SPEC, wanted) as run:
        run.session.dirty_before = [_dirty(run, wanted, low)]
        ending = carry_out(run, plan_of(change(wanted, high)))
        assert (ending.verdict, ending.failing) == (Verdict.FAILED, low)
        assert run.journal.effects == []


def _dirty(run: Run, wanted: Any, unit: UnitId) -> Any:
    mark = run.session.dirty(change(wanted, unit, Action.UPDATE), created=False, uid="u")
    assert mark is not None
    return mark


def test_waves_of_two_components_go_by_their_order() -> None:
    whole = stack(component("low"), component("high", wave=10))
    wanted = desired(whole, document(manifest("ConfigMap", "a"), "high"), document(manifest("ConfigMap", "b"), "low"))
    with run_of(whole, wanted) as run:
        carry_out(run, all_of(wanted))
        assert [u.name for verb, u in run.cluster.asked if verb == "apply"] == ["b", "a"]


def test_a_bug_is_not_taken_for_a_fault() -> None:
    wanted = configs(1)
    with run_of(SPEC, wanted) as run:
        run.cluster.replies["c000"] = [KeyError("bug")]
        with pytest.raises(KeyError):
            carry_out(run, all_of(wanted))


def test_an_api_server_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = configs(2)
    told, answers = list[str](), Event()

    def hear(text: str) -> None:
        told.append(text)
        if "no answer" in text:
            answers.set()

    monkeypatch.setattr(waves_module, "LEASE_LOOK", 0.01)
    with run_of(SPEC, wanted) as run:
        run.session.progress = hear
        apply = run.cluster.apply

        def silent(unit: UnitId, manifest: Any, *, dry_run: bool = False) -> Any:
            assert answers.wait(30)
            return apply(unit, manifest, dry_run=dry_run)

        run.cluster.apply = silent  # type: ignore[method-assign]
        assert carry_out(run, all_of(wanted)) == Ending(Verdict.GOOD)
    assert told[:2] == ["wave 0: 2 changes", "no answer yet about ConfigMap/web/c000 and 1 more"]
