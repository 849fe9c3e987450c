"""The stack file of a repository: what is delivered together, in which order, and what follows a failure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import orjson

from gitopsd.config.relations import Context, relation_problems
from gitopsd.config.repopath import repository_path
from gitopsd.config.schema import Place, check, duplicates
from gitopsd.config.stackmodel import (
    ComponentSection,
    GateSection,
    KubernetesSection,
    StackDocument,
    TerraformSection,
    VariableSection,
    output_ref,
)
from gitopsd.model.errors import CommitError, Problem, raise_if
from gitopsd.model.ids import DEFAULT_CLUSTER
from gitopsd.model.modules import OutputRef
from gitopsd.model.spec import (
    ApprovalMode,
    Component,
    DriftMode,
    GateSpec,
    HttpCheck,
    KubernetesComponent,
    OnFailure,
    StackSpec,
    TerraformComponent,
    Variable,
)
from gitopsd.yamltext import LineIndex, Located, parse_documents


def load_stacks(
    text: bytes | None, *, file: str, source: str, source_path: str, clusters: Collection[str]
) -> tuple[StackSpec, ...]:
    """The stacks that a stack file describes, in its order; without a file (None) the one stack that its source is.

    `source_path` is the file's directory in the repository, `clusters` are the names that the host knows. Raises
    CommitError with everything that is wrong, each at `file` and line.
    """
    base = repository_path(source_path or ".")
    if text is None:
        return (_whole_source(source, base, clusters),)
    documents = parse_documents(text, file)
    if not documents:
        remedy = "describe a stack, or remove the file: then the whole directory is one"
        raise CommitError(Problem("the stack file has no stack", file=file, remedy=remedy))
    lines = LineIndex(text)
    context = Context(base, clusters)
    problems = list(_repeated_stacks(documents, file, lines))
    parsed: list[tuple[StackDocument, Located]] = []
    for document in documents:
        place = Place(file, lines, document.index)
        stack, found = check(StackDocument, document.value, place)
        problems += [*found, *relation_problems(document.value, place, context)]
        if stack is not None:
            parsed.append((stack, document))
    raise_if(problems)
    return tuple(_spec(stack, document, Place(file, lines, document.index), source, base) for stack, document in parsed)


def _whole_source(source: str, path: str, clusters: Collection[str]) -> StackSpec:
    place = path or "."
    if DEFAULT_CLUSTER not in clusters:
        message = f"without a stack file everything goes to the cluster {DEFAULT_CLUSTER!r}, which this host has not"
        remedy = f"write a gitopsd.yaml that names one of: {', '.join(sorted(clusters))}"
        raise CommitError(Problem(message, file=place, remedy=remedy))
    return StackSpec(name=source, source=source, file=place, components=(KubernetesComponent(source, path),))


def _repeated_stacks(documents: Sequence[Located], file: str, lines: LineIndex) -> Iterator[Problem]:
    names = [_stack_name(document.value) for document in documents]
    for index, first in duplicates(names):
        line = lines.line(documents[first].index, ("metadata", "name"))
        place = Place(file, lines, documents[index].index)
        yield place.problem(f"the stack {names[index]!r} is already described on line {line}", ("metadata", "name"))


def _stack_name(value: Any) -> Any:
    metadata = value.get("metadata") if isinstance(value, Mapping) else None
    return metadata.get("name") if isinstance(metadata, Mapping) else None


def _spec(stack: StackDocument, document: Located, place: Place, source: str, base: str) -> StackSpec:
    spec = stack.spec
    lines = {
        component.name: place.lines.line(place.document, ("spec", "components", index))
        for index, component in enumerate(spec.components)
    }
    return StackSpec(
        name=stack.metadata.name,
        source=source,
        file=place.file,
        components=tuple(
            component for section in spec.components for component in _components(section, base, lines[section.name])
        ),
        on_failure=OnFailure(spec.on_failure),
        drift=DriftMode(spec.drift),
        prune=spec.prune.max,
        approval_timeout=spec.approval_timeout,
        section=orjson.dumps(document.value, option=orjson.OPT_SORT_KEYS).decode(),
        lines=lines,
    )


def _components(section: ComponentSection, base: str, line: int) -> Iterator[Component]:
    """The one component that a section describes, of either kind."""
    if section.kubernetes is not None:
        yield _kubernetes(section, section.kubernetes, base, line)
    if section.terraform is not None:
        yield _terraform(section, section.terraform, base, line)


def _kubernetes(section: ComponentSection, kubernetes: KubernetesSection, base: str, line: int) -> KubernetesComponent:
    return KubernetesComponent(
        name=section.name,
        path=repository_path(kubernetes.path, base),
        cluster=kubernetes.cluster,
        namespace=kubernetes.namespace or "",
        wave=section.wave,
        depends_on=tuple(section.depends_on),
        adopt=tuple(section.adopt),
        gate=_gate(section.gate),
        line=line,
        values={name: OutputRef.parse(value.terraform) for name, value in section.values.items()},
    )


def _terraform(section: ComponentSection, terraform: TerraformSection, base: str, line: int) -> TerraformComponent:
    path = repository_path(terraform.path, base)
    return TerraformComponent(
        name=section.name,
        path=path,
        workspace=terraform.workspace,
        var_files=tuple(repository_path(file, path) for file in terraform.var_files),
        variables=tuple(_variables(terraform.vars_from)),
        sealed=tuple(repository_path(v.sealed_secret, base) for v in terraform.vars_from if v.sealed_secret),
        state_key=terraform.state_key or section.name,
        wave=section.wave,
        depends_on=tuple(section.depends_on),
        approval=ApprovalMode(section.approval),
        gate=_gate(section.gate),
        line=line,
    )


def _variables(sections: Sequence[VariableSection]) -> Iterator[Variable]:
    for section in sections:
        source = output_ref(section.terraform)
        if source is not None:
            yield Variable(section.name or source.output, source)


def _gate(section: GateSection) -> GateSpec:
    checks = tuple(HttpCheck(check.http.url, check.http.status) for check in section.checks)
    return GateSpec(section.timeout, section.stable_for, checks)
