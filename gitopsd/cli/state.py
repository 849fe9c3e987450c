"""`gitopsd state list|restore`: the sealed copies of Terraform states on this host."""

from __future__ import annotations

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gitopsd.cli.exits import DONE, FAILED
from gitopsd.cli.failures import say
from gitopsd.cli.keydir import key_dir_option, keys_of
from gitopsd.cli.output import json_option, show
from gitopsd.cli.place import paths_of
from gitopsd.model.errors import EnvironmentFault, Problem, UsageError
from gitopsd.views.find import find_name
from gitopsd.views.layout import Block, Span, Table, bad, good, line
from gitopsd.views.times import ago

if TYPE_CHECKING:
    from gitopsd.model.sensitive import Sensitive
    from gitopsd.sealing.keyring import Keys
    from gitopsd.terraform.copyfile import CopyHeader

EXAMPLE = """\
  gitopsd state list website network
  gitopsd state restore website network --serial 41 --out network.tfstate
"""

SCHEMA = "gitopsd.io/states/v1"
_NEWEST = -1


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "what",
        choices=("list", "restore"),
        metavar="list|restore",
        help="show the copies of Terraform states that are kept on this host; open one of them",
    )
    parser.add_argument("stack", nargs="?", metavar="STACK", default="", help="list: of this stack alone")
    parser.add_argument("component", nargs="?", metavar="COMPONENT", default="", help="list: of this component alone")
    text = "restore: the newest copy with this serial, or `newest` (default) of all"
    parser.add_argument("--serial", metavar="N", type=_serial, help=text)
    text = "restore: where to write the state, in the clear and for you alone; a file that exists is left as it is"
    parser.add_argument("--out", metavar="FILE", type=Path, help=text)
    key_dir_option(parser)
    json_option(parser)


def _serial(text: str) -> int:
    if text == "newest":
        return _NEWEST
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is no serial; write a number as `gitopsd state list` shows it, or newest")
    return int(text)


def execute(given: Namespace) -> int:
    if given.what == "list":
        if given.out is not None or given.serial is not None:
            raise UsageError(Problem("--out and --serial mean nothing for state list"))
        return _list(given)
    if not given.component or given.out is None:
        raise UsageError(Problem("name the stack, the component, and with --out the file to write"))
    return _restore(given)


# ---------------------------------------------------------------- reading


def _list(given: Namespace) -> int:
    from gitopsd.terraform.copies import copies_dir

    directory, keys = copies_dir(paths_of(given).state_dir), keys_of(given)
    entries: list[dict[str, Any]] = []
    problems: list[str] = []
    found = _found(given)
    if not found:
        _check_names(given, directory)
    for file, header in found:
        try:
            if header is None:
                _content(file)  # which says what is wrong with it
                continue
            entries.append(_entry(file, header, opens=_open(file, keys) is not None))
        except EnvironmentFault as error:
            problems += map(str, error.problems)
    document = {"schema": SCHEMA, "directory": str(directory), "copies": entries, "problems": problems}
    show(given, document, _list_text)
    for problem in problems:
        say(problem)
    return FAILED if problems else DONE


def _check_names(given: Namespace, copies: Path) -> None:
    """Raises UsageError for a stack, or a component of it, that this host knows nothing of: no copies of it would read
    as if there were none of a misspelt one either."""
    known = _known_modules(given, copies)
    if given.stack:
        find_name(given.stack, known, "stack")
    if given.component:
        find_name(given.component, known[given.stack], f"Terraform component of {given.stack}")


def _known_modules(given: Namespace, copies: Path) -> dict[str, set[str]]:
    """By stack the Terraform components that are on record, or that there are copies of."""
    from gitopsd.record.reader import open_reader
    from gitopsd.record.store import STATE_DB

    known: dict[str, set[str]] = {}
    for place in copies.glob("*/*"):
        known.setdefault(place.parent.name, set()).add(place.name)
    state_dir = paths_of(given).state_dir
    if not (state_dir / STATE_DB).exists():
        return known
    with open_reader(state_dir) as record:
        for stack in record.stacks():
            units = (unit for unit in record.baselines(stack) if unit.is_terraform)
            known.setdefault(stack, set()).update(unit.name for unit in units)
    return known


def _found(given: Namespace) -> list[tuple[Path, CopyHeader | None]]:
    """The copies that are asked for, of each component the newest first. Raises EnvironmentFault for a state directory
    that we may not read, in which nothing would seem to be there."""
    from gitopsd.terraform.copies import copies_dir, find_copies

    directory = copies_dir(paths_of(given).state_dir)
    try:
        with suppress(FileNotFoundError):
            os.listdir(directory)
        found = list(find_copies(directory, escape(given.stack) or "*", escape(given.component) or "*"))
    except OSError as error:
        remedy = "run it as the user of gitopsd, or as root"
        raise EnvironmentFault(
            Problem(f"copies cannot be read: {error.strerror}", str(directory), remedy=remedy)
        ) from None
    found.sort(key=lambda each: each[0].name, reverse=True)
    return sorted(found, key=lambda each: each[0].parent)


def _content(file: Path) -> tuple[CopyHeader, bytes]:
    from gitopsd.terraform.copyfile import read_copy

    try:
        return read_copy(file.read_bytes())
    except OSError as error:
        raise EnvironmentFault(Problem(f"cannot be read: {error.strerror}", str(file))) from None
    except ValueError as error:
        raise EnvironmentFault(Problem(f"is no copy of a state: {error}", str(file))) from None


