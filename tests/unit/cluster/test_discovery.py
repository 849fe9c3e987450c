"""Which kinds a cluster serves, from either form of discovery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gitopsd.cluster import connect
from gitopsd.cluster.discovery import Served, catalog_of, read_aggregated, read_plain
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, Resource
from tests.unit.cluster.server import Answer, Asked, FakeServer, kubeconfig, settings

VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


def resource(plural: str, kind: str, scope: str = "Namespaced") -> dict[str, Any]:
    return {
        "resource": plural,
        "responseKind": {"group": "", "version": "", "kind": kind},
        "scope": scope,
        "verbs": VERBS,
    }


def group(name: str, **versions: list[dict[str, Any]]) -> dict[str, Any]:
    entries = [{"version": version, "freshness": "Current", "resources": found} for version, found in versions.items()]
    return {"metadata": {"name": name} if name else {}, "versions": entries}


def aggregated(*groups: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": list(groups)}


CORE = aggregated(group("", v1=[resource("pods", "Pod"), resource("namespaces", "Namespace", "Cluster")]))
APPS = group("apps", v1=[resource("deployments", "Deployment")], v1beta1=[resource("deployments", "Deployment")])


def served(kind: str, plural: str, version: str = "v1", *verbs: str) -> Served:
    return Served("g", version, kind, plural, True, frozenset(verbs))


def test_aggregated_discovery_gives_kinds_with_their_versions_in_order() -> None:
    found, blind = read_aggregated(aggregated(APPS, *CORE["items"]))
    catalog = catalog_of(found)
    assert blind == set()
    assert catalog.find("apps", "Deployment") == Resource(
        "apps", "Deployment", "deployments", True, ("v1", "v1beta1"), frozenset(VERBS)
    )
    pod, namespace = catalog.find("", "Pod"), catalog.find("", "Namespace")
    assert pod is not None
    assert pod.namespaced
    assert namespace is not None
    assert not namespace.namespaced


def test_a_stale_group_is_remembered_as_unknown() -> None:
    stale = {"metadata": {"name": "metrics.k8s.io"}, "versions": [{"version": "v1beta1", "freshness": "Stale"}]}
    found, blind = read_aggregated(aggregated(APPS, stale))
    assert blind == {"metrics.k8s.io"}
    assert {each.kind for each in found} == {"Deployment"}


def test_subresources_are_no_kinds() -> None:
    body = {
        "resources": [{"name": "deployments", "kind": "Deployment"}, {"name": "deployments/scale", "kind": "Scale"}]
    }
    assert [each.kind for each in read_plain("apps", "v1", body)] == ["Deployment"]


def test_of_two_resources_with_one_kind_the_readable_one_is_meant() -> None:
    for order in (1, -1):
        both = [served("Thing", "thingrequests", "v1", "create"), served("Thing", "things", "v1", "get", "create")]
        found = catalog_of(both[::order]).find("g", "Thing")
        assert found is not None
        assert found.plural == "things"


def script_of(answers: dict[str, Answer]) -> Any:
    return lambda asked: answers.get(asked.path.partition("?")[0], Answer(404, b"404 page not found\n"))


PLAIN = {
    "/api": Answer(body={"kind": "APIVersions", "versions": ["v1"]}),
    "/apis": Answer(
        body={
            "kind": "APIGroupList",
            "groups": [
                {
                    "name": "apps",
                    "versions": [{"version": "v1beta1"}, {"version": "v1"}],
                    "preferredVersion": {"version": "v1"},
                },
                {"name": "away.example.com", "versions": [{"version": "v1"}], "preferredVersion": {"version": "v1"}},
            ],
        }
    ),
    "/api/v1": Answer(body={"resources": [{"name": "pods", "kind": "Pod", "namespaced": True, "verbs": VERBS}]}),
    "/apis/apps/v1": Answer(body={"resources": [{"name": "deployments", "kind": "Deployment", "namespaced": True}]}),
    "/apis/apps/v1beta1": Answer(
        body={"resources": [{"name": "deployments", "kind": "Deployment", "namespaced": True}]}
    ),
    "/apis/away.example.com/v1": Answer(503, b"service unavailable"),
}


def test_a_server_without_aggregated_discovery_is_asked_group_by_group(tmp_path: Path) -> None:
    with (
        FakeServer(script_of(PLAIN)) as server,
        connect(settings(kubeconfig(tmp_path / "k", server.url))) as api,
    ):
        catalog = api.catalog()
        found = catalog.find("apps", "Deployment")
        assert found is not None
        assert found.versions == ("v1", "v1beta1")
        assert catalog.find("", "Pod") is not None
        # The group whose server is away loses nobody else, and nothing is concluded from its silence.
        assert api.get(UnitId("default", "nowhere", "Pod", "a", "b")) is Absence.KIND_UNSERVED
        try:
            api.get(UnitId("default", "away.example.com", "Thing", "a", "b"))
        except EnvironmentFault as fault:
            assert "away.example.com" in str(fault)  # noqa: PT017  # both the type and the text matter
        else:
            raise AssertionError("a kind of a silent group must not count as not served")


def test_the_catalog_is_asked_once_and_confirmed_by_its_etag(tmp_path: Path) -> None:
    def script(asked: Asked) -> Answer:
        if asked.headers.get("If-None-Match") == '"1"':
            return Answer(304, b"", {"ETag": '"1"'})
        body = CORE if asked.path == "/api" else aggregated(APPS)
        return Answer(200, body, {"ETag": '"1"'})

    with FakeServer(script) as server, connect(settings(kubeconfig(tmp_path / "k", server.url))) as api:
        first = api.catalog()
        assert api.catalog() is first
        assert len(server.asked) == 2
        assert api.catalog(refresh=True) == first
        assert [asked.headers.get("If-None-Match") for asked in server.asked[2:]] == ['"1"', '"1"']
        assert "g=apidiscovery.k8s.io" in server.asked[0].headers["Accept"]
