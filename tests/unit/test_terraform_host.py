"""What of the host goes into Terraform: under which key digests of sensitive outputs are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitopsd.config.host import HostConfig, load_host_config
from gitopsd.model.errors import EnvironmentFault
from gitopsd.terraform_host import DigestKey
from gitopsd.tfplan.outputs import Seal, planned_outputs
from gitopsd.tfplan.scrub import Scrubber


@pytest.fixture
def config(tmp_path: Path) -> HostConfig:
    file = tmp_path / "config.yaml"
    file.write_text(
        "instance: here\nstateDir: state\nkeyDir: keys\nsocket: run/s.sock\n"
        "sources: [{name: main, url: /srv/infra.git}]\nclusters: [{name: default}]\n"
    )
    (tmp_path / "state").mkdir()
    return load_host_config(file)


def test_the_key_is_the_key_directorys_and_the_same_after_a_restart(config: HostConfig) -> None:
    config.key_dir.mkdir(mode=0o700)
    assert DigestKey(config)() == DigestKey(config)()
    assert (config.key_dir / "digest.key").exists()
    assert list(config.state_dir.iterdir()) == []


def test_a_host_without_a_key_directory_keeps_it_with_the_state(config: HostConfig) -> None:
    assert DigestKey(config)() == DigestKey(config)()
    assert [file.name for file in config.state_dir.iterdir()] == ["digest.key"]


@pytest.mark.parametrize(("content", "mode", "said"), [(b"short", 0o600, "32 bytes"), (bytes(32), 0o644, "chmod 600")])
def test_a_key_that_cannot_be_used_is_refused_until_it_is_mended_and_none_is_made_beside_the_state(
    config: HostConfig, content: bytes, mode: int, said: str
) -> None:
    config.key_dir.mkdir(mode=0o700)
    file = config.key_dir / "digest.key"
    file.write_bytes(content)
    file.chmod(mode)
    key = DigestKey(config)
    for _ in range(2):
        with pytest.raises(EnvironmentFault, match=said):
            key()
    assert list(config.state_dir.iterdir()) == []
    file.write_bytes(bytes(32))
    file.chmod(0o600)
    assert len(key()) == 32


def test_a_key_is_asked_for_by_who_has_a_sensitive_output_alone_and_before_the_apply() -> None:
    def refused() -> bytes:
        raise EnvironmentFault("no key")

    def plan(**output: object) -> dict[str, object]:
        value = {"sensitive": output["sensitive"], **({"value": output["value"]} if "value" in output else {})}
        change = {"actions": ["create"], "after": output.get("value"), "after_unknown": "value" not in output}
        return {"planned_values": {"outputs": {"a": value}}, "output_changes": {"a": change}}

    scrubber = Scrubber()
    for plain in (plan(sensitive=False, value="x"), plan(sensitive=False)):
        assert list(planned_outputs(plain, Seal(refused), scrubber)) == ["a"]
    for sensitive in (plan(sensitive=True, value="x"), plan(sensitive=True)):
        with pytest.raises(EnvironmentFault, match="no key"):
            planned_outputs(sensitive, Seal(refused), scrubber)


def test_the_key_is_in_no_representation(config: HostConfig) -> None:
    key = DigestKey(config)
    text = key().hex()
    assert text not in repr(key) + repr(Seal(key))
