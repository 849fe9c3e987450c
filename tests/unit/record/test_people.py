"""Orders, questions and answers on record: none is lost, none is carried out twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gitopsd.model.audit import Actor, ActorKind, AuditEvent
from gitopsd.model.memory import Memory
from gitopsd.model.orders import Grant, Order, OrderKind, Question
from gitopsd.model.plan import Approval
from gitopsd.record import SqliteRecord, open_record
from gitopsd.record.audit_reader import read_audit
from gitopsd.record.reader import open_reader
from tests.unit.record.samples import FakeClock

STACK = "web"
ANN = Actor(ActorKind.USER, "ann")
MEMORY = Memory(STACK, "here", "main")
SUSPEND = Order(OrderKind.SUSPEND, "ann", "2030-01-01T00:00:00Z", "maintenance")


@pytest.fixture
def record(tmp_path: Path) -> Iterator[SqliteRecord]:
    with open_record(tmp_path / "state", FakeClock()) as made:
        yield made


def question(digest: str) -> Question:
    return Question(Approval(digest, f"deletes {digest}"), "c1", "d1", "t", "u")


def test_an_order_stays_until_it_is_obeyed_and_comes_back_after_a_restart(tmp_path: Path) -> None:
    with open_record(tmp_path / "state", FakeClock()) as record:
        first = record.order(STACK, SUSPEND, [AuditEvent(ANN, "suspend", stack=STACK)])
        second = record.order(STACK, replace(SUSPEND, kind=OrderKind.RESUME))
    with open_reader(tmp_path / "state") as reader:
        assert reader.orders(STACK) == (first, second)
    with open_record(tmp_path / "state", FakeClock()) as record:
        assert record.orders(STACK) == (first, second)
        record.obey(MEMORY, (first,))
        assert record.orders(STACK) == (second,)
        assert [e["action"] for e in read_audit(tmp_path / "state")] == ["suspend"]


def test_the_memory_and_the_end_of_its_order_are_one_transaction(record: SqliteRecord) -> None:
    order = record.order(STACK, SUSPEND)
    with pytest.raises(TypeError):
        record.obey(replace(MEMORY, source=object()), (order,))  # type: ignore[arg-type]
    assert (record.state(STACK), record.orders(STACK)) == (None, (order,))
    saved = record.obey(MEMORY, (order,))
    assert (saved.generation, record.orders(STACK)) == (1, ())


def test_numbers_of_orders_are_never_used_again(record: SqliteRecord) -> None:
    order = record.order(STACK, SUSPEND)
    record.obey(MEMORY, (order,))
    assert record.order(STACK, SUSPEND).seq > order.seq


def test_orders_of_other_stacks_stay(record: SqliteRecord) -> None:
    other = record.order("other", SUSPEND)
    record.obey(MEMORY, (record.order(STACK, SUSPEND),))
    assert (record.orders(STACK), record.orders("other")) == ((), (other,))


def test_open_questions_are_replaced_and_answers_end_when_told(record: SqliteRecord) -> None:
    record.save_memory(MEMORY)
    record.ask_people(STACK, [question("a"), question("b")])
    record.grant(STACK, Grant("a", True, "ann", "t"))
    record.grant(STACK, Grant("b", False, "ann", "t", "too much"))
    state = record.state(STACK)
    assert state is not None
    assert [q.approval.digest for q in state.questions] == ["a", "b"]
    assert state.granted == {"a"}
    assert record.grants(STACK) == state.grants
    record.ask_people(STACK, [question("b")], drop=["a"])
    state = record.state(STACK)
    assert state is not None
    assert ([q.approval.digest for q in state.questions], state.granted) == (["b"], frozenset())
    assert [g.digest for g in state.grants] == ["b"]


def test_a_second_answer_replaces_the_first(record: SqliteRecord) -> None:
    record.save_memory(MEMORY)
    record.grant(STACK, Grant("a", True, "ann", "t"))
    record.grant(STACK, Grant("a", False, "bob", "t2"))
    assert record.grants(STACK) == (Grant("a", False, "bob", "t2"),)
