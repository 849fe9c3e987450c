"""Plan JSON to changes: every action, diffs with paths, masks, unknowns, and noise that is none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.model.codec import to_plain
from gitopsd.model.modules import Edit, FieldChange, ResourceAction, ResourceChange
from gitopsd.tfplan import Scrubber
from gitopsd.tfplan.values import canonical, same, settled
from tests.unit.tfplan.samples import SEAL, entry, plan_of, update


@pytest.mark.parametrize(
    ("raw", "action", "reason"),
    [
        (entry("x.a", ["create"], after={"n": 1}), ResourceAction.CREATE, ""),
        (entry("x.a", ["update"], before={"n": 1}, after={"n": 2}), ResourceAction.UPDATE, ""),
        (
            entry("x.a", ["delete"], before={"n": 1}, reason="delete_because_no_resource_config"),
            ResourceAction.DESTROY,
            "no longer in the code",
        ),
        (
            entry("x.a", ["delete", "create"], before={"n": 1}, after={"n": 2}, reason="replace_because_tainted"),
            ResourceAction.REPLACE,
            "its creation did not end well (tainted)",
        ),
        (
            entry(
                "x.a",
                ["create", "delete"],
                before={"n": 1},
                after={"n": 2},
                reason="replace_because_cannot_update",
                replace_paths=[["rule", 0, "port"], ["tags", "a.b/c"]],
            ),
            ResourceAction.REPLACE,
            'it cannot be updated in place: rule[0].port, tags["a.b/c"]',
        ),
        (
            entry("data.x.a", ["read"], after={"n": 2}, reason="read_because_dependency_pending"),
            ResourceAction.READ,
            "read after changes that it depends on",
        ),
        (entry("x.a", ["no-op"], before={"n": 1}, after={"n": 1}, previous="x.b"), ResourceAction.MOVE, ""),
        (
            entry("x.a", ["no-op"], before={"n": 1}, after={"n": 1}, importing={"id": "i-1"}),
            ResourceAction.IMPORT,
            "imported as i-1",
        ),
        (
            entry("x.a", ["update"], before={}, after={"n": 1}, importing={"id": "i"}),
            ResourceAction.IMPORT,
            "imported as i",
        ),
        (entry("x.a", ["forget"], before={"n": 1}), ResourceAction.FORGET, ""),
        (entry("x.a", ["delete"], before={}, reason="some_new_reason"), ResourceAction.DESTROY, "some new reason"),
    ],
)
def test_each_action(raw: dict[str, Any], action: ResourceAction, reason: str) -> None:
    (change,) = plan_of(raw).resources
    assert (change.action, change.reason) == (action, reason)


def test_a_moved_one_that_changes_tells_both() -> None:
    (change,) = plan_of(update({"n": 1}, {"n": 2}, previous="x.b")).resources
    assert (change.action, change.previous) == (ResourceAction.UPDATE, "x.b")


def test_a_deposed_object_has_an_address_of_its_own() -> None:
    (change,) = plan_of(entry("x.a", ["delete"], before={}, deposed="ab12")).resources
    assert change.address == "x.a (deposed ab12)"


def test_an_action_that_nobody_knows_is_not_taken_for_nothing() -> None:
    with pytest.raises(ValueError, match=r"x\.a: .*an action that gitopsd does not know: obliterate"):
        plan_of(entry("x.a", ["obliterate"]))


def test_reads_of_checks_and_no_ops_are_no_change() -> None:
    plan = plan_of(
        entry("data.x.a", ["read"], after={}, reason="read_because_check_nested"),
        entry("x.b", ["no-op"], before={"a": 1}, after={"a": 1}),
    )
    assert plan.resources == ()
    assert not plan.changes_state


def test_a_read_alone_is_nothing_to_apply() -> None:
    plan = plan_of(entry("data.x.a", ["read"], after={"n": 2}))
    assert [r.action for r in plan.resources] == [ResourceAction.READ]
    assert not plan.changes_state


# ---------------------------------------------------------------- noise


@pytest.mark.parametrize("nothing", [None, "", [], {}, {"a": None}, {"a": {"b": ""}}])
@pytest.mark.parametrize("other", [None, "", [], {}, {"a": []}])
def test_ways_to_write_nothing_are_no_difference(nothing: Any, other: Any) -> None:
    raw = update({"tags": nothing, "n": 1}, {"tags": other, "n": 1})
    plan = plan_of(raw, resource_drift=[raw])
    assert (plan.resources, plan.drift, plan.changes_state) == ((), (), False)


@pytest.mark.parametrize(("one", "other"), [(0, None), (False, None), (1, True), ([None], []), (" ", ""), (0, False)])
def test_what_is_something_is_a_difference(one: Any, other: Any) -> None:
    assert not same(one, other)
    assert plan_of(update({"v": one}, {"v": other})).changes_state


def test_drift_tells_what_is_gone_and_what_changed() -> None:
    plan = plan_of(
        resource_drift=[
            entry("x.gone", ["delete"], before={"n": 1}),
            entry("x.changed", ["update"], before={"n": 1}, after={"n": 2}),
            entry("x.noise", ["update"], before={"n": None}, after={"n": {}}),
        ]
    )
    assert plan.drift == (
        ResourceChange("x.gone", ResourceAction.DESTROY, reason="it is gone"),
        ResourceChange("x.changed", ResourceAction.UPDATE, (FieldChange("n", Edit.REPLACE, 1, 2),)),
    )
    assert not plan.changes_state


# ---------------------------------------------------------------- fields


def test_paths_edits_and_unknowns() -> None:
    plan = plan_of(
        update(
            {"tags": {"owner": "a", "a/b": 1}, "ports": [1, 2], "id": "i", "same": 1},
            {"tags": {"owner": "b"}, "ports": [1, 3, 4], "same": 1},
            after_unknown={"id": True, "list": [{"x": True}]},
        )
    )
    assert plan.resources[0].diff == (
        FieldChange("id", Edit.REPLACE, "i", None, unknown=True),
        FieldChange("list[0].x", Edit.ADD, unknown=True),
        FieldChange("ports[1]", Edit.REPLACE, 2, 3),
        FieldChange("ports[2]", Edit.ADD, None, 4),
        FieldChange('tags["a/b"]', Edit.REMOVE, 1, None),
        FieldChange("tags.owner", Edit.REPLACE, "a", "b"),
    )


def test_a_value_of_another_shape_is_shown_whole() -> None:
    plan = plan_of(update({"v": {"a": 1}}, {"v": "text"}))
    assert plan.resources[0].diff == (FieldChange("v", Edit.REPLACE, {"a": 1}, "text"),)


@pytest.mark.parametrize(
    ("before_mask", "after_mask"),
    [(True, False), (False, True), ({"p": True}, {}), ({}, {"p": True}), ({"p": {"q": True}}, {})],
)
def test_what_either_side_marks_is_masked(before_mask: Any, after_mask: Any) -> None:
    raw = update({"p": {"q": "secret-1"}}, {"p": {"q": "secret-2"}})
    raw["change"] |= {"before_sensitive": before_mask, "after_sensitive": after_mask}
    (change,) = plan_of(raw).resources
    assert change.diff
    assert all(field.masked and field.before is None and field.after is None for field in change.diff)


def test_an_unmarked_copy_is_masked_also_inside_json() -> None:
    plan = plan_of(
        update(
            {"p": "old-secret", "copy": "old-secret", "json": '{"k": "old-secret"}'},
            {"p": 'new"secret', "copy": "x", "json": '{"k": "new\\"secret"}'},
            after_sensitive={"p": True},
            before_sensitive={"p": True},
        )
    )
    assert {f.path: f.masked for f in plan.resources[0].diff} == {"copy": True, "json": True, "p": True}


def test_a_mark_that_alone_changes_is_no_change() -> None:
    assert not plan_of(update({"p": "x"}, {"p": "x"}, after_sensitive={"p": True})).changes_state


SECRETS = st.text(alphabet="abcdefXYZ<>\"'\\{}\n0123456789", min_size=12, max_size=24).map(lambda s: f"S3{s}")
LEAVES = st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(["", "a", "b"])
VALUES = st.recursive(
    LEAVES, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from("abc"), v, max_size=3), max_leaves=8
)


@given(secret=SECRETS, value=VALUES, where=st.sampled_from(["plain", "text", "json", "map"]), marks=st.booleans())
def test_a_marked_value_is_in_no_part_of_the_plan(secret: str, value: Any, where: str, marks: bool) -> None:
    copies: dict[str, Any] = {
        "plain": secret,
        "text": f"https://u:{secret}@h/",
        "json": canonical({"k": [secret]}),
        "map": {"x": [secret]},
    }
    raw = update(
        {"p": secret, "v": value},
        {"p": "other", "v": {"was": value}, "copy": copies[where]},
        before_sensitive={"p": True} if marks else True,
    )
    plan = plan_of(
        raw,
        output_changes={"o": {"actions": ["create"], "before": None, "after": copies[where], "after_unknown": False}},
        planned_values={"outputs": {"o": {"sensitive": False, "value": copies[where]}}},
        checks=[
            {
                "address": {"kind": "check", "to_display": "check.c"},
                "status": "fail",
                "instances": [{"problems": [{"message": f"got {secret}"}]}],
            }
        ],
        warnings=(f"beware of {secret}",),
    )
    told = [f"{plan!r}", canonical(to_plain(plan))]
    assert not any(form in text for text in told for form in (secret, repr(secret)[1:-1], canonical(secret)[1:-1]))


@given(before=VALUES, after=VALUES)
def test_a_diff_is_empty_if_and_only_if_nothing_differs(before: Any, after: Any) -> None:
    plan = plan_of(update({"v": before}, {"v": after}))
    assert plan.changes_state == (canonical(settled(before)) != canonical(settled(after)))


# ---------------------------------------------------------------- outputs, checks


def outputs(**given: tuple[Any, ...]) -> dict[str, Any]:
    """name=(actions, before, after, unknown, sensitive)."""
    return {
        "output_changes": {
            n: {
                "actions": [a],
                "before": b,
                "after": c,
                "after_unknown": u,
                "before_sensitive": s,
                "after_sensitive": s,
            }
            for n, (a, b, c, u, s) in given.items()
        },
        "planned_values": {
            "outputs": {
                n: {"sensitive": s, "value": c} for n, (a, _, c, u, s) in given.items() if a != "delete" and not u
            }
        },
    }


def test_outputs_known_unknown_sensitive_and_gone() -> None:
    plan = plan_of(
        **outputs(
            same=("no-op", 1, 1, False, False),
            new=("create", None, "x", False, False),
            later=("update", "a", None, True, False),
            partly=("create", None, {"a": 1}, {"b": True}, False),
            secret=("create", None, "hush-hush", False, True),
            gone=("delete", 1, None, False, False),
            nothing=("no-op", None, None, False, False),
        )
    )
    assert set(plan.outputs) == {"same", "new", "later", "partly", "secret"}
    assert plan.outputs["later"] is None
    assert plan.outputs["partly"] is None
    assert plan.outputs["same"] == SEAL.output(1, False, keep=False)
    secret = plan.outputs["secret"]
    assert secret is not None
    assert (secret.sensitive, secret.value) == (True, None)
    assert {(f.path, f.edit, f.masked, f.unknown) for f in plan.output_changes} == {
        ("new", Edit.ADD, False, False),
        ("later", Edit.REPLACE, False, True),
        ("partly.a", Edit.ADD, False, False),
        ("partly.b", Edit.ADD, False, True),
        ("secret", Edit.ADD, True, False),
        ("gone", Edit.REMOVE, False, False),
    }
    assert plan.changes_state


@given(one=VALUES, other=VALUES)
def test_digests_of_outputs_are_equal_if_and_only_if_the_values_are(one: Any, other: Any) -> None:
    for sensitive in (False, True):
        digests = {SEAL.output(value, sensitive, keep=True).digest for value in (one, other)}
        assert (len(digests) == 1) == (canonical(one) == canonical(other))


def test_huge_numbers_keep_apart() -> None:
    assert SEAL.output(2**70, False, keep=True) != SEAL.output(2**70 + 1, False, keep=True)


def test_a_failed_check_is_told_once() -> None:
    check = {
        "address": {"kind": "check", "to_display": "check.size"},
        "status": "fail",
        "instances": [{"problems": [{"message": "too big"}]}],
    }
    assert plan_of(checks=[check]).warnings == ("check.size does not hold: too big",)
    assert plan_of(checks=[check], warnings=("Check block assertion failed: too big",)).warnings == (
        "Check block assertion failed: too big",
    )
    assert plan_of(checks=[{**check, "status": "pass"}]).warnings == ()


def test_tracked_counts_managed_resources_of_all_modules() -> None:
    managed, data = {"mode": "managed"}, {"mode": "data"}
    root = {
        "resources": [managed, data],
        "child_modules": [{"resources": [managed], "child_modules": [{"resources": [managed]}]}],
    }
    assert plan_of(prior_state={"values": {"root_module": root}}).tracked == 3


# ---------------------------------------------------------------- texts


def test_texts_lose_every_spelling_of_a_secret() -> None:
    scrubber = Scrubber()
    scrubber.add(['a"b<c>\nsecond-line', "pass", "password", 12345, True, "ab"])
    told = scrubber.text('got a"b<c> then a\\"b\\u003cc\\u003e\\nsecond-line, second-line, password, 12345, true, ab')
    assert told == 'got a"b<c> then (sensitive), (sensitive), (sensitive), (sensitive), true, ab'
    assert "12345" not in repr(scrubber)
