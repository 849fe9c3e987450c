"""Annotations on an object: what they ask, and that a slip of the pen is an error and not a default."""

from __future__ import annotations

from typing import Any

import pytest

from gitopsd.kinds.options import read_options
from gitopsd.model.units import GateRole, PrunePolicy, UnitOptions


def _read(annotations: Any) -> tuple[UnitOptions, int, tuple[str, ...]]:
    return read_options({"kind": "ConfigMap", "metadata": {"name": "x", "annotations": annotations}})


@pytest.mark.parametrize(
    ("annotations", "options", "wave"),
    [
        ({}, UnitOptions(), 0),
        (None, UnitOptions(), 0),
        ({"gitopsd.io/wave": "-5"}, UnitOptions(), -5),
        ({"argocd.argoproj.io/sync-wave": "7"}, UnitOptions(), 7),
        ({"argocd.argoproj.io/sync-wave": "7", "gitopsd.io/wave": "+2"}, UnitOptions(), 2),
        ({"gitopsd.io/prune": "disabled"}, UnitOptions(prune=PrunePolicy.DISABLED), 0),
        ({"gitopsd.io/prune": "first"}, UnitOptions(prune=PrunePolicy.FIRST), 0),
        ({"gitopsd.io/gate": "required"}, UnitOptions(gate=GateRole.REQUIRED), 0),
        ({"gitopsd.io/gate": "ignore"}, UnitOptions(gate=GateRole.IGNORE), 0),
        ({"gitopsd.io/recreate": "true"}, UnitOptions(recreate=True), 0),
        ({"gitopsd.io/recreate": "false"}, UnitOptions(), 0),
        (
            {"gitopsd.io/ignore": "spec.replicas, metadata.annotations[a.io/x,y]"},
            UnitOptions(ignore=("spec.replicas", "metadata.annotations[a.io/x,y]")),
            0,
        ),
        ({"gitopsd.io/tracking-id": "exported:/ConfigMap:web/x", "other.io/wave": "x"}, UnitOptions(), 0),
    ],
)
def test_what_is_asked(annotations: Any, options: UnitOptions, wave: int) -> None:
    assert _read(annotations) == (options, wave, ())


@pytest.mark.parametrize(
    ("annotations", "word"),
    [
        ({"gitopsd.io/wave": "ten"}, "integer"),
        ({"gitopsd.io/wave": "1.5"}, "integer"),
        ({"gitopsd.io/wave": ""}, "integer"),
        ({"gitopsd.io/wave": "9" * 20}, "integer"),
        ({"argocd.argoproj.io/sync-wave": "first"}, "argocd.argoproj.io/sync-wave"),
        ({"gitopsd.io/wave": 5}, "quotes"),
        ({"gitopsd.io/prune": "never"}, "disabled or first"),
        ({"gitopsd.io/gate": "default"}, "required or ignore"),
        ({"gitopsd.io/recreate": "yes"}, '"true" or "false"'),
        ({"gitopsd.io/recreate": True}, "quotes"),
        ({"gitopsd.io/ignore": "spec..replicas"}, "spec..replicas"),
        ({"gitopsd.io/ignore": "spec.containers[app"}, "spec.containers[app"),
        ({"gitopsd.io/ignore": "metadata.name"}, "cannot be ignored"),
        ({"gitopsd.io/waves": "5"}, "gitopsd.io/wave"),
    ],
)
def test_a_wrong_value_is_a_problem_that_names_its_annotation(annotations: dict[str, Any], word: str) -> None:
    options, wave, problems = _read(annotations)
    assert (options, wave) == (UnitOptions(), 0)
    (problem,) = problems
    assert next(iter(annotations)) in problem
    assert word in problem


def test_a_wrong_wave_of_ours_falls_back_to_argo_cds_but_is_told() -> None:
    _, wave, problems = _read({"gitopsd.io/wave": "x", "argocd.argoproj.io/sync-wave": "3"})
    assert wave == 3
    assert len(problems) == 1


@pytest.mark.parametrize("annotations", ["text", ["a"], 3])
def test_annotations_that_are_no_map_are_left_to_the_server(annotations: Any) -> None:
    assert _read(annotations) == (UnitOptions(), 0, ())
