"""After any history a stack at rest is where it was asked to be, or at the good revision with a hold that says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.stack.pipeline import Ask, good_ask
from gitopsd.stack.worker import Rest
from tests.scenarios.harness import SOURCE, STACK, World
from tests.scenarios.manifests import app, commit, config, definition, job, space, widget
from tests.scenarios.outcome import audit_findings, members
from tests.scenarios.stories import bystanders
from tests.support.ssa import Body

GATE = {"timeout": "30s"}
CONFIGS, APPS = ("one", "two", "three"), ("left", "right")
TAGS = ("good", "better", "pull-error", "slow")


@dataclass(frozen=True)
class Step:
    """One thing that happens: a new head (`files`), a hand in the cluster, a new start; then the stack comes to rest.

    `second` is a newer head, pushed while the first is being carried out, after `after` effects. `crash` ends the
    process after so many effects, `fault` spoils so many requests from that number on.
    """

    files: Mapping[str, str] | None = None
    second: Mapping[str, str] | None = None
    after: int = 0
    drift: str = ""
    target: str = ""
    crash: int | None = None
    fault: tuple[int, int] | None = None
    restart: bool = False
    lose_state: bool = False


@st.composite
def commits(draw: st.DrawFn) -> dict[str, str]:
    """What a commit may ask: configurations in one of two components, applications, a kind of its own, a Job."""
    base: list[dict[str, Any]] = [space()]
    apps: list[dict[str, Any]] = []
    for name in CONFIGS:
        place = draw(st.sampled_from((base, apps, None)))
        if place is not None:
            place.append(config(name, {"v": draw(st.sampled_from("123"))}))
    if draw(st.booleans()):
        base.append(definition())
        apps += [widget(name, draw(st.integers(1, 2))) for name in ("w1", "w2") if draw(st.booleans())]
    apps += [app(name, tag=draw(st.sampled_from(TAGS))) for name in APPS if draw(st.booleans())]
    if draw(st.booleans()):
        base.append(job(tag=draw(st.sampled_from(("1", "1", "2", "job-fails")))))
    return commit({"base": base, "apps": apps}, gate=GATE)


heads = st.builds(Step, files=commits(), crash=st.none() | st.integers(0, 40))
races = st.builds(Step, files=commits(), second=commits(), after=st.integers(1, 40))
spoilt = st.builds(Step, files=commits(), fault=st.tuples(st.integers(0, 120), st.integers(1, 12)))
drifts = st.builds(
    Step,
    drift=st.sampled_from(("edit", "delete", "unmark", "make")),
    target=st.sampled_from((*(f"ConfigMap/web/{n}" for n in CONFIGS), *(f"Deployment.apps/web/{n}" for n in APPS))),
    crash=st.none() | st.integers(0, 12),
)
starts = st.builds(Step, restart=st.just(True), lose_state=st.booleans())
histories = st.lists(heads | races | spoilt | drifts | starts, min_size=2, max_size=6)


# ---------------------------------------------------------------- carrying a history out


def happen(world: World, step: Step) -> None:
    if step.restart:
        world.restart(lose_state=step.lose_state)
    if step.drift:
        drift(world, step.drift, UnitId.parse(step.target))
    if step.files is not None:
        world.push(step.files)
    if step.second is not None:
        second, target = step.second, len(world.effects.writes) + step.after

        def supersede() -> None:
            world.push(second)

        world.when(lambda: len(world.effects.writes) >= target, supersede)
    if step.fault is not None:
        first, count = len(world.effects.calls) + step.fault[0], step.fault[1]

        def spoil(number: int, verb: str, _unit: UnitId | None) -> None:
            if first <= number < first + count and not verb.startswith("record."):
                raise EnvironmentFault(f"{verb}: connection refused")

        world.effects.before_call = spoil
    if world.source.head() is None:
        return
    if step.crash is not None:
        world.crash(step.crash, sweep=True)
    assert world.settle(sweep=True) is Rest.SETTLED
    world.happenings.clear()


def drift(world: World, kind: str, unit: UnitId) -> None:
    """Somebody's hand in the cluster."""

    def change(body: Body) -> None:
        if kind == "unmark":
            body["metadata"].pop("labels", None)
            body["metadata"].pop("annotations", None)
        elif unit.kind == "ConfigMap":
            body["data"] = {"v": "by hand"}
        else:
            body["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example/hand:good"

    live = world.server.objects.get(unit)
    if live is None and kind == "make" and unit.kind == "ConfigMap" and world.live("Namespace/web"):
        made = config(unit.name, {"v": "theirs"})
        made["metadata"]["namespace"] = "web"
        world.cluster.make(made)
    elif live is not None and kind == "delete":
        world.cluster.drop(unit)
    elif live is not None and kind in {"edit", "unmark"}:
        world.cluster.edit(unit, change)
    world.cluster.tick()


# ---------------------------------------------------------------- what must hold at rest


@dataclass
class Watcher:
    """Checks every rest; `others` are objects that nobody may touch, `listed` is what a run said it leaves."""

    world: World
    others: dict[UnitId, Body] = field(default_factory=dict)
    listed: set[UnitId] = field(default_factory=set)

    def check(self) -> None:
        world, state = self.world, self.world.state
        if world.source.head() is None:
            return
        memory, holds = state.memory, world.holds
        ask = world.pipeline.ask(SOURCE, STACK, world.source.fetch())
        assert memory.attempting is None or holds, "an attempt goes on without a reason to wait"
        assert state.intents == ()
        self.listed |= {left.unit for run in world.runs for left in run.leftovers}
        if not holds:
            assert memory.good[0].digest == ask.digest
            assert state.dirty == ()
            self.is_live(ask)
        elif holds == {"quarantined"}:
            assert memory.quarantined(ask.digest) is not None
            assert state.dirty == ()
            self.is_live(good_ask(world.pipeline, SOURCE, STACK, memory.good[0]) if memory.good else None)
        else:
            assert holds <= {"quarantined", "rollback-failed", "approval"}, memory.holds
            assert all(h.detail for h in memory.holds)
        tracked = {u for u in world.sqlite.baselines(STACK) if u.kind != "Job" and not u.is_terraform}
        assert tracked == {u for u in members(world) if u.kind != "Job"}
        assert all(b.certain for b in world.sqlite.baselines(STACK).values())
        for unit, body in self.others.items():
            assert world.server.objects.get(unit) is body, f"{unit} of others was touched"
        assert audit_findings(world.state_dir) == []

    def is_live(self, ask: Ask | None) -> None:
        """What is asked, and nothing else of ours but what a run or the record lists as left."""
        units = self.world.pipeline.desired_now(ask).units if ask else {}
        said = self.listed | {p.unit for p in self.world.state.postponed}
        left = {u for u in members(self.world) - units.keys() - said if u.kind != "Job"}
        assert not left, f"left without a word: {left}"
        for unit, wanted in units.items():
            if unit.kind != "Job":
                live = self.world.server.objects.get(unit)
                assert live is not None, f"{unit} is missing"
                assert contains(live, wanted.manifest), f"{unit} is {live}, not {wanted.manifest}"


def contains(live: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(k in live and contains(live[k], v) for k, v in wanted.items())
    if isinstance(wanted, list):
        return len(live) == len(wanted) and all(contains(a, b) for a, b in zip(live, wanted, strict=True))
    return bool(live == wanted)


@given(history=histories)
@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # a history is short; making it shorter takes minutes
    suppress_health_check=list(HealthCheck),
)
def test_any_history_ends_where_it_should(history: list[Step], tmp_path_factory: pytest.TempPathFactory) -> None:
    world = World(tmp_path_factory.mktemp("history"))
    try:
        bystanders(world)
        watcher = Watcher(world, dict(world.server.objects))
        for step in history:
            happen(world, step)
            watcher.check()
    finally:
        world.close()
