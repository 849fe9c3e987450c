"""After a crash: ending what was left running, bringing states home, removing locks of the dead."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from gitopsd.model.errors import EnvironmentFault, NeedsPerson, Problem
from gitopsd.model.ids import UnitId
from gitopsd.terraform.child import Ended
from gitopsd.terraform.command import FLAG
from gitopsd.terraform.failures import ended_badly
from gitopsd.terraform.preparation import Ready
from gitopsd.terraform.processes import end_all, host_name, running_in
from gitopsd.terraform.rivals import rivals
from gitopsd.terraform.runmark import RunMark, read_mark
from gitopsd.terraform.runner import Call, Runner
from gitopsd.terraform.settings import TerraformSettings
from gitopsd.terraform.workplace import Workplace
from gitopsd.tfplan import LockInfo, Scrubber, Trouble, errors, read_lock, read_text, trouble

_NOBODY = "terraform_data.gitopsd_asks_for_the_lock"
"""An address that no module has: to untaint it takes the lock, finds nothing, and gives the lock back."""


class Unprepared(Exception):
    """The backend can only be asked after init."""


class Care:
    """Looks after what a dead process of ours left."""

    def __init__(self, settings: TerraformSettings, runner: Runner) -> None:
        self._settings = settings
        self._runner = runner

    def end(self, place: Workplace) -> bool:
        """End what a dead process of ours left running for this module. What it may have left in the backend is noted
        until `finish` looked after it. False, with nothing done, if there was no crash."""
        mark = read_mark(place.mark)
        if mark is None:
            return False
        end_all(lambda: _alive(mark, place), self._settings.patience)
        place.rescue()
        if place.crashed.exists():  # we died while we looked after an earlier one, which may have left more
            place.mark.unlink()
        else:
            os.replace(place.mark, place.crashed)
        return True

    def finish(self, place: Workplace, component: str, scrubber: Scrubber) -> None:
        """Remove the lock of what `end` ended, and write the state that the backend did not take. Until then nothing
        may be planned: what is in that state alone would be made again. Raises EnvironmentFault if the backend cannot
        be asked: it can be tried again; `Unprepared` before init ran."""
        found, name = place.found(), str(UnitId.terraform(component))
        mark = read_mark(place.crashed)
        if found is None or not (mark or place.errored.is_file()):
            return
        done = mark is None or self._unlock_dead(mark, place, found[0], name, scrubber)
        self._push(place, found[0], name, scrubber)
        if done:
            place.crashed.unlink(missing_ok=True)

    def unlock(self, ready: Ready, wanted: str = "") -> LockInfo:
        """Remove a lock, whoever holds it. Raises NeedsPerson if there is none, if it is not the one that is `wanted`,
        or if somebody is at work here."""
        unit = ready.unit
        lock = self._held(ready.place, ready.laid.root, str(unit.id), ready.scrubber)
        if lock is None:
            raise NeedsPerson(Problem("its state is not locked; there is nothing to do", unit=str(unit.id)))
        if wanted not in {"", lock.id}:
            text = f"its state is locked by {lock} by now"
            raise NeedsPerson(Problem(text, unit=str(unit.id), remedy="name that lock if its owner is gone, too"))
        busy = running_in(ready.place.data)
        if busy:
            text = f"its state is locked by {lock}, and process {busy[0]} of gitopsd is at work on it"
            raise NeedsPerson(Problem(text, unit=str(unit.id), remedy="wait for its end, or stop gitopsd"))
        try:
            self._force(ready.place, ready.laid.root, lock, str(unit.id), ready.scrubber)
        except EnvironmentFault as error:
            if "LocalState not locked" not in str(error):
                raise
            text = f"its state is locked by {lock}, in a program of this host that still runs"
            raise NeedsPerson(Problem(text, unit=str(unit.id), remedy="wait for its end, or end it")) from None
        return lock

    def _unlock_dead(self, mark: RunMark, place: Workplace, root: Path, name: str, scrubber: Scrubber) -> bool:
        """Whether there is nothing left to look after: a lock that may be a living one's is asked for again later. The
        next apply waits for it, and names its owner."""
        asked = datetime.now(UTC)
        lock = self._held(place, root, name, scrubber)
        if lock is None or not mark.left(lock, host_name(), asked):
            return True
        if rivals(place.data):
            return False
        self._force(place, root, lock, name, scrubber)
        return True

    def _held(self, place: Workplace, root: Path, name: str, scrubber: Scrubber) -> LockInfo | None:
        """The lock that keeps us out; None if we could take it. Raises EnvironmentFault if that cannot be found out."""
        ended = self._run(place, root, "untaint", _NOBODY, allow_missing=FLAG, lock_timeout="0s")
        if ended.ok:
            return None
        for diagnostic in errors(read_text(ended.err)):
            if trouble(diagnostic) is Trouble.LOCKED and (lock := read_lock(diagnostic.detail)) is not None:
                return lock
            if trouble(diagnostic) is Trouble.UNPREPARED:
                raise Unprepared
        raise _fault(ended, "asking for the state's lock", name, scrubber)

    def _force(self, place: Workplace, root: Path, lock: LockInfo, name: str, scrubber: Scrubber) -> None:
        ended = self._run(place, root, "force-unlock", lock.id, force=FLAG)
        if not ended.ok:
            raise _fault(ended, f"removing the lock of {lock}", name, scrubber)

    def _push(self, place: Workplace, root: Path, name: str, scrubber: Scrubber) -> None:
        if not place.errored.is_file():
            return
        wait = self._settings.lock_wait
        ended = self._run(place, root, "state push", str(place.errored), lock_timeout=wait)
        if ended.ok:
            place.errored.unlink()
            return
        told = _fault(ended, "writing the state that an interrupted apply left", name, scrubber)
        if "newer" in str(told) or "lineage" in str(told):
            help_ = "compare the two; then push it with `state push -force`, or delete the file"
            raise NeedsPerson(Problem(str(told), str(place.errored), unit=name, remedy=help_))
        raise told

    def _run(self, place: Workplace, root: Path, name: str, *arguments: str, **options: object) -> Ended:
        limit = self._settings.init_timeout
        return self._runner(
            Call(name=name, place=place, root=root, arguments=arguments, options=options, timeout=limit)
        )


def _alive(mark: RunMark, place: Workplace) -> tuple[int, ...]:
    """What still runs of a dead process' work; also what it had no time to note."""
    noted = (mark.pid,) if mark.alive else ()
    return tuple(dict.fromkeys((*noted, *running_in(place.data))))


def _fault(ended: Ended, doing: str, name: str, scrubber: Scrubber) -> EnvironmentFault:
    broken = ended_badly(ended, doing, name)
    if broken is not None:
        return broken
    said = " ".join(" ".join(d.text.split()) for d in errors(read_text(ended.err or ended.out)))
    return EnvironmentFault(Problem(scrubber.text(f"{doing} failed: {said or 'without a word'}"), unit=name))
