"""Where providers put their sockets: a directory with a short name, for a socket's has 107 characters at most.

Providers take the directory for temporary files. A deep state directory there would make every one of them fail.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from gitopsd.model.errors import EnvironmentFault, Problem

_LONGEST = 70
"""Characters of the directory; the rest of 107 is for what providers add (`plugin` and a number, maybe a directory)."""


def socket_dir(runtime_dir: Path) -> Path:
    """The directory, made and for us alone: in the runtime directory, or if that is too deep, the same one each time
    among the system's temporary files. Raises EnvironmentFault if it is somebody else's, or cannot be made."""
    directory = runtime_dir / "tmp"
    if len(str(directory)) > _LONGEST:
        name = hashlib.sha256(str(runtime_dir).encode()).hexdigest()[:12]
        directory = Path(tempfile.gettempdir()) / f"gitopsd-{name}"
    try:
        with contextlib.suppress(FileExistsError):
            directory.mkdir(parents=True, mode=0o700)
        found = directory.lstat()
    except OSError as error:
        text = f"providers cannot have their sockets there: {error.strerror}"
        raise EnvironmentFault(Problem(text, str(directory))) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        text = "providers' sockets would be open to others: this is no private directory of ours"
        raise EnvironmentFault(Problem(text, str(directory), remedy="remove it"))
    return directory


def leave(runtime_dir: Path) -> None:
    """Remove the directory if nobody uses it."""
    with contextlib.suppress(OSError, EnvironmentFault):
        socket_dir(runtime_dir).rmdir()
