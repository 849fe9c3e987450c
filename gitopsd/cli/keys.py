"""`gitopsd keys generate|list|cert|rotate|import`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gitopsd.cli.exits import DONE, FAILED
from gitopsd.cli.failures import say
from gitopsd.cli.keydir import key_dir, key_dir_option, keys_of
from gitopsd.cli.options import length
from gitopsd.cli.output import json_option, show
from gitopsd.cli.place import paths_of
from gitopsd.model.errors import Problem, UsageError
from gitopsd.views.layout import Block, Span, Table, bad, good, line

if TYPE_CHECKING:
    from gitopsd.sealing.keyring import Keypair, Keys

EXAMPLE = """\
  gitopsd keys generate
  gitopsd keys cert > sealing.crt
  kubectl get secret -n kube-system -l sealedsecrets.bitnami.com/sealed-secrets-key -o yaml | gitopsd keys import -
  gitopsd keys list --repo ~/infra
"""

SCHEMA = "gitopsd.io/keys/v1"


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "what",
        choices=("generate", "list", "cert", "rotate", "import"),
        metavar="generate|list|cert|rotate|import",
        help="make the first keypair; list them; print the certificate to seal with, as kubeseal --cert takes it; "
        "make a newer keypair and keep the old; bring in what a sealed-secrets controller has",
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="import: exported Secrets (- for stdin)")
    key_dir_option(parser)
    parser.add_argument(
        "--name", default="", help="generate, rotate: the name of its files (default: made of the time)"
    )
    text = "generate, rotate: how long its certificate seals (default: 3650d); its key opens for ever"
    parser.add_argument("--valid", metavar="TIME", type=length, help=text)
    text = "list: count the SealedSecrets of a repository's files that each key opens (default: of what is tracked)"
    parser.add_argument("--repo", metavar="DIR", type=Path, help=text)
    json_option(parser)


def execute(given: Namespace) -> int:
    _check(given)
    commands = {"generate": _make, "rotate": _make, "list": _list, "cert": _cert, "import": _import}
    return commands[given.what](given)


def _check(given: Namespace) -> None:
    """Raises UsageError for options of another of these commands, which would be obeyed by none."""
    making = given.what in {"generate", "rotate"}
    wrong = {
        "FILE": bool(given.files) and given.what != "import",
        "--name": bool(given.name) and not making,
        "--valid": given.valid is not None and not making,
        "--repo": given.repo is not None and given.what != "list",
        "--json": given.json and given.what == "cert",
    }
    for option in (name for name, found in wrong.items() if found):
        raise UsageError(Problem(f"{option} means nothing for keys {given.what}"))
    if given.what == "import" and not given.files:
        raise UsageError(Problem("name the files to import", remedy="- is standard input"))


# ---------------------------------------------------------------- new keys


def _make(given: Namespace) -> int:
    from gitopsd.sealing.keyfiles import VALIDITY, generate, rotate

    try:
        validity = VALIDITY if given.valid is None else timedelta(seconds=given.valid)
    except OverflowError:
        raise UsageError(Problem("a certificate cannot be valid for that long")) from None
    make = generate if given.what == "generate" else rotate
    pair = make(key_dir(given), datetime.now(UTC), name=given.name, validity=validity)
    show(given, {"schema": SCHEMA, "keys": [_entry(pair, "seals", None)]}, _made_text)
    return DONE


def _made_text(document: Mapping[str, Any], _now: datetime) -> Iterator[Block]:
    for key in document["keys"]:
        yield line(f"{key['name']}  {key['fingerprint']}  seals until {key['validUntil'][:10]}")
    yield line("keep a copy of both files in a safe place: without the key nothing sealed for it can be opened")


def _import(given: Namespace) -> int:
    from gitopsd.sealing.keyfiles import import_keys, read_exports

    named = [file for file in given.files if str(file) != "-"]
    sources = read_exports(named)
    if len(named) < len(given.files):
        sources["standard input"] = sys.stdin.buffer.read()
    found = import_keys(key_dir(given), sources)
    show(given, {"schema": SCHEMA, "added": list(found.added), "known": list(found.known)}, _imported_text)
    return DONE


def _imported_text(document: Mapping[str, Any], _now: datetime) -> Iterator[Block]:
    for name in document["added"]:
        yield line(f"{name} ", good("imported"))
    for name in document["known"]:
        yield line(f"{name} is here already")


# ---------------------------------------------------------------- reading


def _cert(given: Namespace) -> int:
    sys.stdout.write(keys_of(given).for_sealing(datetime.now(UTC)).certificate.decode())
    return DONE


def _list(given: Namespace) -> int:
    keys = keys_of(given)
    counts = _counts(given.repo, keys) if given.repo is not None else _tracked(given)
    show(given, _document(keys, counts, datetime.now(UTC)), _list_text)
    problems = _problems(keys)
    for problem in problems:
        say(problem)
    return FAILED if problems else DONE


def _problems(keys: Keys) -> list[str]:
    return [str(problem) for problem in (*keys.problems, keys.mac_problem) if problem is not None]


def _counts(directory: Path, keys: Keys) -> Counter[str]:
    """How many SealedSecrets of a repository's files each key opens, in whole or in part."""
    from gitopsd.sealing.reseal import openers, sealed_files

    found = (opened for path, data in sealed_files(directory) for opened in openers(path, data, keys.opening))
    return Counter(fingerprint for opened in found for fingerprint in opened)


