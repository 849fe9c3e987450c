"""What the writer keeps in memory of the baselines is what their table says, whatever happened to them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitopsd.model.ports import Effect
from gitopsd.model.run import Result
from gitopsd.record import SqliteRecord, inventory, open_record
from gitopsd.record.reader import open_reader
from tests.unit.record.samples import WEB, FakeClock, baseline, intent, outcome, run

STACKS = ("website", "shop")
UNITS = [WEB._replace(name=f"u{number}") for number in range(4)]

steps = st.tuples(
    st.sampled_from(["intend", "applied", "refused", "gone", "rebase", "forget", "fail", "read"]),
    st.sampled_from(STACKS),
    st.lists(st.sampled_from(UNITS), min_size=1, unique=True),
)


def take(record: SqliteRecord, what: str, stack: str, units: list, number: int) -> None:  # type: ignore[type-arg]
    made = [baseline(unit, uid=f"uid-{number}") for unit in units]
    if what == "intend":
        record.intend(stack, [intent(unit) for unit in units])
    elif what == "applied":
        record.conclude(stack, "r1", [Effect(outcome(b.unit), baseline=b) for b in made])
    elif what == "refused":
        record.conclude(stack, "r1", [Effect(outcome(unit, result=Result.REFUSED)) for unit in units])
    elif what == "gone":
        record.conclude(stack, "r1", [Effect(outcome(unit), forget=True) for unit in units])
    elif what == "rebase":
        record.rebase(stack, made)
    elif what == "forget":
        record.rebase(stack, [], units)
    elif what == "fail":
        with pytest.raises(ValueError, match="never begun"):
            record.conclude(stack, "unknown", [Effect(outcome(b.unit), baseline=b) for b in made])
    else:
        record.baselines(stack).clear()  # the answer is the caller's own


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=12), st.sampled_from([0, 2, 200]))
def test_it_answers_as_its_table_does(tmp_path_factory: pytest.TempPathFactory, story: list, few: int) -> None:  # type: ignore[type-arg]
    state: Path = tmp_path_factory.mktemp("inventory") / "state"
    with pytest.MonkeyPatch.context() as patch, open_record(state, FakeClock()) as record:
        patch.setattr(inventory, "FEW", few)
        record.begin(run("r1"))
        for stack in STACKS:
            record.baselines(stack)
        for number, (what, stack, units) in enumerate(story):
            take(record, what, stack, units, number)
            with open_reader(state) as reader:
                assert record.baselines(stack) == reader.baselines(stack)
        for stack in STACKS:
            with open_reader(state) as reader:
                assert record.baselines(stack) == reader.baselines(stack)
