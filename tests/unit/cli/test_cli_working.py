"""`plan`, `once` and `run` are thin: what they make of the application's answer, as text, JSON and exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from gitopsd.model.errors import CommitError, EnvironmentFault, GitopsdError, Problem, UsageError
from gitopsd.model.plan import Plan
from gitopsd.stack.preview import Previewed
from tests.unit.cli.conftest import Host, synced
from tests.unit.views.samples import BAD, plan

EMPTY = Plan("website", BAD, "digest-b")


class App:
    """In place of the application: answers what the test says, and remembers what it was asked."""

    def __init__(self, answers: list[Plan | GitopsdError], *, settled: bool = True) -> None:
        self.answers, self.settled, self.asked = answers, settled, list[Any]()
        self.troubles: dict[str, GitopsdError] = {}

    def plan(self, ref: str | None, stack: str | None, *, terraform: bool = False) -> Iterator[Previewed]:
        self.asked.append((ref, stack))
        found = [Previewed("main", "website", answer) for answer in self.answers if stack in {None, "website"}]
        return iter([*found, *(Previewed(source, "", error) for source, error in self.troubles.items())])

    def once(self) -> bool:
        self.asked.append("once")
        return self.settled

    def run(self) -> None:
        self.asked.append("run")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(app: App) -> App:
        monkeypatch.setitem(sys.modules, "gitopsd.daemon", SimpleNamespace(App=lambda _config: app))
        monkeypatch.setattr("gitopsd.logs.set_up_logs", lambda: None)  # they would outlive the captured stream
        return app

    return put


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ([], 0),
        ([EMPTY], 0),
        ([plan()], 2),
        ([EMPTY, plan()], 2),
        ([plan(), CommitError("broken")], 1),
    ],
)
def test_plan_exits_2_when_there_are_changes_and_1_when_it_cannot_tell(
    host: Host, install: Any, answers: list[Plan | GitopsdError], code: int
) -> None:
    install(App(answers))
    assert host.gitopsd("plan").code == code
    assert host.gitopsd("plan", "--json").code == code


def test_plan_prints_the_plan_and_every_problem(host: Host, install: Any) -> None:
    app = install(App([plan(), CommitError(Problem("unknown field", "a.yaml", 3), Problem("wrong type", "b.yaml", 4))]))
    shown = host.gitopsd("plan", "--ref", "feature").out
    assert app.asked == [("feature", None)]
    assert "spec.replicas: 2 -> 3" in shown
    assert "refused: a.yaml:3: unknown field" in shown
    assert "refused: b.yaml:4: wrong type" in shown
    first, second = json.loads(host.gitopsd("plan", "--json").out)["stacks"]
    assert first["plan"]["commit"] == BAD
    assert second["plan"] is None
    assert [problem["line"] for problem in second["problems"]] == [3, 4]


def test_plan_shows_what_is_wrong_with_a_source_beside_the_plans_of_others(host: Host, install: Any) -> None:
    app = install(App([plan()]))
    app.troubles = {"other": EnvironmentFault("git.example does not answer")}
    answer = host.gitopsd("plan")
    assert answer.code == 1
    assert answer.err == "gitopsd: source other: git.example does not answer\n"
    assert "spec.replicas: 2 -> 3" in answer.out
    document = json.loads(host.gitopsd("plan", "--json").out)
    assert [(s["name"], s["problems"][0]["message"]) for s in document["sources"]] == [
        ("other", "git.example does not answer")
    ]
    assert host.gitopsd("plan", "--stack", "website").code == 2, "the other source has nothing to do with it"


def test_plan_of_a_ref_is_of_those_sources_that_have_it(host: Host, install: Any) -> None:
    app = install(App([plan()]))
    app.troubles = {"other": UsageError("source other has no branch or tag feature")}
    assert host.gitopsd("plan", "--ref", "feature").code == 2
    app.answers = []
    answer = host.gitopsd("plan", "--ref", "feature")
    assert (answer.code, answer.out) == (64, "")


def test_plan_of_a_stack_that_no_source_has(host: Host, install: Any) -> None:
    install(App([plan()]))
    answer = host.gitopsd("plan", "--stack", "shop")
    assert (answer.code, answer.out) == (64, "")
    assert "no source has a stack 'shop' there" in answer.err


@pytest.mark.parametrize(("settled", "known", "code"), [(True, True, 0), (False, True, 1), (True, False, 1)])
def test_once_ends_with_0_only_in_sync(host: Host, install: Any, settled: bool, known: bool, code: int) -> None:
    install(App([], settled=settled))
    host.status(*([synced()] if known else []))
    answer = host.gitopsd("once")
    assert answer.code == code
    assert ("website  Synced" in answer.out) is known


def test_run_hands_over_to_the_application(host: Host, install: Any) -> None:
    app = install(App([]))
    assert host.gitopsd("run").code == 0
    assert app.asked == ["run"]
