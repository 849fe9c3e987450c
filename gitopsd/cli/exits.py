"""The exit codes of every command (64 and 78 as in BSD's sysexits.h, 128 + signal as in a shell)."""

from __future__ import annotations

DONE = 0
"""Done, or in sync."""
FAILED = 1
PENDING = 2
"""Changes are pending (`plan`), or not everything is in sync (`status`)."""
USAGE = 64
CONFIGURATION = 78
INTERRUPTED = 130
PIPE_CLOSED = 141
