"""A plan is data: the same value in JSON and in text; values that are secret or large stay out of the text."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gitopsd.model.codec import from_plain
from gitopsd.model.errors import Problem
from gitopsd.model.plan import Action, Edit, FieldChange, Layer, Plan, Wave
from gitopsd.views.layout import printed
from gitopsd.views.plan import LONGEST_VALUE, StackPlan, pending, plan_document, plan_text
from tests.unit.views.samples import API, BAD, change, gated_plan, plan


def text(*results: StackPlan) -> list[str]:
    return list(printed(plan_text(plan_document(results)), colour=False))


def test_the_json_is_the_very_plan_that_would_be_carried_out() -> None:
    document = json.loads(json.dumps(plan_document([StackPlan("website", "main", gated_plan())])))
    assert document["schema"] == "gitopsd.io/plan/v1"
    assert from_plain(Plan, document["stacks"][0]["plan"]) == gated_plan()


def test_field_diff_by_wave() -> None:
    assert text(StackPlan("website", "main", plan())) == [
        "stack website from source main",
        "  commit bbbbbbbbbbbb, desired digest digest-b",
        "  wave 0",
        "    ~   update   ConfigMap/web/settings  k8s/web/settings.yaml:3",
        "        overrides fields of: kubectl-edit",
        "        ~ data.nginx\\.conf:",
        "            @@ -1,2 +1,2 @@",
        "             listen 80;",
        "            -root /a;",
        "            +root /b;",
        "        ~ data.password: (sensitive)",
        '        - data.gone: "x"',
        "  wave 10",
        "    ~   update   Deployment.apps/web/api",
        "        ~ spec.replicas: 2 -> 3",
        "    +   create   Deployment.apps/web/worker",
        "        known after apply: its namespace is created in wave 0",
        "        warning: v1beta1 is deprecated",
        "  prune, after all waves are healthy",
        "    -   delete   ConfigMap/web/old",
        "        why: not in git any more",
        "  4 changes: 1 to create, 2 to update, 1 to delete.",
    ]


def test_what_waits_and_what_needs_a_person_stands_before_the_sum() -> None:
    shown = text(StackPlan("website", "main", gated_plan()))
    assert "  warning: component web is empty" in shown
    assert shown[-7:-1] == [
        "  no longer tracked: Secret/web/gone: it is gone already",
        "  stays as it is: Job.batch/web/migrate: a Job that ran cannot be taken back",
        "  not pruned yet: ConfigMap/web/old: the API server was away",
        "  needs approval: component web renders nothing, and had 12 units",
        "    ConfigMap/web/old",
        "    Nothing of this plan is done before; `gitopsd approve website digest` allows it, "
        "a commit without it withdraws it.",
    ]


def test_problems_are_shown_with_their_place() -> None:
    problem = Problem("spec.replicaz is unknown", file="k8s/api.yaml", line=7, unit=str(API), remedy="fix the name")
    shown = text(StackPlan("website", "main", problems=(problem,)))
    assert shown == [
        "stack website from source main",
        "  refused: k8s/api.yaml:7: Deployment.apps/web/api: spec.replicaz is unknown (fix the name)",
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (plan(), True),
        (Plan("website", BAD, "d"), False),
        (Plan("website", BAD, "d", prune=plan().prune), True),
        (Plan("website", BAD, "d", first=plan().prune), True),
        (Plan("website", BAD, "d", approvals=gated_plan().approvals), True),
        (Plan("website", BAD, "d", waves=(Wave((0, 0), (Layer(()),)),)), False),
        (Plan("website", BAD, "d", postponed=gated_plan().postponed), False),
        (None, False),
    ],
)
def test_pending_is_what_a_run_would_change(given: Plan | None, expected: bool) -> None:
    assert pending(plan_document([StackPlan("website", "main", given)])) is expected


def one_field(field: FieldChange) -> list[str]:
    only = replace(plan(), waves=(Wave((0, 3), (Layer((change(API, Action.UPDATE, diff=(field,)),)),)),), prune=())
    return text(StackPlan("website", "main", only))


def test_object_wave_is_named_only_where_there_is_one() -> None:
    assert "  wave 0, object wave 3" in one_field(FieldChange("a", Edit.ADD, None, 1))


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (FieldChange("a", Edit.ADD, None, {"b": [1]}), '        + a: {"b": [1]}'),
        (FieldChange("a", Edit.REPLACE, None, "é"), '        ~ a: null -> "é"'),
        (FieldChange("a", Edit.REPLACE, "\x1b[2Jx", "y"), '        ~ a: "\\u001b[2Jx" -> "y"'),
        (FieldChange("a", Edit.ADD, masked=True), "        + a: (sensitive)"),
    ],
)
def test_values_are_shown_as_json(field: FieldChange, expected: str) -> None:
    assert expected in one_field(field)


def test_a_large_value_is_cut_in_text_alone() -> None:
    value: Any = "v" * 10_000
    (shown,) = (line for line in one_field(FieldChange("a", Edit.ADD, None, value)) if "a:" in line)
    assert len(shown) < LONGEST_VALUE + 60
    assert shown.endswith("... (10002 characters)")


def test_texts_that_differ_in_their_line_ends_alone_say_so() -> None:
    assert "            (only the line ends differ)" in one_field(FieldChange("a", Edit.REPLACE, "x\ny", "x\ny\n"))
