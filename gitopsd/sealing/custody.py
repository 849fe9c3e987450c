"""Whether a file of the key directory is guarded well enough to be used, and the command that makes it so."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from gitopsd.model.errors import Problem

SWAPPED = "..data"
"""The symlink through which Kubernetes replaces all files of a mounted Secret at once."""


def file_problem(path: Path, found: os.stat_result) -> Problem | None:
    """What is wrong with the owner or the mode of a secret file (a symlink: of what it leads to), or None.

    Only its owner may read it, and the owner is the user of this process or root. One exception is what a Kubernetes
    volume with `fsGroup` makes: a file of root inside of such a mount that a group of this process may read, provided
    that the process itself is not root, who needs no group for that.
    """
    mode, name = stat.S_IMODE(found.st_mode), shlex.quote(str(path))
    if found.st_uid not in {os.geteuid(), 0}:
        remedy = f"chown {os.geteuid()} {name}"
        return Problem(f"belongs to user {found.st_uid}, who can read and replace it", str(path), remedy=remedy)
    if mode & 0o077 & ~(0o040 if _mounted_for_group(path, found) else 0):
        allowed = "set defaultMode: 0400 on its volume" if _is_mounted(path) else f"chmod 600 {name}"
        who = "everybody" if mode & 0o007 else "its group"
        return Problem(f"is open to {who} (mode {mode:04o})", str(path), remedy=allowed)
    return None


def directory_problem(directory: Path) -> Problem | None:
    """The same for the key directory: who may write into it could add a key, and have things sealed for himself. The
    root of a mounted Secret is open to everybody by its mode, but read-only. Raises OSError."""
    found, mode = directory.stat(), stat.S_IMODE(directory.stat().st_mode)
    name = shlex.quote(str(directory))
    if not stat.S_ISDIR(found.st_mode):
        return Problem("is not a directory", str(directory), remedy="name the directory of the keys as keyDir")
    if found.st_uid not in {os.geteuid(), 0}:
        remedy = f"chown {os.geteuid()} {name}"
        return Problem(f"belongs to user {found.st_uid}, who can put keys into it", str(directory), remedy=remedy)
    if mode & 0o022 and not _is_mount_of_secret(directory):
        return Problem(
            f"others than its owner can put keys into it (mode {mode:04o})", str(directory), remedy=f"chmod 700 {name}"
        )
    return None


def _mounted_for_group(path: Path, found: os.stat_result) -> bool:
    groups = {os.getegid(), *os.getgroups()}
    return os.geteuid() != 0 and found.st_uid == 0 and found.st_gid in groups and _is_mounted(path)


def _is_mounted(path: Path) -> bool:
    """Whether a file is a link into what is swapped, as every file of a mounted Secret is."""
    return path.is_symlink() and path.readlink().parts[:1] == (SWAPPED,)


def _is_mount_of_secret(directory: Path) -> bool:
    inner = directory / SWAPPED
    return inner.is_symlink() and inner.lstat().st_uid == 0 and not os.access(directory, os.W_OK)
