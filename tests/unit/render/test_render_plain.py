"""Plain manifests: which files and documents count, where each came from, and that one broken file refuses all."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.model.errors import CommitError
from gitopsd.model.units import Origin
from gitopsd.render import Renderer
from gitopsd.yamltext import MAX_BYTES
from tests.support.memory_cache import MemoryCache
from tests.support.trees import Link, MemoryTree, Submodule
from tests.unit.render.conftest import Rendering, manifest, stack


def test_every_manifest_below_the_path_is_rendered_with_its_place(rendering: Rendering) -> None:
    files = {
        "web/a.yaml": f"# two\n{manifest('a')}---\n\n{manifest('b')}",
        "web/deep/er/c.yml": manifest("c"),
        "web/d.json": '{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "d"}}',
        "web/README.md": "# no manifest",
        "other/x.yaml": manifest("x"),
    }
    found = {d.manifest["metadata"]["name"]: (d.component, d.origin) for d in rendering.documents(files, "web")}
    assert found == {
        "a": ("web", Origin("web/a.yaml", 2)),
        "b": ("web", Origin("web/a.yaml", 8)),
        "c": ("web", Origin("web/deep/er/c.yml", 1)),
        "d": ("web", Origin("web/d.json", 1)),
    }


def test_what_is_no_manifest_is_left_out(rendering: Rendering) -> None:
    files = {
        "gitopsd.yaml": "apiVersion: gitopsd.io/v1alpha1\nkind: Stack\n",
        ".github/workflows/ci.yaml": "apiVersion: v1\n",
        "a/.hidden/x.yaml": "{broken",
        "values.yaml": "replicas: 3\n",
        "list.yaml": "- 1\n",
        "empty.yaml": "",
        "comment.yaml": "# nothing\n---\n",
        "a/b.yaml": manifest("b"),
    }
    assert rendering.names(files) == ["b"]


NO_OBJECTS = {
    "text": ("just words\n", "x.yaml:1: expected a Kubernetes object, found text"),
    "a list": ("# why\n- a: 1\n", "x.yaml:2: expected a Kubernetes object, found a list"),
    "a mapping": ("data: {a: b}\n", "x.yaml:1: this is no Kubernetes object: it has neither apiVersion nor kind"),
    "a second document": (
        manifest("a") + "---\ndata: {}\n",
        "x.yaml:6: this is no Kubernetes object: it has neither apiVersion nor kind",
    ),
    "a pointer": (
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n",
        "x.yaml:1: this is a pointer of git LFS, and not the file that it stands for",
    ),
}


@pytest.mark.parametrize("name", NO_OBJECTS)
def test_what_is_no_manifest_is_an_error_in_a_directory_that_a_stack_file_names(
    rendering: Rendering, name: str
) -> None:
    """Left out, it would look as if the object that was there before had been removed, and be pruned."""
    text, expected = NO_OBJECTS[name]
    files = {"web/x.yaml": text, "web/.notes/y.yaml": text, "web/empty.yaml": "# nothing\n"}
    with pytest.raises(CommitError) as caught:
        Renderer(rendering.cache).render(MemoryTree(files), stack("web", section="declared"))
    assert [str(p).split(" (")[0] for p in caught.value.problems] == [expected.replace("x.yaml", "web/x.yaml")]
    assert rendering.documents(files, "web") == () or name == "a second document", "without a stack file it is skipped"


def test_a_submodule_in_a_directory_that_a_stack_file_names_is_an_error(rendering: Rendering) -> None:
    files: dict[str, str | Submodule] = {
        "web/a.yaml": manifest("a"),
        "web/more": Submodule(),
        "web/.git-hooks/x": Submodule(),
        "lib": Submodule(),
    }
    with pytest.raises(CommitError) as caught:
        Renderer(rendering.cache).render(MemoryTree(files), stack("web", section="declared"))
    assert [str(p).split(";")[0] for p in caught.value.problems] == ["web/more: this is a submodule"]


def test_a_suffix_in_capitals_is_one_too(rendering: Rendering) -> None:
    files = {"a.YAML": manifest("a"), "b.Yml": manifest("b")}
    assert rendering.names(files) == ["a", "b"]


def test_a_component_at_a_hidden_directory_is_rendered(rendering: Rendering) -> None:
    assert rendering.names({".deploy/a.yaml": manifest("a")}, ".deploy") == ["a"]


def test_lists_are_taken_apart_and_their_elements_know_their_lines(rendering: Rendering) -> None:
    text = """apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Namespace
    metadata: {name: a}
  - apiVersion: v1
    kind: List
    items:
      - {apiVersion: v1, kind: Namespace, metadata: {name: b}}
