"""What planning and running Terraform modules of one stack share: the program, the code, and outputs known so far."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from gitopsd.model.errors import CommitError, EnvironmentFault, Problem
from gitopsd.model.ids import UnitId
from gitopsd.model.memory import Baseline
from gitopsd.model.modules import ModulePlan, Output, OutputRef, Outputs, ResourceDone
from gitopsd.model.ports import Module, SourceTree, Terraform, Vault
from gitopsd.model.sensitive import Sensitive
from gitopsd.model.units import KubernetesUnit, Sealed, TerraformUnit
from gitopsd.planning.fill import Lacking, fill, filled_digest
from gitopsd.planning.modules import input_digest, recorded_outputs
from gitopsd.planning.seals import opened_unit

OPENERS = 4
"""Threads that open sealed values at the same time: a private RSA operation takes milliseconds of a core."""


@dataclass
class ModuleJob:
    """One module that is to be run: whose code it is (`commit`), and Terraform's plan of it, if there is one already.

    `inputs` are those that the plan was made with. `known`: a state has been there. `stale`: somebody else moved the
    state since the plan was shown, so that what was allowed then is not allowed now. `done` is what the applies of this
    run did, resource by resource.
    """

    unit: TerraformUnit
    commit: str
    plan: ModulePlan | None = None
    inputs: str = ""
    destroy: bool = False
    known: bool = False
    stale: bool = False
    done: tuple[ResourceDone, ...] = ()


@dataclass
class Bench:
    """The modules of one stack while one plan is made or carried out.

    `outputs` are those known now: recorded, planned, or just applied. `later` are outputs that are known after apply,
    `undecided` components of which not even the outputs' names are known yet; what else is missing does not exist.
    `recorded` are those that the inventory knows, whatever is planned: what goes is destroyed with the values that it
    was made with. `code` says where a component's outputs can be read when their values are sensitive: its module and
    commit. `used` are the fingerprints of the sealing keys that opened something for a unit. `locked` are modules that
    a run leaves as they are, for no key opens their variables.
    """

    terraform: Terraform
    vault: Vault
    stack: str
    tree: Callable[[str], SourceTree]
    outputs: dict[OutputRef, Output] = field(default_factory=dict)
    recorded: dict[OutputRef, Output] = field(default_factory=dict)
    later: set[OutputRef] = field(default_factory=set)
    undecided: set[str] = field(default_factory=set)
    code: dict[str, tuple[TerraformUnit, str]] = field(default_factory=dict)
    jobs: dict[UnitId, ModuleJob] = field(default_factory=dict)
    used: dict[UnitId, tuple[str, ...]] = field(default_factory=dict)
    locked: dict[UnitId, EnvironmentFault] = field(default_factory=dict)

    # ------------------------------------------------------------ outputs

    def recall(self, baselines: Mapping[UnitId, Baseline], modules: Iterable[TerraformUnit], commit: str) -> None:
        """Begin with what the inventory knows."""
        self.recorded = recorded_outputs(baselines)
        self.outputs |= self.recorded
        self.code |= {module.component: (module, commit) for module in modules}

    def expect(self, component: str, plan: ModulePlan | None) -> None:
        """What a plan says of a component's outputs; without one, nothing of them is known."""
        before = {ref: self.outputs.pop(ref) for ref in list(self.outputs) if ref.component == component}
        self.later = {ref for ref in self.later if ref.component != component}
        if plan is None:
            self.undecided.add(component)
            return
        self.undecided.discard(component)
        for name, output in plan.outputs.items():
            ref = OutputRef(component, name)
            same = output is not None and ref in before and before[ref].digest == output.digest
            if output is not None and (same or not output.sensitive or not plan.changes_state):
                self.outputs[ref] = output
            else:  # a sensitive value can be read only once it is in the state
                self.later.add(ref)

    def learn(self, component: str, outputs: Mapping[str, Output]) -> None:
        """The outputs that a component has now."""
        self.expect(component, None)
        self.undecided.discard(component)
        self.outputs |= {OutputRef(component, name): output for name, output in outputs.items()}

    def missing(self, uses: Iterable[OutputRef]) -> tuple[OutputRef, ...]:
        """Outputs that do not exist, whatever is still to be applied."""
        return tuple(
            r for r in uses if r not in self.outputs and r not in self.later and r.component not in self.undecided
        )

    def values(self, uses: Iterable[OutputRef]) -> dict[OutputRef, Output]:
        """These outputs with their values; sensitive ones are read from the state now. Raises EnvironmentFault."""
        return self._read(self.outputs, set(uses))

    def _read(self, known: Outputs, uses: Collection[OutputRef]) -> dict[OutputRef, Output]:
        unknown = sorted(ref for ref in uses if ref not in known)
        if unknown:
            raise EnvironmentFault(Problem(f"{unknown[0]} is not known: its component has not been applied"))
        found = {ref: known[ref] for ref in uses}
        for component in {ref.component for ref, o in found.items() if o.sensitive and o.value is None}:
            module, commit = self.code[component]
            read = self.terraform.outputs(self.module(module, commit))
            found |= {r: read[r.output] for r in found if r.component == component and r.output in read}
        return found

    # ------------------------------------------------------------ modules

    def module(self, unit: TerraformUnit, commit: str) -> Module:
        """A module that is only asked about its state."""
        return Module(self.stack, unit, self.tree(commit))

    def ready(self, job: ModuleJob) -> Module:
        """A module with the values of its variables. Raises EnvironmentFault if one is not known."""
        known = self.outputs | self.recorded if job.destroy else self.outputs
        values = self._read(known, {v.source for v in job.unit.variables})
        taken = {v.name: values[v.source].value for v in job.unit.variables}
        return replace(self.module(job.unit, job.commit), variables=taken, sealed=self._sealed_variables(job.unit))

    def _sealed_variables(self, unit: TerraformUnit) -> dict[str, Sensitive]:
        """The variables that sealed items set, as text. Raises EnvironmentFault if no key opens one of them."""
        found: dict[str, Sensitive] = {}
        for sealed in unit.sealed:
            for name, value in self._open(unit.id, sealed).items():
                try:
                    found[name] = Sensitive(value.reveal().decode())
                except UnicodeDecodeError:
                    text = f"the item {name!r} of {sealed.name} is no UTF-8 text, and a variable is one"
                    raise CommitError(Problem(text, unit.origin.file, unit.origin.line, unit=str(unit.id))) from None
        return found

    # ------------------------------------------------------------ sealed secrets

    def _open(self, unit: UnitId, sealed: Sealed) -> Mapping[str, Sensitive]:
        found = self.vault.open(sealed)
        self.used[unit] = tuple(sorted({*self.used.get(unit, ()), *found.fingerprints.values()}))
        return found.items

    def lock(self, unit: TerraformUnit) -> bool:
        """Whether no key opens the variables of a module now: then it is among the `locked`."""
        try:
            self._sealed_variables(unit)
        except EnvironmentFault as fault:
            self.locked[unit.id] = fault
        except CommitError:  # told where they are used
            return False
        return unit.id in self.locked

    def opened(
        self, units: Sequence[KubernetesUnit]
    ) -> tuple[dict[UnitId, KubernetesUnit], dict[UnitId, EnvironmentFault]]:
        """Units with their sealed values in place, and why others cannot be opened now."""
        done: dict[UnitId, KubernetesUnit] = {}
        locked: dict[UnitId, EnvironmentFault] = {}
        if not units:
            return done, locked
        with ThreadPoolExecutor(min(OPENERS, len(units)), "unseal") as pool:
            asked = {u.id: (u, pool.submit(self._open, u.id, u.sealed)) for u in units if u.sealed is not None}
        for name, (unit, answer) in asked.items():
            try:
                done[name] = opened_unit(unit, answer.result())
            except EnvironmentFault as fault:
                locked[name] = fault
        return done, locked

    def lacks(self, job: ModuleJob) -> OutputRef | None:
        """The first output that a module takes and that is not known."""
        known = self.outputs | self.recorded if job.destroy else self.outputs
        return next((v.source for v in job.unit.variables if v.source not in known), None)

    def inputs(self, unit: TerraformUnit) -> str:
        return input_digest(unit, self.outputs)

    # ------------------------------------------------------------ Kubernetes objects

    def filled(self, unit: KubernetesUnit, known: Baseline | None = None) -> KubernetesUnit | None:
        """A unit with its values in place; None while one of them is known after apply. One that takes a sensitive
        value and whose digest is that of `known` stays as it is: nothing is read for nothing. Raises CommitError."""
        if not unit.values:
            return unit
        digest = filled_digest(unit, self.outputs)
        if digest is None:
            return None
        unread = any(self.outputs[ref].sensitive for ref in unit.values.values())
        if unread and known is not None and known.certain and known.digest == digest:
            return replace(unit, digest=digest)
        found = fill(unit, self.values(unit.values.values()))
        if isinstance(found, Lacking):  # the state has not what the inventory says: somebody wrote it since
            gone = (*found.unknown, *found.unread)
            raise EnvironmentFault(Problem(f"{gone[0]} cannot be read from its state", unit=str(unit.id)))
        return found

    def discard(self) -> None:
        """Remove the saved plans: nobody will apply them any more."""
        self.terraform.discard(job.plan for job in self.jobs.values() if job.plan is not None)
        self.jobs.clear()


def missing_output(ref: OutputRef, *, file: str, line: int | None, component: str) -> Problem:
    """What is wrong when a component uses an output that its module does not have."""
    return Problem(
        f"component {component} uses {ref}, but Terraform component {ref.component} has no output {ref.output!r}",
        file=file,
        line=line,
        remedy=f'add `output "{ref.output}"` to it, or correct the name',
    )
