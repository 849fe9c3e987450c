"""SealedSecrets of the commit whose items are variables of a Terraform root module."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gitopsd.model.errors import CommitError, Problem, raise_if
from gitopsd.model.spec import StackSpec, TerraformComponent
from gitopsd.render.view import LeavesTree, TreeView
from gitopsd.sealed.document import At, SealedSecret, is_sealed_secret, read_sealed_secret
from gitopsd.yamltext import parse_documents

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def sealed_variables(view: TreeView, spec: StackSpec, component: TerraformComponent) -> Iterator[SealedSecret]:
    """The SealedSecrets of a component's files, in their order. Raises CommitError with everything that is wrong with
    them, and for a variable that is set twice."""
    taken = {variable.name: f"the output {variable.source}" for variable in component.variables}
    problems: list[Problem] = []
    for path in component.sealed:
        try:
            found = _secrets(view, spec, component, path)
        except CommitError as error:
            problems += error.problems
            continue
        for sealed in found:
            problems += _clashes(sealed, taken)
            yield sealed
    raise_if(problems)


def _secrets(view: TreeView, spec: StackSpec, component: TerraformComponent, path: str) -> list[SealedSecret]:
    place = Problem("", spec.file, component.line, f"component {component.name}")
    try:
        entry = view.file(view.follow(path).path)
    except LeavesTree:
        raise CommitError(_about(place, f"the sealed file {path} leads out of the repository")) from None
    if entry is None:
        remedy = "`sealedSecret` is relative to the source's path"
        raise CommitError(_about(place, f"the commit has no sealed file {path}", remedy))
    data = view.read(entry)
    problems: list[Problem] = []
    found: list[SealedSecret] = []
    for document in parse_documents(data, path):
        if not is_sealed_secret(document.value):
            text = "this is no SealedSecret, and nothing else may stand in a file that sets variables"
            problems.append(Problem(text, path, document.line))
            continue
        try:
            found.append(read_sealed_secret(document.value, At(path, document.line, data)))
        except CommitError as error:
            problems += error.problems
    raise_if(problems)
    if not found:
        raise CommitError(Problem("there is no SealedSecret in this file", path, 1))
    return found


def _clashes(sealed: SealedSecret, taken: dict[str, str]) -> Iterator[Problem]:
    """Items that cannot be variables, or that something else sets. Adds the others to `taken`."""
    for item in sorted({*sealed.plain, *sealed.omitted}):
        made = ("spec", "template", "data", item)
        text = "sets no variable: what the template makes is for a Secret alone"
        remedy = "seal the finished text as an item, or leave it to the Terraform code to put together"
        yield Problem(text, sealed.at.file, sealed.at.line_of(made), ".".join(made), sealed.subject, remedy)
    for item in sealed.items:
        path = ("spec", "encryptedData", item)
        line, field = sealed.at.line_of(path), ".".join(path)
        if not _VARIABLE.fullmatch(item):
            text = "no variable of Terraform can have this name"
            yield Problem(text, sealed.at.file, line, field, sealed.subject, "seal the value under another name")
        elif item in taken:
            text = f"the variable {item} is already set by {taken[item]}"
            yield Problem(text, sealed.at.file, line, field, sealed.subject, "set it once")
        else:
            taken[item] = f"{sealed.at.file}:{line}"


def _about(place: Problem, message: str, remedy: str = "") -> Problem:
    return Problem(message, place.file, place.line, place.field, remedy=remedy)
