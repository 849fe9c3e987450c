"""Bringing every sealed text of a repository to the newest key, with nothing else in its files changed."""

from __future__ import annotations

import base64
import difflib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gitopsd.model.errors import EnvironmentFault, GitopsdError, NeedsPerson, Problem, UsageError
from gitopsd.sealed.document import SealedSecret, read_sealed_secret
from gitopsd.sealing.envelope import NotOpened, Opened, OpeningKey, seal, unseal
from gitopsd.sealing.files import replace
from gitopsd.sealing.keyring import Keypair
from gitopsd.sealing.opening import no_key_opens
from gitopsd.sealing.splice import Edit, Found, SealedFile
from gitopsd.sealing.unchanged import verify

if TYPE_CHECKING:
    from git import Repo

_SUFFIXES: Final = (".yaml", ".yml", ".json")
_MARK: Final = b"SealedSecret"
_ODD: Final = re.compile(r'[^ -~]|["\\]')
_ESCAPES: Final = {'"': '"', "\\": "\\", "\a": "a", "\b": "b", "\t": "t", "\n": "n", "\v": "v", "\f": "f", "\r": "r"}
_NO_NEWLINE: Final = "\\ No newline at end of file\n"


@dataclass(frozen=True, slots=True)
class Resealed:
    """One file. `items` were sealed anew, `newest` were for the newest key already; `problems` are items that no key
    opens and documents that cannot be read: those stay as they are."""

    path: str
    before: bytes
    after: bytes
    items: int = 0
    newest: int = 0
    problems: tuple[Problem, ...] = ()

    @property
    def changed(self) -> bool:
        return self.before != self.after


def sealed_files(directory: Path) -> Iterator[tuple[str, bytes]]:
    """(path relative to the directory, contents) of every file that may hold a SealedSecret: what git tracks in a work
    tree, else every YAML and JSON file outside hidden directories. Symlinks are not followed: what they lead to is a
    file of its own, or not of this repository. Raises UsageError if there is no such directory."""
    if not directory.is_dir():
        raise UsageError(Problem("is not a directory", str(directory)))
    for name in sorted(_tracked(directory) or _walked(directory)):
        path = directory / name
        if not name.endswith(_SUFFIXES) or not _is_regular(path):
            continue
        data = path.read_bytes()
        if _MARK in data:
            yield name, data


def reseal_file(
    path: str, data: bytes, keys: Iterable[OpeningKey], newest: Keypair, default_namespace: str = ""
) -> Resealed:
    """Seal for the newest key what is not for it yet. `keys` are all there are, newest first; `default_namespace` is
    that of SealedSecrets which name none."""
    others = [key for key in keys if key.fingerprint != newest.fingerprint]
    try:
        file = SealedFile(path, data)
    except GitopsdError as error:
        return Resealed(path, data, data, problems=error.problems)
    edits: list[Edit] = []
    problems: list[Problem] = []
    fresh = 0
    for found in file.found:
        try:
            secret = read_sealed_secret(found.manifest, found.at, default_namespace)
            made, already = _resealed(file, found, secret, (newest, others), problems)
        except GitopsdError as error:
            problems += error.problems
            continue
        edits += made
        fresh += already
    after = file.edited(edits)
    if edits:
        verify(file, after)
    return Resealed(path, data, after, len(edits), fresh, tuple(problems))


def openers(path: str, data: bytes, keys: Iterable[OpeningKey]) -> list[frozenset[str]]:
    """For every SealedSecret of a file that can be read, the fingerprints of the keys that open an item of it."""
    tried = tuple(keys)
    try:
        file = SealedFile(path, data)
    except GitopsdError:
        return []
    opened = [
        [_open(tried, sealed, secret) for sealed in secret.items.values()]
        for secret in (_read_or_none(found) for found in file.found)
        if secret is not None
    ]
    return [frozenset(each.fingerprint for each in found if each is not None) for found in opened]


def unified_diff(changes: Iterable[Resealed]) -> str:
    """What `git apply` takes."""
    return "".join(line for change in changes if change.changed for line in _diff(change))


def write_all(directory: Path, changes: Iterable[Resealed]) -> None:
    """Put the files into their places, each in one step. Raises EnvironmentFault if somebody changed one meanwhile, or
    it cannot be written."""
    for change in changes:
        path = directory / change.path
        try:
            if path.read_bytes() != change.before:
                raise EnvironmentFault(Problem("changed while it was resealed", str(path), remedy="start again"))
            replace(path, change.after)
        except OSError as error:
            raise EnvironmentFault(Problem(f"cannot be written: {error.strerror}", str(path))) from None