def _tracked(given: Namespace) -> Counter[str] | None:
    """How many sealed Secrets of the stacks each key opens, as the daemon has found; None if it has told nothing yet,
    or if it is another directory than the daemon's."""
    from gitopsd.record.statusfile import read_status

    if given.key_dir is not None:
        return None
    status = read_status(paths_of(given).runtime_dir / "status.json")
    if status is None:
        return None
    counts: Counter[str] = Counter()
    for stack in status["stacks"]:
        counts.update(stack.get("sealingKeys", {}))
    return counts


def _document(keys: Keys, counts: Counter[str] | None, now: datetime) -> dict[str, Any]:
    sealing = next((pair for pair in keys.pairs if pair.strong and now < pair.valid_until), None)
    entries = []
    for pair in keys.pairs:
        state = "seals" if pair is sealing else _no_longer(pair, now)
        entries.append(_entry(pair, state, None if counts is None else counts[pair.fingerprint]))
    return {"schema": SCHEMA, "directory": str(keys.directory), "keys": entries, "problems": _problems(keys)}


def _no_longer(pair: Keypair, now: datetime) -> str:
    if not pair.strong:
        return "small"
    return "opens" if now < pair.valid_until else "expired"


def _entry(pair: Keypair, state: str, opens: int | None) -> dict[str, Any]:
    return {
        "name": pair.name,
        "fingerprint": pair.fingerprint,
        "bits": pair.bits,
        "validFrom": pair.valid_from.isoformat().replace("+00:00", "Z"),
        "validUntil": pair.valid_until.isoformat().replace("+00:00", "Z"),
        "state": state,
        "opens": opens,
    }


def _list_text(document: Mapping[str, Any], _now: datetime) -> Iterator[Block]:
    if not document["keys"]:
        yield line(f"no usable keypair in {document['directory']}")
        return
    styles = {"seals": good("seals"), "opens": Span("opens")}
    styles |= {"expired": bad("expired, opens"), "small": bad("too small to seal, opens")}
    rows = [
        (
            Span(key["name"]),
            Span(key["fingerprint"]),
            Span(key["validFrom"][:10]),
            Span(key["validUntil"][:10]),
            styles[key["state"]],
            Span("-" if key["opens"] is None else str(key["opens"])),
        )
        for key in document["keys"]
    ]
    yield Table(("NAME", "FINGERPRINT", "FROM", "UNTIL", "USE", "OPENS"), rows)
