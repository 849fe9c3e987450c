"""One stack in a simulated world: real worker, planning, execution and record; cluster, time and git in memory.

`World.effects` counts everything that would survive the process: writes to the cluster and transactions of the record.
`World.shot` takes what a `kill -9` would leave at this moment, and `World.revived` is the next start on it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from threading import RLock
from typing import Any, cast

from gitopsd.kinds.marks import applyset_id, parent_name
from gitopsd.model.errors import GitopsdError
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Assessment, Health
from gitopsd.model.memory import Memory, StackState
from gitopsd.model.orders import Answer, Order, Peer, Request
from gitopsd.model.ports import Record
from gitopsd.model.run import RunRecord
from gitopsd.model.spec import HttpCheck
from gitopsd.model.status import Wanted
from gitopsd.record import SqliteRecord, open_record
from gitopsd.render import Renderer
from gitopsd.sealing.vault import KeyVault
from gitopsd.stack.attention import StackAttention
from gitopsd.stack.ledger import Ledger
from gitopsd.stack.pipeline import Origin, Pipeline, TerraformSetup
from gitopsd.stack.reception import Reception
from gitopsd.stack.worker import Rest, StackWorker
from tests.support.memory_cache import MemoryCache
from tests.support.memory_source import MemorySource
from tests.support.simcluster import SimCluster
from tests.support.simstate import EPOCH, ServerState
from tests.support.simterraform import SimTerraform

STACK, SOURCE, INSTANCE = "shop", "main", "here"
NAMESPACE = "gitopsd-system"
APPLYSET = applyset_id(parent_name(STACK), NAMESPACE)
LONGEST_WAIT = 4 * 3600.0
"""Seconds of fake time in one `settle` after which a stack is taken to hang."""

TRIES = 40
"""Times that a blocked stack is tried again before it is looked at as it is."""

WRITING = frozenset(
    {
        "save_memory", "adopt_memory", "set_holds", "set_postponed", "begin", "save_plan", "intend", "conclude",
        "rebase", "observed", "finish", "clean", "soil", "audit", "order", "obey", "grant", "ask_people",
    }
)  # fmt: skip


class Killed(BaseException):
    """The process is gone: nothing that it would still do happens."""


class Hung(AssertionError):
    """The stack waits for ever."""


@dataclass
class Seconds:
    """The fake clock. `wait` is what every waiting thread calls: time passes at once, and the world goes on."""

    seconds: float = 0.0
    advanced: Callable[[], None] = lambda: None
    limit: float = LONGEST_WAIT

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, seconds: float) -> None:
        self.seconds += seconds
        if self.seconds > self.limit:
            raise Hung(f"nothing came to rest within {LONGEST_WAIT:g} s of fake time")
        self.advanced()


class FakeAttention(StackAttention):
    """The real one, but for time."""

    def __init__(
        self,
        digest_of: Callable[[str], str],
        orders: Callable[[], tuple[Order, ...]],
        waited: Callable[[float], None],
    ) -> None:
        super().__init__(digest_of, orders)
        self._waited = waited

    def wait(self, seconds: float) -> None:
        self._waited(seconds)


@dataclass
class Effects:
    """The gatekeeper of everything outside: counts, and lets tests interfere at each number."""

    calls: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    dead: bool = False
    before_call: Callable[[int, str, UnitId | None], None] = lambda _number, _verb, _unit: None
    after_call: Callable[[int, str], None] = lambda _number, _verb: None
    after_write: Callable[[int], None] = lambda _number: None

    def before(self, verb: str, unit: UnitId | None, *, write: bool) -> None:
        if self.dead:
            raise Killed
        self.calls.append(f"{verb} {unit or ''}".strip())
        self.before_call(len(self.calls) - 1, verb, unit)

    def after(self, verb: str, unit: UnitId | None, *, write: bool) -> None:
        number = len(self.calls) - 1
        if write:
            self.writes.append(self.calls[-1])
            self.after_write(len(self.writes) - 1)
        self.after_call(number, verb)


class WatchedRecord:
    """The real record; its transactions pass the gatekeeper."""

    def __init__(self, record: SqliteRecord, effects: Effects, lock: RLock) -> None:
        self._record, self._effects, self._lock = record, effects, lock

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._record, name)
        if not callable(method):
            return method

        def watched(*arguments: Any, **named: Any) -> Any:
            with self._lock:
                if name not in WRITING:
                    if self._effects.dead:
                        raise Killed
                    return method(*arguments, **named)
                self._effects.before(f"record.{name}", None, write=True)
                answer = method(*arguments, **named)
                self._effects.after(f"record.{name}", None, write=True)
                return answer

        return watched


class OneStack:
    """The stack of a world, as people have to do with it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def names(self) -> tuple[str, ...]:
        return (STACK,)

    def wanted(self, _stack: str) -> Wanted | None:
        return self._world.worker.facts.wanted

    def current(self, _stack: str) -> RunRecord | None:
        return self._world.worker.facts.current

    def nudge(self, _stack: str) -> int:
        self._world.attention.wake()
        return 1

    def looked(self, _stack: str, _number: int) -> str | None:
        return ""

    def outcome(self, _stack: str, order: int) -> tuple[bool, str] | None:
        return self._world.worker.people.outcomes.get(order)

    def fetch(self, _stack: str) -> tuple[str, str]:
        return self._world.source.fetch(), ""


