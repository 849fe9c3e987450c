"""The short way to the directories that a configuration names gives what a YAML parser gives, or gives up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.config.glance import glance
from gitopsd.config.paths import DEFAULTS, quick_paths
from gitopsd.model.errors import GitopsdError
from gitopsd.yamltext import parse_documents

ORDINARY = """\
# the host
instance: prod   # its name
stateDir: /var/lib/other
keyDir: keys

sources:
- name: main
  url: https://git.example/team/infra.git
  verify: {gpgKeyring: "keyring.asc"}
clusters:
  - {name: default, kubeconfig: /etc/kubeconfig}
terraform: {parallelism: 10, env: x}
listen: 127.0.0.1:8480
"""


def test_an_ordinary_configuration_needs_no_parser() -> None:
    assert glance(ORDINARY.encode(), DEFAULTS) == {"stateDir": "/var/lib/other", "socket": DEFAULTS["socket"]}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing",
        '{"stateDir": "/a"}',
        "--- \nstateDir: /a\n",
        "  stateDir: /a\n",
        "stateDir: '/a'\n",
        "stateDir: state\n",
        "stateDir: 1\n",
        "stateDir: /a\n  and more\n",
        "stateDir:\n  /a\n",
        "stateDir: /a\nstateDir: /b\n",
        '"stateDir": /a\n',
        "stateDir : /a\n",
        "stateDir: &x /a\nsocket: *x\n",
        'instance: "a\nstateDir: /a\nb"\n',
        'sources:\n  - name: "a\nstateDir: /a\n  b"\n',
        "sources:\n  - [a,\nstateDir: /a\n  ]\n",
        "instance: |\n  it's\nstateDir: /a\n",
        "\ufeffstateDir: /a\n",
        "stateDir: /a\rsocket: /b\n",
        "\tstateDir: /a\n",
    ],
)
def test_what_is_not_plain_is_left_to_the_parser(text: str) -> None:
    assert glance(text.encode(), DEFAULTS) is None


LINES = st.sampled_from(
    [
        *ORDINARY.splitlines(),
        "stateDir: /a/b # c",
        "stateDir: a/b",
        "stateDir: /a#b",
        "stateDir: ~/b",
        "socket: run/x.sock",
        "socket:",
        "socket: {}",
        'socket: "/a/b"',
        "other: 'a: b' # c",
        'other: "x # y"',
        "  stateDir: /nested",
        "  more",
        "- /item",
        "---",
        "other: [",
        "  ]",
        "other: 'x",
        "  it's",
        "other: |",
        "",
    ]
)


@given(st.lists(LINES, max_size=8))
def test_a_glance_never_contradicts_the_parser(lines: list[str]) -> None:
    text = "\n".join(lines)
    seen = glance(text.encode(), DEFAULTS)
    if seen is None:
        return
    try:
        (document,) = parse_documents(text.encode(), "config.yaml")
    except GitopsdError:
        return  # the rest of the file is broken: that is for the commands to say which use it
    assert seen == {key: document.value.get(key, default) for key, default in DEFAULTS.items()}


@pytest.mark.parametrize("text", [ORDINARY, json.dumps({"stateDir": "/var/lib/other"})])
def test_both_ways_lead_to_the_same_directories(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    found = quick_paths(tmp_path / "config.yaml")
    assert (found.state_dir, found.runtime_dir) == (Path("/var/lib/other"), Path("/run/gitopsd"))
