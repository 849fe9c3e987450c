"""The stream of JSON lines that `plan -json` and `apply -json` write while they work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gitopsd.model.modules import ResourceAction, ResourceDone, ResourceEnd
from gitopsd.tfplan.diagnostics import Diagnostic, read_diagnostic

_DOING = {
    "create": "creating",
    "update": "updating",
    "delete": "destroying",
    "read": "reading",
    "import": "importing",
    "forget": "forgetting",
}
_DONE = {"create": "created", "update": "updated", "delete": "destroyed", "import": "imported", "forget": "forgot"}

_ACTIONS = {
    "create": ResourceAction.CREATE,
    "update": ResourceAction.UPDATE,
    "delete": ResourceAction.DESTROY,
    "import": ResourceAction.IMPORT,
    "forget": ResourceAction.FORGET,
}
_ENDS = {"apply_complete": ResourceEnd.DONE, "apply_errored": ResourceEnd.FAILED}


class Stream:
    """Follows one command. `created` are the addresses that it has made, also in place of replaced ones."""

    def __init__(self) -> None:
        self.diagnostics: list[Diagnostic] = []
        self._created: dict[str, None] = {}
        self._begun: dict[tuple[str, ResourceAction], int] = {}
        self._ended: list[ResourceDone] = []
        self.odd: list[str] = []  # lines that are no JSON: what a program says before it can say more

    @property
    def created(self) -> tuple[str, ...]:
        return tuple(self._created)

    @property
    def resources(self) -> tuple[ResourceDone, ...]:
        """What was done to each resource, in the order in which it ended; then what has not ended. One that was
        destroyed and made again was replaced."""
        ended: dict[tuple[str, ResourceAction], ResourceDone] = {}
        for found in self._ended:
            ended[found.address, found.action] = found
            _join(ended, found.address)
        open_ends = (
            ResourceDone(address, action, ResourceEnd.UNKNOWN, seconds)
            for (address, action), seconds in self._begun.items()
        )
        return (*ended.values(), *open_ends)

    def feed(self, line: str) -> str:
        """Take one line; answers what it tells in few words, "" if nothing that people want to follow."""
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, Mapping):
            if line.strip():
                self.odd.append(line.rstrip())
            return ""
        if event.get("type") == "diagnostic":
            found = read_diagnostic(event.get("diagnostic") or {})
            if found is not None:
                self.diagnostics.append(found)
            return ""
        return self._hook(str(event.get("type") or ""), event.get("hook") or {})

    def _hook(self, kind: str, hook: Mapping[str, Any]) -> str:
        address, action = str((hook.get("resource") or {}).get("addr") or ""), str(hook.get("action") or "")
        doing = _DOING.get(action)
        if not address or doing is None:
            return ""
        if kind == "apply_complete" and action == "create":
            self._created[address] = None
        seconds = int(hook.get("elapsed_seconds") or 0)
        self._note(kind, address, _ACTIONS.get(action), seconds)
        return {
            "apply_start": f"{doing} {address}",
            "apply_progress": f"still {doing} {address} ({seconds}s)",
            "apply_errored": f"failed {doing} {address} ({seconds}s)",
            "apply_complete": f"{_DONE[action]} {address} ({seconds}s)" if action in _DONE else "",
        }.get(kind, "")

    def _note(self, kind: str, address: str, action: ResourceAction | None, seconds: int) -> None:
        if action is None:  # what is only read is nothing that was done
            return
        if kind in _ENDS:
            self._begun.pop((address, action), None)
            self._ended.append(ResourceDone(address, action, _ENDS[kind], seconds))
        elif kind in {"apply_start", "apply_progress"}:
            self._begun[address, action] = seconds


def _join(ended: dict[tuple[str, ResourceAction], ResourceDone], address: str) -> None:
    """Make one replacement of a destruction and a creation, whichever came first, if both are done."""
    parts = [ended.get((address, action)) for action in (ResourceAction.DESTROY, ResourceAction.CREATE)]
    done = [part for part in parts if part is not None and part.end is ResourceEnd.DONE]
    if len(done) == len(parts):
        for part in done:
            del ended[address, part.action]
        seconds = sum(part.seconds for part in done)
        ended[address, ResourceAction.REPLACE] = ResourceDone(
            address, ResourceAction.REPLACE, ResourceEnd.DONE, seconds
        )
