"""The program around the parts: `once` and `run` over a simulated cluster and a source in memory."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
import structlog

from gitopsd import daemon
from gitopsd.config.host import ClusterConfig, HostConfig, SourceConfig
from gitopsd.daemon import App
from gitopsd.model.errors import EnvironmentFault, GitopsdError
from gitopsd.model.ids import UnitId
from gitopsd.record.reader import open_reader
from gitopsd.render import Renderer
from gitopsd.sealing.vault import KeyVault
from gitopsd.stack.pipeline import Origin, Pipeline, TerraformSetup
from gitopsd.triggers.clockwork import Clockwork
from gitopsd.views.status_text import converged
from tests.scenarios.harness import STACK, Effects
from tests.scenarios.manifests import commit, config, space
from tests.support.memory_cache import MemoryCache
from tests.support.memory_source import MemorySource
from tests.support.simcluster import SimCluster
from tests.support.simstate import ServerState
from tests.support.simterraform import NoTerraform
from tests.support.world import wait_until

PATIENCE = 30.0
SETTINGS = UnitId.parse("ConfigMap/web/settings")


def files(value: str) -> dict[str, str]:
    return commit({"app": [space(), config("settings", {"a": value})]})


@dataclass
class Inline:
    """In place of the clockwork: everything that is registered is called once at the start, then when told."""

    work: dict[str, Callable[[], None]] = field(default_factory=dict)
    running: threading.Event = field(default_factory=threading.Event)
    stopped: bool = False
    at_start: Callable[[], None] = lambda: None

    def every(self, seconds: float, work: Callable[[], None], *, name: str, at_once: bool = True) -> None:
        assert seconds > 0
        self.work[name] = work
        if self.running.is_set() and at_once:
            work()

    def cancel(self, name: str) -> None:
        self.work.pop(name, None)

    def start(self) -> None:
        self.running.set()
        for work in list(self.work.values()):
            work()
        self.at_start()

    def stop(self) -> None:
        self.stopped = True


@dataclass
class Site:
    app: App
    source: MemorySource
    cluster: SimCluster
    effects: Effects
    state: ServerState
    host: HostConfig

    def value(self) -> str | None:
        live = self.state.objects.get(SETTINGS)
        return str(live["data"]["a"]) if live else None

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads((self.host.runtime_dir / "status.json").read_bytes())
        return found

    def actions(self) -> list[str]:
        lines = (self.host.state_dir / "audit.jsonl").read_text().splitlines()
        return [orjson.loads(line)["action"] for line in lines]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    source, effects, state = MemorySource(), Effects(), ServerState()
    cluster = SimCluster(state, lambda: 0.0, effects)
    host = HostConfig(
        file=tmp_path / "config.yaml",
        instance="test",
        state_dir=tmp_path / "state",
        key_dir=tmp_path / "keys",
        socket=tmp_path / "run" / "gitopsd.sock",
        runtime_dir=tmp_path / "run",
        sources=(SourceConfig("main", "memory:", poll=60.0),),
        clusters=(ClusterConfig("default"),),
    )

    @contextmanager
    def pipeline(_config: HostConfig, record: Any, *, scratch: Path | None = None) -> Iterator[Pipeline]:
        origins = {"main": Origin(source, "", "gitopsd.yaml")}
        yield Pipeline(
            origins,
            Renderer(MemoryCache()),
            lambda _: cluster,
            {"default": "gitopsd-system"},
            record,
            terraform=TerraformSetup(NoTerraform(), lambda: ""),
            vault=KeyVault(Path("no-keys-here"), MemoryCache()),
        )

    monkeypatch.setattr(daemon, "make_pipeline", pipeline)
    return Site(App(host), source, cluster, effects, state, host)


def test_once_delivers_every_stack_and_leaves_a_status_that_says_it_is_over(site: Site) -> None:
    site.source.commit(files("1"))
    assert site.app.once()
    assert site.value() == "1"
    status = site.status()
    assert status["daemon"]["running"] is False
    assert [(s["name"], s["phase"]) for s in status["stacks"]] == [(STACK, "Synced")]
    assert site.actions()[0] == "start"
    assert site.actions()[-1] == "stop"


def test_a_runtime_directory_that_cannot_be_made_is_told_with_what_to_do(site: Site) -> None:
    site.host.runtime_dir.write_text("in the way")
    with pytest.raises(EnvironmentFault, match=r"cannot be made: File exists .*`socket`"):
        site.app.once()
    with open_reader(site.host.state_dir) as reader:
        assert reader.stacks() == ()


def test_once_heals_drift(site: Site) -> None:
    site.source.commit(files("1"))
    site.app.once()
    site.cluster.edit(SETTINGS, lambda body: body["data"].update(a="by hand"))
    assert site.app.once()
    assert site.value() == "1"


def test_once_is_not_settled_while_the_environment_is_at_fault(site: Site) -> None:
    def away(_number: int, _verb: str, _unit: UnitId | None) -> None:
        raise EnvironmentFault("cluster default does not answer")

    site.source.commit(files("1"))
    site.effects.before_call = away
    assert not site.app.once()
    assert site.value() is None


def test_once_is_not_settled_by_a_source_that_cannot_be_read_yet_keeps_what_was_delivered(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> str:
        raise EnvironmentFault("git.example does not answer")

    site.source.commit(files("1"))
    site.app.once()
    monkeypatch.setattr(site.source, "fetch", away)
    site.cluster.edit(SETTINGS, lambda body: body["data"].update(a="by hand"))
    assert not site.app.once()
    assert site.value() == "1", "the last known commit is healed to all the same"
    with open_reader(site.host.state_dir) as reader:
        state = reader.state(STACK)
    assert state is not None
    assert [h.reason.value for h in state.memory.holds] == ["source"]


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_run_ends_at_a_signal_with_every_thread_gone_and_the_signals_as_before(site: Site) -> None:
    before = signal.getsignal(signal.SIGTERM)
    threads = set(threading.enumerate())
    site.source.commit(files("1"))
    clockwork = Inline(at_start=terminate)
    site.app.run(cast(Clockwork, clockwork))
    assert clockwork.stopped
    assert signal.getsignal(signal.SIGTERM) is before
    assert set(threading.enumerate()) <= threads
    assert site.status()["daemon"]["running"] is False


def test_run_ends_also_at_a_signal_that_the_system_gives_to_another_thread(site: Site) -> None:
    """It may choose any, and does when a debugger holds the main one: nothing wakes that then."""
    site.source.commit(files("1"))
    main = threading.main_thread().ident
    assert main is not None

    def at_rest() -> bool:
        """Condition.wait of Event.wait of App.run."""
        event = sys._current_frames()[main].f_back
        return event is not None and event.f_back is not None and event.f_back.f_code is App.run.__code__

    def signalled() -> None:
        while not at_rest():
            time.sleep(0.01)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    thread = threading.Thread(target=signalled)
    site.app.run(cast(Clockwork, Inline(at_start=thread.start)))
    thread.join()
    assert site.status()["daemon"]["running"] is False


def test_run_delivers_what_a_poll_finds_and_sweeps_each_stack_from_then_on(site: Site) -> None:
    site.source.commit(files("1"))
    clockwork = Inline()

    def until(what: Callable[[], bool]) -> None:
        changed = threading.Event()
        site.effects.after_write = lambda _number: changed.set()
        while not what():
            assert changed.wait(PATIENCE)
            changed.clear()

    def story() -> None:
        try:
            until(lambda: site.value() == "1")
            assert set(clockwork.work) == {"keys", "poll main", f"sweep {STACK}"}
            site.source.commit(files("2"))
            clockwork.work["poll main"]()
            until(lambda: site.value() == "2")
        except Exception as failure:  # noqa: BLE001 - told below, in the thread that pytest watches
            failures.append(failure)
        finally:
            terminate()

    failures: list[Exception] = []
    thread = threading.Thread(target=story)
    clockwork.at_start = thread.start
    site.app.run(cast(Clockwork, clockwork))
    thread.join()
    assert failures == []
    assert site.value() == "2"


def test_two_stacks_of_one_source_have_a_thread_each_and_one_that_is_broken_stops_no_other(site: Site) -> None:
    other = files("1")["gitopsd.yaml"].replace(f"name: {STACK}", "name: other").replace("path: app", "path: gone")
    site.source.commit({**files("1"), "gitopsd.yaml": files("1")["gitopsd.yaml"] + "---\n" + other})
    site.app.once()
    phases = {s["name"]: s["phase"] for s in site.status()["stacks"]}
    assert phases[STACK] == "Synced"
    assert phases["other"] != "Synced"


def wanting(mine: list[str], theirs: list[str]) -> dict[str, str]:
    """Two stacks and the ConfigMaps that they ask for."""
    stacks = commit({"app": [space(), *(config(name, {"of": "mine"}) for name in mine)]})
    other = stacks["gitopsd.yaml"].replace(f"name: {STACK}", "name: other").replace("path: app", "path: side")
    side = commit({"side": [config(name, {"of": "theirs"}) for name in theirs]})
    side = {file: text for file, text in side.items() if file != "gitopsd.yaml"}
    return {**stacks, **side, "gitopsd.yaml": f"{stacks['gitopsd.yaml']}---\n{other}"}


def held(site: Site) -> dict[str, str]:
    return {s["name"]: h["detail"] for s in site.status()["stacks"] for h in s["holds"] if h["reason"] == "source"}


def test_two_stacks_that_ask_for_one_object_are_both_told_and_neither_is_delivered(site: Site) -> None:
    site.source.commit(wanting(["one", "a"], ["b"]))
    site.app.once()
    before = dict(site.state.objects)
    site.source.commit(wanting(["one", "a"], ["b", "one", "more"]))
    for _ in range(2):  # the same whichever is looked at first, and after a rest
        site.app.once()
        found = held(site)
        assert set(found) == {STACK, "other"}
        assert "stack other asks for it, too, at side/" in found[STACK]
        assert f"stack {STACK} asks for it, too, at app/" in found["other"]
        assert all("ConfigMap/web/one" in text for text in found.values())
    assert site.state.objects == before
    site.source.commit(wanting(["a"], ["b", "one", "more"]))
    site.app.once()
    site.app.once()
    assert held(site) == {}
    moved = site.state.objects[UnitId.parse("ConfigMap/web/one")]
    assert moved["data"] == {"of": "theirs"}
    assert moved["metadata"]["uid"] == before[UnitId.parse("ConfigMap/web/one")]["metadata"]["uid"], "handed over"


TYPO = {**files("1"), "gitopsd.yaml": files("1")["gitopsd.yaml"] + "  onFailur: hold\n"}


def sources(site: Site) -> list[tuple[str, bool, bool]]:
    return [(s["name"], "gitopsd.yaml:" in s["trouble"], bool(s["since"])) for s in site.status()["sources"]]


def test_a_source_without_any_stack_yet_says_what_is_wrong_with_it(site: Site) -> None:
    site.source.commit(TYPO)
    with structlog.testing.capture_logs() as logs:
        assert not site.app.once()
    told = [entry for entry in logs if entry["log_level"] == "error"]
    assert [(entry["source"], "gitopsd.yaml:" in entry["error"]) for entry in told] == [("main", True)]
    assert sources(site) == [("main", True, True)]
    assert not converged(site.status())
    assert "hold" in site.actions(), "a commit that is not taken is on record"
    site.source.commit(files("1"))
    assert site.app.once()
    assert sources(site) == [("main", False, False)]


def test_run_says_once_for_each_change_what_is_wrong_with_a_source(site: Site) -> None:
    site.source.commit(TYPO)
    clockwork = Inline()

    def polls() -> None:
        for _ in range(3):
            clockwork.work["poll main"]()
        site.source.commit(files("1"))
        clockwork.work["poll main"]()
        terminate()

    clockwork.at_start = polls
    with structlog.testing.capture_logs() as logs:
        site.app.run(cast(Clockwork, clockwork))
    said = [e["event"] for e in logs if e.get("source") == "main" and e["event"].startswith("source")]
    assert said == ["source cannot be delivered", "source can be delivered again"]
    assert site.actions().count("hold") == 1


def test_a_daemon_whose_state_directory_was_removed_does_nothing_more_and_ends(site: Site) -> None:
    """What it did then would be on record nowhere, and its lock would keep nobody out."""
    site.source.commit(files("1"))
    clockwork = Inline()

    def story() -> None:
        try:
            while site.value() != "1":
                time.sleep(0.01)
            writes.append(len(site.state.writes))
            shutil.rmtree(site.host.state_dir)
            site.source.commit(files("2"))
        finally:
            clockwork.work["poll main"]()

    writes: list[int] = []
    thread = threading.Thread(target=story)
    clockwork.at_start = thread.start
    with pytest.raises(EnvironmentFault, match="was removed or replaced while gitopsd has it open"):
        site.app.run(cast(Clockwork, clockwork))
    thread.join()
    assert [len(site.state.writes)] == writes
    assert site.value() == "1"


# ---------------------------------------------------------------- plan


def planned(site: Site, ref: str | None = None) -> dict[tuple[str, str], list[str] | str]:
    """By (source, stack): the actions of the plan, or why there is none."""
    return {
        (f.source, f.stack): str(f.result)
        if isinstance(f.result, GitopsdError)
        else [f"{c.action.value} {c.unit}" for c in f.result.changes()]
        for f in site.app.plan(ref)
    }


def test_a_plan_sees_the_drift_that_the_next_reconcile_heals_and_writes_nothing(site: Site) -> None:
    site.source.commit(files("1"))
    site.app.once()
    assert planned(site) == {("main", STACK): []}
    site.cluster.edit(SETTINGS, lambda body: body["data"].update(a="by hand"))
    writes = len(site.state.writes)
    assert planned(site) == {("main", STACK): [f"update {SETTINGS}"]}
    site.cluster.drop(SETTINGS)
    assert planned(site) == {("main", STACK): [f"create {SETTINGS}"]}
    assert len(site.state.writes) == writes


def test_a_plan_says_of_a_delivered_stack_that_the_commit_no_longer_has_it(site: Site) -> None:
    site.source.commit(files("1"))
    site.app.once()
    other = {path: text.replace(f"name: {STACK}", "name: other") for path, text in files("1").items()}
    site.source.commit(other)
    found = planned(site)
    assert set(found) == {("main", "other"), ("main", STACK)}
    assert f"has no stack '{STACK}' any more" in str(found["main", STACK])


def test_a_plan_of_the_last_known_commit_says_that_there_may_be_a_newer_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> str:
        raise EnvironmentFault("git.example does not answer")

    site.source.commit(files("1"))
    monkeypatch.setattr(site.source, "fetch", away)
    found = planned(site)
    assert found["main", ""] == "git.example does not answer"
    assert found["main", STACK] == ["create Namespace/web", f"create {SETTINGS}"]


def test_a_plan_of_a_broken_stack_file_tells_the_line(site: Site) -> None:
    site.source.commit(TYPO)
    found = planned(site)
    assert list(found) == [("main", "")]
    assert "gitopsd.yaml:" in str(found["main", ""])


def two(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> dict[str, str]:
    """A commit of two stacks, each with its own directory."""
    one, other = commit({"app": first}), commit({"more": second})
    other["gitopsd.yaml"] = other["gitopsd.yaml"].replace(f"name: {STACK}", "name: second")
    return {**one, **other, "gitopsd.yaml": f"{one['gitopsd.yaml']}---\n{other['gitopsd.yaml']}"}


def test_a_plan_of_a_move_between_stacks_is_what_a_reconcile_of_both_does(site: Site) -> None:
    moving = config("moving", {"a": "1"})
    site.source.commit(two([space(), moving], [config("stays", {})]))
    assert site.app.once()
    site.source.commit(two([space()], [config("stays", {}), moving]))
    found = planned(site)
    assert found["main", STACK] == ["release ConfigMap/web/moving"]
    assert found["main", "second"] == ["adopt ConfigMap/web/moving"]
    site.app.once()
    assert planned(site) == {("main", STACK): [], ("main", "second"): []}


def test_a_stack_that_never_had_an_effect_goes_with_its_document(site: Site) -> None:
    """The stack file removed by accident makes one stack of the whole source, which others' objects hold up."""
    site.source.commit(files("1"))
    assert site.app.once()
    site.source.commit({path: text for path, text in files("1").items() if path != "gitopsd.yaml"})
    assert not site.app.once()
    assert {s["name"] for s in site.status()["stacks"]} == {STACK, "main"}
    site.source.commit(files("2"))
    assert site.app.once()
    assert [(s["name"], s["phase"]) for s in site.status()["stacks"]] == [(STACK, "Synced")]


