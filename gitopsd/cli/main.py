"""The entry point: reads the command line, runs the command, turns every failure into sentences and an exit code.

Imports nothing that `gitopsd status` can do without.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from gitopsd import __version__
from gitopsd.cli.exits import INTERRUPTED, PIPE_CLOSED
from gitopsd.cli.output import tolerant

COMMANDS = {
    "run": "run the daemon: keep every stack as git asks, until it is told to stop",
    "once": "reconcile every stack one time and exit",
    "plan": "show what a run would change, and change nothing",
    "status": "show where every stack stands",
    "history": "list the runs, newest first",
    "show": "show one run: what it did, what its gates saw, why it failed",
    "why": "say what a unit waits for, and what of it has drifted",
    "blame": "say who changed a unit last, and who has written to it since",
    "sync": "fetch, look for drift, and bring a stack to the newest commit now",
    "approve": "allow what a stack waits for",
    "reject": "forbid what a stack waits for: the commit that asks for it has failed",
    "suspend": "let a stack wait: newer commits are only noted, drift is only reported",
    "resume": "let a suspended, pinned or destroyed stack go on",
    "retry": "try once more what has failed",
    "rollback": "go back to an older good revision and stay there",
    "prune": "allow deletions that wait for a person, and show why the others wait",
    "abandon": "leave as it is what git no longer asks for, and forget it",
    "destroy": "delete everything of a stack",
    "unlock": "remove the lock that a lost host left on a Terraform state",
    "takeover": "take a stack over from another instance that is gone",
    "accept-cluster": "let another cluster take the place of the one that had its name",
    "audit": "read, follow, export or verify the audit log",
    "keys": "make, list, rotate and import the keypairs that secrets are sealed for",
    "seal": "seal a Secret, or single values, so that they can be kept in git",
    "reseal": "seal the secrets of a repository anew for the newest key",
    "state": "list and open the sealed copies of Terraform states",
    "version": "show the versions of gitopsd and of the tools that it uses",
}

EPILOG = """\
exit codes:
  0 done or in sync    1 failure    2 changes pending (plan) or not converged (status)
  64 wrong usage       78 bad configuration

example:
  gitopsd --config /etc/gitopsd/config.yaml status
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        tolerant(stream)
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        code = _execute(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon_stdout()
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _execute(argv: list[str]) -> int:
    try:
        arguments = _parser().parse_args(argv)
        execute: Callable[[argparse.Namespace], int] = arguments.execute
        return execute(arguments)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, a person gets a sentence
        from gitopsd.cli.failures import explain

        return explain(error, debug="--debug" in argv)


def _abandon_stdout() -> None:
    """The reader of our output is gone, as after `| head`: nothing is wrong, and Python must not complain at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


# ---------------------------------------------------------------- the command line


class _Parser(argparse.ArgumentParser):
    """argparse, but wrong usage is an error of ours and exits 64."""

    def error(self, message: str) -> NoReturn:
        from gitopsd.model.errors import Problem, UsageError

        raise UsageError(Problem(message, remedy=f"see: {self.prog} --help"))


class _CommandParser(_Parser):
    """The parser of one command, which asks the command's module for its arguments only when it is used."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        command = importlib.import_module(f"gitopsd.cli.{self.prog.rpartition(' ')[2].replace('-', '_')}")
        self.epilog = f"example:\n{command.EXAMPLE}"
        command.arguments(self)
        self.set_defaults(execute=command.execute)
        return super().parse_known_args(args, namespace)


def _parser() -> _Parser:
    parser = _Parser(
        prog="gitopsd",
        description="Keeps Kubernetes as a git repository asks, and takes back what does not become healthy.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _common(parser, config=None, no_color=False, debug=False)
    parser.add_argument("--version", action="version", version=f"gitopsd {__version__}", help="print it and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_CommandParser)
    for name, text in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        absent = argparse.SUPPRESS  # an option before the command must not be undone by its default after it
        _common(command, config=absent, no_color=absent, debug=absent)
    return parser


def _common(parser: argparse.ArgumentParser, *, config: Any, no_color: Any, debug: Any) -> None:
    """The options that may stand before and after the command."""
    text = "host configuration (default: $GITOPSD_CONFIG, else /etc/gitopsd/config.yaml)"
    parser.add_argument("--config", metavar="FILE", default=config, help=text)
    parser.add_argument("--no-color", action="store_true", default=no_color, help="no colours on a terminal")
    parser.add_argument("--debug", action="store_true", default=debug, help="show the traceback of an unexpected error")


if __name__ == "__main__":
    sys.exit(main())