def _open(file: Path, keys: Keys) -> Sensitive | None:
    """The state in a copy; None if no key opens it. Raises EnvironmentFault for a copy that is damaged, or whose first
    line tells of another state than the one that is in it."""
    from gitopsd.sealing.envelope import NotOpened, unseal
    from gitopsd.terraform.copyfile import identity, label

    header, sealed = _content(file)
    try:
        state = unseal(keys.opening, sealed, label(file.parent.parent.name, file.parent.name)).plaintext
    except NotOpened:
        return None
    if identity(state.reveal()) != header.state:
        raise EnvironmentFault(Problem("another state is in this copy than its first line says", str(file)))
    return state


def _entry(file: Path, header: CopyHeader, *, opens: bool) -> dict[str, Any]:
    return {
        "stack": file.parent.parent.name,
        "component": file.parent.name,
        "workspace": header.workspace,
        "stateKey": header.state_key,
        "lineage": header.state.lineage,
        "serial": header.state.serial,
        "at": header.at.isoformat().replace("+00:00", "Z"),
        "fingerprint": header.fingerprint,
        "opens": opens,
        "file": str(file),
    }


def _list_text(document: Mapping[str, Any], now: datetime) -> Iterator[Block]:
    if not document["copies"]:
        yield line(f"no sealed copies of states in {document['directory']}")
        return
    rows = [
        (
            Span(f"{copy['stack']} {copy['component']}"),
            Span(copy["workspace"]),
            Span(ago(copy["at"], now)),
            Span(str(copy["serial"])),
            Span(copy["lineage"]),
            Span(copy["fingerprint"]),
            good("opens") if copy["opens"] else bad("no key"),
        )
        for copy in document["copies"]
    ]
    yield Table(("COMPONENT", "WORKSPACE", "AT", "SERIAL", "LINEAGE", "SEALED FOR", "HERE"), rows)


# ---------------------------------------------------------------- opening one


def _restore(given: Namespace) -> int:
    file, header = _chosen(given)
    keys = keys_of(given)
    state = _open(file, keys)
    if state is None:
        tried = ", ".join(pair.fingerprint for pair in keys.pairs) or "none, for there is no usable key"
        text = f"no key opens this copy; it is sealed for {header.fingerprint} (tried {tried})"
        remedy = "bring that key into the key directory, or name one that has it with --key-dir"
        raise EnvironmentFault(Problem(text, str(file), remedy=remedy), *keys.problems)
    out = Path(given.out).absolute()
    _write(out, state.reveal())
    document = {
        "schema": SCHEMA,
        "restored": _entry(file, header, opens=True),
        "out": str(out),
        "next": _next(given, out, header),
    }
    show(given, document, _restored_text)
    return DONE


def _chosen(given: Namespace) -> tuple[Path, CopyHeader]:
    """Raises UsageError if there is no such copy."""
    place = f"{given.stack} {given.component}"
    found = [(file, header) for file, header in _found(given) if header is not None]
    if not found:
        raise UsageError(Problem(f"there is no sealed copy of a state of {place}", remedy="see: gitopsd state list"))
    fitting = [each for each in found if given.serial in {None, _NEWEST, each[1].state.serial}]
    if not fitting:
        serials = ", ".join(dict.fromkeys(str(header.state.serial) for _, header in found))
        raise UsageError(Problem(f"no copy of {place} has the serial {given.serial}; there are {serials}"))
    return fitting[0]


def _write(out: Path, state: bytes) -> None:
    """Raises UsageError if there is a file already, EnvironmentFault if it cannot be written."""
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise UsageError(
            Problem("is there already, and stays as it is", str(out), remedy="name another file")
        ) from None
    except OSError as error:
        raise EnvironmentFault(Problem(f"cannot be made: {error.strerror}", str(out))) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(state)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        out.unlink()
        raise EnvironmentFault(Problem(f"cannot be written: {error.strerror}", str(out))) from None


def _next(given: Namespace, out: Path, header: CopyHeader) -> list[str]:
    """Lines that say how the state comes back to where it belongs: with the code that lies ready on this host, if it
    does."""
    import shlex

    from gitopsd.terraform.preparation import work_dir
    from gitopsd.terraform.workplace import Workplace

    workplace = Workplace(work_dir(paths_of(given).state_dir, given.stack, given.component))
    found = workplace.found()
    push = f"terraform state push {shlex.quote(str(out))}"
    if found is not None and workplace.workspace == header.workspace:
        push = f"cd {shlex.quote(str(found[0]))} && TF_DATA_DIR={shlex.quote(str(workplace.data))} {push}"
        where = "as the user of gitopsd (and with the program that it uses)"
    else:
        where = "in the module's directory, after `terraform init` with its backend"
        where += f" and `terraform workspace select {header.workspace}`" if header.workspace != "default" else ""
    return [
        f"to make it the module's state again, {where}:",
        f"  {push}",
        "a state that is newer, or another one, is not replaced: look at it first, and then add -force after `push`",
        f"`gitopsd retry {given.stack}` lets the stack go on; delete the file then, for its values are in the clear",
    ]


def _restored_text(document: Mapping[str, Any], now: datetime) -> Iterator[Block]:
    copy = document["restored"]
    yield line(f"{document['out']}: serial {copy['serial']} of {copy['lineage']}, copied {ago(copy['at'], now)}")
    for text in document["next"]:
        yield line(text)
