"""Whose inputs did not change is not started: Terraform costs what changes, not what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.modules import LoggedProgram, Shop
from tests.support.world import World, config_map

MANY = 20
BODY = """
resource "terraform_data" "a" {
  input = "%s"
}
output "id" {
  value = terraform_data.a.input
}
"""


def test_of_twenty_components_only_the_changed_one_is_started(
    world: World, namespace: str, terraform_host: dict[str, str], tmp_path: Path
) -> None:
    program = LoggedProgram(tmp_path, terraform_host["binary"])
    shop = Shop(world, namespace, {**terraform_host, "binary": str(program.binary), "backend": "local"})
    names = [f"part-{number:02d}x" for number in range(MANY)]

    def commit(greeting: str, **changed: str) -> dict[str, Any]:
        modules = [shop.module(name, -10) for name in names]
        return {
            "gitopsd.yaml": shop.stack_file(*modules, shop.objects("base", 0)),
            **{f"infra/{name}/main.tf": BODY % changed.get(name[5:7], "as it is") for name in names},
            "base/settings.yaml": config_map("settings", {"greeting": greeting}),
        }

    world.push(commit("hello"))
    world.once()
    assert {Path(place).name for place, arguments in program.calls if arguments.startswith("apply")} == set(names)

    program.forget()
    world.once()
    assert program.calls == [], "at rest"
    world.push(commit("good day"))
    world.once()
    assert world.data(namespace, "settings") == {"greeting": "good day"}
    assert program.calls == [], "a commit that changes only manifests"

    world.push(commit("good day", **{"07": "changed"}))
    world.once()
    assert {Path(place).name for place, _ in program.calls} == {"part-07x"}
    assert [arguments.split()[0] for _, arguments in program.calls].count("apply") == 1
    assert world.phase() == "Synced"
    assert world.verdicts() == [("deploy", "good")] * 3