def commit_all(directory: Path, changes: list[Resealed], message: str) -> str:
    """Write the files and commit them alone, whatever else is staged; returns the commit. Raises NeedsPerson if the
    directory is in no work tree or one of the files has changes of its own, EnvironmentFault if git refuses."""
    names = [str(directory.absolute() / change.path) for change in changes]
    with _repository(directory) as repository:
        dirty = _said(repository, "status", "--porcelain", "-z", "--", *names)
        if dirty:
            files = ", ".join(entry[3:] for entry in dirty.split("\0") if entry)
            raise NeedsPerson(Problem(f"not committed yet: {files}", str(directory), remedy="commit them first"))
        write_all(directory, changes)
        remedy = "the files are resealed: commit them yourself"
        _said(repository, "commit", "--quiet", "--only", "-m", message, "--", *names, remedy=remedy)
        return str(repository.head.commit.hexsha)


# ---------------------------------------------------------------- one file


def _resealed(
    file: SealedFile,
    found: Found,
    secret: SealedSecret,
    keys: tuple[Keypair, list[OpeningKey]],
    problems: list[Problem],
) -> tuple[list[Edit], int]:
    """(edits, items that are for the newest key already) of one SealedSecret; `keys` are the newest and the others."""
    (newest, others), edits, fresh = keys, [], 0
    for slot in found.slots:
        sealed = secret.items[slot.item]
        if _open((newest.opening,), sealed, secret) is not None:
            fresh += 1
            continue
        opened = _open(others, sealed, secret)
        if opened is None:
            problems.append(no_key_opens(secret, slot.item, [newest.opening, *others]))
            continue
        again = seal(newest.public, opened.plaintext.reveal(), secret.label)
        edits.append(file.replaced(slot, base64.b64encode(again).decode()))
    return edits, fresh


def _read_or_none(found: Found) -> SealedSecret | None:
    try:
        return read_sealed_secret(found.manifest, found.at)
    except GitopsdError:
        return None


def _open(keys: Iterable[OpeningKey], sealed: bytes, secret: SealedSecret) -> Opened | None:
    try:
        return unseal(keys, sealed, secret.label)
    except NotOpened:
        return None


def _diff(change: Resealed) -> Iterator[str]:
    before, after = _lines(change.before), _lines(change.after)
    for line in difflib.unified_diff(before, after, _quoted(f"a/{change.path}"), _quoted(f"b/{change.path}")):
        yield line if line.endswith("\n") else f"{line}\n{_NO_NEWLINE}"


def _quoted(name: str) -> str:
    """A file's name as git writes it in a patch: like a string of C if it has more in it than readable ASCII, and with
    a tab behind it if it has spaces, which would else be taken for a time."""
    if not _ODD.search(name):
        return f"{name}\t" if " " in name else name
    return '"' + "".join(map(_escaped, os.fsencode(name))) + '"'


def _escaped(byte: int) -> str:
    letter = chr(byte)
    if letter in _ESCAPES:
        return f"\\{_ESCAPES[letter]}"
    return letter if " " <= letter <= "~" else f"\\{byte:03o}"


def _lines(data: bytes) -> list[str]:
    """Lines as git counts them: only a line feed ends one."""
    *lines, rest = data.decode().split("\n")
    return [f"{line}\n" for line in lines] + ([rest] if rest else [])


# ---------------------------------------------------------------- files


def _tracked(directory: Path) -> list[str] | None:
    """The files of a work tree below a directory, or None if git knows nothing of it."""
    try:
        repository = _repository(directory)
    except NeedsPerson:
        return None
    with repository:
        listed = _said(repository, "ls-files", "-z", "--", str(directory.absolute()))
        root = Path(str(repository.working_tree_dir))
    here = directory.resolve()
    return [os.path.relpath(root / name, here) for name in listed.split("\0") if name]


def _walked(directory: Path) -> list[str]:
    names = []
    for base, directories, files in os.walk(directory):
        directories[:] = [name for name in directories if not name.startswith(".")]
        names += [str((Path(base) / file).relative_to(directory)) for file in files]
    return names


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:  # deleted, but not yet for git
        return False


def _repository(directory: Path) -> Repo:
    try:
        from git import InvalidGitRepositoryError, NoSuchPathError, Repo
    except ImportError:  # GitPython's answer to a host without git
        raise NeedsPerson(Problem("there is no git on this host", str(directory))) from None
    try:
        repository = Repo(directory, search_parent_directories=True)
    except (InvalidGitRepositoryError, NoSuchPathError):
        raise NeedsPerson(Problem("is in no git work tree", str(directory))) from None
    if repository.bare:
        raise NeedsPerson(Problem("is a bare repository, which has no files to change", str(directory)))
    return repository


def _said(repository: Repo, command: str, *arguments: str, remedy: str = "") -> str:
    """What a git command prints. Raises EnvironmentFault in git's own words."""
    from git import GitCommandError

    try:
        return str(repository.git.execute(["git", command, *arguments]))
    except GitCommandError as error:
        words = " ".join(str(error.stderr).split()).removeprefix("stderr: ").strip("'")
        place = str(repository.working_tree_dir)
        raise EnvironmentFault(Problem(f"git {command} fails: {words}", place, remedy=remedy)) from None
