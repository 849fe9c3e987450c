"""Processes of this host, as far as it takes to know that one is dead."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

PROC = Path("/proc")


@cache
def boot_id() -> str:
    """Which boot of this host this is: process numbers of another one mean nothing."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def host_name() -> str:
    """This host as Terraform writes it into its locks."""
    return socket.gethostname()


def started_at(pid: int) -> int | None:
    """When a process started, in clock ticks since the boot; None if there is no such process, or only its remains."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def is_alive(pid: int, started: int) -> bool:
    """Whether this very process still runs, and not another one under its number."""
    return pid > 0 and started_at(pid) == started


def running_in(data_dir: Path) -> tuple[int, ...]:
    """The processes that Terraform's data directory names as theirs: the program and its providers."""
    wanted = f"TF_DATA_DIR={data_dir}"
    return tuple(pid for pid, variables in _environments() if variables is not None and wanted in variables)


def programs() -> Iterator[tuple[int, Path | None]]:
    """Every Terraform or OpenTofu of this host with its data directory; None if we may not look. Providers are none."""
    for pid, variables in _environments():
        name = _command(pid)
        if not name.startswith(("terraform", "tofu")) or name.startswith("terraform-provi"):
            continue
        try:
            directory = Path(os.readlink(PROC / str(pid) / "cwd"))
        except FileNotFoundError:
            continue
        except OSError:
            yield pid, None
            continue
        named = [v.partition("=")[2] for v in variables or () if v.startswith("TF_DATA_DIR=")]
        yield pid, None if variables is None else directory / (named[0] if named else ".terraform")


def end_all(pids: Callable[[], tuple[int, ...]], patience: float) -> None:
    """Interrupt these processes once, wait for their end, and kill what is left after `patience` seconds."""
    _signal(pids, signal.SIGINT)
    deadline = time.monotonic() + patience
    while (left := pids()) and time.monotonic() < deadline:
        time.sleep(0.05)
    if left:
        _signal(pids, signal.SIGKILL)
    while pids() and time.monotonic() < deadline + 5:
        time.sleep(0.05)


def _signal(pids: Callable[[], tuple[int, ...]], number: signal.Signals) -> None:
    """Send a signal to these processes and never to anybody else: a number may be given away between two looks, so that
    each process is held first, and asked for once more. We ourselves are never meant."""
    with contextlib.ExitStack() as held:
        descriptors: dict[int, int] = {}
        for pid in pids():
            if pid != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    descriptors[pid] = os.pidfd_open(pid)
                    held.callback(os.close, descriptors[pid])
        for pid in pids() if descriptors else ():
            if pid in descriptors:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptors[pid], number)


def _environments() -> Iterator[tuple[int, frozenset[str] | None]]:
    """Every process with its environment; None for one that we may not look at."""
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid() or started_at(int(entry.name)) is None:
            continue
        try:
            variables = (entry / "environ").read_bytes()
        except FileNotFoundError:
            continue
        except OSError:
            yield int(entry.name), None
        else:
            yield int(entry.name), frozenset(variables.decode(errors="replace").split("\0"))


def _command(pid: int) -> str:
    try:
        return (PROC / str(pid) / "comm").read_text(errors="replace").strip()
    except OSError:
        return ""
