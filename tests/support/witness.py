"""Who sees a secret value while it is used: looks into every process of this machine, all the time."""

from __future__ import annotations

import threading
from pathlib import Path


class Witness:
    """Reads the command lines and the environments of every process until `end`. `given` are words that Terraform found
    in its environment; `found` are those that were anywhere else, with the command line of a process that had them."""

    def __init__(self, *words: bytes) -> None:
        self._words, self.found, self.given = words, dict[bytes, str](), set[bytes]()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            for place in Path("/proc").glob("[0-9]*"):
                try:
                    command, environment = (place / "cmdline").read_bytes(), (place / "environ").read_bytes()
                except OSError:  # it is gone
                    continue
                self._look(command, environment)

    def _look(self, command: bytes, environment: bytes) -> None:
        terraform = b"TF_DATA_DIR=" in environment
        inside = {word for word in self._words if word in environment}
        self.given |= inside if terraform else set()
        shown = {word for word in self._words if word in command} | (set() if terraform else inside)
        self.found |= dict.fromkeys(shown, command.replace(b"\0", b" ").decode(errors="replace"))
