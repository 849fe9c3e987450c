"""One object belongs to one stack: who else asks for it is told, and nothing is rendered to know what is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from gitopsd.model.errors import CommitError
from gitopsd.model.ids import UnitId
from gitopsd.model.memory import Good, Memory, StackState
from gitopsd.model.spec import StackSpec
from gitopsd.model.units import Desired, KubernetesUnit, Origin, Person, Revision
from gitopsd.stack.claims import Claims, Reader
from gitopsd.stack.pipeline import Ask


@dataclass
class Host:
    """Stacks of commits: (source, commit) to stack to (desired digest, names of ConfigMaps)."""

    commits: dict[tuple[str, str], dict[str, tuple[str, str]]]
    states: dict[str, StackState] = field(default_factory=dict)
    live: dict[str, str] = field(default_factory=dict)
    rendered: list[str] = field(default_factory=list)

    def state(self, stack: str) -> StackState | None:
        return self.states.get(stack)

    def baselines(self, stack: str) -> Mapping[UnitId, Any]:
        return {one(name): None for name in self.live.get(stack, "")}

    def specs(self, source: str, commit: str) -> list[StackSpec]:
        return [StackSpec(name, source, "gitopsd.yaml", ()) for name in self.commits[source, commit]]

    def ask(self, source: str, stack: str, commit: str) -> Ask:
        return Ask(commit, StackSpec(stack, source, "gitopsd.yaml", ()), self.commits[source, commit][stack][0])

    def desired(self, ask: Ask) -> Desired:
        self.rendered.append(ask.spec.name)
        names = self.commits[ask.spec.source, ask.commit][ask.spec.name][1]
        nobody = Person("")
        units = {
            one(n): cast(KubernetesUnit, Placed(Origin(f"{ask.spec.name}.yaml", i + 1))) for i, n in enumerate(names)
        }
        return Desired(ask.spec.name, Revision(ask.commit, nobody, nobody, "", ""), ask.digest, units)

    def claims(self) -> Claims:
        return Claims(Reader(self.specs, self.ask, self.desired), self)


@dataclass(frozen=True)
class Placed:
    origin: Origin


def one(name: str) -> UnitId:
    return UnitId.parse(f"ConfigMap/web/{name}")


def good(stack: str, digest: str) -> StackState:
    return StackState(Memory(stack, "here", "main", good=(Good("c0", digest, "2026-01-01T00:00:00Z"),)))


def test_both_stacks_of_a_commit_are_told_whichever_is_asked_first() -> None:
    host = Host({("main", "c1"): {"a": ("1", "xy"), "b": ("2", "yz")}})
    claims = host.claims()
    with pytest.raises(CommitError) as first:
        claims.check(host.ask("main", "a", "c1"))
    with pytest.raises(CommitError) as second:
        claims.check(host.ask("main", "b", "c1"))
    assert str(first.value).startswith(
        "a.yaml:2: ConfigMap/web/y: stack b asks for it, too, at b.yaml:1 (take it out of a"
    )
    assert str(second.value).startswith(
        "b.yaml:1: ConfigMap/web/y: stack a asks for it, too, at a.yaml:2 (take it out of b"
    )


def test_what_moves_with_one_commit_is_asked_for_by_one_stack() -> None:
    host = Host(
        {("main", "c1"): {"a": ("1", "xy"), "b": ("2", "z")}, ("main", "c2"): {"a": ("3", "x"), "b": ("4", "yz")}}
    )
    claims = host.claims()
    for commit in ("c1", "c2"):
        for stack in "ba":
            claims.check(host.ask("main", stack, commit))


def test_a_stack_of_another_source_is_told_from_by_name() -> None:
    host = Host({("main", "c1"): {"a": ("1", "x")}, ("more", "d1"): {"b": ("2", "x")}})
    claims = host.claims()
    claims.check(host.ask("main", "a", "c1"))
    with pytest.raises(CommitError, match="stack a of source main asks for it, too"):
        claims.check(host.ask("more", "b", "d1"))
    with pytest.raises(CommitError, match="stack b of source more asks for it, too"):
        claims.check(host.ask("main", "a", "c1"))


def test_what_is_known_is_not_rendered_again() -> None:
    """At a start the record tells what is good; later, only what asks for something else is looked at."""
    host = Host(
        {("main", "c1"): {"a": ("1", "x"), "b": ("2", "y")}, ("main", "c2"): {"a": ("3", "xz"), "b": ("2", "y")}}
    )
    host.states, host.live = {"a": good("a", "1"), "b": good("b", "2")}, {"a": "x", "b": "y"}
    claims = host.claims()
    for commit, rendered in (("c1", []), ("c1", []), ("c2", ["a"])):
        for stack in "ab":
            claims.check(host.ask("main", stack, commit))
        assert host.rendered == rendered


def test_what_only_the_record_knows_of_is_asked_for_by_nobody() -> None:
    """Something that stays there unwanted (its deletion is disabled) keeps no other stack from it."""
    host = Host({("main", "c1"): {"a": ("1", "x"), "b": ("2", "y")}})
    host.states, host.live = {"a": good("a", "1")}, {"a": "xy"}
    host.claims().check(host.ask("main", "b", "c1"))
