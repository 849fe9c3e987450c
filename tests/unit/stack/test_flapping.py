"""SEMANTICS 3: three failed deploys in a row of different digests, at one unit that none of them changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gitopsd.model.codec import from_plain, to_plain
from gitopsd.model.memory import Good, HoldReason, Memory, Quarantined
from gitopsd.stack import remember
from gitopsd.stack.decide import Situation, Step, decide
from gitopsd.stack.flapping import flaps, in_a_row

API, WORKER = "Deployment/web/api", "Deployment/web/worker"
NEW = Memory("web", "test", "main")


def failure(number: int, unit: str = API, definition: str = "one") -> Quarantined:
    return Quarantined(f"d{number}", f"c{number}", f"web-{number}", "no such image", f"t{number}", unit, definition)


def after(*failures: Quarantined) -> Memory:
    memory = NEW
    for found in failures:
        memory = remember.failed(memory, found, None)
    return memory


@pytest.mark.parametrize(
    ("failures", "flapping"),
    [
        pytest.param([failure(1), failure(2)], False, id="twice"),
        pytest.param([failure(1), failure(2), failure(3)], True, id="three times"),
        pytest.param([failure(1), failure(2), failure(3), failure(4)], True, id="once more, after a retry"),
        pytest.param([failure(1), failure(2), failure(3, definition="two")], False, id="the last one changed it"),
        pytest.param([failure(1, definition="two"), failure(2), failure(3)], False, id="the first one had another"),
        pytest.param([failure(1), failure(2, WORKER), failure(3)], False, id="another unit in between"),
        pytest.param([failure(1), failure(2), failure(2)], False, id="one digest tried again is one failure"),
        pytest.param([failure(1), failure(2), failure(3), failure(1)], True, id="an older one tried again"),
        pytest.param([failure(n, unit="", definition="") for n in (1, 2, 3)], False, id="no unit is at fault"),
        pytest.param([failure(n, definition="") for n in (1, 2, 3)], False, id="told by an older version"),
    ],
)
def test_what_flaps(failures: list[Quarantined], flapping: bool) -> None:
    assert (flaps(after(*failures), "t9") is not None) is flapping


def test_a_good_deploy_ends_the_row_and_lifts_the_hold() -> None:
    memory = after(failure(1), failure(2), failure(3))
    hold = flaps(memory, "t9")
    assert hold is not None
    held = replace(memory, holds=remember.with_hold((), hold))
    good = remember.good(held, Good("c4", "d4", "t4"))
    assert good.held(HoldReason.FLAPPING) is None
    assert [q.digest for q in good.quarantine] == ["d3", "d2", "d1"], "they stay quarantined"
    assert flaps(remember.failed(good, failure(5), None), "t9") is None


def test_the_hold_says_what_failed_and_what_to_do() -> None:
    hold = flaps(after(failure(1), failure(2), failure(3)), "t9")
    assert hold is not None
    assert (hold.reason, hold.since, hold.by) == (HoldReason.FLAPPING, "t9", "gitopsd")
    assert hold.detail == (
        "the last 3 deploys failed at Deployment/web/api, which none of their commits changed: no such image; nothing "
        "newer is deployed meanwhile: mend it or push a commit that does, then `gitopsd retry web` deploys the newest "
        "one"
    )


def test_retry_lifts_it_for_one_try_and_the_row_goes_on() -> None:
    memory = after(failure(1), failure(2), failure(3))
    hold = flaps(memory, "t9")
    assert hold is not None
    held = replace(memory, holds=(hold,))
    assert decide(Situation(held, "d4")).hold is HoldReason.FLAPPING
    tried = remember.retried(held, "d4")
    assert decide(Situation(tried, "d4")).step is Step.DEPLOY
    assert flaps(remember.failed(tried, failure(4), None), "t9") is not None


def test_a_memory_of_an_older_version_has_no_rows() -> None:
    plain = to_plain(after(failure(1), failure(2), failure(3)))
    for entry in plain["quarantine"]:
        del entry["definition"]
    old = from_plain(Memory, plain)
    assert in_a_row(old.quarantine) == ()
    assert flaps(remember.failed(old, failure(4), None), "t9") is None
