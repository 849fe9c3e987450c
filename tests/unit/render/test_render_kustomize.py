"""Kustomizations, built by the real program: what is rendered, what is refused before it runs, what is cached."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.units import Origin
from gitopsd.render import Renderer, Tools
from gitopsd.render.references import is_remote
from tests.support.memory_cache import MemoryCache
from tests.support.trees import Link, MemoryTree
from tests.unit.render.conftest import Files, Rendering, manifest, stack

BASE = {
    "base/kustomization.yaml": "resources: [cm.yaml, ns]\nconfigMapGenerator:\n- {name: gen, files: [conf=app.conf]}\n",
    "base/cm.yaml": manifest("cm", a="'1'"),
    "base/app.conf": "x=1\n",
    "base/ns/kustomization.yml": "resources: [ns.yaml]\n",
    "base/ns/ns.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: ns}\n",
}
OVERLAY = BASE | {
    "over/prod/kustomization.yaml": "resources: [../../base]\nnamePrefix: p-\npatches: [{path: patch.yaml}]\n",
    "over/prod/patch.yaml": manifest("cm", b="two"),
    "over/prod/README.md": "# prod\n",
}


def test_base_and_overlay_are_built_and_their_objects_come_from_the_kustomization(rendering: Rendering) -> None:
    documents = rendering.documents(OVERLAY, "over/prod")
    assert {d.origin for d in documents} == {Origin("over/prod/kustomization.yaml", 1)}
    by_name = {d.manifest["metadata"]["name"]: d.manifest for d in documents}
    assert by_name["p-cm"]["data"] == {"a": "1", "b": "two"}
    generated = {name for name in by_name if name.startswith("p-gen-")}
    assert set(by_name) - generated == {"p-cm", "ns"}
    assert [by_name[name]["data"] for name in generated] == [{"conf": "x=1\n"}]


def test_the_same_kustomization_is_built_once(rendering: Rendering, monkeypatch: pytest.MonkeyPatch) -> None:
    first = rendering.documents(OVERLAY, "over/prod")
    monkeypatch.setattr(Tools, "build", lambda *_: pytest.fail("built again"))
    assert rendering.documents(OVERLAY | {"over/prod/README.md": "other"}, "over/prod") == first


def test_a_changed_base_is_built_again(rendering: Rendering) -> None:
    rendering.documents(OVERLAY, "over/prod")
    documents = rendering.documents(OVERLAY | {"base/cm.yaml": manifest("cm", a="'2'")}, "over/prod")
    assert {"a": "2", "b": "two"} in [d.manifest.get("data") for d in documents]


def test_symlinks_inside_the_repository_are_followed(rendering: Rendering) -> None:
    files: dict[str, str | Link] = {
        "web/kustomization.yaml": "resources: [alias]\n",
        "web/alias": Link("../shared"),
        "shared/kustomization.yaml": "resources: [cm.yaml]\n",
        "shared/cm.yaml": manifest("cm"),
    }
    assert rendering.names(files, "web") == ["cm"]


def test_plain_and_kustomize_components_are_rendered_together(rendering: Rendering) -> None:
    files = OVERLAY | {"plain/a.yaml": manifest("a")}
    assert {d.component for d in rendering.documents(files, "over/prod", "plain")} == {"over-prod", "plain"}
    assert (rendering.cache.gets, rendering.cache.puts) == (1, 1)


REMOTE = [
    "https://example.com/base.yaml",
    "HTTPS://example.com/base.yaml",
    "http://example.com/x",
    "github.com/kubernetes-sigs/kustomize//examples/helloWorld?ref=v1.0.6",
    "git@github.com:team/repo.git",
    "git::https://example.com/x",
    "gh:team/repo",
    "ssh://git@example.com/x",
    "file:///etc",
    "user@host.example:repo/path",
    "base?ref=main",
]


@pytest.mark.parametrize("text", REMOTE)
def test_a_remote_name_is_known_as_such(text: str) -> None:
    assert is_remote(text)


@pytest.mark.parametrize("text", ["../base", "a.yaml", "sub/dir.v1/x@2.yaml", "./ghost", "github.community/x"])
def test_a_path_is_not_taken_for_a_remote_name(text: str) -> None:
    assert not is_remote(text)


@pytest.mark.parametrize(
    "text",
    [
        "resources: ['{}']",
        "bases: ['{}']",
        "components: ['{}']",
        "crds: ['{}']",
        "configurations: ['{}']",
        "generators: ['{}']",
        "transformers: ['{}']",
        "validators: ['{}']",
        "patches: [{{path: '{}'}}]",
        "patchesStrategicMerge: ['{}']",
        "patchesJson6902: [{{path: '{}', target: {{kind: X, name: y, version: v1}}}}]",
        "replacements: [{{path: '{}'}}]",
        "configMapGenerator: [{{name: a, files: ['k={}']}}]",
        "configMapGenerator: [{{name: a, envs: ['{}']}}]",
        "secretGenerator: [{{name: a, env: '{}'}}]",
        "openapi: {{path: '{}'}}",
        "transformers: ['{{path: {}, kind: PatchTransformer}}']",
    ],
)
def test_a_remote_name_is_refused_at_its_line_before_anything_runs(
    rendering: Rendering, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(Tools, "build", lambda *_: pytest.fail("it ran"))
    files = {"a/kustomization.yaml": "namePrefix: x-\n" + text.format("https://e.example/x.yaml") + "\n"}
    (fault,) = rendering.faults(files, "a")
    assert fault.startswith("a/kustomization.yaml:2: ")
    assert "this leads to the network" in fault


def test_remote_names_of_bases_and_of_transformers_are_refused_too(rendering: Rendering) -> None:
    files = {
        "a/kustomization.yaml": "resources: [../b]\ntransformers: [t.yaml]\n",
        "a/t.yaml": "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: t}\npath: https://e.example/p\n",
        "b/kustomization.yaml": "resources:\n- x.yaml\n- https://e.example/x\n",
        "b/x.yaml": manifest("x"),
    }
    assert [fault.split(": this leads")[0] for fault in rendering.faults(files, "a")] == [
        "a/t.yaml:1: path",
        "b/kustomization.yaml:3: resources[1]",
    ]


REFUSED: dict[str, tuple[Files, str]] = {
    "missing file": (
        {"a/kustomization.yaml": "resources:\n- x.yaml\n"},
        "a/kustomization.yaml:2: resources[0]: the commit has no a/x.yaml",
    ),
    "absolute": (
        {"a/kustomization.yaml": "resources: [/etc/passwd]\n"},
        "a/kustomization.yaml:1: resources[0]: expected a path relative to the kustomization, not an absolute one",
    ),
    "outside": (
        {"a/kustomization.yaml": "resources: [../../x.yaml]\n"},
        "a/kustomization.yaml:1: resources[0]: this path leaves the repository",
    ),
    "outside by a link": (
        {"a/kustomization.yaml": "configMapGenerator: [{name: x, files: [l]}]\n", "a/l": Link("/etc/passwd")},
        "a/kustomization.yaml:1: configMapGenerator[0].files[0]: this path leaves the repository",
    ),
    "helm": (
        {"a/kustomization.yaml": "namePrefix: x\nhelmCharts:\n- name: x\n"},
        "a/kustomization.yaml:2: helmCharts: Helm charts are not supported yet",
    ),
    "two kustomizations": (
        {"a/kustomization.yaml": "{}", "a/Kustomization": "{}"},
        "a: several kustomizations in one directory: kustomization.yaml, Kustomization",
    ),
    "base without one": (
        {"a/kustomization.yaml": "resources: [../b]\n", "b/x.yaml": manifest("x")},
        "b: there is no kustomization",
    ),
    "duplicate key": (
        {"a/kustomization.yaml": "resources: []\nresources: []\n"},
        "a/kustomization.yaml:2: resources: this key is already set on line 1",
    ),
    "no mapping": (
        {"a/kustomization.yaml": "- x\n"},
        "a/kustomization.yaml:1: a kustomization has to be one mapping of keys",
    ),
    "broken manifest": (
        {"a/kustomization.yaml": "resources: [x.yaml]\n", "a/x.yaml": "a: 1\n  b: 2\n"},
        "a/x.yaml:2: mapping values are not allowed in this context",
    ),
    "directory as patch": (
        {"a/kustomization.yaml": "patches: [{path: d}]\n", "a/d/x.yaml": "{}"},
        "a/kustomization.yaml:1: patches[0].path: this is a directory, not a file",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_kustomization_that_cannot_be_built_is_refused_with_its_place(rendering: Rendering, name: str) -> None:
    files, expected = REFUSED[name]
    assert rendering.faults(files, "a") == [expected]


def test_what_kustomize_says_is_told_with_paths_of_the_repository(rendering: Rendering) -> None:
    files = {"a/kustomization.yaml": "resources: [../b/x.yaml]\n", "b/x.yaml": manifest("x")}
    (fault,) = rendering.faults(files, "a")
    assert fault.startswith("a/kustomization.yaml:1: accumulating resources")
    assert "'b/x.yaml' is not in or below 'a'" in fault
    assert "gitopsd-render-" not in fault


def test_an_unknown_field_of_a_kustomization_is_refused(rendering: Rendering) -> None:
    (fault,) = rendering.faults({"a/kustomization.yaml": "resource: [x.yaml]\n"}, "a")
    assert 'unknown field "resource"' in fault


def test_nothing_is_left_behind(rendering: Rendering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rendering.documents(OVERLAY, "over/prod")
    rendering.faults({"a/kustomization.yaml": "resource: [x.yaml]\n"}, "a")
    assert list(tmp_path.iterdir()) == []


def program(directory: Path, name: str, script: str) -> None:
    file = directory / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def test_without_a_tool_the_host_is_at_fault_not_the_commit(tmp_path: Path) -> None:
    renderer = Renderer(MemoryCache(), Tools(str(tmp_path)))
    for ask in (renderer.render, renderer.digest):
        with pytest.raises(EnvironmentFault, match="neither kustomize nor kubectl"):
            ask(MemoryTree(OVERLAY), stack("over/prod"))


def test_plain_components_need_no_tool(tmp_path: Path) -> None:
    renderer = Renderer(MemoryCache(), Tools(str(tmp_path)))
    assert renderer.render(MemoryTree({"a.yaml": manifest("a")}), stack(""))


def test_kustomize_is_preferred_and_gets_nothing_of_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "hunter2")
    version = 'if [ "$1" = version ]; then echo v9; exit 0; fi\n'
    show = "echo \"{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: {path: '$PATH', token: '$TOKEN'}}\""
    program(tmp_path, "kustomize", version + show)
    program(tmp_path, "kubectl", "exit 1")
    tools = Tools(str(tmp_path))
    assert tools.kustomize().version == "v9"
    (document,) = Renderer(MemoryCache(), tools).render(MemoryTree(BASE), stack("base"))
    assert document.manifest["data"] == {"path": "/nonexistent", "token": ""}


def test_another_version_of_the_tool_renders_again(tmp_path: Path) -> None:
    cache, tree, asked = MemoryCache(), MemoryTree(BASE), stack("base")
    digests = []
    for version in ("v1", "v22"):
        echo = f"echo '{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {version}}}}}'"
        program(tmp_path, "kustomize", f'if [ "$1" = version ]; then echo {version}; exit 0; fi\n{echo}')
        renderer = Renderer(cache, Tools(str(tmp_path)))
        digests.append(renderer.digest(tree, asked))
        assert renderer.render(tree, asked)[0].manifest["metadata"]["name"] == version
    assert digests[0] != digests[1]


def test_a_tool_that_does_not_end_is_ended_and_the_host_at_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gitopsd.render.tools._TIMEOUT", 0.3)
    mark = tmp_path / "pid"
    program(
        tmp_path, "kustomize", f'if [ "$1" = version ]; then echo v1; exit 0; fi\necho $$ > {mark}\nexec /bin/sleep 60'
    )
    with pytest.raises(EnvironmentFault, match="did not end within"):
        Renderer(MemoryCache(), Tools(str(tmp_path))).render(MemoryTree(BASE), stack("base"))
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
