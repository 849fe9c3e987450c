"""Spellings that the API server refuses, writes anew on each apply, or takes ownership of in a misleading way."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.kinds.normalise import canonical, manifest_digest, normalise
from gitopsd.model.errors import CommitError


def _made(kind: str, api: str = "v1", metadata: dict[str, Any] | None = None, **rest: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "x", **(metadata or {})}, **rest}


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        pytest.param(
            _made("Deployment", "apps/v1", spec={"replicas": 1}, status={"replicas": 3}),
            _made("Deployment", "apps/v1", spec={"replicas": 1}),
            id="status is the server's",
        ),
        pytest.param(
            _made(
                "ConfigMap",
                metadata={
                    "resourceVersion": "1",
                    "uid": "u",
                    "generation": 2,
                    "selfLink": "/x",
                    "creationTimestamp": None,
                    "deletionTimestamp": "2026-01-01T00:00:00Z",
                    "managedFields": [],
                    "labels": {"a": "b"},
                },
            ),
            _made("ConfigMap", metadata={"labels": {"a": "b"}}),
            id="metadata that only the server sets",
        ),
        pytest.param(
            _made(
                "StatefulSet",
                "apps/v1",
                spec={
                    "template": {"metadata": {"creationTimestamp": None}, "spec": {"containers": [{"command": None}]}},
                    "volumeClaimTemplates": [{"metadata": {"name": "d", "creationTimestamp": None}}],
                },
            ),
            _made(
                "StatefulSet",
                "apps/v1",
                spec={
                    "template": {"metadata": {}, "spec": {"containers": [{}]}},
                    "volumeClaimTemplates": [{"metadata": {"name": "d"}}],
                },
            ),
            id="nulls in templates and in list elements",
        ),
        pytest.param(
            _made("Pod", spec={"volumes": [{"name": "t", "emptyDir": {}}], "hostAliases": []}),
            _made("Pod", spec={"volumes": [{"name": "t", "emptyDir": {}}], "hostAliases": []}),
            id="empty maps and lists say something",
        ),
        pytest.param(
            _made("Pod", spec={"containers": [{"name": "a", "args": ["x", None, "y"]}]}),
            _made("Pod", spec={"containers": [{"name": "a", "args": ["x", None, "y"]}]}),
            id="a null between list elements is for the server to refuse",
        ),
        pytest.param(
            _made(
                "ConfigMap", metadata={"annotations": {"b": None}, "labels": {"c": None}}, data={"a": None, "d": "1"}
            ),
            _made("ConfigMap", metadata={"annotations": {"b": ""}, "labels": {"c": ""}}, data={"a": "", "d": "1"}),
            id="a key without a value is the empty text in a map of texts",
        ),
        pytest.param(
            _made("Deployment", "apps/v1", spec={"selector": {"matchLabels": {"app": None}}}),
            _made("Deployment", "apps/v1", spec={"selector": {"matchLabels": {"app": ""}}}),
            id="a selector does not become wider",
        ),
        pytest.param(
            _made(
                "Secret", stringData={"a": "new", "n": None}, data={"a": _b64("old"), "b": "YWJj\nZA==\n", "k": None}
            ),
            _made("Secret", data={"a": _b64("new"), "b": "YWJjZA==", "k": "", "n": ""}),
            id="stringData wins, base64 is unfolded",
        ),
        pytest.param(_made("Secret", stringData={}), _made("Secret"), id="an empty stringData is nothing"),
        pytest.param(
            _made(
                "ClusterRole", "rbac.authorization.k8s.io/v1", rules=[], aggregationRule={"clusterRoleSelectors": []}
            ),
            _made("ClusterRole", "rbac.authorization.k8s.io/v1", aggregationRule={"clusterRoleSelectors": []}),
            id="rules beside an aggregationRule",
        ),
        pytest.param(
            _made("ClusterRole", "rbac.authorization.k8s.io/v1", rules=[{"verbs": ["get"]}]),
            _made("ClusterRole", "rbac.authorization.k8s.io/v1", rules=[{"verbs": ["get"]}]),
            id="rules alone stay",
        ),
        pytest.param(
            _made(
                "NetworkPolicy",
                "networking.k8s.io/v1",
                spec={"podSelector": {}, "egress": [], "ingress": [{"from": [], "ports": [{"port": 1}]}, {}]},
            ),
            _made(
                "NetworkPolicy",
                "networking.k8s.io/v1",
                spec={"podSelector": {}, "ingress": [{"ports": [{"port": 1}]}, {}]},
            ),
            id="empty lists of a NetworkPolicy",
        ),
        pytest.param(
            _made(
                "HelmRelease", "helm.toolkit.fluxcd.io/v2", metadata={"annotations": None}, spec={"values": {"p": None}}
            ),
            _made("HelmRelease", "helm.toolkit.fluxcd.io/v2", spec={"values": {"p": None}}),
            id="a custom resource's null may have a meaning",
        ),
    ],
)
def test_what_is_sent(given: dict[str, Any], sent: dict[str, Any]) -> None:
    assert normalise(given) == sent


def test_the_manifest_itself_is_not_changed() -> None:
    manifest = _made("Secret", stringData={"a": "x"}, data={"b": None}, status={})
    before = canonical(manifest)
    normalise(manifest)
    assert canonical(manifest) == before


def test_a_secret_text_that_is_no_text_is_named_but_not_shown() -> None:
    with pytest.raises(CommitError) as caught:
        normalise(_made("Secret", stringData={"port": 54321, "ok": "x", "flag": True}))
    assert [p.field for p in caught.value.problems] == ["stringData.flag", "stringData.port"]
    assert "54321" not in str(caught.value)


@pytest.mark.parametrize("spec", ["text", 3, [], None, [None]])
def test_a_manifest_of_the_wrong_shape_is_left_to_the_server(spec: Any) -> None:
    for kind, api in (("NetworkPolicy", "networking.k8s.io/v1"), ("Secret", "v1"), ("Deployment", "apps/v1")):
        normalise({"apiVersion": api, "kind": kind, "metadata": spec, "spec": spec, "data": spec, "stringData": spec})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)
_MANIFESTS = st.fixed_dictionaries(
    {
        "apiVersion": st.sampled_from(["v1", "apps/v1", "networking.k8s.io/v1", "example.com/v1"]),
        "kind": st.sampled_from(["ConfigMap", "Deployment", "NetworkPolicy", "Widget"]),
        "metadata": st.dictionaries(st.sampled_from(["labels", "uid", "name", "x"]), _JSON, max_size=3),
        "spec": _JSON,
        "data": _JSON,
    }
)


@given(_MANIFESTS)
def test_normalising_twice_is_normalising_once(manifest: dict[str, Any]) -> None:
    once = normalise(manifest)
    assert normalise(once) == once


def test_the_digest_is_over_the_value_not_the_order() -> None:
    assert manifest_digest({"a": 1, "b": {"c": 2, "d": 3}}) == manifest_digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert manifest_digest({"a": [1, 2]}) != manifest_digest({"a": [2, 1]})
    assert (
        len({manifest_digest({}), manifest_digest({}, ""), manifest_digest({}, "x", "y"), manifest_digest({}, "xy")})
        == 4
    )


def test_a_number_that_no_server_can_hold_is_an_error_in_words() -> None:
    with pytest.raises(CommitError, match="quote it"):
        canonical({"spec": {"big": 2**80}})
