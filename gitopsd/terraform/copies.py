"""The copies of states that gitopsd itself keeps on this host: before each apply of a local state, and after each apply
of any. Sealed wherever there is a key; without one, local states alone are backed up, in the clear."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from gitopsd.model.errors import EnvironmentFault, Problem
from gitopsd.model.modules import StateId
from gitopsd.model.units import TerraformUnit
from gitopsd.terraform.backend import (
    DEFAULT,
    backups_dir,
    backups_dirs,
    local_state,
    own_backup,
    state_key,
    states_dir,
)
from gitopsd.terraform.copyfile import (
    BACKUP,
    KEPT,
    SUFFIX,
    CopyHeader,
    backup_name,
    backup_time,
    identity,
    is_copy,
    is_kept,
    label,
    read_header,
    superseded,
    write_copy,
)
from gitopsd.terraform.settings import SealingKey, TerraformSettings

log = structlog.get_logger("gitopsd.terraform")

NOBODY = "-"
"""Stands for the stack of copies of which it is not known."""

_LONGEST_HEADER = 64 * 1024
_TICK = timedelta(microseconds=1)


class Copies:
    """Writes copies of states. Safe to use from several threads, with one of them for a module at a time."""

    def __init__(self, settings: TerraformSettings) -> None:
        self._settings = settings
        self._directory = copies_dir(settings.state_dir)
        self._said = threading.Event()
        self._sealing = threading.Lock()

    def before(self, stack: str, unit: TerraformUnit) -> None:
        """Keep a local state as it is before an apply. Does nothing while there is none. Raises EnvironmentFault if
        that is not possible: nothing is applied without."""
        state = local_state(self._settings, unit)
        try:
            if not state.exists():
                return
            key = self._key()
            if key is None:
                self._in_the_clear(state, unit)
            else:
                changed = datetime.fromtimestamp(state.stat().st_mtime, UTC)
                self._keep(key, _header(stack, unit, hosted=True), state.read_bytes(), changed)
        except (OSError, EnvironmentFault) as error:
            text = f"the state cannot be backed up: {_why(error)}; nothing is applied without"
            where = str(error.filename or state) if isinstance(error, OSError) else ""
            raise EnvironmentFault(Problem(text, where, unit=str(unit.id))) from None

    def after(self, stack: str, unit: TerraformUnit, state: bytes, *, hosted: bool) -> None:
        """Keep a state as an apply left it; `hosted`, if it is in the host's own backend. Does nothing if there is no
        state, or no key. Raises EnvironmentFault."""
        try:
            key = self._key()
            if key is not None and identity(state).lineage:
                self._keep(key, _header(stack, unit, hosted=hosted), state)
        except (OSError, EnvironmentFault) as error:
            raise EnvironmentFault(Problem(f"no copy of its state is kept: {_why(error)}", unit=str(unit.id))) from None

    def seal_backups(self, stack: str, unit: TerraformUnit) -> None:
        """Seal what of a local state is in the clear beside it: backups of the time before there was a key, and what
        Terraform keeps of its own if an apply was cut off. What does not work is tried again."""
        own = own_backup(local_state(self._settings, unit))
        header = _header(stack, unit, hosted=True)
        self._seal_all(
            header, [*backups_dir(self._settings, unit).glob(f"*{BACKUP}"), *([own] if own.exists() else [])]
        )

    def seal_rest(self) -> None:
        """Seal the backups of components that are gone: whose they were is not known, but which state they are of."""
        for directory in backups_dirs(self._settings):
            key, _, workspace = directory.name.partition(".")
            state = StateId(), datetime.now(UTC), ""
            header = CopyHeader(NOBODY, directory.name, workspace or DEFAULT, key, *state)
            self._seal_all(header, directory.glob(f"*{BACKUP}"))

    def _seal_all(self, header: CopyHeader, found: Iterable[Path]) -> None:
        with self._sealing:
            try:
                old = sorted(found)
                key = self._key() if old else None
                if key is None:
                    return
                for backup in old:
                    at = backup_time(backup.name) or datetime.fromtimestamp(backup.stat().st_mtime, UTC)
                    self._write(key, replace(header, at=at), backup.read_bytes())
                    backup.unlink()
                self._forget(header.stack, header.component)
                log.info("backups are sealed now", stack=header.stack, component=header.component, count=len(old))
            except (OSError, EnvironmentFault) as error:
                log.warning("backups stay in the clear", component=header.component, why=_why(error))

    @property
    def sealed(self) -> bool:
        """Whether copies are to be sealed, and more of them kept than backups of local states: wherever there is a
        keypair, also one that cannot be used just now."""
        try:
            return self._key() is not None
        except EnvironmentFault:
            return True

    def _key(self) -> SealingKey | None:
        key = self._settings.sealing_key()
        if key is None and not self._said.is_set():
            self._said.set()
            why, remedy = "there is no sealing keypair", "gitopsd keys generate"
            log.info("no copies of states are kept, but for clear backups of local ones", why=why, remedy=remedy)
        return key

    def _keep(self, key: SealingKey, header: CopyHeader, state: bytes, changed: datetime | None = None) -> None:
        newest = _newest(self._place(header))
        wanted = replace(header, state=identity(state), fingerprint=key.fingerprint)
        if is_kept(newest, wanted, changed):
            return
        if newest is not None:  # a clock that was set back must not make this copy the oldest
            header = replace(header, at=max(header.at, newest.at + _TICK))
        self._write(key, header, state)
        self._forget(header.stack, header.component)

    def _write(self, key: SealingKey, header: CopyHeader, state: bytes) -> None:
        header = replace(header, state=identity(state), fingerprint=key.fingerprint)
        content = write_copy(header, key.seal(state, label(header.stack, header.component)))
        place = self._place(header)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        states_dir(self._settings).chmod(0o700)
        for draft in place.glob(".*"):  # of somebody who was killed
            draft.unlink(missing_ok=True)
        _write_whole(place / header.name, content)

    def _place(self, header: CopyHeader) -> Path:
        return self._directory / header.stack / header.component

    def _forget(self, stack: str, component: str) -> None:
        place = self._directory / stack / component
        lineages = [(file.name, header.state.lineage if header else "") for file, header in _copies(place)]
        for name in superseded(lineages):
            (place / name).unlink(missing_ok=True)

    def _in_the_clear(self, state: Path, unit: TerraformUnit) -> None:
        target = backups_dir(self._settings, unit)
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        copy = target / backup_name(datetime.now(UTC))
        copy.touch(0o600)
        shutil.copyfile(state, copy)
        for old in sorted(target.glob(f"*{BACKUP}"))[:-KEPT]:
            old.unlink()


def copies_dir(state_dir: Path) -> Path:
    """Where the copies are, below the state directory: STACK/COMPONENT/TIME-serialN.sealed."""
    return state_dir / "terraform" / "states" / "copies"


def find_copies(directory: Path, stack: str = "*", component: str = "*") -> Iterator[tuple[Path, CopyHeader | None]]:
    """Copies with what they say of themselves, None for one that cannot be read; the oldest of a component first."""
    for place in sorted(directory.glob(f"{stack}/{component}")):
        yield from _copies(place)


def newest_copy(settings: TerraformSettings, stack: str, unit: TerraformUnit, *, hosted: bool) -> CopyHeader | None:
    """The newest copy of a module's state. In the host's own backend a state is known by its key: its component, or its
    stack, may have had another name when the copy was made."""
    key = state_key(unit) if hosted else ""
    directory = copies_dir(settings.state_dir)
    found = find_copies(directory) if hosted else find_copies(directory, stack, unit.component)
    fitting = (h for _, h in found if h is not None and (h.state_key, h.workspace) == (key, unit.workspace))
    return max(fitting, key=lambda header: header.at, default=None)


def newest_backup(settings: TerraformSettings, unit: TerraformUnit) -> Path | None:
    """The backup in the clear that was kept last; None if there is none."""
    return max(backups_dir(settings, unit).glob(f"*{BACKUP}"), default=None)


def _copies(place: Path) -> Iterator[tuple[Path, CopyHeader | None]]:
    for file in sorted(place.glob(f"*{SUFFIX}")):
        if is_copy(file.name):
            yield file, _read(file)


def _newest(place: Path) -> CopyHeader | None:
    file = max((f for f in place.glob(f"*{SUFFIX}") if is_copy(f.name)), default=None)
    return _read(file) if file is not None else None


def _read(file: Path) -> CopyHeader | None:
    try:
        with file.open("rb") as opened:
            return read_header(opened.readline(_LONGEST_HEADER))
    except (OSError, ValueError):
        return None


def _header(stack: str, unit: TerraformUnit, *, hosted: bool) -> CopyHeader:
    """Of a copy that is made now, but for what only the state and the key tell."""
    key = state_key(unit) if hosted else ""
    return CopyHeader(stack, unit.component, unit.workspace, key, StateId(), datetime.now(UTC), "")


def _write_whole(file: Path, content: bytes) -> None:
    """Whole, on the disk, and for us alone, or not at all. Raises OSError."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(6)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(draft, file)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _why(error: OSError | EnvironmentFault) -> str:
    return str(error.strerror) if isinstance(error, OSError) else str(error)
