"""What a crash of the process must not leave on the disk."""

from __future__ import annotations

import resource


def keep_no_cores() -> None:
    """From now on neither this process nor its children write a core dump: opened secrets are in their memory."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
