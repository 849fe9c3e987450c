"""Where the configuration is and which directories it names: all that a quick command needs, without the machinery
that checks the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gitopsd.config.glance import glance
from gitopsd.model.errors import CommitError, ConfigurationError, Problem

if TYPE_CHECKING:
    from gitopsd.yamltext import Located

DEFAULT_CONFIG: Final = "/etc/gitopsd/config.yaml"
DEFAULT_STATE_DIR: Final = "/var/lib/gitopsd"
DEFAULT_SOCKET: Final = "/run/gitopsd/gitopsd.sock"
DEFAULTS: Final = {"stateDir": DEFAULT_STATE_DIR, "socket": DEFAULT_SOCKET}


@dataclass(frozen=True, slots=True)
class Paths:
    """`state_dir` holds what must last, `runtime_dir` (the directory of `socket`) what ends with the process."""

    state_dir: Path
    socket: Path

    @property
    def runtime_dir(self) -> Path:
        return self.socket.parent


def find_config(argument: str | None, environ: Mapping[str, str]) -> Path:
    """The host configuration: what the command line says, else `$GITOPSD_CONFIG`, else where packages put it."""
    return Path(argument or environ.get("GITOPSD_CONFIG") or DEFAULT_CONFIG)


def quick_paths(file: Path) -> Paths:
    """The directories that a host configuration names, the rest of it unchecked: the same as `load_host_config` gives
    for a valid one. Raises ConfigurationError if they cannot be read."""
    texts = glance(_read(file), DEFAULTS)
    if texts is None:
        document, _ = read_host_file(file)
        texts = {key: _text(file, document, key) for key in DEFAULTS}
    return Paths(beside(file, texts["stateDir"]), beside(file, texts["socket"]))


def beside(file: Path, path: str) -> Path:
    """A path of the configuration: absolute, or relative to the directory of the file that says it."""
    return file.absolute().parent / path


def read_host_file(file: Path) -> tuple[Located, bytes]:
    """The one document of a host configuration, and its text. Raises ConfigurationError if there is none."""
    from gitopsd.yamltext import parse_documents

    data = _read(file)
    try:
        documents = parse_documents(data, str(file))
    except CommitError as error:
        raise ConfigurationError(*error.problems) from None
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        raise ConfigurationError(Problem("the configuration has to be one mapping of keys", file=str(file)))
    return documents[0], data


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        remedy = "name another one with --config or $GITOPSD_CONFIG"
        raise ConfigurationError(
            Problem(f"the configuration cannot be read: {error.strerror}", file=str(file), remedy=remedy)
        ) from None


def _text(file: Path, document: Located, key: str) -> str:
    value: Any = document.value.get(key)
    if value is None:
        return DEFAULTS[key]
    if not isinstance(value, str) or not value:
        raise ConfigurationError(Problem("expected a path", file=str(file), field=key))
    return value
