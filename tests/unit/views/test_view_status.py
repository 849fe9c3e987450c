"""DESIGN 5: the phase of a stack, in its order of precedence; the status document and what it says to people."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gitopsd.model.live import Assessment, Health
from gitopsd.model.memory import Dirty, HoldReason
from gitopsd.model.plan import Action, Postponed
from gitopsd.model.run import RunKind
from gitopsd.model.status import DaemonInfo, Phase, StackFacts, UnitDrift, UnitHealth, Wanted
from gitopsd.views.layout import printed
from gitopsd.views.status import phase, stack_status, status_document
from gitopsd.views.status_text import SHOWN, converged, status_text
from tests.unit.views.samples import (
    API,
    BAD,
    CONFIG,
    GOOD,
    NEW,
    NOW,
    OLD,
    at,
    attempt,
    failed_run,
    hold,
    memory,
    quarantined,
    run,
    state,
)

ASKS_GOOD, ASKS_NEW = Wanted(GOOD, "digest-a"), Wanted(BAD, "digest-b")
DIRTY = Dirty(API, "website-2", Action.UPDATE, (0, 0), "web")


def facts(**more: Any) -> StackFacts:
    return replace(StackFacts("website", "main", state(), ASKS_GOOD), **more)


def held(reason: HoldReason, **more: Any) -> Any:
    return state(memory(holds=(hold(reason),), **more))


HELD_AND_DIRTY = state(memory(holds=(hold(HoldReason.BLOCKED),)), dirty=(DIRTY,))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(facts(current=run(verdict=None)), Phase.RUNNING, id="a deploy goes on"),
        pytest.param(facts(current=run(verdict=None, kind=RunKind.HEAL)), Phase.RUNNING, id="a heal goes on"),
        pytest.param(facts(current=run(verdict=None, kind=RunKind.ROLLBACK)), Phase.ROLLING_BACK, id="a rollback"),
        pytest.param(
            facts(current=run(verdict=None), state=held(HoldReason.ROLLBACK_FAILED)), Phase.RUNNING, id="running first"
        ),
        pytest.param(facts(state=held(HoldReason.ROLLBACK_FAILED)), Phase.FAILED, id="the rollback failed"),
        pytest.param(facts(state=held(HoldReason.FAILED), desired=ASKS_NEW), Phase.FAILED, id="onFailure: hold"),
        pytest.param(facts(state=HELD_AND_DIRTY, desired=ASKS_NEW), Phase.FAILED, id="between two revisions, held"),
        pytest.param(facts(state=state(dirty=(DIRTY,)), desired=ASKS_NEW), Phase.FAILED, id="between two revisions"),
        pytest.param(
            facts(state=state(memory(attempting=attempt(RunKind.DEPLOY))), desired=ASKS_NEW), Phase.FAILED, id="crashed"
        ),
        pytest.param(facts(state=state(memory(attempting=attempt(RunKind.HEAL)))), Phase.SYNCED, id="crashed heal"),
        pytest.param(facts(state=held(HoldReason.BLOCKED), desired=ASKS_NEW), Phase.HELD, id="blocked"),
        pytest.param(facts(state=held(HoldReason.BLOCKED)), Phase.SYNCED, id="git is away, the newest known is live"),
        pytest.param(facts(state=held(HoldReason.SOURCE)), Phase.HELD, id="what is desired is not known"),
        pytest.param(facts(state=held(HoldReason.INSTANCE)), Phase.HELD, id="not our stack"),
        pytest.param(
            facts(state=state(memory(quarantine=(quarantined(),))), desired=ASKS_NEW), Phase.HELD, id="quarantined"
        ),
        pytest.param(facts(state=state(memory(quarantine=(quarantined(),)))), Phase.SYNCED, id="quarantined another"),
        pytest.param(facts(), Phase.SYNCED, id="desired is good"),
        pytest.param(facts(desired=ASKS_NEW), Phase.UNKNOWN, id="about to run"),
        pytest.param(facts(desired=None), Phase.UNKNOWN, id="nothing fetched yet"),
        pytest.param(facts(state=None), Phase.UNKNOWN, id="never ran"),
        pytest.param(facts(state=state(memory(good=())), desired=ASKS_NEW), Phase.UNKNOWN, id="never good"),
    ],
)
def test_phase_is_the_first_that_is_true(given: StackFacts, expected: Phase) -> None:
    assert phase(given) is expected


def test_commit_that_asks_what_is_live_is_synced_whatever_its_name() -> None:
    assert phase(facts(desired=Wanted("c" * 40, "digest-a"))) is Phase.SYNCED


def test_unknown_digests_are_not_equal() -> None:
    unknown = state(memory(good=(replace(memory().good[0], digest=""),)))
    assert phase(facts(desired=Wanted("c" * 40, "digest-a"), state=unknown)) is Phase.UNKNOWN


def health(kind: Health, reason: str = "", message: str = "") -> UnitHealth:
    return UnitHealth(Assessment(kind, reason, message), at(3))


def troubled() -> StackFacts:
    return facts(
        state=state(memory(holds=(hold(HoldReason.QUARANTINED),), quarantine=(quarantined(),))),
        desired=ASKS_NEW,
        last=failed_run(),
        health={
            CONFIG: health(Health.HEALTHY),
            API: health(Health.DEGRADED, "ImagePullBackOff", "no such image"),
            NEW: health(Health.PROGRESSING, "Rollout", "0 of 1 ready"),
        },
        drifted={CONFIG: UnitDrift(at(7), "data.key by kubectl-edit")},
        tracked=4,
        orphans=(Postponed(OLD, "is being deleted: finalizer example.org/hold", at(90)),),
    )


def test_document_has_every_field_of_the_contract() -> None:
    document = json.loads(json.dumps(status_document(DaemonInfo(True, 7, "0.1.0", at(50)), [troubled()], at(0))))
    assert document["schema"] == "gitopsd.io/status/v1"
    assert document["daemon"] == {"running": True, "pid": 7, "version": "0.1.0", "since": at(50)}
    (stack,) = document["stacks"]
    assert (stack["name"], stack["source"], stack["phase"]) == ("website", "main", "Held")
    assert stack["revision"] == {"desired": BAD, "good": GOOD, "quarantined": [BAD]}
    assert stack["run"] is None
    assert {"id", "stack", "kind", "revision", "author", "started", "finished", "verdict", "reason", "cause"} <= set(
        stack["lastRun"]
    )
    assert {name: stack["units"][name] for name in ("total", "healthy", "progressing", "degraded", "drifted")} == {
        "total": 4,
        "healthy": 1,
        "progressing": 1,
        "degraded": 1,
        "drifted": 1,
    }
    assert stack["units"]["unknown"] == 1, "tracked, but nobody has looked at it"
    assert stack["holds"] == [
        {
            "reason": "quarantined",
            "since": at(5),
            "by": "gitopsd",
            "detail": "detail of quarantined",
            "until": "",
            "now": False,
        }
    ]
    assert stack["next"] == "gitopsd show website-2"


def test_attention_lists_the_worst_first_and_each_unit_once() -> None:
    entries = stack_status(troubled())["attention"]
    assert [(e["unit"], e["health"], e["reason"]) for e in entries] == [
        (str(API), "degraded", "ImagePullBackOff"),
        (str(OLD), "terminating", "orphan"),
        (str(NEW), "progressing", "Rollout"),
        (str(CONFIG), "healthy", "drifted"),
    ]
    assert [e["since"] for e in entries] == [at(3), at(90), at(3), at(7)]


def test_a_deletion_under_way_is_no_pending_prune() -> None:
    orphan, waiting = Postponed(OLD, "is being deleted", at(9)), Postponed(NEW, "needs approval", at(9))
    document = stack_status(facts(state=state(postponed=(orphan, waiting)), orphans=(orphan,)))
    assert [item["unit"] for item in document["pendingPrune"]] == [str(NEW)]
    assert [item["unit"] for item in document["orphans"]] == [str(OLD)]


@pytest.mark.parametrize(
    ("stacks", "expected"),
    [
        pytest.param([facts()], True, id="synced"),
        pytest.param([facts(), troubled()], False, id="one held"),
        pytest.param([facts(drifted={API: UnitDrift()})], False, id="drift"),
        pytest.param([facts(health={API: health(Health.DEGRADED)})], False, id="degraded"),
        pytest.param([facts(health={API: health(Health.MISSING)})], False, id="missing"),
        pytest.param([facts(health={API: health(Health.PROGRESSING)})], True, id="a pod that restarts is no failure"),
        pytest.param([], False, id="nothing known is not in sync"),
    ],
)
def test_exit_code_zero_only_if_all_is_in_sync(stacks: list[StackFacts], expected: bool) -> None:
    assert converged(status_document(DaemonInfo(True), stacks, at(0))) is expected


def text(document: Any) -> str:
    return "\n".join(printed(status_text(document, NOW), colour=False))


def test_text_for_a_person() -> None:
    document = status_document(DaemonInfo(True, 7, "0.1.0", at(120)), [facts(last=run(), tracked=0), troubled()], at(0))
    document["stacks"][0]["name"] = "api"
    assert text(document).splitlines() == [
        "gitopsd 0.1.0 is running (pid 7, started 2 h ago).",
        "",
        "STACK    PHASE   DESIRED       GOOD          HEALTHY  LAST RUN                 ATTENTION",
        "api      Synced  aaaaaaaaaaaa  aaaaaaaaaaaa  0/0      deploy good 3 min ago",
        "website  Held    bbbbbbbbbbbb  aaaaaaaaaaaa  1/4      deploy failed 3 min ago  "
        "1 progressing, 1 degraded, 1 unknown, 1 drifted",
        "",
        "website",
        "  hold quarantined (5 min ago): detail of quarantined",
        "  HEALTH       UNIT                        SINCE      WHY",
        "  degraded     Deployment.apps/web/api     3 min ago  ImagePullBackOff: no such image",
        "  terminating  ConfigMap/web/old           1 h ago    orphan: is being deleted: finalizer example.org/hold",
        "  progressing  Deployment.apps/web/worker  3 min ago  Rollout: 0 of 1 ready",
        "  drifted      ConfigMap/web/settings      7 min ago  data.key by kubectl-edit",
        "  what has drifted, field by field: gitopsd status --drift",
        "  more: gitopsd show website-2",
    ]


def test_text_says_that_the_daemon_is_down_and_how_old_its_word_is() -> None:
    document = status_document(DaemonInfo(False, None, "0.1.0", None), [facts()], at(3))
    assert text(document).startswith("gitopsd is not running. What follows was last known 3 min ago.\n")


def test_a_long_list_of_ailing_units_is_cut_in_text_alone() -> None:
    units = {API._replace(name=f"api-{i:03}"): health(Health.DEGRADED, "CrashLoopBackOff") for i in range(SHOWN + 5)}
    document = status_document(DaemonInfo(True), [facts(health=units, tracked=len(units))], at(0))
    assert len(document["stacks"][0]["attention"]) == SHOWN + 5
    assert text(document).count("CrashLoopBackOff") == SHOWN
    assert "and 5 more units; all with --json" in text(document)


def test_the_run_that_goes_on_is_shown_with_its_progress() -> None:
    going = facts(current=run(verdict=None, finished=None), progress="wave 10: waiting for api", desired=ASKS_NEW)
    shown = text(status_document(DaemonInfo(True, 7, "0.1.0", at(1)), [going], at(0)))
    assert "  run website-2: deploy of bbbbbbbbbbbb, 4 min ago\n  wave 10: waiting for api" in shown
