"""Terraform and OpenTofu without a registry: a mirror of providers that the sandbox has built, and the settings for it.

The mirror is a directory tree as `provider_installation` knows it. It holds every provider under the addresses of both
registries, so that `hashicorp/random` is found by either program. Nothing else is installable with these settings: a
module that asks for another provider fails at once instead of waiting for a network.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sandbox.common import cache_dir, locked, write_private
from sandbox.golang import architecture
from sandbox.toolsets import TOOL_SETS, ensure

PROVIDERS: Mapping[str, str] = {"local": "1.4.0", "null": "2.1.2", "random": "3.6.0", "time": "0.14.2", "tls": "4.0.4"}
"""What can be installed, as hashicorp/NAME, and its version: the one that the pinned source was released as."""

PLATFORM = f"linux_{architecture()}"
REGISTRIES = ("registry.opentofu.org", "registry.terraform.io")

_CLI_CONFIG = """\
# Written by the sandbox: providers come from its mirror alone.
disable_checkpoint = true
provider_installation {{
  filesystem_mirror {{
    path    = "{mirror}"
    include = [{addresses}]
  }}
}}
"""


def provider_mirror() -> Path:
    """The directory of the mirror; what is missing of it is built first.

    Raises SandboxError when the providers cannot be built."""
    # The directory of a set is named after what is in it, so its name also tells whether a mirror has the same.
    sets = [each for each in TOOL_SETS if each.name.startswith("terraform-provider")]
    built = {name: ensure(each) / name for each in sets for name in each.tools}
    sources = {name: built[f"terraform-provider-{name}"] for name in PROVIDERS}
    wanted = [f"{name} {version} {sources[name].parent.name}" for name, version in PROVIDERS.items()]
    digest = hashlib.sha256("\n".join([PLATFORM, *REGISTRIES, *wanted]).encode()).hexdigest()[:16]
    mirror = cache_dir() / "tools" / f"terraform-mirror-{digest}"
    if not mirror.is_dir():
        with locked(cache_dir() / "locks" / "terraform-mirror.lock", "another process lays out the provider mirror"):
            if not mirror.is_dir():
                _lay_out(mirror, sources)
    return mirror


def terraform_cli_config() -> Path:
    """A CLI configuration file, for TF_CLI_CONFIG_FILE, with which both programs install from the mirror alone.

    Raises SandboxError when the providers cannot be built."""
    mirror = provider_mirror()
    addresses = ", ".join(f'"{registry}/*/*"' for registry in REGISTRIES)
    text = _CLI_CONFIG.format(mirror=mirror, addresses=addresses)
    path = mirror.with_name(f"{mirror.name}.tfrc")
    # The file has the mirror's path in it: a cache that was moved must not go on with the old one.
    if not path.is_file() or path.read_text() != text:
        write_private(path, text)
    return path


def terraform_environment() -> dict[str, str]:
    """The environment for running either program as the sandbox means it: this process's own without any of its
    Terraform settings (a CLI configuration, variables, arguments, a workspace, logging), and with those of the mirror.

    Raises SandboxError when the providers cannot be built."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "TOFU_"))}
    return inherited | {"TF_CLI_CONFIG_FILE": str(terraform_cli_config()), "CHECKPOINT_DISABLE": "1"}


def _lay_out(mirror: Path, sources: Mapping[str, Path]) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{mirror.name}-", dir=mirror.parent) as scratch:
        complete = Path(scratch) / "mirror"
        for name, version in PROVIDERS.items():
            for registry in REGISTRIES:
                package = complete / registry / "hashicorp" / name / version / PLATFORM
                package.mkdir(parents=True)
                _link(sources[name], package / f"terraform-provider-{name}_v{version}")
        complete.rename(mirror)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
