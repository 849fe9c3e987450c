"""Terraform's plans, states and complaints as data; pure. Whatever leaves this package is without sensitive values, as
far as Terraform marks them; a `Scrubber` takes them out of texts."""

from gitopsd.tfplan.causes import Trouble, cause, remedy, trouble
from gitopsd.tfplan.diagnostics import Diagnostic, errors, problem, read_text, repository_path, warning_texts
from gitopsd.tfplan.document import State, read_plan, read_state
from gitopsd.tfplan.events import Stream
from gitopsd.tfplan.hcl import is_code, own_backend
from gitopsd.tfplan.locks import LockInfo, read_lock
from gitopsd.tfplan.outputs import Seal
from gitopsd.tfplan.scrub import MASK, Scrubber

__all__ = [
    "MASK",
    "Diagnostic",
    "LockInfo",
    "Scrubber",
    "Seal",
    "State",
    "Stream",
    "Trouble",
    "cause",
    "errors",
    "is_code",
    "own_backend",
    "problem",
    "read_lock",
    "read_plan",
    "read_state",
    "read_text",
    "remedy",
    "repository_path",
    "trouble",
    "warning_texts",
]
