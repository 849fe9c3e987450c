"""The environment of the program: nothing of ours but what it takes to find programs and the network."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gitopsd.model.errors import EnvironmentFault, Problem
from gitopsd.model.sensitive import Sensitive
from gitopsd.terraform.settings import TerraformSettings
from gitopsd.tfplan.values import canonical

_KEPT = re.compile(
    r"PATH|LANG|LC_[A-Z]+|TZ|(https?|no|all)_proxy|(HTTPS?|NO|ALL)_PROXY|SSL_CERT_(FILE|DIR)"
    r"|KUBERNETES_SERVICE_(HOST|PORT)"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TELLING = re.compile(r"SECRET|TOKEN|PASS|KEY|CRED|PRIVATE|AUTH|^TF_VAR_|^PGP|CONNECTION|DSN|_URL$", re.IGNORECASE)


def host_variables(settings: TerraformSettings) -> dict[str, str]:
    """`env` and `envFiles` of the configuration; `env` wins. Raises EnvironmentFault for a file that cannot be read."""
    found: dict[str, str] = {}
    for file in settings.env_files:
        found.update(_read(file))
    return {**found, **settings.env}


def secrets_in(variables: Mapping[str, str]) -> Iterator[str]:
    """Values that are credentials by their names."""
    return (value for name, value in variables.items() if _TELLING.search(name))


@dataclass(frozen=True, slots=True)
class Private:
    """The program's directories in place of ours."""

    home: Path
    tmp: Path


def program_environment(
    settings: TerraformSettings, host: Mapping[str, str], private: Private, data: Path
) -> dict[str, str]:
    """Everything but the module's variables. `data` is Terraform's own directory."""
    kept = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
    cli = {"TF_CLI_CONFIG_FILE": str(settings.cli_config)} if settings.cli_config else {}
    return {
        **kept,
        "HOME": str(private.home),
        "TMPDIR": str(private.tmp),
        **host,
        **cli,
        "CHECKPOINT_DISABLE": "1",
        "TF_IN_AUTOMATION": "1",
        "TF_INPUT": "0",
        "TF_DATA_DIR": str(data),
    }


def module_variables(variables: Mapping[str, Any]) -> dict[str, str]:
    """Values of a module's variables as TF_VAR_NAME. This is the one place where a sensitive value is unwrapped: it
    goes to the child's environment and nowhere else. A variable that is null is not set."""
    plain = {name: value.reveal() if isinstance(value, Sensitive) else value for name, value in variables.items()}
    return {f"TF_VAR_{name}": _expression(value) for name, value in plain.items() if value is not None}


def _expression(value: Any) -> str:
    """Terraform takes a text as it is; anything else it reads as an expression, in which a text could be a template."""
    return value if isinstance(value, str) else canonical(_literal(value))


def _literal(value: Any) -> Any:
    if isinstance(value, Sensitive):
        return _literal(value.reveal())
    if isinstance(value, str):
        return value.replace("${", "$${").replace("%{", "%%{")
    if isinstance(value, Mapping):
        return {_literal(str(key)): _literal(item) for key, item in value.items()}
    return [_literal(item) for item in value] if isinstance(value, (list, tuple)) else value


def _read(file: Path) -> dict[str, str]:
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        remedy = "check `terraform.envFiles` of the host's configuration"
        raise EnvironmentFault(
            Problem(f"the environment file cannot be read: {why}", str(file), remedy=remedy)
        ) from None
    found: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.removeprefix("export ").partition("=")
        if not equals or not _NAME.fullmatch(name.strip()):
            raise EnvironmentFault(Problem("expected KEY=VALUE", str(file), number))  # the line may hold a secret
        found[name.strip()] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value