def second(files: dict[str, str], path: str) -> dict[str, str]:
    """Another stack beside the ordinary one, of one directory."""
    component = f"{{name: app, kubernetes: {{path: {path}, namespace: web}}}}"
    head = "apiVersion: gitopsd.io/v1alpha1\nkind: Stack\nmetadata: {name: other}\n"
    return {**files, "gitopsd.yaml": f"{files['gitopsd.yaml']}---\n{head}spec: {{components: [{component}]}}\n"}


@pytest.mark.parametrize("delivered", [False, True])
def test_a_stack_that_leaves_git_goes_from_sight_unless_it_was_ever_delivered(site: Site, *, delivered: bool) -> None:
    more = {"other/map.yaml": json.dumps(config("mine", {"a": "b"})) if delivered else "kind: ["}
    site.source.commit({**second(files("1"), "other"), **more})
    clockwork = Inline()
    seen: list[set[str]] = []
    work: list[set[str]] = []

    def look() -> None:
        seen.append({stack["name"] for stack in site.status()["stacks"]})
        work.append(set(clockwork.work) - {"keys", "poll main"})

    def phases() -> dict[str, str]:
        return {stack["name"]: stack["phase"] for stack in site.status()["stacks"]}

    def story() -> None:
        try:
            settled = {"shop": "Synced", "other": "Synced" if delivered else "Held"}
            wait_until(lambda: phases() == settled, "both have come to rest")
            look()
            site.source.commit(files("2"))
            clockwork.work["poll main"]()
            wait_until(lambda: site.value() == "2", "the next commit is live")
            look()
            site.source.commit({**second(files("3"), "other"), **more})
            clockwork.work["poll main"]()
            wait_until(lambda: phases() == settled, "it is back")
        except AssertionError as failure:
            failures.append(failure)
        finally:
            terminate()

    failures: list[AssertionError] = []
    thread = threading.Thread(target=story)
    clockwork.at_start = thread.start
    site.app.run(cast(Clockwork, clockwork))
    thread.join()
    assert failures == []
    left = {"shop", "other"} if delivered else {"shop"}
    assert seen == [{"shop", "other"}, left]
    assert work == [{"sweep shop", "sweep other"}, {f"sweep {name}" for name in left}]
