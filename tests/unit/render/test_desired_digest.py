"""The desired digest is equal if, and only if, two commits ask the same of a stack."""

from __future__ import annotations

import pytest

from tests.support.trees import Link
from tests.unit.render.conftest import Files, Rendering, manifest

PLAIN: Files = {
    "gitopsd.yaml": "kind: Stack",
    "README.md": "read me",
    "web/a.yaml": manifest("a"),
    "web/b.yaml": manifest("b"),
    "web/README.md": "read me",
    "web/link.yaml": Link("../shared/c.yaml"),
    "shared/c.yaml": manifest("c"),
    "shared/unused.yaml": manifest("d"),
}
KUSTOMIZE: Files = {
    "web/kustomization.yaml": "resources: [../base]\nconfigMapGenerator: [{name: c, files: [app.conf]}]\n",
    "web/app.conf": "x=1",
    "web/notes.yaml": "unused: true",
    "base/kustomization.yaml": "resources: [a.yaml]\n",
    "base/a.yaml": manifest("a"),
    "base/notes.yaml": "unused: true",
    "other/x.yaml": manifest("x"),
}

SAME: dict[str, tuple[Files, Files]] = {
    "a README beside the stack file": (PLAIN, {"README.md": "other"}),
    "a README inside a plain component": (PLAIN, {"web/README.md": "other"}),
    "a new file that is no manifest": (PLAIN, {"web/run.sh": "echo"}),
    "a manifest of nobody": (PLAIN, {"shared/unused.yaml": manifest("e")}),
    "a workflow in a hidden directory": (PLAIN, {"web/.github/x.yaml": manifest("e")}),
    "the stack file's comments (its section is given)": (PLAIN, {"gitopsd.yaml": "kind: Stack # note"}),
    "a file that the kustomization does not name": (KUSTOMIZE, {"web/notes.yaml": "unused: false"}),
    "a file that the base does not name": (KUSTOMIZE, {"base/notes.yaml": "unused: false"}),
    "another directory": (KUSTOMIZE, {"other/x.yaml": manifest("y")}),
}
OTHER: dict[str, tuple[Files, Files]] = {
    "a changed manifest": (PLAIN, {"web/a.yaml": manifest("a", x="1")}),
    "a new manifest": (PLAIN, {"web/deep/new.yml": manifest("n")}),
    "a manifest behind a symlink": (PLAIN, {"shared/c.yaml": manifest("c", x="1")}),
    "a symlink that leads elsewhere": (PLAIN, {"web/link.yaml": Link("../shared/unused.yaml")}),
    "a symlink that leaves": (PLAIN, {"web/link.yaml": Link("/etc/passwd")}),
    "a kustomization in place of plain files": (PLAIN, {"web/kustomization.yaml": "resources: [a.yaml]\n"}),
    "the kustomization": (KUSTOMIZE, {"web/kustomization.yaml": "resources: [../base]\n"}),
    "a file of a generator": (KUSTOMIZE, {"web/app.conf": "x=2"}),
    "a manifest of the base": (KUSTOMIZE, {"base/a.yaml": manifest("a", x="1")}),
    "the base's kustomization": (KUSTOMIZE, {"base/kustomization.yaml": "resources: [a.yaml]\nnamePrefix: x-\n"}),
    "a kustomization that breaks": (KUSTOMIZE, {"base/kustomization.yaml": "resources: [gone.yaml]\n"}),
}


@pytest.mark.parametrize("name", SAME)
def test_what_asks_the_same_has_the_same_digest(rendering: Rendering, name: str) -> None:
    files, change = SAME[name]
    assert rendering.digest({**files, **change}, "web") == rendering.digest(files, "web")


@pytest.mark.parametrize("name", OTHER)
def test_what_asks_for_something_else_has_another_digest(rendering: Rendering, name: str) -> None:
    files, change = OTHER[name]
    assert rendering.digest({**files, **change}, "web") != rendering.digest(files, "web")


def test_a_removed_manifest_changes_the_digest(rendering: Rendering) -> None:
    fewer = {path: text for path, text in PLAIN.items() if path != "web/b.yaml"}
    assert rendering.digest(fewer, "web") != rendering.digest(PLAIN, "web")


def test_the_section_and_the_components_count(rendering: Rendering) -> None:
    digests = {
        rendering.digest(PLAIN, "web"),
        rendering.digest(PLAIN, "web", section='{"drift":"report"}'),
        rendering.digest(PLAIN, "web", "shared"),
        rendering.digest(PLAIN, "shared"),
        rendering.digest(PLAIN, "gone"),
    }
    assert len(digests) == 5


def test_a_renamed_manifest_asks_the_same(rendering: Rendering) -> None:
    renamed = {path.replace("web/b", "web/deep/z"): text for path, text in PLAIN.items()}
    assert rendering.digest(renamed, "web") == rendering.digest(PLAIN, "web")


def test_while_a_kustomization_is_broken_every_change_counts(rendering: Rendering) -> None:
    broken: Files = {**KUSTOMIZE, "base/kustomization.yaml": "resources: [gone.yaml]\n"}
    assert rendering.digest(broken, "web") == rendering.digest(dict(broken), "web")
    assert rendering.digest(broken, "web") != rendering.digest({**broken, "other/x.yaml": manifest("y")}, "web")


def test_a_digest_parses_no_manifest_and_runs_no_build(rendering: Rendering) -> None:
    assert rendering.digest({"web/a.yaml": "{broken"}, "web")
    assert rendering.cache.gets == 0


def test_a_stack_without_terraform_has_the_digest_that_it_had_before_there_was_any(rendering: Rendering) -> None:
    """Hosts remember digests: another one for the same commit would be a run, and forget what is quarantined."""
    digest = rendering.digest(PLAIN, "web", "shared", section="x")
    assert digest == "4a227dbc77c4bcbcfb2db049da7f431225ff55082a17e84e45828f949469b678"
