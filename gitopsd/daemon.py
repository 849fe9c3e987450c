"""The program: every part made once and handed to those who need it, for one plan, one pass, or for good."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Lock
from types import FrameType

import structlog

from gitopsd import __version__
from gitopsd.assembly import make_pipeline, read_record
from gitopsd.board import StatusBoard
from gitopsd.clock import SystemClock
from gitopsd.config.host import HostConfig
from gitopsd.control.peers import gid_of, permitted_text
from gitopsd.control.server import ControlServer
from gitopsd.cores import keep_no_cores
from gitopsd.model.audit import AuditEvent
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.memory import HoldReason
from gitopsd.model.run import RunRecord
from gitopsd.model.status import DaemonInfo, Phase, Wanted
from gitopsd.model.times import timestamp
from gitopsd.probe import HttpProbe
from gitopsd.record import SqliteRecord, open_record
from gitopsd.stack.actor import Actor
from gitopsd.stack.attention import StackAttention
from gitopsd.stack.desk import Desk, Fetched
from gitopsd.stack.ledger import DAEMON, Ledger
from gitopsd.stack.pipeline import Pipeline, Preview
from gitopsd.stack.preview import Previewed, Previews
from gitopsd.stack.reception import Reception
from gitopsd.stack.vigil import Interest
from gitopsd.stack.worker import Rest, StackWorker
from gitopsd.triggers.clockwork import SWEEP_EVERY, Clockwork
from gitopsd.triggers.keydir import LOOK_EVERY, KeyDirectory
from gitopsd.triggers.watches import Watches
from gitopsd.views.status import stack_status

log = structlog.get_logger("gitopsd.daemon")

HEED_EVERY = 1.0
"""Seconds until a signal is heeded that the system gave to another thread than the main one, which it does not wake."""


class App:
    """The program, for one configuration."""

    def __init__(self, config: HostConfig) -> None:
        self.config = config
        self.clock = SystemClock()

    # ------------------------------------------------------------ plan

    def plan(self, ref: str | None, stack: str | None = None, *, terraform: bool = False) -> Iterator[Previewed]:
        """What a reconcile of `ref` (default: the branch's head) would do now, for each stack, and what is wrong with
        sources. Writes nothing but the mirror. The code of another `ref` is run by Terraform only if that is wanted
        (`terraform`)."""
        how = Preview(terraform=terraform or ref is None)
        with ExitStack() as opened:
            scratch = Path(opened.enter_context(TemporaryDirectory(prefix="gitopsd-plan-")))
            record = opened.enter_context(read_record(self.config.state_dir))
            pipeline = opened.enter_context(make_pipeline(self.config, record, scratch=scratch))
            previews = Previews(pipeline, record, self.config.instance, timestamp(self.clock.now()), how)
            for source in self.config.sources:
                yield from previews.of(source.name, ref, stack)

    # ------------------------------------------------------------ once

    def once(self) -> bool:
        """Reconcile every stack one time, drift included, in the calling thread. False if one did not come to rest."""
        with self._assembled() as host, host.stopping_on_signals():
            settled, rests = True, list[Rest]()
            waiting: list[tuple[StackWorker, str]] = []
            for desk in host.desks():
                fetched = host.look(desk)
                settled = settled and not fetched.trouble
                for name in fetched.stacks:
                    worker = host.worker(name, desk.name)
                    worker.trouble(fetched.trouble)
                    if fetched.head is not None and not host.stop.is_set():
                        host.attention(name).offer(fetched.head)
                        rests.append(worker.settle(fetched.head, sweep=True))
                        if rests[-1] is Rest.RETRY:
                            waiting.append((worker, fetched.head))
            if Rest.SETTLED in rests:  # what one stack waited for, another may have let go of since
                again = [Rest.STOPPED if host.stop.is_set() else worker.settle(head) for worker, head in waiting]
                rests = [rest for rest in rests if rest is not Rest.RETRY] + again
            host.require_record()
            return settled and all(rest is Rest.SETTLED for rest in rests)

    # ------------------------------------------------------------ run

    def run(self, clockwork: Clockwork | None = None) -> None:
        """Look after the stacks until SIGTERM or SIGINT; then end at the next safe point. `clockwork` calls polls and
        sweeps when it is time (default: at their intervals)."""
        clockwork = clockwork or Clockwork()
        with self._assembled() as host, host.stopping_on_signals():
            host.watches = Watches(host.pipeline.cluster)
            actors = host.actors(clockwork)
            for source, desk in zip(self.config.sources, host.desks(), strict=True):
                clockwork.every(source.poll, partial(actors.poll, desk), name=f"poll {source.name}")
            vault = host.pipeline.vault
            keys = KeyDirectory(self.config.key_dir, vault.digest, actors.keys_changed, unusable=vault.unusable)
            clockwork.every(LOOK_EVERY, keys.look, name="keys", at_once=False)
            keys.start()
            with closing(host.listen(actors)):
                clockwork.start()
                names = [s.name for s in self.config.sources]
                log.info("started", instance=self.config.instance, pid=os.getpid(), sources=names)
                while not host.stop.wait(HEED_EVERY):
                    continue
                log.info("stopping at the next safe point")
            clockwork.stop()
            keys.stop()
            actors.stop()
            host.watches.stop()
            log.info("stopped")
            host.require_record()

    @contextmanager
    def _assembled(self) -> Iterator[Host]:
        keep_no_cores()
        with ExitStack() as stack:
            record = stack.enter_context(open_record(self.config.state_dir, self.clock))
            for notice in record.notices:
                log.warning("record", notice=notice)
            pipeline = stack.enter_context(make_pipeline(self.config, record))
            info = DaemonInfo(True, os.getpid(), __version__, timestamp(self.clock.now()))
            board = StatusBoard(self.config.runtime_dir / "status.json", info, gid_of(self.config.socket_group))
            stack.callback(board.close)
            record.audit(
                [AuditEvent(DAEMON, "start", detail=f"gitopsd {__version__} as instance {self.config.instance}")]
            )
            stack.callback(lambda: record.audit([AuditEvent(DAEMON, "stop")]))
            yield Host(self.config, self.clock, record, pipeline, board)


class Host:
    """The parts that live as long as the process, and the workers made of them."""

    def __init__(
        self, config: HostConfig, clock: SystemClock, record: SqliteRecord, pipeline: Pipeline, board: StatusBoard
    ) -> None:
        self.config, self.clock, self.record, self.pipeline, self.board = config, clock, record, pipeline, board
        self.stop = Event()
        self.lost: EnvironmentFault | None = None  # why the record can no longer be written, once it cannot
        self.watches: Watches | None = None  # whoever looks once watches nothing
        self._probe = HttpProbe()
        self._attention: dict[str, StackAttention] = {}

    @property
    def sweep_every(self) -> float:
        """Seconds between two looks for drift; a shorter interval for Terraform makes all of them as frequent."""
        return min(SWEEP_EVERY, self.config.terraform.drift_interval)

    def desks(self) -> list[Desk]:
        known: dict[str, list[str]] = {}
        for name in self.record.stacks():
            state = self.record.state(name)
            if state is not None and self.had_effect(name):
                known.setdefault(state.memory.source, []).append(name)
        owners = {stack: source for source, stacks in known.items() for stack in stacks}
        return [Desk(s.name, self.pipeline, known.get(s.name, ()), owners) for s in self.config.sources]

    def forget(self, stack: str) -> None:
        """Show nothing of a stack any more."""
        self._attention.pop(stack, None)
        self.board.drop(stack)
        if self.watches is not None:
            self.watches.drop(stack)

    def _watch(self, worker: StackWorker, interests: Mapping[str, Interest]) -> None:
        if self.watches is not None:
            self.watches.tend(worker.name, worker.vigil, interests)

    def had_effect(self, stack: str) -> bool:
        """Whether a stack has ever touched anything. One that has not goes with its document: there is nothing that
        anybody would have to put back, or to prune."""
        state = self.record.state(stack)
        if state is None:
            return False
        memory = state.memory
        return bool(memory.good or memory.attempting or state.dirty or self.record.baselines(memory.stack))

    def look(self, desk: Desk) -> Fetched:
        """Look at a source. What is wrong with it is shown and audited, also while no stack of it is known. If the
        process's record was taken away, it ends: nothing may be done that cannot be written down."""
        try:
            self.record.require_in_place()
        except EnvironmentFault as fault:
            log.error("ends without its record", error=str(fault))
            self.lost = fault
            self.end()
            return Fetched(None, (), str(fault))
        fetched = desk.look()
        if self.board.source(desk.name, fetched.trouble):
            action, detail = ("hold", fetched.trouble) if fetched.trouble else ("release", "can be read again")
            event = AuditEvent(DAEMON, action, result="source", detail=f"source {desk.name}: {detail}")
            try:
                self.record.audit([event])
            except EnvironmentFault as fault:  # the stacks are told all the same
                log.error("not audited", source=desk.name, error=str(fault))
        return fetched

    def end(self) -> None:
        """Let everything come to its end at the next safe point."""
        self.stop.set()
        self.pipeline.terraform.program.stop()
        for attention in list(self._attention.values()):
            attention.stop()

    def require_record(self) -> None:
        """Raise EnvironmentFault if that is why the process ended."""
        if self.lost is not None:
            raise self.lost

    def attention(self, stack: str) -> StackAttention:
        return self._attention[stack]

    def worker(self, stack: str, source: str) -> StackWorker:
        attention = StackAttention(
            lambda commit: self.pipeline.ask(source, stack, commit).digest, lambda: self.record.orders(stack)
        )
        self._attention[stack] = attention
        if self.stop.is_set():
            attention.stop()
        ledger = Ledger(stack, source, self.config.instance, self.record, self.clock)
        approvers = permitted_text(self.config.socket_group)
        worker = StackWorker(
            ledger,
            self.pipeline,
            attention,
            self._probe,
            self.board.publish,
            approvers=approvers,
            watch=lambda interests: self._watch(worker, interests),
        )
        return worker

    def listen(self, actors: Actors) -> ControlServer:
        """From now on people may order. Raises EnvironmentFault if nobody can listen at the socket."""
        group = self.config.socket_group
        reception = Reception(self.record, self.clock, actors, permitted_text(group))
        server = ControlServer(self.config.socket, group, reception.handle)
        server.start()
        return server

    def actors(self, clockwork: Clockwork) -> Actors:
        return Actors(self, clockwork)

    @contextmanager
    def stopping_on_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the process at the next safe point; a second one ends it at once."""

        def stop(_number: int, _frame: FrameType | None) -> None:
            for sign in former:
                signal.signal(sign, signal.SIG_DFL)
            self.end()

        former = {sign: signal.signal(sign, stop) for sign in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for sign, handler in former.items():
                signal.signal(sign, handler)


class Actors:
    """The stacks' threads, started as their stacks become known; for people, what can be asked of them."""

    def __init__(self, host: Host, clockwork: Clockwork) -> None:
        self._host, self._clockwork = host, clockwork
        self._actors: dict[str, Actor] = {}
        self._desks: dict[str, Desk] = {}  # by stack
        self._lock = Lock()

    def poll(self, desk: Desk) -> str:
        """Look at a source and tell its stacks; why it could not be read, "" if it could."""
        return self._poll(desk).trouble

    def _poll(self, desk: Desk) -> Fetched:
        fetched = self._host.look(desk)
        gone = {stack for stack in fetched.gone if self._let_go(stack, desk)}
        for stack in fetched.stacks:
            if stack in gone:
                continue
            self._desks[stack] = desk
            self.of(stack, desk.name).fetched(fetched.head, fetched.trouble)
        return fetched

    def _let_go(self, stack: str, desk: Desk) -> bool:
        """End a stack that left git before it ever had an effect; whether it is gone. One that has had an effect stays:
        nothing is pruned by the absence of a stack, and people have to see what is left."""
        if self._host.had_effect(stack):
            return False
        with self._lock:
            actor = self._actors.pop(stack, None)
        if actor is not None:
            self._clockwork.cancel(f"sweep {stack}")
            actor.stop()
            actor.join()
            if self._host.had_effect(stack):  # just before its end: it goes on in another thread
                return False
        self._desks.pop(stack, None)
        desk.forget(stack)
        self._host.forget(stack)
        log.info("left git before it was ever delivered", stack=stack)
        return True

    def of(self, stack: str, source: str) -> Actor:
        with self._lock:
            actor = self._actors.get(stack)
            if actor is None:
                worker = self._host.worker(stack, source)
                actor = Actor(worker, self._host.attention(stack))
                self._actors[stack] = actor
                actor.start()
                self._clockwork.every(self._host.sweep_every, actor.sweep, name=f"sweep {stack}")
            return actor

    def keys_changed(self) -> None:
        """Whatever waits for a key, or depends on one, is looked at now."""
        known = ", ".join(sorted(self._host.pipeline.vault.fingerprints())) or "none"
        try:
            self._host.record.audit([AuditEvent(DAEMON, "keys", after=known, detail="the sealing keys have changed")])
        except EnvironmentFault as fault:  # the stacks are told all the same
            log.error("not audited", what="keys", error=str(fault))
        for actor in list(self._actors.values()):
            actor.sweep()
            actor.nudge()

    # ------------------------------------------------------------ for people

    def names(self) -> tuple[str, ...]:
        known = (stack for stack in self._host.record.stacks() if self._host.had_effect(stack))
        return tuple(sorted({*self._actors, *known}))

    def wanted(self, stack: str) -> Wanted | None:
        actor = self._actors.get(stack)
        return actor.worker.facts.wanted if actor else None

    def current(self, stack: str) -> RunRecord | None:
        actor = self._actors.get(stack)
        return actor.worker.facts.current if actor else None

    def nudge(self, stack: str) -> int:
        """A stack whose thread has not started yet looks at everything when it does: number 1."""
        actor = self._actors.get(stack)
        return actor.nudge() if actor else 1

    def looked(self, stack: str, number: int) -> str | None:
        actor = self._actors.get(stack)
        if actor is None:
            return None
        if not actor.looked(number):
            state = self._host.record.state(stack) if actor.began(number) and actor.worker.facts.current else None
            asked = state.memory.held(HoldReason.APPROVAL) if state else None
            return f"{Phase.RUNNING.value}: {asked.detail}" if asked else None  # only a person can end that look
        shown = stack_status(actor.worker.facts.snapshot())
        return "" if shown["phase"] == Phase.SYNCED.value else f"{shown['phase']}: {shown['message']}"

    def outcome(self, stack: str, order: int) -> tuple[bool, str] | None:
        actor = self._actors.get(stack)
        return actor.worker.people.outcomes.get(order) if actor else None

    def fetch(self, stack: str) -> tuple[str, str]:
        desk = self._desks.get(stack)
        if desk is None:
            return "", "its source was not read yet"
        fetched = self._poll(desk)
        actor = self._actors.get(stack)
        if actor is not None:
            actor.sweep()  # who asks for a sync wants drift healed, also of what is not watched
        return fetched.head or "", fetched.trouble

    def stop(self) -> None:
        for actor in self._actors.values():
            actor.stop()
        for actor in self._actors.values():
            actor.join()
