"""`gitopsd run` whose polls and sweeps are called by its parent process: waiting for a poll interval is not a cost.

Lines in: `poll` or `sweep`. A line out for each: JSON with the wall-clock seconds at which the call began and returned.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from gitopsd.config.host import load_host_config
from gitopsd.daemon import App
from gitopsd.logs import set_up_logs
from gitopsd.triggers.clockwork import Clockwork


class Bell(Clockwork):
    """A clockwork that strikes when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self._works: dict[str, Callable[[], object]] = {}

    def every(self, seconds: float, work: Callable[[], object], *, name: str, at_once: bool = True) -> None:  # noqa: ARG002
        self._works[name] = work

    def cancel(self, name: str) -> None:
        self._works.pop(name, None)

    def start(self) -> None:
        Thread(target=self._listen, daemon=True).start()

    def stop(self) -> None:
        """Nothing runs by itself."""

    def _listen(self) -> None:
        print("{}", flush=True)
        for line in sys.stdin:
            began = time.time()
            for name, work in list(self._works.items()):
                if name.startswith(line.strip()):
                    work()
            print(json.dumps({"began": began, "returned": time.time()}), flush=True)


if __name__ == "__main__":
    set_up_logs()
    App(load_host_config(Path(sys.argv[1]))).run(Bell())
