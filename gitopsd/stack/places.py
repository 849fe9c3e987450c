"""Turns the field of a problem into the line of the file where a person finds it."""

from __future__ import annotations

from dataclasses import replace

from gitopsd.model.errors import CommitError, Problem
from gitopsd.model.ports import SourceTree
from gitopsd.yamltext import line_within


def placed(error: CommitError, tree: SourceTree) -> CommitError:
    """The same error with the line of the field, where there was only the line of its object.

    Problems in files that the commit does not have, or whose field is not written there, stay as they are.
    """
    wanted = {p.file for p in error.problems if p.file and p.line and p.field}
    texts = tree.read([entry for entry in tree.files() if entry.path in wanted]) if wanted else {}
    return CommitError(*(_place(p, texts.get(p.file)) for p in error.problems))


def _place(problem: Problem, text: bytes | None) -> Problem:
    if text is None or problem.line is None or not problem.field:
        return problem
    field = problem.field.split(", ", 1)[0]
    return replace(problem, line=line_within(text, problem.line, field))
