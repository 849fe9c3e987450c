"""`gitopsd plan`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gitopsd.cli.exits import DONE, FAILED, PENDING
from gitopsd.cli.failures import say
from gitopsd.cli.output import json_option, show
from gitopsd.cli.place import config_of
from gitopsd.model.errors import GitopsdError, Problem, UsageError
from gitopsd.views.plan import StackPlan, pending, plan_document, plan_text

if TYPE_CHECKING:
    from gitopsd.stack.preview import Previewed

EXAMPLE = """\
  gitopsd plan
  gitopsd plan --ref feature/new-cache
"""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--ref", metavar="REF", help="a commit, branch or tag (default: the head of the source's branch)"
    )
    parser.add_argument("--stack", metavar="NAME", help="this stack alone")
    parser.add_argument(
        "--terraform", action="store_true", help="with --ref: also run Terraform on its code, which may do anything"
    )
    json_option(parser)


def execute(given: Namespace) -> int:
    config = config_of(given)  # before the rest is loaded: what is wrong with it is said at once
    from gitopsd.daemon import App
    from gitopsd.logs import set_up_logs

    set_up_logs()
    found = list(App(config).plan(given.ref, given.stack, terraform=given.terraform))
    stacks, troubles = [f for f in found if f.stack], _troubles(found, given.stack)
    if given.stack and not stacks and not troubles:
        problem = Problem(f"no source has a stack {given.stack!r} there", remedy="without --stack all are planned")
        raise UsageError(problem)
    document = plan_document([_result(f) for f in stacks], [_result(f) for f in troubles])
    show(given, document, lambda plans, _now: plan_text(plans))
    for trouble in troubles:
        for problem in _result(trouble).problems:
            say(f"source {trouble.source}: {problem}")
    if troubles or any(stack["problems"] for stack in document["stacks"]):
        return FAILED
    return PENDING if pending(document) else DONE


def _troubles(found: Sequence[Previewed], stack: str | None) -> list[Previewed]:
    """What is wrong with sources. One that has not the --ref is none if another source has it, and one that has not the
    --stack does not matter. Raises UsageError if no source has the --ref."""
    troubles = [f for f in found if not f.stack and isinstance(f.result, GitopsdError)]
    unknown = [f.result for f in troubles if isinstance(f.result, UsageError)]
    planned = {f.source for f in found if f.stack}
    if unknown and len(unknown) == len({f.source for f in found}):
        raise unknown[0]
    return [
        f
        for f in troubles
        if not isinstance(f.result, UsageError) and (stack is None or not planned or f.source in planned)
    ]


def _result(found: Previewed) -> StackPlan:
    if isinstance(found.result, GitopsdError):
        problems = found.result.problems or (Problem(str(found.result)),)
        return StackPlan(found.stack, found.source, problems=problems)
    return StackPlan(found.stack, found.source, found.result)
