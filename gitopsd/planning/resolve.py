"""From rendered documents to units: which object each one is, in which wave, and everything wrong with them at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from sys import intern
from typing import Any

from gitopsd.kinds.builtin import BUILTIN, custom_kinds
from gitopsd.kinds.normalise import canonical, group_kind, manifest_digest
from gitopsd.kinds.options import read_options
from gitopsd.model.codec import to_plain
from gitopsd.model.errors import CommitError, EnvironmentFault, Problem, raise_if
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Catalog
from gitopsd.model.modules import OutputRef
from gitopsd.model.spec import KubernetesComponent, StackSpec
from gitopsd.model.units import Desired, Document, KubernetesUnit, Manifest, Revision, TerraformUnit, UnitOptions
from gitopsd.planning.fill import misplaced, template
from gitopsd.planning.graph import check_order
from gitopsd.planning.seals import FALLBACK_NAMESPACE, sealed_unit, unsealed
from gitopsd.planning.traits import traits_of


@dataclass(frozen=True, slots=True)
class Scope:
    """What is known of a kind: whether its objects live in namespaces, and in which versions it is (or will be)."""

    namespaced: bool
    versions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Units:
    """What documents of one component become. `problems` are the commit's mistakes, `unserved` kinds that no cluster
    has now. `scopes` says of each kind in use (as `Kinds.scope` takes them) whether its objects live in namespaces."""

    found: tuple[KubernetesUnit, ...]
    scopes: Mapping[Use, bool]
    problems: tuple[Problem, ...] = ()
    unserved: tuple[Problem, ...] = ()


def resolve(
    spec: StackSpec,
    revision: Revision,
    digest: str,
    documents: Sequence[Document],
    catalogs: Mapping[str, Catalog],
    *,
    modules: Sequence[TerraformUnit] = (),
) -> Desired:
    """The units that `documents` and Terraform's root `modules` ask for.

    A cluster without a catalog is not asked about its kinds (an offline check): what is built in is known, the rest
    taken as namespaced. Raises CommitError with every mistake, or else EnvironmentFault with every kind that a
    cluster does not serve and no definition in the stack brings.
    """
    brought = {k: s for d in documents for k, s in brought_by(spec.manifests(d.component), [d]).items()}
    kinds = Kinds(brought, catalogs)
    parts = [units_of(spec.manifests(d.component), [d], kinds) for d in documents]
    found = {unit.id: unit for part in parts for unit in part.found}
    problems = [problem for part in parts for problem in part.problems]
    problems += duplicates([unit for part in parts for unit in part.found])
    units = dict(sorted(found.items()))
    roots = {module.id: module for module in sorted(modules, key=lambda m: m.id)}
    problems += check_order(spec, {**units, **roots})
    raise_if(problems)
    raise_if([problem for part in parts for problem in part.unserved], EnvironmentFault)
    return Desired(spec.name, revision, digest, units, roots)


def units_of(component: KubernetesComponent, documents: Iterable[Document], kinds: Kinds) -> Units:
    """The units of some documents of a component, in their order. Nothing in the answer depends on other documents but
    by what `kinds` says of theirs."""
    problems: list[Problem] = []
    unserved: list[Problem] = []
    found: list[KubernetesUnit] = []
    scopes: dict[Use, bool] = {}
    for source in documents:
        try:
            document, sealed = unsealed(source, component)
        except CommitError as error:
            problems += error.problems
            continue
        wrong = _malformed(document) or _located(document, misplaced(document.manifest, component.values))
        problems += wrong
        if wrong:
            continue
        use = _use(component, document)
        namespaced = kinds.scope(use)
        if isinstance(namespaced, Problem):
            unserved.append(_at(document, namespaced.message, remedy=namespaced.remedy))
            continue
        scopes[use] = namespaced
        try:
            unit, mistakes = _unit(component, document, namespaced=namespaced)
            unit = sealed_unit(unit, sealed) if sealed else unit
        except CommitError as error:
            problems += _located(document, error.problems)
            continue
        problems += mistakes
        found.append(unit)
    return Units(tuple(found), scopes, tuple(problems), tuple(unserved))


def _malformed(document: Document) -> list[Problem]:
    """What is missing for the document to be an object at all."""
    manifest = document.manifest
    metadata = manifest.get("metadata")
    found = [
        _at(document, "is missing or no text", field=key)
        for key in ("apiVersion", "kind")
        if not isinstance(manifest.get(key), str) or not manifest[key]
    ]
    if not isinstance(metadata, Mapping):
        return [*found, _at(document, "is missing or no mapping", field="metadata")]
    if not metadata.get("name") and metadata.get("generateName"):
        remedy = "give it a fixed metadata.name"
        found.append(_at(document, "makes another object each time", field="metadata.generateName", remedy=remedy))
    elif not isinstance(metadata.get("name"), str) or not metadata["name"]:
        found.append(_at(document, "is missing or no text", field="metadata.name"))
    if not isinstance(metadata.get("namespace") or "", str):
        found.append(_at(document, "is no text", field="metadata.namespace"))
    found += [
        _at(document, "is no mapping", field=f"metadata.{key}")
        for key in ("labels", "annotations")
        if not isinstance(metadata.get(key) or {}, Mapping)
    ]
    return found


def _unit(
    component: KubernetesComponent, document: Document, *, namespaced: bool
) -> tuple[KubernetesUnit, list[Problem]]:
    """The unit of a document, with the mistakes in its annotations. Raises CommitError for what cannot be sent."""
    ready, values = template(document.manifest, component.values)
    manifest = _placed(ready, component, namespaced=namespaced)
    group, kind = group_kind(manifest)
    metadata = manifest["metadata"]
    name, namespace = metadata["name"], metadata.get("namespace", "")
    unit = UnitId.shared(component.cluster, group, kind, namespace, name)
    options, wave, mistakes = read_options(manifest)
    return (
        KubernetesUnit(
            id=unit,
            component=component.name,
            order=(component.wave, wave),
            manifest=manifest,
            origin=document.origin,
            digest=intern(_digest(manifest, options, component.adopt, values)),  # a baseline has the same
            options=options,
            adopt=component.adopt,
            values=values,
            traits=traits_of(unit, manifest),
        ),
        [_at(document, text, unit=str(unit)) for text in mistakes],
    )


def _placed(manifest: Manifest, component: KubernetesComponent, *, namespaced: bool) -> Manifest:
    """The manifest with its namespace, or without one if its kind has none."""
    metadata: dict[str, Any] = {k: v for k, v in manifest["metadata"].items() if k != "namespace"}
    if namespaced:
        named: str = manifest["metadata"].get("namespace") or component.namespace or FALLBACK_NAMESPACE
        metadata["namespace"] = named
    return {**manifest, "metadata": metadata}


def _digest(manifest: Manifest, options: UnitOptions, adopt: Sequence[str], values: Mapping[str, OutputRef]) -> str:
    """Of the whole wish, with what the API server never sees, and whose outputs are still to be put in."""
    wanted = sorted(f"{name}={ref}" for name, ref in values.items())
    return manifest_digest(manifest, _options_text(options), *sorted(adopt), *wanted)


@lru_cache(maxsize=256)
def _options_text(options: UnitOptions) -> str:
    """Most objects have none of their own."""
    return canonical(to_plain(options)).decode()


def duplicates(units: Iterable[KubernetesUnit]) -> list[Problem]:
    """A problem for each unit whose object another one asks for, too."""
    problems: list[Problem] = []
    seen: dict[UnitId, KubernetesUnit] = {}
    for unit in sorted(units, key=lambda u: (u.origin, u.component)):
        first = seen.setdefault(unit.id, unit)
        if first is not unit:
            both = "" if first.component == unit.component else f" (components {first.component} and {unit.component})"
            problems.append(
                Problem(
                    f"is asked for twice: also at {first.origin.file}:{first.origin.line}{both}",
                    file=unit.origin.file,
                    line=unit.origin.line,
                    unit=str(unit.id),
                    remedy="keep one of the two",
                )
            )
    return problems


def _located(document: Document, problems: Iterable[Problem]) -> list[Problem]:
    """Problems that know their field alone, with the document's place."""
    return [_at(document, p.message, field=p.field, remedy=p.remedy) for p in problems]


