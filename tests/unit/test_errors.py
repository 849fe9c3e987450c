"""An error carries every problem; its text, which stands in holds and logs, stays readable."""

from __future__ import annotations

from gitopsd.model.errors import SHOWN, CommitError, EnvironmentFault, Problem


def test_hundreds_of_problems_make_a_short_text_and_are_all_there() -> None:
    found = [Problem("no key opens it", f"s-{n}.yaml", 1, remedy="bring the key") for n in range(300)]
    error = EnvironmentFault(*found)
    text = str(error)
    assert len(error.problems) == 300
    assert len(text) < 1000
    assert text.count("no key opens it") == SHOWN
    assert text.count("bring the key") == 1
    assert text.endswith("and 290 more: `gitopsd plan` shows them all")


def test_few_problems_are_told_whole_each_with_its_own_advice() -> None:
    error = CommitError(Problem("wrong", "a.yaml", 1, remedy="one"), Problem("wrong", "b.yaml", 2, remedy="two"))
    assert str(error) == "a.yaml:1: wrong (one); b.yaml:2: wrong (two)"
