"""Read the API server's audit log: the witness of who asked for what, in which order."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sandbox.client import Client
from sandbox.common import wait_until
from sandbox.layout import PROBE


class AuditLog:
    """Each event is one finished request: `requestReceivedTimestamp`, `stageTimestamp`, `verb`, `user`, `objectRef`,
    `requestURI`, `responseStatus`. Requests of the control plane itself are not in the log."""

    def __init__(self, path: Path, probe: Client) -> None:
        self.path, self._probe = path, probe

    def offset(self) -> int:
        """A place after everything that has been answered so far, to be given to `events(since=...)`."""
        self._flush()
        return self.path.stat().st_size

    def events(
        self, since: int = 0, user: str | None = None, verbs: Collection[str] | None = None, flush: bool = True
    ) -> list[dict[str, Any]]:
        """In the order in which the requests ended. `flush=False` also works while the API server is away."""
        if flush:
            self._flush()
        return [
            event
            for event in self._read(since)
            if event["user"]["username"] != PROBE
            and (user is None or event["user"]["username"] == user)
            and (verbs is None or event["verb"] in verbs)
        ]

    def _read(self, since: int) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        with self.path.open("rb") as log:
            log.seek(since)
            content = log.read()
        # The last line may be half written.
        return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]

    def _flush(self) -> None:
        """An answer can reach its client a moment before its line reaches the log. When the line of a request of our
        own is there which was sent later, the earlier ones are there too."""
        mark = f"/version?mark={uuid.uuid4()}"
        start = self.path.stat().st_size if self.path.exists() else 0
        self._probe.call("GET", mark)

        def there() -> bool:
            return any(event["requestURI"] == mark for event in self._read(start))

        wait_until(there, lambda: f"the audit log {self.path}", 10, interval=0.005)
