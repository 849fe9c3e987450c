"""Values for the tests of the record: a clock that can be set, plain samples, and strategies made from types."""

from __future__ import annotations

import dataclasses
import string
import types
import typing
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from hypothesis import strategies as st

from gitopsd.model.audit import Actor, ActorKind, AuditEvent
from gitopsd.model.ids import TERRAFORM_KIND, UnitId
from gitopsd.model.memory import Baseline, Dirty, Intent, Memory
from gitopsd.model.plan import Action
from gitopsd.model.run import Outcome, Result, RunKind, RunRecord
from gitopsd.model.units import Person

NOW = "2026-03-01T12:00:00Z"
WEB = UnitId("default", "apps", "Deployment", "web", "api")
CONFIG = UnitId("default", "", "ConfigMap", "web", "settings")


class FakeClock:
    """A clock that goes on by a second at each look."""

    def __init__(self) -> None:
        self.seconds = 0

    def now(self) -> datetime:
        self.seconds += 1
        return datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return float(self.seconds)


def memory(stack: str = "website", **changes: Any) -> Memory:
    return dataclasses.replace(Memory(stack, "prod", "main"), **changes)


def run(id_: str, stack: str = "website", **changes: Any) -> RunRecord:
    made = RunRecord(id_, stack, RunKind.DEPLOY, "c" * 40, "digest", Person("Ada", "ada@example.org"), NOW)
    return dataclasses.replace(made, **changes)


def baseline(unit: UnitId = WEB, **changes: Any) -> Baseline:
    made = Baseline(unit, "web", (10, 0), "wish", "uid-1", "7", "apps/v1", NOW, {"uid": "uid-1", "labels": {"a": "b"}})
    return dataclasses.replace(made, **changes)


def intent(unit: UnitId = WEB, run_id: str = "r1") -> Intent:
    return Intent(run_id, unit, Action.UPDATE, (10, 0), "web", "wish", "uid-1", NOW)


def dirty(unit: UnitId = WEB, run_id: str = "r1", **changes: Any) -> Dirty:
    return dataclasses.replace(Dirty(unit, run_id, Action.UPDATE, (10, 0), "web"), **changes)


def outcome(unit: UnitId = WEB, result: Result = Result.APPLIED) -> Outcome:
    return Outcome(unit, Action.UPDATE, result, NOW, uid="uid-1")


def event(detail: str = "", **changes: Any) -> AuditEvent:
    actor = Actor(ActorKind.GIT, "Ada", "ada@example.org")
    return dataclasses.replace(AuditEvent(actor, "apply", stack="website", detail=detail), **changes)


# ---------------------------------------------------------------- strategies from types

_names = st.text(string.ascii_lowercase + string.digits + "-.:", min_size=1, max_size=12)
_kinds = st.text(string.ascii_letters, min_size=1, max_size=12).filter(lambda kind: kind != TERRAFORM_KIND)
_groups = st.sampled_from(["", "apps", "rbac.authorization.k8s.io"])
_namespaces = st.sampled_from(["", "web", "team-a"])

units = st.one_of(
    st.builds(UnitId, st.sampled_from(["default", "west"]), _groups, _kinds, _namespaces, _names),
    st.builds(UnitId.terraform, _names),
)
_scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20)
json_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def values_of(kind: Any) -> st.SearchStrategy[Any]:  # noqa: PLR0911  (one return for each kind of type)
    """Every value of a model type that its annotations allow."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return json_values
    if kind is UnitId:
        return units
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(st.none() if arg is type(None) else values_of(arg) for arg in args))
    if origin is tuple and args[-1] is Ellipsis:
        return st.lists(values_of(args[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values_of, args))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return st.dictionaries(values_of(args[0]), values_of(args[1]), max_size=3)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        fields = {f.name: values_of(hints[f.name]) for f in dataclasses.fields(kind)}
        return st.fixed_dictionaries(fields).map(lambda values: kind(**values))  # type: ignore[operator]
    plain = {str: st.text(max_size=20), int: st.integers(-(2**53), 2**53), bool: st.booleans()}
    return plain[kind]