def _at(document: Document, message: str, *, field: str = "", unit: str = "", remedy: str = "") -> Problem:
    return Problem(
        message,
        file=document.origin.file,
        line=document.origin.line,
        field=field,
        unit=unit or _rough_name(document.manifest),
        remedy=remedy,
    )


def _rough_name(manifest: Manifest) -> str:
    """What to call a document that has no identity yet."""
    metadata = manifest.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return "/".join(str(part) for part in (manifest.get("kind"), name) if part)


# ---------------------------------------------------------------- kinds


Use = tuple[str, str, str, str]
"""A kind as a document names it: (cluster, group, kind, version)."""

Brought = Mapping[tuple[str, str, str], Scope]
"""What definitions in a stack bring, by (cluster, group, kind)."""


def brought_by(component: KubernetesComponent, documents: Iterable[Document]) -> dict[tuple[str, str, str], Scope]:
    """The kinds that definitions among the documents of a component bring to its cluster."""
    found = {}
    for document in documents:
        custom = custom_kinds(document.manifest)
        if custom is not None:
            scope = Scope(custom.namespaced, frozenset(custom.versions))
            found[component.cluster, custom.group, custom.kind] = scope
    return found


def _use(component: KubernetesComponent, document: Document) -> Use:
    group, kind = group_kind(document.manifest)
    return component.cluster, group, kind, str(document.manifest["apiVersion"]).rpartition("/")[2]


class Kinds:
    """What every kind is, from the clusters' catalogs, the definitions in the stack, and what is built in."""

    def __init__(self, brought: Brought, catalogs: Mapping[str, Catalog]) -> None:
        self._brought, self._catalogs = brought, catalogs
        self._known: dict[Use, bool | Problem] = {}

    @classmethod
    def given(cls, scopes: Mapping[Use, bool]) -> Kinds:
        """Kinds of which all that matters was found out before."""
        kinds = cls({}, {})
        kinds._known.update(scopes)
        return kinds

    def scope(self, use: Use) -> bool | Problem:
        """Whether objects of a kind live in namespaces, or why its cluster cannot take them."""
        found = self._known.get(use)
        if found is None:
            found = self._known[use] = self._scope(*use)
        return found

    def _scope(self, cluster: str, group: str, kind: str, version: str) -> bool | Problem:
        brought = self._brought.get((cluster, group, kind))
        catalog = self._catalogs.get(cluster)
        if catalog is None:
            known = BUILTIN.get((group, kind))
            return brought.namespaced if brought is not None else known is None or known.namespaced
        served = catalog.find(group, kind)
        versions = frozenset(served.versions if served else ()) | (brought.versions if brought else frozenset())
        if version in versions:
            # The cluster's word goes first: the scope of a served kind cannot change.
            return served.namespaced if served else brought is None or brought.namespaced
        named = f"{group}/{version}" if group else version
        text = f"cluster {cluster} serves no Kind {kind} of {named}"
        if versions:
            remedy = f"it has {', '.join(sorted(versions))}: change apiVersion"
        elif group:
            remedy = "install its CustomResourceDefinition, or add it to the stack"
        else:
            remedy = "check the spelling of apiVersion and kind"
        return Problem(text, remedy=remedy)
