"""`gitopsd reseal`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gitopsd.cli.exits import DONE, FAILED, PENDING
from gitopsd.cli.failures import say
from gitopsd.cli.keydir import key_dir_option, keys_of
from gitopsd.model.errors import Problem, UsageError

if TYPE_CHECKING:
    from gitopsd.sealing.reseal import Resealed

EXAMPLE = """\
  gitopsd reseal ~/infra                  # as a diff, for git apply; exit code 2 if there is one
  gitopsd reseal ~/infra --commit -m "Reseal for the key of 2026"
"""

MESSAGE = "Reseal secrets for the newest key"


def arguments(parser: ArgumentParser) -> None:
    text = "the files of a repository (default: the current directory)"
    parser.add_argument("directory", nargs="?", metavar="DIR", type=Path, default=Path(), help=text)
    key_dir_option(parser)
    text = "the namespace of SealedSecrets that name none, as when kustomize or the stack file sets it"
    parser.add_argument("--namespace", metavar="NAME", default="", help=text)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--write", action="store_true", help="change the files in place (default: print a diff)")
    how.add_argument("--commit", action="store_true", help="change the files, and commit these changes alone")
    parser.add_argument("-m", "--message", metavar="TEXT", help=f"the message of the commit (default: {MESSAGE})")


def execute(given: Namespace) -> int:
    from gitopsd.sealing.reseal import commit_all, reseal_file, sealed_files, unified_diff, write_all

    if given.message is not None and not given.commit:
        raise UsageError(Problem("-m is for --commit"))
    keys = keys_of(given)
    newest = keys.for_sealing(datetime.now(UTC))
    results = [
        reseal_file(path, data, keys.opening, newest, given.namespace) for path, data in sealed_files(given.directory)
    ]
    changes = [result for result in results if result.changed]
    if given.commit and changes:
        say(f"commit {commit_all(given.directory, changes, given.message or MESSAGE)}")
    elif given.write:
        write_all(given.directory, changes)
    else:
        sys.stdout.write(unified_diff(changes))
    return _report(results, pending=bool(changes) and not (given.write or given.commit))


def _report(results: list[Resealed], *, pending: bool) -> int:
    problems = [problem for result in results for problem in result.problems]
    for problem in problems:
        say(str(problem))
    anew, files = sum(result.items for result in results), sum(result.changed for result in results)
    newest = sum(result.newest for result in results)
    verb = "would be" if pending else "were"
    say(f"{anew} items in {files} files {verb} sealed anew, {newest} are for the newest key already")
    return FAILED if problems else PENDING if pending else DONE
