"""A commit costs what it changes, asks for the same as if nothing had been known before, and leaves no manifest in
memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gitopsd.kinds.builtin import BUILTIN
from gitopsd.model.errors import CommitError, EnvironmentFault
from gitopsd.model.live import Catalog, Resource
from gitopsd.model.modules import OutputRef
from gitopsd.model.spec import KubernetesComponent, StackSpec
from gitopsd.model.units import Desired, KubernetesUnit
from gitopsd.render import Renderer, Tools
from gitopsd.render.tools import Kustomize
from gitopsd.stack.shelf import AT_ONCE, Shelf, Stored
from tests.support.memory_cache import MemoryCache
from tests.support.memory_source import MemorySource

SERVED = Catalog(
    {key: Resource(b.group, b.kind, b.kind.lower(), b.namespaced, ("v1", "v2")) for key, b in BUILTIN.items()}
)
APP = KubernetesComponent("app", "app", namespace="web")
BASE = KubernetesComponent("base", "base", wave=-1)
HOST = OutputRef("network", "host")


def doc(kind: str, name: str, group: str = "", **body: Any) -> dict[str, Any]:
    return {"apiVersion": f"{group}/v1" if group else "v1", "kind": kind, "metadata": {"name": name}, **body}


def definition(scope: str = "Namespaced") -> dict[str, Any]:
    names = {"kind": "Widget", "plural": "widgets"}
    spec = {"group": "example.org", "names": names, "scope": scope, "versions": [{"name": "v1", "served": True}]}
    return doc("CustomResourceDefinition", "widgets.example.org", "apiextensions.k8s.io", spec=spec)


SCOPES = ["Namespaced", "Cluster"]


def with_wave(document: dict[str, Any], wave: str) -> dict[str, Any]:
    return {**document, "metadata": {**document["metadata"], "annotations": {"gitopsd.io/wave": wave}}}


def scaling(name: str) -> dict[str, Any]:
    return {"scaleTargetRef": {"kind": "Deployment", "name": name}}


@dataclass(frozen=True)
class Moved:
    """A file that is renamed."""

    path: str


def stack(*components: KubernetesComponent) -> StackSpec:
    return StackSpec("web", "main", "gitopsd.yaml", components, section="declared")


class CountedTools(Tools):
    """A kustomize that only puts the files of its directory together, and counts how often it is run."""

    def __init__(self) -> None:
        super().__init__()
        self.version, self.built = "v5", 0

    def kustomize(self) -> Kustomize:
        return Kustomize(("kustomize",), self.version)

    def build(self, kustomize: Kustomize, directory: Path, scratch: Path) -> bytes:
        self.built += 1
        names = yaml.safe_load((directory / "kustomization.yaml").read_text())["resources"]
        return b"---\n".join((directory / name).read_bytes() for name in names)


@dataclass
class Host:
    """A repository, what its clusters serve, and a shelf over them. `asked` tells whether clusters were asked anew."""

    source: MemorySource = field(default_factory=MemorySource)
    cache: MemoryCache = field(default_factory=MemoryCache)
    served: Catalog = SERVED
    asked: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tools = CountedTools()
        self.renderer = Renderer(self.cache, self.tools)
        self.shelf = Shelf(self.renderer, self.source.tree)

    def push(self, files: Mapping[str, Any], spec: StackSpec) -> Desired:
        """The units of a new commit with these files: text, or documents."""
        texts = {p: f if isinstance(f, str) else yaml.safe_dump_all(f) for p, f in files.items()}
        return self.desired(self.source.commit(texts), spec)

    def desired(self, commit: str, spec: StackSpec) -> Desired:
        return self.shelf.desired(spec, self.source.revision(commit), commit, catalogs=self.catalogs)

    def catalogs(self, anew: bool) -> Mapping[str, Catalog]:
        self.asked.append(anew)
        return {"default": self.served}

    def reads(self, commit: str) -> list[str]:
        return self.source.tree(commit).reads


def held(desired: Desired) -> int:
    return sum(isinstance(u.manifest, Stored) and u.manifest.held for u in desired.units.values())


def light(unit: KubernetesUnit) -> KubernetesUnit:
    return replace(unit, manifest={})


# ---------------------------------------------------------------- what a commit costs


def many(count: int, changed: str = "") -> dict[str, Any]:
    return {
        f"app/{n:05}.yaml": [doc("ConfigMap", f"m{n}", data={"a": changed if n == 3 else "1"})] for n in range(count)
    }


def test_a_commit_that_changes_one_file_of_four_thousand_reads_one_blob_and_makes_one_unit() -> None:
    host = Host()
    before = host.push(many(4000), stack(APP))
    gets, stored = host.cache.gets, set(host.cache.stored)
    after = host.push(many(4000, "2"), stack(APP))
    assert host.reads(after.revision.commit) == ["app/00003.yaml"]
    assert len(set(host.cache.stored) - stored) == 1
    assert host.cache.gets == gets + 1
    new = [u for u in after.units.values() if u is not before.units[u.id]]
    assert [(u.id.name, u.manifest["data"]) for u in new] == [("m3", {"a": "2"})]
    assert list(after.units) == sorted(before.units)


def test_at_rest_no_manifest_is_held_and_each_can_be_read_again() -> None:
    host = Host()
    first = host.push(many(5), stack(APP))
    assert held(first) == 5  # a run is about to need them
    host.shelf.rest()
    assert held(first) == 0
    assert first.units[next(iter(first.units))].manifest["data"] == {"a": "1"}
    assert held(first) == 1
    host.shelf.rest()
    assert held(first) == 0
    assert "data" not in repr(first)


def test_the_first_look_at_a_big_stack_holds_no_manifest_at_all() -> None:
    assert held(Host().push(many(AT_ONCE + 1), stack(APP))) == 0


def test_manifests_are_read_together_and_only_those_that_are_asked_for() -> None:
    host = Host()
    desired = host.push(many(AT_ONCE + 1), stack(APP))
    gets = host.cache.gets
    some = list(desired.units.values())[:7]
    host.shelf.load(some)
    assert host.cache.gets == gets + 1
    assert held(desired) == 7


@pytest.mark.parametrize("lost", [False, True])
def test_a_lost_cache_costs_a_read_of_the_blob_and_nothing_else(lost: bool) -> None:
    host = Host()
    desired = host.push({"app/a.yaml": [doc("ConfigMap", "a", data={"k": "v"}), doc("ConfigMap", "b")]}, stack(APP))
    host.shelf.rest()
    host.reads(desired.revision.commit).clear()
    if lost:
        host.cache.stored.clear()
    assert [dict(u.manifest).get("data") for u in desired.units.values()] == [{"k": "v"}, None]
    assert host.reads(desired.revision.commit) == (["app/a.yaml"] if lost else [])


def test_a_manifest_whose_commit_and_cache_are_gone_is_a_fault_of_the_environment() -> None:
    host = Host()
    desired = host.push({"app/a.yaml": [doc("ConfigMap", "a")], "app/b.yaml": [doc("ConfigMap", "b")]}, stack(APP))
    host.shelf.rest()
    host.cache.put(dict.fromkeys(host.cache.stored, b"[]"))
    with pytest.raises(EnvironmentFault, match=r"app/a.yaml is rendered otherwise"):
        host.shelf.load(desired.units.values())
    assert host.shelf.known(desired.revision.commit) is None


def test_two_commits_share_what_they_have_in_common_and_older_ones_go() -> None:
    host = Host()
    commits = [host.push(many(10, str(n)), stack(APP)).revision.commit for n in range(4)]
    assert [host.shelf.known(commit) is not None for commit in commits] == [False, False, True, True]
    again = host.push(many(10, "2"), stack(APP))  # as the third one, which is kept
    assert host.reads(again.revision.commit) == []


def test_a_changed_component_makes_its_own_units_anew_out_of_the_cache() -> None:
    host = Host()
    files = {"app/a.yaml": [doc("ConfigMap", "a")], "base/b.yaml": [doc("ConfigMap", "b")]}
    before = host.push(files, stack(APP, BASE))
    after = host.push(files, stack(replace(APP, namespace="other", wave=3), replace(BASE, line=77)))
    assert host.reads(after.revision.commit) == []
    assert [(u.id.namespace, u.order) for u in after.units.values() if u.component == "app"] == [("other", (3, 0))]
    assert next(u for u in after.units.values() if u.component == "base") in before.units.values()


def test_a_kustomization_is_built_again_only_if_something_that_it_reads_has_changed() -> None:
    host = Host()
    files = {
        "app/kustomization.yaml": "resources: [a.yaml, ../shared/b.yaml]\n",
        "app/a.yaml": [doc("ConfigMap", "a")],
        "app/unused.yaml": [doc("ConfigMap", "unused")],
        "shared/b.yaml": [doc("ConfigMap", "b")],
    }
    before = host.push(files, stack(APP))
    host.push({**files, "app/unused.yaml": [doc("ConfigMap", "edited")]}, stack(APP))
    assert (host.tools.built, len(before.units)) == (1, 2)
    after = host.push({**files, "shared/b.yaml": [doc("ConfigMap", "b", data={"k": "v"})]}, stack(APP))
    assert host.tools.built == 2
    host.shelf.rest()
    assert [u.manifest.get("data") for d in (before, after) for u in d.units.values()] == [None, None, None, {"k": "v"}]
    host.tools.version = "v6"
    host.push({**files, "notes.txt": "of no importance"}, stack(APP))
    assert host.tools.built == 3  # another program may build it otherwise


# ---------------------------------------------------------------- kinds come and go


def test_a_definition_that_comes_makes_units_of_what_was_not_served() -> None:
    host = Host()
    widget = {"app/w.yaml": [doc("Widget", "w", "example.org")], "base/b.yaml": [doc("ConfigMap", "b")]}
    with pytest.raises(EnvironmentFault, match="serves no Kind Widget"):
        host.push(widget, stack(APP, BASE))
    assert host.asked[-1]  # the cluster was asked anew before it was said
    made = host.push({**widget, "base/crd.yaml": [definition()]}, stack(APP, BASE))
    assert {u.id.kind for u in made.units.values()} == {"Widget", "ConfigMap", "CustomResourceDefinition"}


def test_a_definition_that_changes_its_scope_moves_its_objects() -> None:
    host = Host()
    widget = {"app/w.yaml": [doc("Widget", "w", "example.org")], "base/b.yaml": [doc("ConfigMap", "b")]}
    first = host.push({**widget, "base/crd.yaml": [definition()]}, stack(APP, BASE))
    second = host.push({**widget, "base/crd.yaml": [definition("Cluster")]}, stack(APP, BASE))
    third = host.push({**widget, "base/crd.yaml": [definition()]}, stack(APP, BASE))
    places = [[u.id.namespace for u in d.units.values() if u.id.kind == "Widget"] for d in (first, second, third)]
    assert places == [["web"], [""], ["web"]]
    host.shelf.rest()
    assert [d.units[u].manifest["metadata"].get("namespace", "") for d in (first, second) for u in d.units
            if u.kind == "Widget"] == ["web", ""]  # fmt: skip
    with pytest.raises(EnvironmentFault):
        host.push(widget, stack(APP, BASE))


# ---------------------------------------------------------------- the same as from scratch

NAMES = st.sampled_from(["a", "b"])
WAVES = st.sampled_from(["0", "0", "5", "-3", "-3", "x"])
DOCUMENTS = st.one_of(
    st.builds(lambda n, v: doc("ConfigMap", n, data={"k": v}), NAMES, st.sampled_from(["1", "2", "${host}"])),
    st.builds(lambda n, w: with_wave(doc("Secret", n), w), NAMES, WAVES),
    st.builds(lambda n: doc("Widget", n, "example.org"), NAMES),
    st.builds(lambda n, v: doc("Job", n, "batch", spec={"x": v}), NAMES, NAMES),
    st.builds(lambda n, t: doc("HorizontalPodAutoscaler", n, "autoscaling", spec=scaling(t)), NAMES, NAMES),
)
SHARED = {
    "base/crd.yaml": st.builds(lambda s, w: [with_wave(definition(s), w)], st.sampled_from(SCOPES), WAVES),
    "base/web.yaml": st.builds(lambda w: [with_wave(doc("Namespace", "web"), w)], WAVES),
}
PATHS = ["app/a.yaml", "app/b.yaml", "app/sub/a.yaml", "base/a.yaml", "base/b.json", "notes.txt"]
BROKEN = st.sampled_from(["a: [", "apiVersion: v1\nkind: X\n"])
EDITS = st.one_of(
    st.tuples(st.sampled_from(PATHS), st.lists(DOCUMENTS, min_size=1, max_size=3)),
    st.tuples(st.sampled_from(PATHS), st.lists(DOCUMENTS, min_size=1, max_size=3)),
    *(st.tuples(st.just(path), contents) for path, contents in SHARED.items()),
    st.tuples(st.sampled_from([*PATHS, *SHARED]), st.none()),
    st.tuples(st.sampled_from(PATHS), st.sampled_from(PATHS).map(Moved)),
    st.tuples(st.sampled_from(PATHS), BROKEN),
)
COMPONENTS = st.builds(
    lambda app, tied: (app, replace(BASE, wave=app.wave, depends_on=("app",)) if tied else BASE),
    st.builds(
        KubernetesComponent,
        st.just("app"),
        st.sampled_from(["app", "app", "app/sub"]),
        namespace=st.sampled_from(["web", "other"]),
        wave=st.sampled_from([0, 10]),
        adopt=st.sampled_from([(), ("helm",)]),
        values=st.sampled_from([{}, {"host": HOST}]),
        line=st.integers(1, 3),
    ),
    st.sampled_from([False, False, True]),
)
STEP = st.tuples(
    st.lists(EDITS, min_size=1, max_size=2), st.none() | st.none() | COMPONENTS, st.sampled_from(["", "rest", "lose"])
)


def written(path: str, content: Any) -> str:
    """A file's text; its objects have names of their own, but for what is shared."""
    if isinstance(content, str):
        return content
    suffix = "" if path in SHARED else path.replace("/", "-").partition(".")[0]
    named = [{**d, "metadata": {**d["metadata"], "name": d["metadata"]["name"] + suffix}} for d in content]
    return yaml.safe_dump_all(named)


