"""`gitopsd plan`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from gitopsd.cli.exits import DONE, FAILED, PENDING
from gitopsd.cli.output import json_option, show
from gitopsd.cli.place import config_of
from gitopsd.model.errors import GitopsdError, Problem, UsageError
from gitopsd.model.plan import Plan
from gitopsd.model.spec import StackSpec
from gitopsd.views.plan import StackPlan, pending, plan_document, plan_text

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
    found = [_result(spec, plan) for spec, plan in App(config).plan(given.ref, given.stack, terraform=given.terraform)]
    if given.stack and not found:
        problem = Problem(f"no source has a stack {given.stack!r} there", remedy="without --stack all are planned")
        raise UsageError(problem)
    document = plan_document(found)
    show(given, document, lambda plans, _now: plan_text(plans))
    if any(stack["problems"] for stack in document["stacks"]):
        return FAILED
    return PENDING if pending(document) else DONE


def _result(spec: StackSpec, plan: Plan | GitopsdError) -> StackPlan:
    if isinstance(plan, Plan):
        return StackPlan(spec.name, spec.source, plan)
    return StackPlan(spec.name, spec.source, problems=plan.problems or (Problem(str(plan)),))
