"""After any history over both worlds a stack is at what is asked, at good, or in a hold that says what remains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gitopsd.model.ids import UnitId
from gitopsd.model.orders import Grant
from gitopsd.model.ports import Module
from gitopsd.stack.pipeline import Ask
from tests.scenarios.harness import STACK, World
from tests.scenarios.manifests import app, config, space
from tests.scenarios.modules import Code, both, code
from tests.scenarios.stories import bystanders
from tests.scenarios.test_histories import GATE, Step, Watcher, happen

SIZES, KINDS = ("1", "2"), ("small", "large")


@dataclass(frozen=True)
class Told(Step):
    """A step, and what people answer to the questions that it leads to; None: nobody does."""

    answer: bool | None = None


@st.composite
def modules(draw: st.DrawFn) -> dict[str, Code]:
    """A network with an output that others use, and a store that may use it."""
    database: dict[str, Any] = {
        "size": draw(st.sampled_from(SIZES)),
        "kind": draw(st.sampled_from(KINDS)),
        "frozen": ["kind"],
    }
    more = {name: {"size": draw(st.sampled_from(SIZES))} for name in ("extra", "other") if draw(st.booleans())}
    if draw(st.integers(0, 5)) == 0:
        more["bad"] = {"size": "1", "fails": "the cloud will not have it"}
    found: dict[str, Code] = {"network": code({"host": "db-${sim.db.size}-${sim.db.id}"}, db=database, **more)}
    if draw(st.booleans()):
        found["store"] = code({}, bucket={"owner": "${var.host}", "size": draw(st.sampled_from(SIZES))})
    return found


@st.composite
def commits(draw: st.DrawFn) -> dict[str, str]:
    base = [space(), config("settings", {"host": "${host}", "v": draw(st.sampled_from("12"))})]
    apps = [app("left", tag=draw(st.sampled_from(("good", "better", "pull-error"))))] if draw(st.booleans()) else []
    roots = draw(modules())
    uses = [{"terraform": "network.host"}]
    more: dict[str, Any] = {
        "base": {"values": {"host": {"terraform": "network.host"}}, "gate": GATE},
        "apps": {"gate": GATE},
        "network": {"wave": draw(st.sampled_from((-20, -20, -5)))},
        "store": {"wave": draw(st.sampled_from((-4, 5, 15))), "terraform": {"varsFrom": uses}},
    }
    return both(roots, {"base": base, "apps": apps}, more, approvalTimeout="10m")


answers = st.sampled_from((True, True, False, None))
heads = st.builds(Told, files=commits(), crash=st.none() | st.integers(0, 60), answer=answers)
races = st.builds(Told, files=commits(), second=commits(), after=st.integers(1, 40), answer=answers)
spoilt = st.builds(Told, files=commits(), fault=st.tuples(st.integers(0, 120), st.integers(1, 12)), answer=answers)
starts = st.builds(Told, restart=st.just(True), lose_state=st.booleans(), answer=answers)
histories = st.lists(heads | races | spoilt | starts, min_size=2, max_size=6)


def answered(world: World, answer: bool | None) -> None:
    """Until nothing is asked any more; nobody answering, time runs out."""
    for _ in range(10):
        asked = [q.approval.digest for q in world.state.questions]
        if not asked:
            return
        for digest in asked if answer is not None else ():
            assert answer is not None
            world.record.grant(STACK, Grant(digest, answer, "ops", "2030-01-01T00:00:00.000Z"))
        world.clock.seconds += 601
        world.settle(sweep=True)


class Both(Watcher):
    """Checks Terraform's states, too."""

    def check(self) -> None:
        self.world.effects.before_call = lambda _number, _verb, _unit: None  # faults spoil a history, not its end
        super().check()

    def is_live(self, ask: Ask | None) -> None:
        super().is_live(ask)
        world = self.world
        wanted = world.pipeline.desired_now(ask).modules if ask else {}
        left = {p.unit for p in world.state.postponed} | self.listed
        tracked = {u for u in world.sqlite.baselines(STACK) if u.is_terraform}
        assert tracked - wanted.keys() <= left, "a module is tracked that nobody wants"
        for key, module in world.server.modules.items():
            unit = UnitId.terraform(key)
            assert unit in wanted or unit in left or not module.resources, f"{key} was left without a word"
        if ask is None:
            return
        bench = world.pipeline._bench(ask.spec)
        bench.recall(world.sqlite.baselines(STACK), wanted.values(), ask.commit)
        for unit, root in wanted.items():
            if unit in left:
                continue
            variables = {v.name: o.value for v, o in ((v, bench.outputs[v.source]) for v in root.variables)}
            plan = world.terraform.plan(Module(STACK, root, world.source.tree(ask.commit), variables))
            assert not plan.changes_state, f"{unit} is not as asked: {plan.resources}"


@given(history=histories)
@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_any_history_over_both_worlds_ends_where_it_should(
    history: list[Told], tmp_path_factory: pytest.TempPathFactory
) -> None:
    world = World(tmp_path_factory.mktemp("history"))
    try:
        bystanders(world)
        watcher = Both(world, dict(world.server.objects))
        for step in history:
            happen(world, step)
            if world.source.head() is not None:
                answered(world, step.answer)
            watcher.check()
    except AssertionError as error:
        raise AssertionError(told(world)) from error
    finally:
        world.close()


def told(world: World) -> str:
    """What a person would look at."""
    lines = [f"{r.id} {r.kind} {r.verdict}: {r.reason} {[str(x) for x in r.leftovers]}" for r in world.runs]
    lines += [f"hold {hold.reason}: {hold.detail}" for hold in world.state.memory.holds]
    lines += [f"state {key}: {module.resources}" for key, module in world.server.modules.items()]
    return "\n".join(lines)
