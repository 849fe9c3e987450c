"""Terraform and OpenTofu run in the sandbox as they would with a registry: real programs, real providers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import terraform_cli_config, terraform_environment, tool

pytestmark = pytest.mark.usefixtures("terraform_host")  # so that what is missing is built before any test's time runs

ROOT = Path(__file__).parents[2]

MODULE = """\
terraform {
  required_providers {
    local  = { source = "hashicorp/local", version = "1.4.0" }
    null   = { source = "hashicorp/null", version = "2.1.2" }
    random = { source = "hashicorp/random", version = "3.6.0" }
    time   = { source = "hashicorp/time", version = "0.14.2" }
    tls    = { source = "hashicorp/tls", version = "4.0.4" }
  }
}
variable "greeting" { type = string }
resource "random_pet" "name" {}
resource "tls_private_key" "key" { algorithm = "ED25519" }
resource "time_sleep" "moment" { create_duration = "1ms" }
resource "null_resource" "trigger" { triggers = { greeting = var.greeting } }
resource "terraform_data" "both" { input = "${var.greeting}, ${random_pet.name.id}" }
resource "local_file" "made" {
  filename = "${path.module}/made.txt"
  content  = terraform_data.both.output
}
output "text" { value = local_file.made.content }
output "key" {
  value     = tls_private_key.key.private_key_openssh
  sensitive = true
}
"""


class Module:
    """A root module in a directory, run by one of the programs without any network."""

    def __init__(self, directory: Path, program: Path, environment: dict[str, str]) -> None:
        # Nothing answers there: what would ask a registry fails instead of passing by luck on a machine with a network.
        dead = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), "http://127.0.0.1:9")
        self.directory, self.program, self.environment = directory, program, environment | dead
        (directory / "main.tf").write_text(MODULE)

    def run(self, *arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            [self.program, *arguments],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.mark.parametrize("name", ["terraform", "tofu"])
def test_a_module_with_every_provider_of_the_mirror_is_made_changed_and_found_unchanged_offline(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(tmp_path / "missing"))
    monkeypatch.setenv("TF_VAR_greeting", "inherited")
    module = Module(tmp_path, tool(name), terraform_environment())

    assert "Unable to open CLI configuration" not in module.run("version")
    module.run("init", "-input=false", "-no-color")
    for greeting, expected in (("hello", 2), ("hello", 0), ("good evening", 2)):
        module.run("plan", "-out=p", "-input=false", "-detailed-exitcode", f"-var=greeting={greeting}", status=expected)
        module.run("apply", "p")
        outputs = json.loads(module.run("output", "-json"))
        assert outputs["text"]["value"].startswith(f"{greeting}, ")
        assert (tmp_path / "made.txt").read_text() == outputs["text"]["value"]
        assert outputs["key"]["sensitive"]
        assert "OPENSSH PRIVATE KEY" in outputs["key"]["value"]
    module.run("destroy", "-auto-approve", "-var=greeting=bye")
    assert not (tmp_path / "made.txt").exists()


def test_a_provider_that_the_mirror_has_not_fails_at_once_and_is_named(tmp_path: Path) -> None:
    module = Module(tmp_path, tool("tofu"), terraform_environment())
    (tmp_path / "main.tf").write_text('terraform {\n required_providers { aws = { source = "hashicorp/aws" } }\n}\n')
    said = module.run("init", "-input=false", "-no-color", status=1)
    assert "provider registry.opentofu.org/hashicorp/aws was not found" in " ".join(said.split())


@pytest.mark.parametrize("name", ["terraform", "tofu", "terraform-cli-config"])
def test_the_command_line_names_the_program_and_the_settings_alone_on_stdout(name: str) -> None:
    environment = {**os.environ, "TF_CLI_CONFIG_FILE": "/nowhere"}
    command = [sys.executable, "-m", "sandbox", "tool", name]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    expected = terraform_cli_config() if name == "terraform-cli-config" else tool(name)
    assert done.stdout == f"{expected}\n"
