"""The bare mirror on disk: made whole or not at all, written by one process at a time, mended when it is damaged."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import structlog

from gitopsd.git.diagnosis import last_line
from gitopsd.git.endpoint import Endpoint
from gitopsd.git.process import LOCAL_TIMEOUT, Finished, Git
from gitopsd.git.reader import FEW, Reader, Silent
from gitopsd.git.settings import SourceSettings
from gitopsd.model.errors import EnvironmentFault, Problem

log = structlog.get_logger("gitopsd.git")

OURS = ("refs/remotes/", "refs/gitopsd/")
"""Where the mirror's refs are: the branch as last fetched, and what is held against gc."""

_STALE_LOCK = LOCAL_TIMEOUT + 5  # seconds; no command that takes such a lock may run for longer
_GC_TIMEOUT = 900.0
MOST_UNPACKED = 20
"""New heads in a row after which git looks whether to pack."""

_LEFTOVERS = ("objects/pack/tmp_*", "objects/pack/.tmp-*", "objects/tmp_objdir-*", "objects/??/tmp_obj_*")


class Mirror:
    """The directory `NAME.git` with its lock, git settings and, while it is being mended, its damaged predecessor."""

    def __init__(self, settings: SourceSettings, endpoint: Endpoint, mirror_dir: Path) -> None:
        self._name = settings.name
        self._home = mirror_dir.absolute()
        self._stem = quote(settings.name, safe="").lstrip(".") or "source"
        self.path = self._home / f"{self._stem}.git"
        self._damaged = self._home / f"{self._stem}.damaged"
        self._settings_file = self._home / f"{self._stem}.gitconfig"
        self._settings_text = _git_settings(settings, endpoint, (self.path, self._damaged))
        self.git = Git(self.path, self._settings_file)
        self._writer = threading.Lock()
        self._generation = 0
        self._suspicion: tuple[int, str] | None = None
        self._settled = False
        self._reader: tuple[int, Reader] | None = None  # of which generation
        self._reader_lock = threading.Lock()
        self._checked: int | None = None  # the generation that was looked at for damage in the life of this process
        self._single: int | None = None  # the generation that has no head but the branch's
        self._packed = ""  # the head after which git last looked whether to pack
        self._unpacked = 0
        self._newest = ""

    @property
    def exists(self) -> bool:
        return self.path.is_dir()

    @property
    def generation(self) -> int:
        """Changes when the mirror is made anew."""
        return self._generation

    def suspect(self, generation: int, why: str) -> None:
        """Something of the mirror could not be read: the next fetch makes it anew."""
        if generation == self._generation:
            self._suspicion = (generation, why)

    @contextmanager
    def writing(self, timeout: float) -> Iterator[int]:
        """Keep other writers out; gives the descriptor of the lock, which children of git must inherit, so that it is
        held for as long as one of them lives, even after a kill of this process."""
        deadline = time.monotonic() + timeout
        if not self._writer.acquire(timeout=timeout):
            raise self._busy(timeout)
        try:
            self._make_home()
            descriptor = os.open(self._home / f"{self._stem}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                while not _locked(descriptor):
                    if time.monotonic() >= deadline:
                        raise self._busy(timeout)
                    time.sleep(0.05)
                yield descriptor
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self.unwritable(error) from None
        finally:
            self._writer.release()

    def read_git(self) -> Git:
        """git for readers, which may come before the first fetch of this process."""
        if not self._settled:
            try:
                self._make_home()
            except OSError as error:
                raise self.unwritable(error) from None
        return self.git

    def reader(self) -> Reader:
        """Who answers questions about objects; for reading threads, as `read_git` is."""
        git = self.read_git()
        with self._reader_lock:
            if self._reader is None or self._reader[0] != self._generation:
                if self._reader is not None:
                    self._reader[1].close()
                self._reader = (self._generation, Reader(git))
            return self._reader[1]

    def close(self) -> None:
        """End everything that still runs."""
        self.git.close()
        self._silence()

    def _silence(self) -> None:
        with self._reader_lock:
            if self._reader is not None:
                self._reader[1].close()
                self._reader = None

    def prepare(self) -> None:
        """Have a sound mirror to fetch into; only inside `writing`. A damaged one is put aside, and what can be read of
        it is taken over without asking the server."""
        self._sweep()
        known = self._suspicion is None and self._checked == self._generation
        why = self._damage() if self.exists and not known else ""
        if why:
            log.warning("the mirror is damaged and is cloned anew", source=self._name, path=str(self.path), detail=why)
            self._put_aside()
        if not self.exists:
            self._create()
        self._checked = self._generation
        if self._damaged.exists():
            self._rescue()

    def verify(self) -> bool:
        """Whether every object is sound, after a fetch that failed in a way which puts it in doubt."""
        checked = self.git.run("fsck", "--no-dangling", "--no-progress", timeout=_GC_TIMEOUT)
        if checked.status and checked.timed_out is None:
            self.suspect(self._generation, last_line(checked.err))
        return self._suspicion is None

    def settle(self, head_ref: str, lock: int, head: str) -> None:
        """After a fetch: forget other heads, end a rescue, look for damage, and let git pack what has gathered; inside
        `writing`. Nobody who waits for a new head waits for the last two: they are left to a fetch without news (the
        packing unless none comes)."""
        if self._damaged.exists():
            self._end_rescue()
        if self._single != self._generation:
            others = [ref for ref in self.refs("refs/remotes/") if ref != head_ref]
            if others:
                self.update_refs([f"delete {ref}" for ref in others])
            self._single = self._generation
        news, self._newest = head != self._newest, head
        if not news and (why := self._damage()):
            self.suspect(self._generation, why)
        if head == self._packed:
            return
        self._unpacked += news
        if not news or self._unpacked > MOST_UNPACKED:
            self._pack(lock)
            self._packed, self._unpacked = head, 0

    def _pack(self, lock: int) -> None:
        before = self._packs()
        packed = self.git.run("gc", "--auto", "--quiet", timeout=_GC_TIMEOUT, inherit=(lock,))
        if self._packs() != before:
            self._silence()  # it holds files open that are gone now
        if not packed.ok:
            why = last_line(packed.err) if packed.timed_out is None else "it took too long"
            log.warning("git could not tidy the mirror up", source=self._name, path=str(self.path), detail=why)

    def _packs(self) -> set[str]:
        return {path.name for path in (self.path / "objects" / "pack").glob("*.pack")}

    def ref(self, name: str) -> str | None:
        """The object id of one ref; None if there is none."""
        try:
            found = self.reader().heads([name]).get(name)
        except Silent:
            return self.refs(name).get(name)
        return found.oid if found else self.refs(name).get(name)

    def refs(self, *under: str, directory: Path | None = None) -> dict[str, str]:
        """Object id by name of the refs below `under`."""
        listed = self.git.run("for-each-ref", "--format=%(objectname) %(refname)", *under, directory=directory)
        if not listed.ok:
            raise self.failed(listed)
        pairs = (line.partition(" ") for line in listed.out.decode(errors="replace").splitlines())
        return {name: oid for oid, _, name in pairs}

    def update_refs(self, commands: list[str]) -> None:
        """Change refs, all or none of them."""
        script = "".join(f"{command}\n" for command in commands)
        updated = self.git.run("update-ref", "--stdin", stdin=script.encode())
        if not updated.ok:
            raise self.failed(updated)

    def present(self, commits: list[str]) -> set[str]:
        """Those of `commits` (full ids) that are here."""
        if not self.exists or not commits:
            return set()
        if len(commits) <= FEW:
            with suppress(Silent):
                return {head.oid for head in self.reader().heads(commits).values() if head.kind == "commit"}
        lines = "".join(f"{commit}\n" for commit in commits).encode()
        checked = self.read_git().run("cat-file", "--batch-check", stdin=lines)
        if not checked.ok:
            raise self.failed(checked)
        answers = (line.split(" ") for line in checked.out.decode().splitlines())
        return {answer[0] for answer in answers if answer[1] == "commit"}

    def failed(self, finished: Finished) -> EnvironmentFault:
        """The fault of a command that reads or writes the mirror alone."""
        if finished.timed_out is not None:
            return EnvironmentFault(
                Problem(
                    f"source {self._name}: git did not finish on the mirror {self.path} within "
                    f"{finished.timed_out:g} seconds",
                    remedy="check the disk of the state directory",
                )
            )
        return EnvironmentFault(
            Problem(
                f"source {self._name}: the mirror {self.path} cannot be used: {last_line(finished.err)}",
                remedy="the next fetch mends it",
            )
        )

    def unwritable(self, error: OSError) -> EnvironmentFault:
        return EnvironmentFault(
            Problem(
                f"source {self._name}: the mirror cannot be written: {error.strerror}",
                file=str(error.filename or self._home),
                remedy="gitopsd's user needs write access and free space there",
            )
        )

    def _busy(self, timeout: float) -> EnvironmentFault:
        return EnvironmentFault(
            Problem(
                f"source {self._name}: another fetch into {self.path} did not end within {timeout:g} seconds",
                remedy="it is tried again; `fuser` on the .lock file beside it names the process",
            )
        )

    def _make_home(self) -> None:
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._settings_file.is_file() or self._settings_file.read_text() != self._settings_text:
            descriptor, name = tempfile.mkstemp(dir=self._home, prefix=f".{self._stem}.settings-")
            with os.fdopen(descriptor, "w") as file:
                file.write(self._settings_text)
            Path(name).replace(self._settings_file)
        self._settled = True

    def _create(self) -> None:
        """Made beside its place and moved there, so that a kill leaves no half mirror."""
        with tempfile.TemporaryDirectory(dir=self._home, prefix=f".{self._stem}.new-") as scratch:
            fresh = Path(scratch) / "mirror"
            made = self.git.run("init", "--quiet", "--bare", "--template=", directory=fresh)
            if not made.ok:
                raise self.failed(made)
            fresh.rename(self.path)
        self._generation += 1
        self._suspicion = None

    def _sweep(self) -> None:
        """Remove what a killed process left. Whoever made it is gone: it would hold the lock."""
        for path in self._home.glob(f".{self._stem}.new-*"):
            _remove(path)
        for pattern in _LEFTOVERS:
            for path in self.path.glob(pattern):
                _remove(path)
        # These are also made outside the lock, for a moment: only an old one is left over.
        settings = self._home.glob(f".{self._stem}.settings-*")
        for path in (*settings, *self.path.glob("*.lock"), *(self.path / "refs").rglob("*.lock")):
            with suppress(FileNotFoundError):
                if time.time() - path.lstat().st_mtime > _STALE_LOCK:
                    _remove(path)

    def _damage(self) -> str:
        """Why the mirror cannot be used, or "". Looks at refs and their commits; files are for their readers."""
        if self._suspicion is not None:
            return self._suspicion[1]
        listed = self.git.run("for-each-ref", "--format=%(objecttype) %(objectname)", *OURS)
        if listed.timed_out is not None:
            raise self.failed(listed)
        if not listed.ok or "broken ref" in listed.err:
            return last_line(listed.err.replace("warning: ", ""))
        pairs = (line.partition(" ") for line in listed.out.decode(errors="replace").splitlines())
        return next((f"commit {oid} cannot be read" for kind, _, oid in pairs if kind != "commit"), "")

    def _put_aside(self) -> None:
        if self._damaged.exists():  # a rescue that never ended: this mirror has what was left of it
            _remove(self._damaged)
        self.path.rename(self._damaged)

    def _rescue(self) -> None:
        """Copy every ref that is whole out of the damaged mirror, one by one."""
        for name in ("objects", "refs"):
            (self._damaged / name).mkdir(exist_ok=True)
        (self._damaged / "HEAD").write_text("ref: refs/heads/main\n")
        (self._damaged / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = true\n")
        have = self.refs(*OURS)
        for ref in self._damaged_refs().keys() - have.keys():
            options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
            self.git.run("fetch", *options, str(self._damaged), f"+{ref}:{ref}", timeout=_GC_TIMEOUT)

    def _end_rescue(self) -> None:
        """What the damaged mirror no longer had may have come back with the branch; the rest is lost, and said."""
        wanted, have = self._damaged_refs(), self.refs(*OURS)
        missing = {ref: oid for ref, oid in wanted.items() if ref not in have and ref.startswith("refs/gitopsd/good/")}
        back = self.present(list(missing.values()))
        if back:
            self.update_refs([f"update {ref} {oid}" for ref, oid in missing.items() if oid in back])
        lost = sorted({oid for oid in missing.values() if oid not in back})
        if lost:
            log.warning("good commits were lost with the damaged mirror", source=self._name, commits=lost)
        _remove(self._damaged)

    def _damaged_refs(self) -> dict[str, str]:
        try:
            return self.refs(*OURS, directory=self._damaged)
        except EnvironmentFault as fault:
            log.warning("the refs of the damaged mirror cannot be read", source=self._name, detail=str(fault))
            return {}


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _git_settings(settings: SourceSettings, endpoint: Endpoint, own: tuple[Path, ...]) -> str:
    """The only settings that git sees, as a file because git drops those of the environment when it serves a local
    repository. Local repositories may belong to another user: the host's configuration named them."""
    safe = [str(path) for path in own]
    if endpoint.path:
        for place in (endpoint.path, os.path.realpath(endpoint.path)):
            safe += [place, f"{place.rstrip('/')}/.git"]
    sections = [
        ("safe", [("directory", path) for path in dict.fromkeys(safe)]),
        ("transfer", [("credentialsInUrl", "die")]),
        ("http", [("lowSpeedLimit", "1"), ("lowSpeedTime", str(max(1, round(settings.fetch_timeout))))]),
        ("gc", [("autoDetach", "false")]),
        ("maintenance", [("autoDetach", "false")]),
        ("core", [("hooksPath", "/dev/null"), ("logAllRefUpdates", "false")]),
        ("init", [("defaultBranch", "main")]),
        ("i18n", [("logOutputEncoding", "UTF-8")]),
        ("log", [("showSignature", "false")]),
    ]
    lines = ["# written by gitopsd at its start; changes are lost"]
    for section, values in sections:
        lines += [f"[{section}]", *(f"\t{key} = {_quoted(value)}" for key, value in values)]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
