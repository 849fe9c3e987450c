"""Where a command's answer goes: JSON for programs, lines and tables for people, coloured on a terminal alone."""

from __future__ import annotations

import io
import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from gitopsd.views.layout import Block, printed

Text = Callable[[Any, datetime], Iterable[Block]]
"""Makes the text of a document; the time is now."""


def json_option(parser: ArgumentParser) -> None:
    """Every command that reads has it."""
    parser.add_argument("--json", action="store_true", help="print the stable JSON document instead of text")


def show(arguments: Namespace, document: Mapping[str, Any], text: Text) -> None:
    """Print a document as the command line asks for it."""
    if arguments.json:
        print_json(document)
    else:
        print_blocks(arguments, text(document, datetime.now(UTC)))


def print_json(document: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def print_blocks(arguments: Namespace, blocks: Iterable[Block]) -> None:
    colour = coloured(sys.stdout, wanted=not arguments.no_color)
    for text in printed(blocks, colour=colour):
        sys.stdout.write(text + "\n")


def coloured(stream: TextIO, *, wanted: bool = True) -> bool:
    """Whether escape codes may be written: only to a terminal, and not if the user or the terminal refuses them
    (https://no-color.org)."""
    refused = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return wanted and not refused and stream.isatty()


def tolerant(stream: TextIO) -> None:
    """Let a stream whose encoding lacks a character write its escape instead of failing."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
