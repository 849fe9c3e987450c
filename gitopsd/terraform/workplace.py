"""A module's own directory on this host: its code as of one commit, Terraform's data, and what is kept between runs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from gitopsd.model.errors import CommitError, EnvironmentFault, Problem
from gitopsd.model.ports import Module, TreeEntry
from gitopsd.model.units import TerraformUnit
from gitopsd.terraform.backend import OVERRIDE, override, refuse_taken
from gitopsd.terraform.settings import TerraformSettings
from gitopsd.tfplan import is_code, own_backend

LOCK_FILE = ".terraform.lock.hcl"
ERRORED = "errored.tfstate"
"""What Terraform writes into its directory when the backend did not take the state."""

REMOVED = ".removed-"
"""Begins the name of a directory that is being removed; no component is called so."""


@dataclass(frozen=True, slots=True)
class Laid:
    """Code that lies ready. `root` is the module's directory, `digest` is over what init depends on, `backend` what the
    module names itself ("" where it has the host's), `locked` whether the commit has a lock file."""

    root: Path
    path: str
    digest: str
    backend: str
    locked: bool


class Workplace:
    """The directory of one module. One thread at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tree = directory / "tree"
        self.data = directory / "data"
        self.errored = directory / ERRORED
        self.mark = directory / "running.json"
        self.crashed = directory / "crashed.json"
        self._owed = directory / "copy-owed"
        self._stamp = directory / "tree.json"
        self._init_stamp = self.data / "gitopsd-init"
        self._lock_copy = self.data / "gitopsd-lock.hcl"
        self._environment = self.data / "environment"  # Terraform's own: the selected workspace

    def make(self) -> None:
        """Make the directories, readable for us alone."""
        try:
            for part in (self.data, self.directory / "home", self.directory / "tmp"):
                part.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.directory.chmod(0o700)
        except OSError as error:
            raise _unwritable(error, self.directory) from None

    @property
    def needed(self) -> bool:
        """Whether something lies here that must not be lost: a state that the backend did not take, or what tells a
        dead program's lock from a living one's."""
        self.rescue()
        return any(file.exists() for file in (self.errored, self.mark, self.crashed))

    def remove(self) -> None:
        """Remove everything of a module that is forgotten. A kill in between leaves nothing that looks like one."""
        self.finish_removal()
        try:
            os.replace(self.directory, self._removed)
        except OSError as error:
            raise _unwritable(error, self.directory) from None
        self.finish_removal()

    def finish_removal(self) -> None:
        """Remove what a removal that was cut off has left."""
        try:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self._removed)
        except OSError as error:
            raise _unwritable(error, self.directory) from None

    @property
    def _removed(self) -> Path:
        return self.directory.with_name(f"{REMOVED}{self.directory.name}")

    @property
    def owes_copy(self) -> bool:
        """Whether an apply was begun here and no copy of the state was made since."""
        return self._owed.exists()

    def owe_copy(self) -> None:
        try:
            self._owed.touch(0o600)
        except OSError as error:
            raise _unwritable(error, self.directory) from None

    def pay_copy(self) -> None:
        self._owed.unlink(missing_ok=True)

    def lay_out(self, module: Module, settings: TerraformSettings) -> Laid:
        """Export the module's files, all anew unless the very same ones lie there. Raises CommitError for files that
        the commit does not have."""
        unit = module.unit
        paths = sorted({*unit.files, *unit.var_files})
        entries = {entry.path: entry for path in paths for entry in module.tree.files(path)}
        backend = _names_backend(module, unit.path)
        text = "" if backend else override(settings, unit)
        digest = _digest([f"{e.path} {e.mode} {e.oid}" for _, e in sorted(entries.items())] + [text])
        self.rescue()
        if self._read_stamp().get("digest") != digest or not self.tree.is_dir():
            self._export(module, paths, text, digest)
        return Laid(
            root=self.tree / unit.path,
            path=unit.path,
            digest=_digest([f"{e.path} {e.oid}" for _, e in sorted(entries.items()) if _steers_init(e)] + [text]),
            backend=backend,
            locked=_join(unit.path, LOCK_FILE) in entries,
        )

    def found(self) -> tuple[Path, str] | None:
        """The root module that lies here from before, and its path in the repository; None if there is none."""
        path = self._read_stamp().get("path")
        root = self.tree / path if path is not None else self.tree
        return (root, path) if path is not None and root.is_dir() else None

    def rescue(self) -> None:
        """Take a state that could not be written out of the code's directory, before anything clears that away."""
        known = self.found()
        stray = known[0] / ERRORED if known else self.tree / ERRORED
        if stray.is_file():
            stray.chmod(0o600)
            os.replace(stray, self.errored)

    def initialised(self, laid: Laid, key: str) -> bool:
        """Whether init ran for this code and these circumstances (`key`). A lock file that it made is put back."""
        if self._text(self._init_stamp) != _digest([laid.digest, key]):
            return False
        if not laid.locked and self._lock_copy.exists() and not (laid.root / LOCK_FILE).exists():
            shutil.copyfile(self._lock_copy, laid.root / LOCK_FILE)
        return True

    def forget_init(self, laid: Laid) -> None:
        """Before init: until it is through, it did not run. Without a lock file in the commit it chooses anew; the
        selected workspace may not be there in a backend that is new."""
        for file in (self._init_stamp, self._lock_copy, self._environment):
            file.unlink(missing_ok=True)
        if not laid.locked:
            (laid.root / LOCK_FILE).unlink(missing_ok=True)

    def note_init(self, laid: Laid, key: str) -> None:
        """After init."""
        made = laid.root / LOCK_FILE
        if not laid.locked and made.exists():
            shutil.copyfile(made, self._lock_copy)
        self._init_stamp.write_text(_digest([laid.digest, key]))

    @property
    def workspace(self) -> str:
        """The workspace that is selected here."""
        return self._text(self._environment).strip() or "default"

    def _export(self, module: Module, paths: list[str], text: str, digest: str) -> None:
        unit = module.unit
        root = self.tree / unit.path
        try:
            self._stamp.unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self.tree)
            module.tree.export(self.tree, paths)
            if not root.is_dir():
                raise CommitError(Problem("the commit has no such directory", unit.path, unit=str(unit.id)))
            if text:
                refuse_taken(root, unit)
                (root / OVERRIDE).write_text(text)
            self._stamp.write_text(json.dumps({"digest": digest, "path": unit.path}))
        except OSError as error:
            raise _unwritable(error, self.tree) from None

    def _read_stamp(self) -> dict[str, str]:
        try:
            found = json.loads(self._stamp.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @staticmethod
    def _text(file: Path) -> str:
        try:
            return file.read_text()
        except OSError:
            return ""


def var_file_options(unit: TerraformUnit) -> list[str]:
    """The variable files as the program sees them from the module's directory: so stand their names in its errors."""
    return [os.path.relpath(file, unit.path or ".") for file in unit.var_files]


def _names_backend(module: Module, path: str) -> str:
    entries = [e for e in module.tree.files(path) if is_code(_name(e, path))]
    files = module.tree.read(entries) if entries else {}
    return own_backend({file.rpartition("/")[2]: text for file, text in files.items()})


def _name(entry: TreeEntry, directory: str) -> str:
    """The entry's name in that very directory, "" for one further below."""
    name = entry.path.removeprefix(f"{directory}/") if directory else entry.path
    return "" if "/" in name else name


def _steers_init(entry: TreeEntry) -> bool:
    name = entry.path.rpartition("/")[2]
    return is_code(name) or name == LOCK_FILE


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _unwritable(error: OSError, place: Path) -> EnvironmentFault:
    text = f"Terraform's working directory cannot be written: {error.strerror}"
    return EnvironmentFault(Problem(text, str(error.filename or place), remedy="check space and permissions there"))
