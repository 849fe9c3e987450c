"""The sandbox's Terraform: which program takes the name, and a mirror that both programs find every provider in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox import SandboxError, terraform_cli_config, terraform_environment, tool
from sandbox.golang import Go
from sandbox.terraform import PLATFORM, PROVIDERS, provider_mirror
from sandbox.toolsets import TOOL_SETS


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which every tool set was built: its programs contain their own name."""
    directory = tmp_path / "cache"
    monkeypatch.setenv("GITOPSD_SANDBOX_CACHE", str(directory))
    # A mistake in a test must not set off a build of minutes: with this toolchain there is nothing to build with.
    monkeypatch.setattr("sandbox.toolsets.find_go", lambda _minimum: Go("go1.99.0 linux/amd64", Path("/nowhere/go")))
    for tool_set in TOOL_SETS:
        built = tool_set.directory(tool_set.go())
        built.mkdir(parents=True)
        for name in tool_set.tools:
            (built / name).write_text(name)
    return directory


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], Path]:
    """Makes `terraform` on PATH a program of this shell script; None: there is none."""

    def make(script: str | None) -> Path:
        program = tmp_path / "programs" / "terraform"
        program.parent.mkdir()
        if script is not None:
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent))
        return program

    return make


def test_the_terraform_of_the_path_is_used_whatever_settings_were_inherited(
    cache: Path,
    on_path: Callable[[str | None], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TF_CLI_ARGS", "-unheard-of")
    program = on_path('test -z "$TF_CLI_ARGS" && echo "Terraform v1.5.7"')
    assert tool("terraform") == program
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "script", [None, "echo no version is set >&2; exit 126", 'echo "Terraform v1.4.6"', 'echo "Terraform v0.15.5"']
)
def test_tofu_takes_the_place_of_a_terraform_that_is_missing_broken_or_old_and_that_is_said(
    cache: Path, on_path: Callable[[str | None], Path], script: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    on_path(script)
    assert tool("terraform").read_text() == "tofu"
    assert "tofu takes its place" in capsys.readouterr().err


def test_the_mirror_has_each_provider_for_both_registries_and_is_laid_out_once(cache: Path) -> None:
    mirror = provider_mirror()
    found = {path.relative_to(mirror): path.read_text() for path in mirror.rglob("*") if path.is_file()}
    assert found == {
        Path(f"{registry}/hashicorp/{name}/{version}/{PLATFORM}/terraform-provider-{name}_v{version}"): (
            f"terraform-provider-{name}"
        )
        for registry in ("registry.terraform.io", "registry.opentofu.org")
        for name, version in PROVIDERS.items()
    }
    made = mirror.stat().st_mtime_ns
    assert provider_mirror() == mirror
    assert mirror.stat().st_mtime_ns == made


def test_the_settings_name_the_mirror_where_it_is_now_also_in_a_cache_that_was_moved(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f'"{provider_mirror()}"' in terraform_cli_config().read_text()
    moved = cache.rename(cache.with_name("moved"))
    monkeypatch.setenv("GITOPSD_SANDBOX_CACHE", str(moved))
    config = terraform_cli_config()
    assert config.is_relative_to(moved)
    assert f'"{moved}/' in config.read_text()
    assert f'"{cache}/' not in config.read_text()


def test_no_inherited_setting_of_terraform_reaches_a_child(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "TF_CLI_CONFIG_FILE",
        "TF_VAR_region",
        "TF_WORKSPACE",
        "TF_DATA_DIR",
        "TF_LOG",
        "TOFU_CLI_CONFIG_FILE",
    ):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("TERRIER", "stays")
    environment = terraform_environment()
    assert [name for name in environment if name.startswith(("TF_", "TOFU_"))] == ["TF_CLI_CONFIG_FILE"]
    assert environment["TF_CLI_CONFIG_FILE"] == str(terraform_cli_config())
    assert environment["TERRIER"] == "stays"
    assert environment["HOME"] == os.environ["HOME"]


def test_a_name_that_is_no_tool_is_refused_with_those_that_are(cache: Path) -> None:
    with pytest.raises(SandboxError, match=r"no tool is named 'terrafrom'; known: .*terraform, .*tofu"):
        tool("terrafrom")
