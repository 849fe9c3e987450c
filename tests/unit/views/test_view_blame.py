"""Who changed a unit last, since which commit it is wished so, and what is said where nobody knows any more."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gitopsd.model.ids import UnitId
from gitopsd.model.memory import Baseline
from gitopsd.model.modules import ResourceAction, ResourceDone, ResourceEnd
from gitopsd.model.plan import Action, Edit, FieldChange
from gitopsd.model.run import Outcome, Result, RunKind, Touch, Verdict
from gitopsd.model.status import Addition, StackFacts, UnitDrift, Writer
from gitopsd.model.units import Origin, Person
from gitopsd.views.blame import SHOWN, BlameFacts, blame_document, blame_text
from gitopsd.views.layout import printed
from gitopsd.views.status import stack_status
from tests.unit.views.samples import API, BAD, GOOD, NOW, at, change, run, state

NETWORK = UnitId.terraform("network")
BASE = Baseline(API, "web", (0, 0), "new", "u", "1", "apps/v1", at(60))


def touch(name: str, digest: str, kind: RunKind = RunKind.DEPLOY, *, created: bool = False, **more: Any) -> Touch:
    made = replace(run(), id=name, kind=kind, revision=f"{name}-commit", subject=f"subject of {name}")
    outcome = Outcome(API, Action.UPDATE, Result.APPLIED, at(5), created=created)
    return Touch(made, outcome, replace(change(API, Action.UPDATE), digest=digest, **more))


def document(*touches: Touch, **more: Any) -> Any:
    facts = BlameFacts(API, "website", True, baseline=BASE, touches=touches)
    return json.loads(json.dumps(blame_document(replace(facts, **more))))


def text(found: Any) -> list[str]:
    return list(printed(blame_text(found, NOW), colour=False))


HEAL, BACK = RunKind.HEAL, RunKind.ROLLBACK
WISHES: dict[str, tuple[list[Touch], str | None, bool]] = {
    "the deploy that changed it": ([touch("r2", "new"), touch("r1", "old")], "r2", False),
    "a heal asks nothing new": ([touch("r3", "new", HEAL), touch("r2", "new"), touch("r1", "old")], "r2", False),
    "a deploy that touched it once more": ([touch("r3", "new"), touch("r2", "new"), touch("r1", "old")], "r2", False),
    "the deploy that made it": ([touch("r3", "new", HEAL), touch("r2", "new", created=True)], "r2", False),
    "a rollback asks what was asked before": (
        [touch("r3", "new", BACK), touch("r2", "bad"), touch("r1", "new", created=True)],
        "r1",
        False,
    ),
    "a commit that asks again what was asked once": (
        [touch("r3", "new"), touch("r2", "bad"), touch("r1", "new", created=True)],
        "r3",
        False,
    ),
    "runs before it are not kept": ([touch("r2", "new")], "r2", True),
    "only a rollback is kept": ([touch("r3", "new", BACK)], None, False),
    "only plans of another wish are kept": ([touch("r1", "old")], None, False),
    "no plan is kept": ([replace(touch("r1", "new"), change=None)], None, False),
}


@pytest.mark.parametrize("name", WISHES)
def test_the_commit_that_brought_what_is_wished(name: str) -> None:
    touches, expected, or_earlier = WISHES[name]
    wish = document(*touches)["wish"]
    assert (wish and wish["run"]) == expected
    if wish:
        assert (wish["revision"], wish["orEarlier"]) == (f"{expected}-commit", or_earlier)


def test_nobody_wishes_what_is_not_tracked() -> None:
    found = document(touch("r2", "new"), baseline=None)
    assert (found["tracked"], found["wish"]) == (False, None)
    assert text(found)[0] == "Deployment.apps/web/api of stack website, which does not track it now"


def healed() -> Touch:
    made = touch(
        "website-3",
        "new",
        HEAL,
        reason="drifted",
        overrides=("kubectl-edit",),
        diff=(FieldChange("spec.replicas", Edit.REPLACE, 5, 3),),
    )
    outcome = replace(made.outcome, detail="policy is old", warnings=("overridden by admission: spec.paused",))
    return replace(made, run=replace(made.run, author=Person("gitopsd"), revision=GOOD), outcome=outcome)


def test_the_document_says_all_of_the_last_change() -> None:
    last = document(healed(), touch("website-2", "new"))["last"]
    assert last == {
        "run": "website-3",
        "kind": "heal",
        "action": "update",
        "result": "applied",
        "at": at(5),
        "revision": GOOD,
        "subject": "subject of website-3",
        "author": "gitopsd",
        "verdict": "good",
        "undoes": None,
        "why": "drifted",
        "detail": "policy is old",
        "warnings": ["overridden by admission: spec.paused"],
        "fields": [
            {"path": "spec.replicas", "edit": "replace", "before": 5, "after": 3, "masked": False, "unknown": False}
        ],
        "overrides": ["kubectl-edit"],
        "adoptedFrom": "",
        "resources": [],
        "did": "",
        "from": "record",
    }


def test_text_of_a_heal_with_what_was_written_since() -> None:
    drift = UnitDrift(
        at(2), "spec.paused", (FieldChange("spec.paused", Edit.REMOVE, True),), 0, (Writer("tool", at(2)),)
    )
    status = stack_status(
        StackFacts("website", "main", state(), drifted={API: drift}, additions={API: (Addition("mesh", ("spec.a",)),)})
    )
    deployed = touch("website-2", "new", created=True, origin=Origin("k8s/api.yaml", 3))
    assert text(document(healed(), deployed, status=status)) == [
        "Deployment.apps/web/api of stack website",
        "  updated 5 min ago by gitopsd  2026-11-22 11:55:00Z",
        "    heal website-3 of commit aaaaaaaaaaaa subject of website-3",
        "    why: drifted",
        "    overrode fields of: kubectl-edit",
        "    detail: policy is old",
        "    warning: overridden by admission: spec.paused",
        "    ~ spec.replicas: 5 -> 3",
        "  as git asks since commit website-2-co subject of website-2 by Ann <ann@example.org>, 5 min ago, "
        "k8s/api.yaml:3",
        "  drifted since (2 min ago): spec.paused",
        "    - spec.paused: true -> not there",
        "    by: tool (2 min ago)",
        "  added by mesh: spec.a",
    ]
    assert "  gitopsd is not running; what follows was last known" in text(
        document(healed(), status=status, daemon_running=False)
    )


def test_text_of_a_failed_adoption_and_of_many_fields() -> None:
    fields = tuple(FieldChange(f"data.k{n:02}", Edit.ADD, after=n) for n in range(SHOWN + 4))
    made = touch("website-2", "new", diff=fields, adopted_from="argocd (web)")
    adopted = replace(
        made, run=replace(made.run, verdict=Verdict.FAILED), outcome=replace(made.outcome, action=Action.ADOPT)
    )
    lines = text(document(adopted))
    assert lines[1].startswith("  adopted 5 min ago by Ann <ann@example.org>")
    assert "    that run failed: gitopsd show website-2" in lines
    assert "    taken over from: argocd (web)" in lines
    assert "    and 4 more fields; all with --json" in lines


def test_text_of_a_rollback_names_what_it_takes_back() -> None:
    back = touch("website-3", "new", BACK)
    lines = text(document(replace(back, run=replace(back.run, undoes="website-2", revision=BAD))))
    assert (
        lines[2] == "    rollback website-3 of commit bbbbbbbbbbbb subject of website-3, which takes back run website-2"
    )


def test_a_terraform_component_is_blamed_with_its_resources() -> None:
    done = (ResourceDone("aws_vpc.main", ResourceAction.UPDATE, ResourceEnd.DONE, 2),)
    outcome = Outcome(NETWORK, Action.UPDATE, Result.APPLIED, at(5), resources=done)
    made = Touch(run(), outcome, change(NETWORK, Action.UPDATE))
    found = document(made, unit=NETWORK, baseline=replace(BASE, unit=NETWORK))
    assert found["last"]["resources"] == [{"address": "aws_vpc.main", "action": "update", "end": "done", "seconds": 2}]
    assert "    did: changed aws_vpc.main" in text(found)


AUDITED = {
    "seq": 4,
    "time": at(90),
    "actor": {"kind": "git", "name": "Ann", "email": "ann@example.org"},
    "action": "update",
    "stack": "website",
    "run": "website-1",
    "revision": GOOD,
    "unit": str(API),
    "before": "u",
    "after": "d",
    "result": "applied",
    "detail": "changed",
}


def test_what_only_the_audit_log_knows() -> None:
    found = document(audited=AUDITED)
    assert (found["last"]["from"], found["last"]["kind"], found["message"]) == ("audit", None, "")
    assert text(found)[1:4] == [
        "  updated 1 h ago by Ann <ann@example.org>  2026-11-22 10:30:00Z",
        "    run website-1 of commit aaaaaaaaaaaa",
        "    detail: changed",
    ]


def test_what_nobody_knows_any_more_is_said_with_how_far_back_anything_goes() -> None:
    found = document(record_since=at(600), audit_since=at(660))
    assert (found["last"], found["wish"]) == (None, None)
    assert text(found)[1] == (
        "  not known: no change of it is on record here, which goes back to: runs since 2026-11-22 02:00:00Z, "
        "the audit log since 2026-11-22 01:00:00Z; it was found or made as git asked 2026-11-22 11:00:00Z"
    )
    assert text(document(baseline=None))[1] == "  not known: no change of it is on record here"
