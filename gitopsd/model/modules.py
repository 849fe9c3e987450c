"""Terraform root modules as data: what one gives to others, what a plan of it says, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gitopsd.model.errors import Cause
from gitopsd.model.ids import UnitId


@dataclass(frozen=True, slots=True, order=True)
class OutputRef:
    """An output of a Terraform component of the same stack, as people write it: `network.db_host`."""

    component: str
    output: str

    def __str__(self) -> str:
        return f"{self.component}.{self.output}"

    @classmethod
    def parse(cls, text: str) -> OutputRef:
        """Raises ValueError for a text that is not COMPONENT.OUTPUT."""
        component, dot, output = text.partition(".")
        if not dot or not component or not output:
            raise ValueError(f"{text!r} is no output; write COMPONENT.OUTPUT")
        return cls(component, output)


@dataclass(frozen=True, slots=True)
class Output:
    """A known output. `digest` is equal if and only if the value is; it tells nothing of a sensitive value (a keyed
    hash). `value` is plain JSON; of a sensitive output it is a `Sensitive` right after it was read, and None on record.
    """

    digest: str
    value: Any = None
    sensitive: bool = False


Outputs = Mapping[OutputRef, Output]
"""What is known of outputs. One that is missing is known after apply, or does not exist."""


class ResourceAction(StrEnum):
    """What a Terraform plan does to one resource."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DESTROY = "destroy"
    READ = "read"  # a data source that is read during the apply
    MOVE = "move"
    IMPORT = "import"
    FORGET = "forget"  # out of the state, while the object stays


DESTRUCTIVE = frozenset({ResourceAction.DESTROY, ResourceAction.REPLACE})
"""What takes something away that may not come back."""


class Edit(StrEnum):
    """What happens to one field."""

    ADD = "add"
    REMOVE = "remove"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field's change. `masked` values were never put in here: `before` and `after` are None then. `unknown`: what
    it becomes is known after apply."""

    path: str
    edit: Edit
    before: Any = None
    after: Any = None
    masked: bool = False
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """What a plan does to one resource. `reason` is Terraform's own, in words; `previous` is a moved one's former
    address."""

    address: str
    action: ResourceAction
    diff: tuple[FieldChange, ...] = ()
    reason: str = ""
    previous: str = ""


@dataclass(frozen=True, slots=True)
class StateId:
    """Which state of a module: its lineage and serial; "" and 0 where there is none yet."""

    lineage: str = ""
    serial: int = 0


@dataclass(frozen=True, slots=True)
class ModulePlan:
    """What Terraform says it would do. Nothing of it is sensitive: masked by Terraform's own flags.

    `outputs` has every output of the module, None for one that is known after apply. `changes_state` is true if there
    is anything to apply, be it an output alone. `drift` is what others changed since the last apply. `resources` leave
    out what does not change and what differs only in how nothing is written (null, {}, [], ""). `saved` names the saved
    plan in the runner's own directory; only that is ever applied.
    """

    unit: UnitId
    state: StateId
    resources: tuple[ResourceChange, ...] = ()
    outputs: Mapping[str, Output | None] = field(default_factory=dict)
    output_changes: tuple[FieldChange, ...] = ()
    drift: tuple[ResourceChange, ...] = ()
    warnings: tuple[str, ...] = ()
    changes_state: bool = False
    tracked: int = 0  # resources in the state
    saved: str = ""


class ResourceEnd(StrEnum):
    """What became of one resource in an apply."""

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"  # begun, and nobody heard how it ended


@dataclass(frozen=True, slots=True)
class ResourceDone:
    """What an apply did to one resource, and how many whole seconds it took. Nothing of its values."""

    address: str
    action: ResourceAction
    end: ResourceEnd
    seconds: int = 0


@dataclass(frozen=True, slots=True)
class ModuleApplied:
    """A saved plan that was applied whole. `created` are addresses of resources that this very apply made, `resources`
    everything that it did, in the order in which it ended."""

    state: StateId
    outputs: Mapping[str, Output]
    created: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    tracked: int = 0
    resources: tuple[ResourceDone, ...] = ()


@dataclass(frozen=True, slots=True)
class ModuleFailure:
    """An apply that did not end well; a part of it may be done.

    `stale`: the state moved since the plan, nothing was done. `interrupted`: we asked it to stop. `created` and
    `resources` as above, of what was done.
    """

    message: str
    cause: Cause
    created: tuple[str, ...] = ()
    stale: bool = False
    interrupted: bool = False
    resources: tuple[ResourceDone, ...] = ()
