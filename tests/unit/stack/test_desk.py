"""SEMANTICS 1: what a look at a source tells its stacks, whatever the source is in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gitopsd.assembly import NothingKnown
from gitopsd.model.errors import CommitError, EnvironmentFault, GitopsdError, NeedsPerson
from gitopsd.render import Renderer
from gitopsd.sealing.vault import KeyVault
from gitopsd.stack.desk import Desk
from gitopsd.stack.pipeline import Origin, Pipeline, TerraformSetup
from tests.support.memory_cache import MemoryCache
from tests.support.memory_source import MemorySource
from tests.support.simterraform import NoTerraform


def file_of(*names: str) -> dict[str, str]:
    documents = [
        f"apiVersion: gitopsd.io/v1alpha1\nkind: Stack\nmetadata: {{name: {name}}}\n"
        f"spec:\n  components:\n    - name: app\n      kubernetes: {{path: {name}}}\n"
        for name in names
    ]
    return {"gitopsd.yaml": "---\n".join(documents), **{f"{name}/README.md": "x" for name in names}}


class FaultySource(MemorySource):
    fault: GitopsdError | None = None
    tree_fault: GitopsdError | None = None

    def fetch(self) -> str:
        if self.fault is not None:
            raise self.fault
        return super().fetch()

    def tree(self, commit: str):  # type: ignore[no-untyped-def]
        if self.tree_fault is not None:
            raise self.tree_fault
        return super().tree(commit)


Desks = Callable[..., Desk]


@pytest.fixture
def sources() -> dict[str, FaultySource]:
    return {name: FaultySource(name) for name in ("main", "other")}


@pytest.fixture
def desks(sources: dict[str, FaultySource]) -> Desks:
    origins = {name: Origin(source, "", "gitopsd.yaml") for name, source in sources.items()}

    def no_cluster(_name: str):  # type: ignore[no-untyped-def]
        raise AssertionError("a look at the source asks no cluster")

    namespaces = {"default": "gitopsd-system"}
    pipeline = Pipeline(
        origins,
        Renderer(MemoryCache()),
        no_cluster,
        namespaces,
        NothingKnown(),
        terraform=TerraformSetup(NoTerraform(), lambda: ""),
        vault=KeyVault(Path("no-keys-here"), MemoryCache()),
    )
    owners: dict[str, str] = {}

    def make(name: str = "main", known: tuple[str, ...] = ()) -> Desk:
        owners.update(dict.fromkeys(known, name))
        return Desk(name, pipeline, known, owners)

    return make


def test_every_stack_of_the_head_is_known_from_then_on(desks: Desks, sources: dict[str, FaultySource]) -> None:
    desk = desks()
    first = sources["main"].commit(file_of("web", "jobs"))
    assert (desk.look().head, desk.look().stacks, desk.look().trouble) == (first, ("web", "jobs"), "")
    sources["main"].commit(file_of("jobs"))
    assert desk.look().stacks == ("web", "jobs"), "nothing is dropped because a commit drops it"


def test_stacks_of_earlier_processes_are_told_also_when_the_source_is_away(
    desks: Desks, sources: dict[str, FaultySource]
) -> None:
    sources["main"].fault = EnvironmentFault("git.example does not answer")
    fetched = desks(known=("web",)).look()
    assert (fetched.head, fetched.stacks, fetched.trouble) == (None, ("web",), "git.example does not answer")


def test_a_source_that_is_away_leaves_the_last_head_and_comes_back(
    desks: Desks, sources: dict[str, FaultySource]
) -> None:
    desk, source = desks(), sources["main"]
    head = source.commit(file_of("web"))
    desk.look()
    source.fault = EnvironmentFault("git.example does not answer")
    away = desk.look()
    assert (away.head, away.stacks, away.trouble) == (head, ("web",), "git.example does not answer")
    source.fault = None
    assert desk.look().trouble == ""


@pytest.mark.parametrize("fault", [NeedsPerson("the branch is gone"), CommitError("x")])
def test_a_look_never_raises_what_a_stack_can_be_held_for(
    desks: Desks, sources: dict[str, FaultySource], fault: GitopsdError
) -> None:
    sources["main"].fault = fault
    assert desks().look().trouble == str(fault)


def test_a_broken_stack_file_is_told_with_its_line_until_another_commit_mends_it(
    desks: Desks, sources: dict[str, FaultySource]
) -> None:
    desk, source = desks(), sources["main"]
    source.commit(file_of("web"))
    desk.look()
    source.commit({**file_of("web"), "gitopsd.yaml": file_of("web")["gitopsd.yaml"] + "  onFailur: hold\n"})
    for _ in range(2):
        broken = desk.look()
        assert "gitopsd.yaml:" in broken.trouble
        assert "onFailur" in broken.trouble
        assert broken.stacks == ("web",)
    source.commit(file_of("web"))
    assert desk.look().trouble == ""


def test_a_head_is_read_once_not_once_a_poll(
    desks: Desks, sources: dict[str, FaultySource], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desks()
    sources["main"].commit(file_of("web"))
    desk.look()
    sources["main"].tree_fault = AssertionError("read again")  # type: ignore[assignment]
    assert desk.look().trouble == ""


def test_a_mirror_that_does_not_answer_now_is_asked_again_for_the_same_head(
    desks: Desks, sources: dict[str, FaultySource]
) -> None:
    desk, source = desks(), sources["main"]
    source.commit(file_of("web"))
    source.tree_fault = EnvironmentFault("git took longer than 60 s")
    assert desk.look().trouble == "git took longer than 60 s"
    source.tree_fault = None
    healed = desk.look()
    assert (healed.trouble, healed.stacks) == ("", ("web",))


def test_a_stack_name_belongs_to_the_source_that_had_it_first(desks: Desks, sources: dict[str, FaultySource]) -> None:
    sources["main"].commit(file_of("web"))
    sources["other"].commit(file_of("web", "own"))
    first, second = desks("main"), desks("other")
    assert first.look().trouble == ""
    refused = second.look()
    assert refused.stacks == ("own",)
    assert refused.trouble == "stack 'web' is also in source 'main': rename one of them"


def test_a_delivered_stack_stays_with_its_source_whichever_is_read_first(
    desks: Desks, sources: dict[str, FaultySource]
) -> None:
    sources["main"].commit(file_of("web"))
    sources["other"].commit(file_of("web"))
    first, second = desks("main", ("web",)), desks("other")
    assert second.look().stacks == ()
    assert first.look().trouble == ""