"""
    found = [(d.manifest["metadata"]["name"], d.origin.line) for d in rendering.documents({"l.yaml": text})]
    assert found == [("a", 4), ("b", 10)]
    named = {"x.yaml": "apiVersion: x/v1\nkind: AllowList\nmetadata: {name: own}\nitems: [1, 2]\n"}
    assert rendering.names(named) == ["own"]


FAULTS = {
    "no kind": ("apiVersion: v1\nmetadata: {name: a}\n", "x.yaml:1: kind: is missing; every object needs it"),
    "no apiVersion": (
        "kind: Pod\nmetadata: {name: a}\n",
        "x.yaml:1: Pod/a: apiVersion: is missing; every object needs it",
    ),
    "kind of another type": (
        "apiVersion: v1\nkind: [Pod]\nmetadata: {name: a}\n",
        "x.yaml:2: kind: expected text, found a list",
    ),
    "no metadata": ("apiVersion: v1\nkind: Pod\n", "x.yaml:1: metadata: this object has no metadata with a name"),
    "no name": ("apiVersion: v1\nkind: Pod\nmetadata:\n  x: 1\n", "x.yaml:3: metadata.name: this object has no name"),
    "generated name": (
        "apiVersion: v1\nkind: Pod\nmetadata:\n  generateName: a-\n",
        "x.yaml:4: metadata.generateName: an object needs a name of its own: a generated one changes at every apply",
    ),
    "number as name": (
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: 12\n",
        "x.yaml:4: metadata.name: expected text, found a number (put it in quotes)",
    ),
    "boolean as annotation": (
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    x: yes\n",
        "x.yaml:6: Pod/a: metadata.annotations.x: expected text, found true or false (put it in quotes)",
    ),
    "element of a list": (
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n- 1\n",
        "x.yaml:4: items[0].kind: is missing; every object needs it; "
        "x.yaml:5: items[1]: an element of a List has to be an object",
    ),
    "duplicate key": (manifest("a", x="1", y="2") + "  x: 3\n", "x.yaml:7: data.x: this key is already set on line 5"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_wrong_object_is_refused_at_its_line(rendering: Rendering, name: str) -> None:
    text, expected = FAULTS[name]
    assert "; ".join(rendering.faults({"x.yaml": text})) == expected


def test_everything_that_is_wrong_in_any_component_is_told_at_once(rendering: Rendering) -> None:
    files = {f"web/{number}.yaml": manifest(f"m{number}") for number in range(100)}
    files |= {
        "web/50.yaml": "a: 1\n  b: 2\n",
        "web/copy.yaml": "a: 1\n  b: 2\n",
        "api/x.yaml": "apiVersion: v1\n",
        "chart/Chart.yaml": "name: x\n",
    }
    assert rendering.faults(files, "web", "api", "gone", "chart", "web/1.yaml") == [
        "api/x.yaml:1: kind: is missing; every object needs it",
        "chart/Chart.yaml:1: Helm charts are not supported yet",
        "gitopsd.yaml:30: component gone: the commit has no directory gone",
        "gitopsd.yaml:50: component web-1.yaml: web/1.yaml is a file, not a directory",
        "web/50.yaml:2: mapping values are not allowed in this context",
        "web/copy.yaml:2: mapping values are not allowed in this context",
    ]


def test_a_kustomization_or_chart_inside_plain_manifests_is_not_mistaken_for_them(rendering: Rendering) -> None:
    files = {"a.yaml": manifest("a"), "b/kustomization.yaml": "resources: [c.yaml]\n", "d/Chart.yaml": "name: d\n"}
    faults = rendering.faults(files)
    assert [fault.split(":")[0] for fault in faults] == ["b/kustomization.yaml", "d/Chart.yaml"]


def test_symlinks_are_followed_inside_the_repository_only(rendering: Rendering) -> None:
    files: dict[str, str | Link] = {
        "shared/a.yaml": manifest("a"),
        "web/a.yaml": Link("../shared/a.yaml"),
        "web/notes.yaml": Link("../shared"),
        "web/linked": Link("../shared"),
        "alias": Link("web"),
    }
    (document,) = rendering.documents(files, "alias")
    assert (document.manifest["metadata"]["name"], document.origin) == ("a", Origin("web/a.yaml", 1))


@pytest.mark.parametrize("target", ["/etc/passwd", "../../etc/passwd", "x.yaml", "dir/../../../etc/passwd"])
def test_a_symlink_that_leaves_the_repository_is_refused_without_saying_where_to(
    rendering: Rendering, target: str
) -> None:
    (fault,) = rendering.faults({"web/x.yaml": Link(target), "web/dir/a.yaml": manifest("a")}, "web")
    assert fault == "web/x.yaml: this link leaves the repository, or leads back to itself"


def test_a_symlink_to_nothing_is_refused(rendering: Rendering) -> None:
    assert rendering.faults({"x.yaml": Link("gone.yaml")}) == ["x.yaml: this link leads to nothing"]


def test_an_oversize_file_is_refused_unread(rendering: Rendering) -> None:
    tree = MemoryTree({"big.yaml": b"#" * (MAX_BYTES + 1), "a.yaml": manifest("a")})
    with pytest.raises(CommitError, match=r"big\.yaml: the file has more than the 4 MiB allowed"):
        Renderer(rendering.cache).render(tree, stack(""))
    assert "big.yaml" not in tree.reads


def test_a_component_whose_path_leaves_by_a_symlink_is_refused(rendering: Rendering) -> None:
    (fault,) = rendering.faults({"web": Link("/etc")}, "web")
    assert fault == "gitopsd.yaml:10: component web: the path web leaves the repository"


def test_one_changed_file_of_four_thousand_parses_one_blob() -> None:
    files = {f"web/{number}.yaml": manifest(f"m{number}") for number in range(4000)}
    cache = MemoryCache()
    renderer = Renderer(cache)
    first = renderer.render(MemoryTree(files), stack("web"))
    changed = MemoryTree(files | {"web/7.yaml": manifest("m7", x="1")})
    second = renderer.render(changed, stack("web"))
    assert changed.reads == ["web/7.yaml"]
    assert (cache.gets, cache.puts) == (2, 2)
    assert [d for d in first if d.origin.file != "web/7.yaml"] == [d for d in second if d.origin.file != "web/7.yaml"]


def test_a_cached_render_equals_a_fresh_one(rendering: Rendering) -> None:
    text = manifest("a") + "  x: &x {n: 1e3, f: 1.5, big: 18446744073709551615, t: 2001-01-01}\n  y: *x\n  z: null\n"
    assert rendering.documents({"a.yaml": text}) == rendering.documents({"a.yaml": text})
    assert rendering.cache.puts == 1


def test_a_broken_file_is_not_cached(rendering: Rendering) -> None:
    files = {"a.yaml": "apiVersion: v1\n"}
    assert rendering.faults(files) == rendering.faults(files)
    assert rendering.cache.stored == {}


names = st.lists(st.from_regex(r"[a-z]{1,3}(/[a-z]{1,3})?", fullmatch=True), min_size=1, max_size=6, unique=True)


@given(names, st.randoms())
def test_the_order_of_files_does_not_matter(paths: list[str], random: Random) -> None:
    files = {f"{path}.yaml": manifest("m-" + path.replace("/", "-")) for path in paths}
    shuffled = list(files.items())
    random.shuffle(shuffled)
    renderer = Renderer(MemoryCache())
    one, other = MemoryTree(files), MemoryTree(dict(shuffled))
    assert renderer.render(one, stack("")) == renderer.render(other, stack(""))
    assert renderer.digest(one, stack("")) == renderer.digest(other, stack(""))
