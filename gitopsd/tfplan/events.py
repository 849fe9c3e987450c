"""The stream of JSON lines that `plan -json` and `apply -json` write while they work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

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


class Stream:
    """Follows one command. `created` are the addresses that it has made, also in place of replaced ones."""

    def __init__(self) -> None:
        self.diagnostics: list[Diagnostic] = []
        self._created: dict[str, None] = {}
        self.odd: list[str] = []  # lines that are no JSON: what a program says before it can say more

    @property
    def created(self) -> tuple[str, ...]:
        return tuple(self._created)

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
        return {
            "apply_start": f"{doing} {address}",
            "apply_progress": f"still {doing} {address} ({seconds}s)",
            "apply_errored": f"failed {doing} {address} ({seconds}s)",
            "apply_complete": f"{_DONE[action]} {address} ({seconds}s)" if action in _DONE else "",
        }.get(kind, "")
