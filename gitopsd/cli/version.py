"""`gitopsd version`."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from gitopsd import __version__
from gitopsd.cli.exits import DONE
from gitopsd.cli.output import json_option, show
from gitopsd.views.layout import Block, line, warn

EXAMPLE = """\
  gitopsd version --json
"""

SCHEMA = "gitopsd.io/version/v1"

TOOLS: Mapping[str, Sequence[str]] = {
    "git": ("git", "--version"),
    "kubectl": ("kubectl", "version", "--client"),
    "kustomize": ("kustomize", "version"),
}
"""How each program that gitopsd may use is asked for its version."""

TIMEOUT = 10.0
"""Seconds after which a tool counts as one that does not work."""


def arguments(parser: ArgumentParser) -> None:
    json_option(parser)


def execute(given: Namespace) -> int:
    tools = {name: _tool(command) for name, command in TOOLS.items()}
    document = {"schema": SCHEMA, "gitopsd": __version__, "python": platform.python_version(), "tools": tools}
    show(given, document, _text)
    return DONE


def _tool(command: Sequence[str]) -> dict[str, Any] | None:
    """Where a tool is and which version; None if it is not on PATH, a null version if it would not say."""
    path = shutil.which(command[0])
    if path is None:
        return None
    try:
        answer = subprocess.run(
            [path, *command[1:]], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return {"path": path, "version": None}
    found = re.search(r"\d+\.\d+(\.\d+)?\S*", answer.stdout)
    return {"path": path, "version": found[0] if found else None}


def _text(document: Mapping[str, Any], _now: datetime) -> Iterator[Block]:
    yield line(f"gitopsd {document['gitopsd']}")
    yield line(f"python {document['python']}")
    for name, tool in document["tools"].items():
        if tool is None:
            yield line(f"{name} ", warn("not found on PATH"))
        else:
            version = tool["version"] or warn("did not say its version")
            yield line(f"{name} ", version, f" ({tool['path']})")
