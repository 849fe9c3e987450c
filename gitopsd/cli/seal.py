"""`gitopsd seal`."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gitopsd.cli.exits import DONE
from gitopsd.cli.keydir import key_dir_option, keys_of
from gitopsd.model.errors import EnvironmentFault, Problem, UsageError
from gitopsd.model.sensitive import Sensitive

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    from gitopsd.sealing.seal import ToSeal

EXAMPLE = """\
  gitopsd seal secret.yaml --cert sealing.crt > sealed.yaml
  pass show db | gitopsd seal --name db --namespace web --from-file password=- --cert sealing.crt > db.yaml
  gitopsd seal --merge-into db.yaml --from-file ca.pem
"""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("manifest", nargs="?", metavar="FILE", help="the manifest of a Secret (- for standard input)")
    text = "an item from a file, KEY=- from standard input (without KEY: the file's name); may be repeated"
    parser.add_argument("--from-file", metavar="[KEY=]FILE", action="append", default=[], help=text)
    text = "an item from the command line, which other users of the host and your shell's history see"
    parser.add_argument("--from-literal", metavar="KEY=VALUE", action="append", default=[], help=text)
    parser.add_argument("--name", default="", help="the name of the Secret")
    parser.add_argument("--namespace", default="", help="the namespace of the Secret")
    text = "where it may be opened: under this name alone (default), in this namespace, or everywhere"
    parser.add_argument("--scope", choices=("strict", "namespace-wide", "cluster-wide"), help=text)
    parser.add_argument("--type", default="", help="the type of the Secret (default: Opaque)")
    text = "seal for this certificate, without any key (default: the newest one of the key directory)"
    parser.add_argument("--cert", metavar="FILE", type=Path, help=text)
    key_dir_option(parser)
    text = "put the items into a SealedSecret of this file, and change nothing else in it"
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--merge-into", metavar="FILE", type=Path, help=text)
    text = "write to a new file (default: standard output)"
    target.add_argument("--output", "-o", metavar="FILE", type=Path, help=text)


def execute(given: Namespace) -> int:
    from gitopsd.sealed.document import Scope

    _check(given)
    scope = Scope(given.scope) if given.scope else None
    secrets = _secrets(given)
    public = _public(given)
    if given.merge_into is not None:
        _merge(given, secrets, public)
        return DONE
    from gitopsd.sealing.seal import placed, sealed_yaml

    placed_all = [placed(each, name=given.name, namespace=given.namespace, scope=scope) for each in secrets]
    _put(given.output, "".join(sealed_yaml(each, public) for each in placed_all))
    return DONE


def _check(given: Namespace) -> None:
    """Raises UsageError."""
    literal = bool(given.from_literal or given.from_file)
    if literal == (given.manifest is not None):
        raise UsageError(
            Problem("name either the manifest of a Secret or its items", remedy="see: gitopsd seal --help")
        )
    if given.manifest is not None and given.type:
        raise UsageError(Problem("--type is for items; a manifest says its own type"))
    if given.cert is not None and given.key_dir is not None:
        raise UsageError(Problem("--cert and --key-dir contradict each other"))
    if given.merge_into is not None and (given.scope or given.type):
        raise UsageError(Problem("the file of --merge-into says scope and type itself"))


def _merge(given: Namespace, secrets: tuple[ToSeal, ...], public: RSAPublicKey) -> None:
    from gitopsd.sealing.files import replace
    from gitopsd.sealing.seal import choose, merged
    from gitopsd.sealing.splice import SealedFile

    if len(secrets) != 1:
        raise UsageError(Problem("only one Secret can be merged into a file at a time"))
    secret = secrets[0]
    file = SealedFile(str(given.merge_into), _read(given.merge_into))
    namespace = given.namespace or secret.namespace
    found = choose(file, given.name or secret.name, namespace)
    try:
        replace(given.merge_into, merged(file, found, secret.items, public, namespace))
    except OSError as error:
        raise EnvironmentFault(Problem(f"cannot be written: {error.strerror}", str(given.merge_into))) from None


def _put(output: Path | None, text: str) -> None:
    from gitopsd.sealing.files import write_new

    if output is None:
        sys.stdout.write(text)
        return
    try:
        write_new(output, text.encode(), 0o644)
    except FileExistsError:
        remedy = "--merge-into changes items of a file; remove it to seal anew"
        raise UsageError(Problem("is there already, and nothing is overwritten", str(output), remedy=remedy)) from None
    except OSError as error:
        raise EnvironmentFault(Problem(f"cannot be written: {error.strerror}", str(output))) from None


# ---------------------------------------------------------------- what goes in


def _public(given: Namespace) -> RSAPublicKey:
    if given.cert is None:
        return keys_of(given).for_sealing(datetime.now(UTC)).public
    from gitopsd.sealing.keyring import BadKey, certificate_key

    try:
        return certificate_key(_read(given.cert))
    except BadKey as error:
        raise UsageError(Problem(str(error), str(given.cert), remedy=error.remedy)) from None


def _secrets(given: Namespace) -> tuple[ToSeal, ...]:
    from gitopsd.sealed.document import Scope
    from gitopsd.sealing.seal import ToSeal, read_secrets

    if given.manifest is not None:
        file = "standard input" if given.manifest == "-" else given.manifest
        return read_secrets(_read(Path(given.manifest)), file)
    items: dict[str, Sensitive] = {}
    for key, value in [*_literals(given.from_literal), *_files(given.from_file)]:
        if key in items:
            raise UsageError(Problem(f"the item {key!r} is there twice"))
        items[key] = value
    return (ToSeal(given.name, given.namespace, Scope.STRICT, items, type=given.type or "Opaque"),)


def _literals(given: list[str]) -> Iterator[tuple[str, Sensitive]]:
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(Problem("--from-literal takes KEY=VALUE"))
        yield _item(key), Sensitive(os.fsencode(value))


def _files(given: list[str]) -> Iterator[tuple[str, Sensitive]]:
    for text in given:
        key, equals, path = text.partition("=") if "=" in text else (Path(text).name, "=", text)
        if not equals or not path or (path == "-" and "=" not in text):
            raise UsageError(Problem("--from-file takes FILE, KEY=FILE or KEY=-"))
        yield _item(key), Sensitive(_read(Path(path)))


def _item(key: str) -> str:
    from gitopsd.sealed.document import is_item

    if not is_item(key):
        raise UsageError(Problem("a key of a Secret has letters, digits, - _ and . only, 253 at most"))
    return key


def _read(path: Path) -> bytes:
    """The contents of a file, `-` for standard input. Raises UsageError."""
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise UsageError(Problem(f"cannot be read: {error.strerror}", str(path))) from None
