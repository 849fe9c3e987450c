"""What `status --drift`, `why` and the status document say of drift, of who did it, and of others' additions."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gitopsd.model.ids import UnitId
from gitopsd.model.live import Assessment, Health
from gitopsd.model.memory import HoldReason
from gitopsd.model.modules import Edit, FieldChange
from gitopsd.model.status import Addition, DaemonInfo, StackFacts, UnitDrift, UnitHealth, Wanted, Writer
from gitopsd.stack.differences import ASKS
from gitopsd.views.drift_text import drift_text, remedy
from gitopsd.views.layout import printed
from gitopsd.views.status import stack_status, status_document
from gitopsd.views.status_text import converged, status_text
from gitopsd.views.why import WhyFacts, why_document, why_text
from tests.unit.views.samples import API, CONFIG, GOOD, NEW, NOW, at, hold, memory, state

NETWORK = UnitId.terraform("network")
FOUGHT = "contested: injector has written it again after each of 4 repairs; let one of the two go"
DRIFTED = {
    API: UnitDrift(
        at(7),
        "spec.replicas, spec.paused",
        (
            FieldChange("spec.paused", Edit.REMOVE, True),
            FieldChange("spec.replicas", Edit.REPLACE, 5, 3),
            FieldChange("spec.strategy.type", Edit.ADD, after="Recreate"),
        ),
        more=2,
        managers=(Writer("kubectl-edit", at(8)), Writer("old-tool")),
    ),
    UnitId.parse("Secret/web/db"): UnitDrift(
        at(5), "data.password", (FieldChange("data.password", Edit.REPLACE, masked=True),)
    ),
    CONFIG: UnitDrift(at(2), "written again since it was mended: data.key", contested=FOUGHT),
    NETWORK: UnitDrift(
        at(30),
        "aws_vpc.main.tags.env, aws_eip.a is gone",
        (
            FieldChange("aws_vpc.main.tags.env", Edit.REPLACE, "by hand", "prod"),
            FieldChange("aws_eip.a", Edit.ADD, unknown=True),
        ),
    ),
    NEW: UnitDrift(at(1), "it is gone"),
}
ADDED = {
    API: (Addition("kubectl-rollout", ("metadata.annotations[restartedAt]",), at=at(90)),),
    NEW: (Addition("injector", ("spec.containers[proxy]", "spec.a"), more=3),),
}


def facts(**more: Any) -> StackFacts:
    return replace(StackFacts("website", "main", state(), Wanted(GOOD, "digest-a"), tracked=5), **more)


def document(*stacks: StackFacts, running: bool = True) -> Any:
    info = DaemonInfo(running, 7, "0.1.0", at(120)) if running else DaemonInfo(False, None, "0.1.0", None)
    return json.loads(json.dumps(status_document(info, stacks, at(3))))


def text(*stacks: StackFacts, **more: Any) -> list[str]:
    return list(printed(drift_text(document(*stacks, **more), NOW), colour=False))


def test_the_document_has_every_field_of_the_contract() -> None:
    (stack,) = document(facts(drifted=DRIFTED, additions=ADDED))["stacks"]
    by_unit = {entry["unit"]: entry for entry in stack["drift"]}
    assert list(by_unit) == [str(NETWORK), str(CONFIG), "Secret/web/db", str(API), str(NEW)]
    api = by_unit[str(API)]
    assert {"unit", "since", "detail", "fields", "managers", "contested"} <= set(api)
    assert (api["since"], api["detail"], api["moreFields"]) == (at(7), "spec.replicas, spec.paused", 2)
    assert api["fields"][1] == {
        "path": "spec.replicas",
        "edit": "replace",
        "before": 5,
        "after": 3,
        "masked": False,
        "unknown": False,
    }
    assert api["managers"] == [{"name": "kubectl-edit", "at": at(8)}, {"name": "old-tool", "at": ""}]
    assert by_unit[str(CONFIG)]["contested"] == FOUGHT
    assert stack["additions"] == [
        {
            "unit": str(API),
            "manager": "kubectl-rollout",
            "at": at(90),
            "fields": ["metadata.annotations[restartedAt]"],
            "moreFields": 0,
        },
        {
            "unit": str(NEW),
            "manager": "injector",
            "at": "",
            "fields": ["spec.containers[proxy]", "spec.a"],
            "moreFields": 3,
        },
    ]


def test_additions_of_others_are_no_drift() -> None:
    found = document(facts(additions=ADDED))
    assert converged(found)
    assert found["stacks"][0]["units"]["drifted"] == 0
    assert found["stacks"][0]["drift"] == []


def test_status_names_who_wrote_it_and_calls_a_fight_one() -> None:
    health = {unit: UnitHealth(Assessment(Health.HEALTHY), at(60)) for unit in DRIFTED}
    shown = {e["unit"]: e["message"] for e in stack_status(facts(drifted=DRIFTED, health=health))["attention"]}
    assert shown[str(API)] == "spec.replicas, spec.paused (written by kubectl-edit, old-tool)"
    assert shown[str(CONFIG)] == FOUGHT
    assert shown[str(NEW)] == "it is gone"


def test_text_for_a_person() -> None:
    assert text(facts(drifted=DRIFTED, additions=ADDED), facts(name="quiet")) == [
        "gitopsd 0.1.0 is running (pid 7, started 2 h ago).",
        "",
        "website: 5 units have drifted. Each field: what is live -> what git says",
        "  drifted terraform/network (30 min ago)",
        '      ~ aws_vpc.main.tags.env: "by hand" -> "prod"',
        "      + aws_eip.a: not there -> there",
        "      who did it is not known: Terraform does not say",
        "  drifted ConfigMap/web/settings (2 min ago): written again since it was mended: data.key",
        f"      {FOUGHT}",
        "  drifted Secret/web/db (5 min ago)",
        "      ~ data.password: differs (sensitive)",
        "      who did it is not known: the change has left nobody's name in managedFields",
        "  drifted Deployment.apps/web/api (7 min ago)",
        "      - spec.paused: true -> not there",
        "      ~ spec.replicas: 5 -> 3",
        '      + spec.strategy.type: not there -> "Recreate"',
        "      and 2 more fields",
        "      by: kubectl-edit (8 min ago), old-tool",
        "  drifted Deployment.apps/web/worker (1 min ago): it is gone",
        "  healed by itself, unless a unit says why not",
        "",
        "website: added by others. Git does not say it, and it is left alone",
        "  UNIT                        BY               WRITTEN  FIELDS",
        "  Deployment.apps/web/api     kubectl-rollout  1 h ago  metadata.annotations[restartedAt]",
        "  Deployment.apps/web/worker  injector                  spec.containers[proxy], spec.a and 3 more",
    ]


def test_additions_that_are_too_many_to_list_are_counted() -> None:
    assert text(facts(additions=ADDED, more_additions=700))[-1] == "  and something in 700 more units"


def test_text_without_drift_and_without_a_daemon() -> None:
    assert text(facts(), running=False) == [
        "gitopsd is not running. What follows was last known 3 min ago.",
        "No drift is known, and nothing that others have added.",
    ]


def test_what_an_older_daemon_has_written_can_be_shown() -> None:
    old = document(facts(drifted=DRIFTED))
    for name in ("drift", "additions", "onlyReported"):
        del old["stacks"][0][name]
    assert "No drift is known" in "\n".join(printed(drift_text(old, NOW), colour=False))


def test_kinds_that_cannot_be_watched_are_told_with_the_reason() -> None:
    blind = {"Secret in cluster default": "may not watch secrets", "ConfigMap in cluster default": "may not list"}
    given = facts(unwatched=blind)
    shown = text(given)
    assert any("No drift is known" in line for line in shown)
    assert [line.strip() for line in shown if line.startswith("  ")] == [
        "ConfigMap in cluster default: may not list",
        "Secret in cluster default: may not watch secrets",
    ]
    status = "\n".join(printed(status_text(document(given), NOW), colour=False))
    assert "not watched now ConfigMap in cluster default: may not list (and 1 more kind: gitopsd status" in status
    assert converged(document(given)) == converged(document(facts())), "nothing is wrong with the stack for it"


def test_a_value_cannot_write_to_the_terminal() -> None:
    evil = UnitDrift(detail="data.a", fields=(FieldChange("data.a", Edit.REPLACE, "\x1b[2J\n", "ok"),))
    assert "\x1b" not in "\n".join(text(facts(drifted={API: evil})))


@pytest.mark.parametrize(
    ("given", "unit", "said"),
    [
        (facts(drifted=DRIFTED), API, "healed by itself"),
        (facts(drifted=DRIFTED, only_reported=True), API, "the stack file says `drift: report`: the next deploy"),
        (
            facts(drifted=DRIFTED, state=state(memory(holds=(hold(HoldReason.SUSPENDED),)))),
            API,
            "only reported, for the stack is suspended: `gitopsd resume website` has it healed",
        ),
        (
            facts(drifted=DRIFTED, state=state(memory(holds=(hold(HoldReason.ROLLBACK_FAILED),)))),
            API,
            "only reported, as long as the stack is held (rollback-failed)",
        ),
        (facts(drifted=DRIFTED), CONFIG, "mended less and less often, until one of the two stops writing it"),
        (
            facts(drifted={NETWORK: replace(DRIFTED[NETWORK], detail=f"aws_vpc.main; {ASKS}")}),
            NETWORK,
            "healed once a person allows it: `gitopsd approve website`",
        ),
        (facts(drifted={API: UnitDrift(detail="cannot be healed: immutable")}), API, "change in git or in the cluster"),
    ],
)
def test_what_ends_the_drift_of_a_unit(given: StackFacts, unit: UnitId, said: str) -> None:
    stack = stack_status(given)
    entry = next(e for e in stack["drift"] if e["unit"] == str(unit))
    assert said in remedy(stack, entry)


# ---------------------------------------------------------------- why


def why(unit: UnitId, given: StackFacts) -> tuple[Any, list[str]]:
    found = why_document(WhyFacts(unit, "website", True, stack_status(given), given.state))
    return found, list(printed(why_text(found, NOW), colour=False))


def test_why_tells_the_drift_of_a_unit_what_ends_it_and_its_additions() -> None:
    found, lines = why(API, facts(drifted=DRIFTED, additions=ADDED))
    assert [w["kind"] for w in found["waitsFor"]] == ["drift"]
    assert (found["drift"]["unit"], found["drift"]["remedy"]) == (str(API), "healed by itself")
    assert [a["manager"] for a in found["additions"]] == ["kubectl-rollout"]
    assert lines == [
        "Deployment.apps/web/api of stack website",
        "  drift (7 min ago): live is not what was applied: spec.replicas, spec.paused",
        "    - spec.paused: true -> not there",
        "    ~ spec.replicas: 5 -> 3",
        '    + spec.strategy.type: not there -> "Recreate"',
        "    and 2 more fields",
        "    by: kubectl-edit (8 min ago), old-tool",
        "    what ends it: healed by itself",
        "  added by kubectl-rollout (1 h ago): metadata.annotations[restartedAt]",
    ]


def test_why_tells_of_drift_beside_bad_health() -> None:
    health = {API: UnitHealth(Assessment(Health.DEGRADED, "CrashLoopBackOff", "exit 1"), at(4))}
    found, _ = why(API, facts(drifted=DRIFTED, health=health))
    assert [(w["kind"], w["since"]) for w in found["waitsFor"]] == [("health", at(4)), ("drift", at(7))]


def test_why_of_a_unit_without_drift_tells_what_others_have_added_and_waits_for_nothing() -> None:
    found, lines = why(NEW, facts(additions=ADDED))
    assert (found["waitsFor"], found["drift"]) == ([], None)
    assert lines[-1] == "  added by injector: spec.containers[proxy], spec.a and 3 more"
