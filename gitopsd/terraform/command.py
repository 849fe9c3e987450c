"""One command line of Terraform: built by python-terraform, run by us."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NoReturn

import python_terraform

from gitopsd.terraform.child import Ended

FLAG = python_terraform.IsFlagged
"""The value of an option that takes none."""

# It logs variables at debug, and what a failed command said at warning.
logging.getLogger(python_terraform.__name__).setLevel(logging.CRITICAL + 1)


class Command(python_terraform.Terraform):  # type: ignore[misc]
    """python-terraform with its command building alone: it waits without an end, hands our whole environment down and
    reads the state back after each success."""

    def __init__(self, binary: str, execute: Callable[[list[str]], Ended]) -> None:
        super().__init__(terraform_bin_path=binary, is_env_vars_included=False)
        self._execute = execute

    def __getattr__(self, item: str) -> NoReturn:
        """The base class takes any unknown name for a command, a mistyped one, too."""
        raise AttributeError(item)

    def read_state_file(self, file_path: str | None = None) -> None:
        """Nothing: states may be anywhere, and are full of secrets."""

    def cmd(self, cmd: str, *args: str, **options: Any) -> Ended:
        """Run a command: options as python-terraform takes them (`lock_timeout="5s"`, `json=FLAG`, lists repeat)."""
        if any(isinstance(value, dict) for value in options.values()):
            raise TypeError("a mapping would be written to a file; variables go into the environment")
        return self._execute(self.generate_cmd_string(cmd, *args, **options))
