"""From rendered documents to units: which object each one is, in which wave, and everything wrong with them at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
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


@dataclass(frozen=True, slots=True)
class _Scope:
    """What is known of a kind: whether its objects live in namespaces, and in which versions it is (or will be)."""

    namespaced: bool
    versions: frozenset[str]


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
    kinds = _Kinds(spec, documents, catalogs)
    problems: list[Problem] = []
    unserved: list[Problem] = []
    found: list[KubernetesUnit] = []
    for source in documents:
        component = spec.manifests(source.component)
        try:
            document, sealed = unsealed(source, component)
        except CommitError as error:
            problems += error.problems
            continue
        wrong = _malformed(document) or _located(document, misplaced(document.manifest, component.values))
        problems += wrong
        if wrong:
            continue
        scope = kinds.scope(component.cluster, document)
        if isinstance(scope, Problem):
            unserved.append(scope)
            continue
        try:
            unit, mistakes = _unit(component, document, namespaced=scope.namespaced)
            unit = sealed_unit(unit, sealed) if sealed else unit
        except CommitError as error:
            problems += _located(document, error.problems)
            continue
        problems += mistakes
        found.append(unit)
    problems += _duplicates(found)
    units = {unit.id: unit for unit in sorted(found, key=lambda u: u.id)}
    roots = {module.id: module for module in sorted(modules, key=lambda m: m.id)}
    problems += check_order(spec, {**units, **roots})
    raise_if(problems)
    raise_if(unserved, EnvironmentFault)
    return Desired(spec.name, revision, digest, units, roots)


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
    unit = UnitId(component.cluster, group, kind, namespace, name)
    options, wave, mistakes = read_options(manifest)
    return (
        KubernetesUnit(
            id=unit,
            component=component.name,
            order=(component.wave, wave),
            manifest=manifest,
            origin=document.origin,
            digest=_digest(manifest, options, component.adopt, values),
            options=options,
            adopt=component.adopt,
            values=values,
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


def _duplicates(units: Iterable[KubernetesUnit]) -> list[Problem]:
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


class _Kinds:
    """What every kind is, from the clusters' catalogs, the definitions among the documents, and what is built in."""

    def __init__(self, spec: StackSpec, documents: Iterable[Document], catalogs: Mapping[str, Catalog]) -> None:
        self.catalogs = catalogs
        self.brought: dict[tuple[str, str, str], _Scope] = {}
        for document in documents:
            custom = custom_kinds(document.manifest)
            if custom is not None:
                cluster = spec.manifests(document.component).cluster
                scope = _Scope(custom.namespaced, frozenset(custom.versions))
                self.brought[cluster, custom.group, custom.kind] = scope

    def scope(self, cluster: str, document: Document) -> _Scope | Problem:
        """The scope of a document's kind, or why its cluster cannot take it."""
        group, kind = group_kind(document.manifest)
        version = str(document.manifest["apiVersion"]).rpartition("/")[2]
        brought = self.brought.get((cluster, group, kind))
        catalog = self.catalogs.get(cluster)
        if catalog is None:
            if brought is not None:
                return brought
            known = BUILTIN.get((group, kind))
            return _Scope(known is None or known.namespaced, frozenset({version}))
        served = catalog.find(group, kind)
        versions = frozenset(served.versions if served else ()) | (brought.versions if brought else frozenset())
        if version in versions:
            # The cluster's word goes first: the scope of a served kind cannot change.
            return _Scope(served.namespaced, versions) if served else brought or _Scope(True, versions)
        text = f"cluster {cluster} serves no Kind {kind} of {document.manifest['apiVersion']}"
        if versions:
            remedy = f"it has {', '.join(sorted(versions))}: change apiVersion"
        elif group:
            remedy = "install its CustomResourceDefinition, or add it to the stack"
        else:
            remedy = "check the spelling of apiVersion and kind"
        return _at(document, text, remedy=remedy)
