"""What is kept, and what is not."""

from __future__ import annotations

import pytest

from gitopsd.stack.remembered import Remembered


def test_an_answer_is_found_out_once_and_a_failure_again() -> None:
    known: Remembered[str, int] = Remembered(2)
    asked: list[str] = []

    def find_out(answer: int) -> int:
        asked.append("asked")
        if answer < 0:
            raise ValueError("no answer")
        return answer

    for _ in range(2):
        with pytest.raises(ValueError, match="no answer"):
            known.get("a", lambda: find_out(-1))
    assert len(asked) == 2
    assert [known.get("a", lambda: find_out(1)) for _ in range(3)] == [1, 1, 1]
    assert len(asked) == 3


def test_the_least_used_goes_first() -> None:
    known: Remembered[str, str] = Remembered(2)
    for key in ("a", "b", "a", "c"):
        known.get(key, lambda key=key: key)  # type: ignore[misc]
    again: list[str] = []
    for key in ("a", "b"):
        known.get(key, lambda key=key: again.append(key) or key)  # type: ignore[misc,func-returns-value]
    assert again == ["b"]