@dataclass(frozen=True)
class Shot:
    """What a process that ends now leaves behind."""

    server: ServerState
    seconds: float
    files: Mapping[str, bytes]
    effect: str


@dataclass
class World:
    """`directory` holds the state directories; each start after a crash gets a new one."""

    directory: Path
    source: MemorySource = field(default_factory=MemorySource)
    server: ServerState = field(default_factory=ServerState)
    clock: Seconds = field(default_factory=Seconds)
    checks: dict[str, Health] = field(default_factory=dict)
    cache: MemoryCache = field(default_factory=MemoryCache)
    starts: int = 0
    instance: str = INSTANCE

    def __post_init__(self) -> None:
        self.lock = RLock()
        self.clock.advanced = self._advanced
        self.happenings: list[tuple[Callable[[], bool], Callable[[], None]]] = []
        self._start()

    @property
    def key_dir(self) -> Path:
        return self.directory / "keys"

    def _start(self) -> None:
        self.starts += 1
        self.state_dir = self.directory / f"state-{self.starts}"
        self.effects = Effects()
        self.cluster = SimCluster(self.server, lambda: self.clock.seconds, self.effects, self.lock)
        self.sqlite = open_record(self.state_dir, self.clock)
        self.record = cast(Record, WatchedRecord(self.sqlite, self.effects, self.lock))
        origins = {SOURCE: Origin(self.source, "", "gitopsd.yaml")}
        self.terraform = SimTerraform(lambda: self.server, self.effects, self.lock)
        self.pipeline = Pipeline(
            origins,
            Renderer(self.cache),
            lambda _name: self.cluster,
            {"default": NAMESPACE},
            self.record,
            terraform=TerraformSetup(self.terraform, lambda: "", cluster="default"),
            vault=KeyVault(self.key_dir, self.cache),
        )
        self.attention = FakeAttention(
            lambda commit: self.pipeline.ask(SOURCE, STACK, commit).digest,
            lambda: self.sqlite.orders(STACK),
            self._wait,
        )
        ledger = Ledger(STACK, SOURCE, self.instance, self.record, self.clock)
        self.worker = StackWorker(ledger, self.pipeline, self.attention, self._probe, lambda _facts: None)
        self.reception = Reception(self.record, self.clock, OneStack(self), "root")

    def close(self) -> None:
        self.effects.dead = True
        self.sqlite.close()

    # ------------------------------------------------------------ time and others

    def _wait(self, seconds: float) -> None:
        with self.lock:
            if self.effects.dead:
                raise Killed
            self.clock.wait(seconds)

    def _advanced(self) -> None:
        self.cluster.tick()
        for happening in list(self.happenings):
            when, what = happening
            if when():
                self.happenings.remove(happening)
                what()

    def _probe(self, check: HttpCheck) -> Assessment:
        return Assessment(self.checks.get(check.url, Health.HEALTHY))

    def when(self, condition: Callable[[], bool], what: Callable[[], None]) -> None:
        """Do something once, as soon as time passes while the condition holds."""
        self.happenings.append((condition, what))

    def push(self, files: Mapping[str, str]) -> str:
        """A new head, and the poll that sees it at once."""
        commit = self.source.commit(files)
        self.attention.offer(commit)
        return commit

    def say(self, command: str, why: str = "", *, by: str = "ops", stack: str = STACK, **arguments: Any) -> Answer:
        """What a permitted user says over the socket; the stack does not hear of it before it settles."""
        return self.reception.handle(Peer(1000, by, permitted=True), Request(command, stack, why, arguments))

    # ------------------------------------------------------------ the worker

    def settle(self, *, sweep: bool = False, tries: int = TRIES) -> Rest:
        """Let the stack come to rest at the head, as its thread would: blocked, it is tried again after a while."""
        self.clock.limit = self.clock.seconds + LONGEST_WAIT
        rest = Rest.RETRY
        for _ in range(tries):
            head = self.source.fetch()
            self.attention.offer(head)
            try:
                rest = self.worker.settle(head, sweep=sweep)
            except GitopsdError:
                rest = Rest.RETRY  # the record fails; the actor's thread tries again, too
            if rest is Rest.SETTLED and self.source.fetch() == head:
                return rest
            self.clock.wait(15.0)
        return rest

    def deliver(self, files: Mapping[str, str], *, sweep: bool = False) -> str:
        commit = self.push(files)
        self.settle(sweep=sweep)
        return commit

    # ------------------------------------------------------------ crashes and losses

    def shot(self) -> Shot:
        with self.lock:
            files = {
                path.name: path.read_bytes()
                for path in self.state_dir.iterdir()
                if path.name not in {"lock", "state.db-shm"}
            }
            effect = self.effects.writes[-1] if self.effects.writes else "nothing"
            return Shot(self.server.copy(), self.clock.seconds, files, effect)

    def revived(self, shot: Shot, directory: Path) -> World:
        """The next start after a kill at the moment of the shot. The branch is where it is by now."""
        directory.mkdir(parents=True)
        state_dir = directory / "state-1"
        state_dir.mkdir(mode=0o700)
        for name, content in shot.files.items():
            (state_dir / name).write_bytes(content)
        server = shot.server.copy()
        return World(directory, self.source.copy(), server, Seconds(shot.seconds), dict(self.checks), self.cache)

    def crash(self, number: int, *, sweep: bool = False) -> bool:
        """Settle, but die right after the effect of this number; then start anew. False if it rests before that."""
        left: list[Shot] = []

        def after(write: int) -> None:
            if write == number:
                left.append(self.shot())
                self.effects.dead = True
                raise Killed

        self.effects.writes.clear()
        self.effects.after_write = after
        try:
            self.settle(sweep=sweep)
        except Killed:
            self._begin_on(left[0].files)
            return True
        self.effects.after_write = lambda _number: None
        return False

    def restart(self, *, lose_state: bool = False) -> None:
        """End the process at rest and start it again, if need be on an empty disk."""
        self.sqlite.close()
        kept = {} if lose_state else {p.name: p.read_bytes() for p in self.state_dir.iterdir() if p.name != "lock"}
        self._begin_on(kept)

    def move(self, server: ServerState) -> None:
        """Start anew, with another cluster at the other end."""
        self.server = server
        self.restart()

    def _begin_on(self, files: Mapping[str, bytes]) -> None:
        self.close()
        shutil.rmtree(self.state_dir)
        state_dir = self.directory / f"state-{self.starts + 1}"
        state_dir.mkdir(mode=0o700)
        for name, content in files.items():
            (state_dir / name).write_bytes(content)
        self._start()

    # ------------------------------------------------------------ what is known

    @property
    def state(self) -> StackState:
        return self.sqlite.state(STACK) or StackState(Memory(STACK, self.instance, SOURCE))

    @property
    def holds(self) -> set[str]:
        return {hold.reason.value for hold in self.state.memory.holds}

    @property
    def runs(self) -> list[RunRecord]:
        """Oldest first, whole."""
        found = [self.sqlite.run(r.id) for r in reversed(self.sqlite.runs(STACK))]
        return [run for run in found if run is not None]

    @property
    def verdicts(self) -> list[tuple[str, str]]:
        return [(r.kind.value, r.verdict.value if r.verdict else "") for r in self.runs]

    def live(self, unit: str) -> dict[str, Any] | None:
        return self.server.objects.get(UnitId.parse(unit))