def edited(files: Mapping[str, Any], edits: Any) -> dict[str, Any]:
    made = dict(files)
    for path, content in edits:
        if content is None:
            made.pop(path, None)
        elif isinstance(content, Moved):
            made[path] = made.pop(content.path, made.get(path, "notes: {}"))
        else:
            made[path] = content
    return made


def outcome(host: Host, commit: str, spec: StackSpec) -> Any:
    try:
        return host.desired(commit, spec)
    except (CommitError, EnvironmentFault) as error:
        return type(error), sorted(error.problems, key=str)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, min_size=3, max_size=8))
def test_after_any_commits_the_units_are_those_of_a_render_from_scratch(steps: Any) -> None:
    """Files are added, edited, renamed, deleted and broken, components change, definitions come and go, the cache is
    lost: nothing that was known before shows in the answer, and manifests read later are those of their commit."""
    host = Host()
    files: dict[str, Any] = {
        f"{directory}/z.yaml": [doc("ConfigMap", directory.replace("/", "-"))]
        for directory in ("app", "app/sub", "base")
    }
    files["base/crd.yaml"] = [definition()]
    spec = stack(APP, BASE)
    made: list[tuple[Desired, Desired]] = []
    for edits, components, then in steps:
        files = edited(files, edits)
        spec = stack(*components) if components else spec
        commit = host.source.commit({path: written(path, content) for path, content in files.items()})
        found, scratch = outcome(host, commit, spec), outcome(Host(host.source), commit, spec)
        if isinstance(found, Desired) and isinstance(scratch, Desired):
            assert [light(u) for u in found.units.values()] == [light(u) for u in scratch.units.values()]
            made = [*made, (found, scratch)][-2:]  # of older ones nothing may be left, neither here nor there
        else:
            assert found == scratch
            files = edited(files, [(path, None) for path, _ in edits])  # somebody mends it
        if then == "rest":
            host.shelf.rest()
        elif then == "lose":
            host.cache.stored.clear()
    for found, scratch in made:
        assert [dict(u.manifest) for u in found.units.values()] == [dict(u.manifest) for u in scratch.units.values()]
