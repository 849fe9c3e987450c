"""History, one run, and what a unit waits for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gitopsd.model.errors import UsageError
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Health
from gitopsd.model.memory import Baseline, HoldReason
from gitopsd.model.modules import ResourceAction, ResourceDone, ResourceEnd
from gitopsd.model.plan import Action, Postponed
from gitopsd.model.run import Observation, Outcome, Result, RunKind, RunRecord
from gitopsd.model.status import StackFacts, UnitDrift
from gitopsd.views.find import find_name, find_unit
from gitopsd.views.history import history_document, history_text
from gitopsd.views.layout import printed
from gitopsd.views.run import run_document, run_text
from gitopsd.views.status import stack_status
from gitopsd.views.why import WhyFacts, why_document, why_text
from tests.unit.views.samples import API, BAD, CONFIG, NEW, NOW, OLD, at, failed_run, hold, memory, plan, run, state
from tests.unit.views.samples import quarantined as quarantined_item


def test_history_has_the_fields_of_the_contract() -> None:
    document = json.loads(json.dumps(history_document([failed_run()])))
    assert document["schema"] == "gitopsd.io/history/v1"
    wanted = {
        "id": "website-2",
        "stack": "website",
        "kind": "deploy",
        "revision": BAD,
        "author": "Ann <ann@example.org>",
        "started": at(4),
        "finished": at(3),
        "verdict": "failed",
        "reason": "Deployment.apps/web/api: ImagePullBackOff: no such image",
        "cause": "commit",
    }
    assert {name: document["runs"][0][name] for name in wanted} == wanted


def test_history_text() -> None:
    runs = [run(id="website-3", verdict=None, finished=None), failed_run(), run(id="website-1", started=at(90))]
    assert list(printed(history_text(history_document(runs), NOW), colour=False)) == [
        "RUN        STACK    KIND    REVISION      VERDICT  STARTED    TOOK   AUTHOR  WHAT",
        "website-3  website  deploy  bbbbbbbbbbbb  running  4 min ago         Ann     Raise the replicas",
        "website-2  website  deploy  bbbbbbbbbbbb  failed   4 min ago  1 min  Ann     "
        "Deployment.apps/web/api: ImagePullBackOff: no such image",
        "website-1  website  deploy  bbbbbbbbbbbb  good     1 h ago    1 h    Ann     Raise the replicas",
    ]
    assert list(printed(history_text(history_document([]), NOW), colour=False)) == ["No runs yet."]


def test_a_run_lists_every_planned_unit_also_those_it_never_came_to() -> None:
    document = json.loads(json.dumps(run_document(failed_run())))
    assert document["schema"] == "gitopsd.io/run/v1"
    assert [(o["unit"], o["result"]) for o in document["outcomes"]] == [
        (str(CONFIG), "applied"),
        (str(API), "applied"),
        (str(NEW), None),
        (str(OLD), None),
    ]
    assert document["plan"]["waves"]
    assert document["observations"][0]["reason"] == "ImagePullBackOff"
    assert document["leftovers"] == [{"unit": str(OLD), "reason": "its finalizer example.org/hold is not done"}]
    assert document["suspects"] == ["bbbbbbbbbbbb Raise the replicas"]


def test_run_text() -> None:
    shown = list(printed(run_text(run_document(failed_run()), NOW, with_plan=False), colour=False))
    assert shown == [
        "run website-2: deploy of stack website: failed",
        "  revision bbbbbbbbbbbb Raise the replicas",
        "  author   Ann <ann@example.org>",
        "  started  2026-11-22 11:56:00Z (4 min ago), took 1 min",
        "  failing  Deployment.apps/web/api",
        "  reason   Deployment.apps/web/api: ImagePullBackOff: no such image",
        "  cause    commit",
        "  suspects bbbbbbbbbbbb Raise the replicas",
        "",
        "ACTION  UNIT                        RESULT       DETAIL",
        "update  ConfigMap/web/settings      applied",
        "update  Deployment.apps/web/api     applied      deprecated",
        "create  Deployment.apps/web/worker  not reached",
        "delete  ConfigMap/web/old           not reached",
        "",
        "GATE SAW  OF                       AT         REASON",
        "degraded  Deployment.apps/web/api  3 min ago  ImagePullBackOff: no such image",
        "",
        "could not be taken back, look at these yourself:",
        "  ConfigMap/web/old: its finalizer example.org/hold is not done",
    ]


def test_the_field_diff_of_a_run_is_shown_when_asked_for() -> None:
    shown = list(printed(run_text(run_document(failed_run()), NOW, with_plan=True), colour=False))
    assert "        ~ spec.replicas: 2 -> 3" in shown


def test_a_run_that_was_refused_before_its_plan_can_be_shown() -> None:
    shown = list(
        printed(
            run_text(run_document(run(kind=RunKind.ROLLBACK, undoes="website-1")), NOW, with_plan=True), colour=False
        )
    )
    assert "  undoes   run website-1" in shown
    assert "nothing was changed" in shown


# ---------------------------------------------------------------- why


def going(*outcomes: Outcome, seen: tuple[Observation, ...] = ()) -> RunRecord:
    return run(verdict=None, finished=None, plan=plan(), outcomes=outcomes, observations=seen)


def applied(unit: UnitId, result: Result = Result.APPLIED, detail: str = "") -> Outcome:
    return Outcome(unit, Action.UPDATE, result, at(2), detail)


def observed(unit: UnitId, kind: Health, reason: str = "Rollout", message: str = "1 of 3 ready") -> Observation:
    return Observation(str(unit), kind, reason, message, False, at(1))


def why(unit: UnitId, **more: Any) -> list[tuple[str, str]]:
    return [(w["kind"], w["detail"]) for w in why_document(WhyFacts(unit, "website", True, **more))["waitsFor"]]


BASELINE = Baseline(API, "web", (10, 0), "d" * 64, "u", "1", "apps/v1", at(70))


@pytest.mark.parametrize(
    ("unit", "current", "expected"),
    [
        pytest.param(
            API,
            going(applied(CONFIG), applied(API), seen=(observed(API, Health.PROGRESSING),)),
            [("gate", "progressing: Rollout: 1 of 3 ready")],
            id="its gate",
        ),
        pytest.param(
            API,
            going(),
            [("wave", "its turn in wave 10 comes after ConfigMap/web/settings (not applied yet)")],
            id="the wave before it",
        ),
        pytest.param(
            NEW,
            going(applied(CONFIG), seen=(observed(CONFIG, Health.DEGRADED, "", ""),)),
            [
                (
                    "wave",
                    "its turn in wave 10 comes after ConfigMap/web/settings (degraded); "
                    "its namespace is created in wave 0",
                )
            ],
            id="a unit before it that is not healthy",
        ),
        pytest.param(
            OLD,
            going(applied(CONFIG)),
            [
                (
                    "wave",
                    "its turn to be deleted comes after Deployment.apps/web/api (not applied yet) and 1 other unit",
                )
            ],
            id="prune comes last",
        ),
        pytest.param(
            OLD,
            going(applied(OLD, Result.TERMINATING, "finalizer example.org/hold")),
            [("finalizer", "finalizer example.org/hold")],
            id="a finalizer",
        ),
        pytest.param(
            API, going(applied(API, Result.REFUSED, "quota exceeded")), [("refused", "quota exceeded")], id="refused"
        ),
        pytest.param(API, going(applied(API), seen=(observed(API, Health.HEALTHY),)), [], id="it is done"),
        pytest.param(UnitId.parse("Service/web/api"), going(), [], id="the run does not touch it"),
        pytest.param(API, failed_run(), [], id="a run that has ended holds nobody back"),
    ],
)
def test_why_while_a_run_goes_on(unit: UnitId, current: RunRecord, expected: list[tuple[str, str]]) -> None:
    assert why(unit, run=current, state=state()) == expected


def test_why_names_holds_quarantine_prunes_and_drift() -> None:
    known = state(
        memory(holds=(hold(HoldReason.QUARANTINED),), quarantine=(quarantined_item(),)),
        postponed=(Postponed(API, "needs approval", at(8)),),
    )
    status = stack_status(StackFacts("website", "main", known, drifted={API: UnitDrift(at(6), "spec.replicas")}))
    assert why(API, state=known, status=status) == [
        ("hold", "the stack is held (quarantined): detail of quarantined"),
        ("quarantine", "commit bbbbbbbbbbbb is quarantined: ImagePullBackOff: no such image"),
        ("prune", "its deletion is postponed: needs approval"),
        ("drift", "live is not what was applied: spec.replicas"),
    ]


def test_why_says_first_that_nobody_is_at_work() -> None:
    document = why_document(WhyFacts(API, "website", False, state=state(), baseline=BASELINE))
    assert [w["kind"] for w in document["waitsFor"]] == ["daemon"]


def test_why_text_of_a_unit_at_rest() -> None:
    document = why_document(WhyFacts(API, "website", True, state=state(), baseline=BASELINE, run=run()))
    assert document["schema"] == "gitopsd.io/why/v1"
    assert list(printed(why_text(document, NOW), colour=False)) == [
        "Deployment.apps/web/api of stack website",
        "  waits for nothing: it is as git asks, and nothing is wrong with it",
        "  last applied 1 h ago, component web, digest dddddddddddd",
    ]


# ---------------------------------------------------------------- names that people type


@pytest.mark.parametrize(
    "typed",
    [
        "Deployment.apps/web/api",
        "deployment/web/api",
        "Deployment/api",
        "deployment.apps/api",
        "default:deployment/api",
    ],
)
def test_a_unit_is_found_by_what_names_it_alone(typed: str) -> None:
    assert find_unit(typed, [API, CONFIG, NEW, OLD]) == API


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("deployment/web/apy", "did you mean Deployment.apps/web/api"),
        ("Deployment/api", "'Deployment/api' may be Deployment.apps/stage/api or Deployment.apps/web/api"),
        ("zzz", "no stack has a unit 'zzz'"),
    ],
)
def test_a_name_that_fits_none_or_several_is_answered_with_those_it_may_be(typed: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        find_unit(typed, [API, API._replace(namespace="stage"), CONFIG])


@pytest.mark.parametrize(
    ("known", "said"),
    [(["website", "shop"], "did you mean website"), (["db", "net"], "there is db or net"), ([], "there is none yet")],
)
def test_a_stack_that_is_not_there_is_answered_with_those_that_are(known: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=rf"there is no stack 'web-site' \({said}"):
        find_name("web-site", known, "stack")
    assert find_name("db", ["db"], "stack") == "db"


def test_a_run_shows_what_terraform_did_to_each_resource() -> None:
    done = (
        ResourceDone("random_pet.name", ResourceAction.CREATE, ResourceEnd.DONE, 3),
        ResourceDone("tls_private_key.key", ResourceAction.UPDATE, ResourceEnd.FAILED, 12),
    )
    network = Outcome(UnitId.terraform("network"), Action.UPDATE, Result.REFUSED, at(4), "quota", resources=done)
    document = run_document(replace(failed_run(), outcomes=(network,)))
    assert json.loads(json.dumps(document))["outcomes"][-1]["resources"][1] == {
        "address": "tls_private_key.key",
        "action": "update",
        "end": "failed",
        "seconds": 12,
    }
    text = "\n".join(printed(run_text(document, NOW, with_plan=False), colour=False))
    assert "created" in text
    assert "random_pet.name" in text
    assert "failed to change" in text
    for outcome in document["outcomes"]:  # of a daemon that is older
        outcome.pop("resources")
    assert "random_pet.name" not in "\n".join(printed(run_text(document, NOW, with_plan=False), colour=False))
