"""Outputs of a module: what a plan says that they will be, and what a state says that they are."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gitopsd.model.modules import FieldChange, Output
from gitopsd.model.sensitive import Sensitive
from gitopsd.tfplan.fields import field_changes
from gitopsd.tfplan.scrub import Scrubber
from gitopsd.tfplan.values import canonical, marked

_TELLING = 8
"""Characters of a sensitive value that is not in an output by chance. Terraform loses marks (a `terraform_data` copies
its input to an unmarked output), and an output made of that is as secret as the value."""


@dataclass(frozen=True, slots=True)
class Seal:
    """Makes digests of outputs. `key` is the host's: a digest of a sensitive value is of no use to whoever lacks it. It
    is asked for where there is a sensitive output, and raises EnvironmentFault where it cannot be used."""

    key: Callable[[], bytes]

    def output(self, value: Any, sensitive: bool, *, keep: bool) -> Output:
        """`keep`: carry a sensitive value along, wrapped; else it is dropped."""
        text = canonical(value).encode()
        if not sensitive:
            return Output(hashlib.sha256(text).hexdigest(), value)
        digest = hmac.new(self.key(), text, hashlib.sha256).hexdigest()
        return Output(digest, Sensitive(value) if keep else None, sensitive=True)


def planned_outputs(document: Mapping[str, Any], seal: Seal, scrubber: Scrubber) -> dict[str, Output | None]:
    """Every output as it will be, None where that is known after apply. An output that is null does not exist, as in
    Terraform's own state. Values of sensitive ones are left out."""
    planned = (document.get("planned_values") or {}).get("outputs") or {}
    changes = document.get("output_changes") or {}
    found: dict[str, Output | None] = {}
    for name in sorted(planned.keys() | changes.keys()):
        change, output = changes.get(name) or {}, planned.get(name) or {}
        sensitive = bool(output.get("sensitive")) or marked(change.get("after_sensitive"))
        if marked(change.get("after_unknown")):
            if sensitive:
                seal.key()  # a key that cannot be used has to stop the run here, and not after the apply
            found[name] = None
            continue
        value = output.get("value", change.get("after"))
        if value is not None and change.get("actions") != ["delete"]:
            found[name] = seal.output(value, sensitive or scrubber.hides(value, _TELLING), keep=False)
    return found


def state_outputs(outputs: Mapping[str, Any], seal: Seal, scrubber: Scrubber) -> dict[str, Output]:
    """The outputs in a state file; values of sensitive ones are wrapped."""
    scrubber.add(raw.get("value") for raw in outputs.values() if raw.get("sensitive"))
    return {
        name: seal.output(
            raw.get("value"), bool(raw.get("sensitive")) or scrubber.hides(raw.get("value"), _TELLING), keep=True
        )
        for name, raw in sorted(outputs.items())
        if raw.get("value") is not None
    }


def output_changes(document: Mapping[str, Any], scrubber: Scrubber) -> tuple[FieldChange, ...]:
    """How outputs change, each under its own name."""
    changes = document.get("output_changes") or {}
    return tuple(
        field
        for name in sorted(changes)
        if changes[name].get("actions") != ["no-op"]
        for field in field_changes(changes[name], scrubber, name)
    )
