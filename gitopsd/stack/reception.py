"""Takes what people say over the control socket: judges it, puts it on record, wakes the stack, answers at once.

Nothing here changes a stack's state: an order is carried out by the stack's own thread, an answer only answers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from threading import Lock
from typing import Any, Protocol

import structlog

from gitopsd.model.audit import AuditEvent
from gitopsd.model.ids import UnitId
from gitopsd.model.memory import Baseline, HoldReason, StackState
from gitopsd.model.orders import Answer, Grant, Order, OrderKind, Peer, Question, Request
from gitopsd.model.ports import Clock, Record
from gitopsd.model.run import RunRecord
from gitopsd.model.status import Wanted
from gitopsd.model.times import timestamp
from gitopsd.planning.prune import abandon_digest, is_protected, prune_digest, waits_for_a_person
from gitopsd.stack.orders import SHORT, Known, Refused, asked, judge, rollback_target
from gitopsd.stack.people import user

log = structlog.get_logger("gitopsd.control")

LONGEST_SUSPENSION = 366 * 86400.0
"""Seconds; who wants longer leaves the end open."""

REFUSALS_APART = 60.0
"""Seconds between two audit entries about the same stranger who tries the same again."""

LONGEST_REASON = 1000


class Stacks(Protocol):
    """The stacks of this process, as far as people have to do with them."""

    def names(self) -> tuple[str, ...]: ...

    def wanted(self, stack: str) -> Wanted | None:
        """What the newest commit asks of it, as far as known."""

    def current(self, stack: str) -> RunRecord | None:
        """The run that goes on."""

    def nudge(self, stack: str) -> int:
        """Let it look again, now; the number of the look that has seen everything up to here."""

    def looked(self, stack: str, number: int) -> str | None:
        """None until that look is over; then why the stack is not as git asks, "" if it is."""

    def outcome(self, stack: str, order: int) -> tuple[bool, str] | None:
        """What came of an order that can go wrong when it is carried out; None while it was not."""

    def fetch(self, stack: str) -> tuple[str, str]:
        """Ask its source for the newest commit: that, and why it could not be done, "" if it was."""


class Reception:
    """Answers every request, and writes down everything but mere questions. Safe from several threads."""

    def __init__(self, record: Record, clock: Clock, stacks: Stacks, approvers: str) -> None:
        self.record, self.clock, self.stacks, self.approvers = record, clock, stacks, approvers
        self._one_by_one = Lock()  # what is judged is what was known a moment before
        self._told: dict[tuple[int, str, str], float] = {}
        self._desks: Mapping[str, Callable[[Peer, Request], Answer]] = {
            "suspend": self._suspend,
            "resume": self._plain(OrderKind.RESUME),
            "retry": self._retry,
            "rollback": self._rollback,
            "destroy": self._destroy,
            "approve": self._approve,
            "reject": self._reject,
            "prune": self._prune,
            "abandon": self._abandon,
            "unlock": self._unlock,
            "takeover": self._plain(OrderKind.TAKEOVER),
            "accept-cluster": self._accept_cluster,
            "sync": self._sync,
            "looked": self._looked,
        }

    def handle(self, peer: Peer, request: Request) -> Answer:
        """What becomes of a request. Raises EnvironmentFault if the record cannot be written: nothing is taken then."""
        if not peer.permitted:
            return self._turn_away(peer, request)
        desk = self._desks.get(request.command)
        if desk is None:
            return Answer(False, f"this gitopsd knows no command {request.command!r}: is it of an older version?")
        request = replace(request, why=request.why[:LONGEST_REASON])
        try:
            if request.stack or request.command != "accept-cluster":
                self._check_stack(request.stack)
            return desk(peer, request)
        except Refused as no:
            self._write(peer, request, "refused", str(no))
            return Answer(False, str(no), {"stack": request.stack})

    def _turn_away(self, peer: Peer, request: Request) -> Answer:
        text = f"{peer.name} may not order: only {self.approvers} may"
        key, now = (peer.uid, request.command, request.stack), self.clock.monotonic()
        with self._one_by_one:
            self._told = {k: at for k, at in self._told.items() if now - at < REFUSALS_APART}
            new = key not in self._told and len(self._told) < 100
            if new:
                self._told[key] = now
        if new:
            self._write(peer, request, "refused", text)
        return Answer(False, text)

    def _check_stack(self, stack: str) -> None:
        names = self.stacks.names()
        if stack not in names:
            there = f"there is {', '.join(names)}" if names else "no stack is known yet"
            raise Refused(f"there is no stack {stack!r}; {there}")

    def _write(self, peer: Peer, request: Request, result: str, text: str) -> None:
        self.record.audit([self._event(peer, request, result, text)])

    def _event(self, peer: Peer, request: Request, result: str, text: str, *, after: str = "") -> AuditEvent:
        why = f"{request.why}: " if request.why else ""
        return AuditEvent(
            actor=user(peer.name),
            action=request.command[:40],
            stack=request.stack[:253],
            after=after,
            result=result,
            detail=f"{why}{text}",
        )

    # ------------------------------------------------------------ orders

    def _plain(self, kind: OrderKind) -> Callable[[Peer, Request], Answer]:
        return lambda peer, request: self._take(peer, request, Order(kind, peer.name, self._now(), request.why))

    def _suspend(self, peer: Peer, request: Request) -> Answer:
        seconds = request.arguments.get("seconds")
        until = ""
        if isinstance(seconds, int | float) and not isinstance(seconds, bool):
            if not 0 < seconds <= LONGEST_SUSPENSION:
                raise Refused("a suspension ends within a year, or is left without an end")
            until = timestamp(self.clock.now() + timedelta(seconds=seconds))
        order = Order(OrderKind.SUSPEND, peer.name, self._now(), request.why, until=until, now=request.flag("now"))
        return self._take(peer, request, order)

    def _retry(self, peer: Peer, request: Request) -> Answer:
        wanted = self.stacks.wanted(request.stack)
        digest = wanted.digest if wanted else ""
        return self._take(peer, request, Order(OrderKind.RETRY, peer.name, self._now(), request.why, digest))

    def _rollback(self, peer: Peer, request: Request) -> Answer:
        with self._one_by_one:
            target = rollback_target(self._known(request.stack), request.text("to"))
            wanted = self.stacks.wanted(request.stack)
            order = Order(
                OrderKind.ROLLBACK,
                peer.name,
                self._now(),
                request.why,
                target.commit,
                head=wanted.commit if wanted else "",
                until_newer=request.flag("untilNewer"),
            )
            return self._put(peer, request, order)

    def _destroy(self, peer: Peer, request: Request) -> Answer:
        if request.text("confirm") != request.stack:
            raise Refused(f"to destroy {request.stack}, say its name again: --yes {request.stack}")
        with_data = request.flag("withData")
        return self._take(
            peer, request, Order(OrderKind.DESTROY, peer.name, self._now(), request.why, with_data=with_data)
        )

    def _unlock(self, peer: Peer, request: Request) -> Answer:
        component, lock = request.text("component").removeprefix("terraform/"), request.text("lock")
        state = self._state(request.stack)
        known = {m.component for m in state.memory.modules}
        known |= {unit.name for unit in self.record.baselines(request.stack) if unit.is_terraform}
        if component not in known:
            there = f"these have a state: {', '.join(sorted(known))}" if known else "none of it has a state yet"
            raise Refused(f"{request.stack} has no Terraform component {component!r}; {there}")
        return self._take(
            peer, request, Order(OrderKind.UNLOCK, peer.name, self._now(), request.why, component, head=lock)
        )

    def _accept_cluster(self, peer: Peer, request: Request) -> Answer:
        """A cluster is every stack's that waits for it; `stack` is one alone."""
        cluster, names = request.text("cluster"), [request.stack] if request.stack else self.stacks.names()
        states = {name: self.record.state(name) for name in names}
        waiting = [
            name
            for name, state in states.items()
            if state is not None and cluster in state.memory.clusters and state.memory.held(HoldReason.CLUSTER)
        ]
        if not waiting:
            raise Refused(f"no stack waits for a cluster to be accepted under the name {cluster!r}")
        order = Order(OrderKind.ACCEPT_CLUSTER, peer.name, self._now(), request.why, cluster)
        answers = [self._take(peer, replace(request, stack=name), order) for name in waiting]
        text = "; ".join(answer.text for answer in answers)
        return Answer(True, text, {"cluster": cluster, "stacks": waiting})

    def _take(self, peer: Peer, request: Request, order: Order) -> Answer:
        with self._one_by_one:
            return self._put(peer, request, order)

    def _put(self, peer: Peer, request: Request, order: Order) -> Answer:
        text = judge(order, self._known(request.stack))
        event = self._event(peer, request, "taken", text, after=order.target)
        taken = self.record.order(request.stack, order, [event])
        log.info("ordered", stack=request.stack, order=order.kind.value, by=peer.name, why=request.why)
        number = self.stacks.nudge(request.stack)
        return Answer(True, text, {"stack": request.stack, "order": taken.seq, "look": number})

    # ------------------------------------------------------------ answers to questions

    def _approve(self, peer: Peer, request: Request) -> Answer:
        return self._reply(peer, request, allowed=True)

    def _reject(self, peer: Peer, request: Request) -> Answer:
        return self._reply(peer, request, allowed=False)

    def _reply(self, peer: Peer, request: Request, *, allowed: bool) -> Answer:
        with self._one_by_one:
            state = self._state(request.stack)
            answered = {g.digest: g for g in state.grants}
            waiting = [q for q in state.questions if q.approval.digest not in answered]
            chosen = asked(waiting, request.text("digest"), request.stack, everything=request.flag("all"))
            for question in chosen:
                digest = question.approval.digest
                about = question.approval.units, question.desired
                grant = Grant(digest, allowed, peer.name, self._now(), request.why, *about)
                event = self._event(peer, request, "taken", question.approval.summary, after=digest)
                self.record.grant(request.stack, grant, [event])
        verb = "approved" if allowed else "rejected"
        text = f"{verb}: {'; '.join(q.approval.summary for q in chosen)}"
        left = len(waiting) - len(chosen)
        text += f"; {left} more wait" if left else ""
        log.info(verb, stack=request.stack, by=peer.name, digests=[q.approval.digest for q in chosen])
        number = self.stacks.nudge(request.stack)
        return Answer(True, text, {"stack": request.stack, "answered": [_shown(q) for q in chosen], "look": number})

    def _prune(self, peer: Peer, request: Request) -> Answer:
        """Allow deletions that wait for nothing but a person; say of the others why they wait."""
        named = set(request.texts("units"))
        with self._one_by_one:
            state, tracked = self._state(request.stack), self.record.baselines(request.stack)
            waiting = {str(p.unit): p for p in state.postponed}
            unknown = sorted(named - waiting.keys())
            if unknown:
                raise Refused(f"{unknown[0]} does not wait to be deleted; {_waiting(waiting)}")
            chosen = [p for name, p in sorted(waiting.items()) if name in named or not named]
            allowed = [p for p in chosen if is_protected(p.unit) and p.unit in tracked and waits_for_a_person(p)]
            others = [p for p in chosen if p not in allowed]
            if not allowed:
                why = "; ".join(f"{p.unit}: {p.reason}" for p in others) or f"nothing of {request.stack} waits"
                raise Refused(f"no deletion waits for a person alone; {why}")
            for item in allowed:
                digest = prune_digest(item.unit, tracked[item.unit].uid)
                event = replace(
                    self._event(peer, request, "taken", "may be deleted", after=digest), unit=str(item.unit)
                )
                self.record.grant(request.stack, Grant(digest, True, peer.name, self._now(), request.why), [event])
        text = f"may be deleted with their contents: {', '.join(str(p.unit) for p in allowed)}"
        text += "".join(f"; {p.unit} still waits: {p.reason}" for p in others)
        number = self.stacks.nudge(request.stack)
        data = {"allowed": [str(p.unit) for p in allowed], "waiting": {str(p.unit): p.reason for p in others}}
        return Answer(True, text, {"stack": request.stack, "look": number, **data})

    def _abandon(self, peer: Peer, request: Request) -> Answer:
        """Let what is no longer in git be left as it is and forgotten, instead of deleted or destroyed."""
        named = request.texts("units")
        if not named:
            raise Refused("name what is to be forgotten: units, or components")
        with self._one_by_one:
            state, tracked = self._state(request.stack), self.record.baselines(request.stack)
            asked = (unit for q in state.questions if q.approval.removal for unit in q.approval.units)
            waiting = {unit: tracked[unit] for unit in (*asked, *(p.unit for p in state.postponed)) if unit in tracked}
            lost = state.memory.held(HoldReason.BLOCKED)
            if lost is not None:  # maybe for a state that is gone; if it is not, forgetting a module harms nothing
                anew = {unit: base for unit, base in tracked.items() if unit.is_terraform and unit not in waiting}
                waiting |= {unit: base for unit, base in anew.items() if str(unit) in lost.detail}
            else:
                anew = {}
            chosen: dict[UnitId, Baseline] = {}
            for name in named:
                found = {u: b for u, b in waiting.items() if name in {str(u), b.component, f"{u.cluster}/{u}"}}
                if not found:
                    raise Refused(_not_waiting(name, tracked, waiting))
                chosen |= found
            for unit, baseline in sorted(chosen.items()):
                digest = abandon_digest(baseline)
                event = self._event(peer, request, "taken", "is left as it is and forgotten", after=digest)
                grant = Grant(digest, True, peer.name, self._now(), request.why)
                self.record.grant(request.stack, grant, [replace(event, unit=str(unit))])
        names = [str(unit) for unit in sorted(chosen)]
        log.info("abandoned", stack=request.stack, by=peer.name, units=names)
        number = self.stacks.nudge(request.stack)
        text = f"left as it is and forgotten: {', '.join(names)}"
        wanted = ", ".join(sorted(str(unit) for unit in chosen if unit in anew))
        text += f"; git asks for it still, so that it is made anew: {wanted}" if wanted else ""
        return Answer(True, text, {"stack": request.stack, "look": number, "units": names})

    # ------------------------------------------------------------ looking now

    def _sync(self, peer: Peer, request: Request) -> Answer:
        head, trouble = self.stacks.fetch(request.stack)
        number = self.stacks.nudge(request.stack)
        where = head[:SHORT] or "git"
        text = f"the source cannot be read: {trouble}" if trouble else f"{request.stack} is brought to {where}"
        self._write(peer, request, "refused" if trouble else "taken", text)
        return Answer(not trouble, text, {"stack": request.stack, "look": number})

    def _looked(self, _peer: Peer, request: Request) -> Answer:
        """Whether the look of this number is over: what `--wait` asks again and again. Changes nothing."""
        number = request.arguments.get("look")
        why = self.stacks.looked(request.stack, number if isinstance(number, int) else 0)
        done: dict[str, Any] = {"done": why is not None, "synced": why == ""}
        order = request.arguments.get("order")
        came = self.stacks.outcome(request.stack, order) if isinstance(order, int) else None
        if came is not None:
            done["outcome"] = {"ok": came[0], "text": came[1]}
        return Answer(True, why or "", done)

    # ------------------------------------------------------------ what is known

    def _known(self, stack: str) -> Known:
        pending = self.record.orders(stack)
        return Known(self._state(stack), self.stacks.wanted(stack), self.stacks.current(stack), pending)

    def _state(self, stack: str) -> StackState:
        state = self.record.state(stack)
        if state is None:
            raise Refused(f"nothing is known of {stack} yet: its first run has not begun")
        return state

    def _now(self) -> str:
        return timestamp(self.clock.now())


def _shown(question: Question) -> dict[str, str]:
    return {"digest": question.approval.digest, "summary": question.approval.summary}


def _waiting(postponed: Mapping[str, Any]) -> str:
    return f"these do: {', '.join(sorted(postponed))}" if postponed else "nothing does"


def _not_waiting(name: str, tracked: Collection[UnitId], waiting: Collection[UnitId]) -> str:
    there = (
        f"these wait to be deleted: {', '.join(sorted(map(str, waiting)))}"
        if waiting
        else "nothing waits to be deleted"
    )
    known = any(name in {str(unit), unit.name} for unit in tracked)
    why = "git asks for it still: remove it there first" if known else f"nothing tracked is called {name!r}"
    return f"{why}; {there}"
