"""deploy/kubernetes as kustomize renders it, as far as its files go: resources, labels, images, replicas, generated settings.

In: a folder with a kustomization.yaml. Out: the objects that `kubectl apply -k` would apply; names of what is generated have no
hash at their end. A field that is not known here is an error. Never: a cluster.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from tests.parts.worker import ROOT

FOLDER: Final = ROOT / "deploy" / "kubernetes"

#: Where an object says which others are its own.
_SELECTORS: Final[dict[str, list[tuple[str, ...]]]] = {
    "Deployment": [("spec", "selector", "matchLabels"), ("spec", "template", "metadata", "labels")],
    "Job": [("spec", "template", "metadata", "labels")],
    "Service": [("spec", "selector")],
    "PodDisruptionBudget": [("spec", "selector", "matchLabels")],
}
_NOT_IN_A_NAMESPACE: Final = {"Namespace"}

Object = dict[str, Any]


def read_all(file: Path) -> list[Object]:
    """Return the documents of a file, without what YAML's anchors make them share."""
    return [copy.deepcopy(document) for document in YAML(typ="safe").load_all(file.read_text())]


def render(folder: Path) -> list[Object]:
    """Return the objects of a kustomization."""
    (wanted,) = read_all(folder / "kustomization.yaml")
    assert (wanted.pop("apiVersion"), wanted.pop("kind")) == ("kustomize.config.k8s.io/v1beta1", "Kustomization")
    objects: list[Object] = []
    for name in wanted.pop("resources"):
        there = folder / name
        objects += render(there) if there.is_dir() else read_all(there)
    objects += [_config_map(one, folder) for one in wanted.pop("configMapGenerator", [])]
    objects += [_secret(one, folder) for one in wanted.pop("secretGenerator", [])]
    for labels in wanted.pop("labels", []):
        assert labels.pop("includeSelectors") is True
        _label(objects, labels.pop("pairs"))
        assert not labels, labels
    for image in wanted.pop("images", []):
        for container in containers(objects):
            if container["image"] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
    for replicas in wanted.pop("replicas", []):
        (deployment,) = [one for one in of_kind(objects, "Deployment") if one["metadata"]["name"] == replicas["name"]]
        deployment["spec"]["replicas"] = replicas["count"]
    if namespace := wanted.pop("namespace", None):
        for one in objects:
            if one["kind"] not in _NOT_IN_A_NAMESPACE:
                one["metadata"]["namespace"] = namespace
    assert not wanted, f"not rendered here: {wanted}"
    return objects


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [one for one in objects if one["kind"] == kind]


def pod_specs(objects: list[Object]) -> Iterator[Object]:
    for one in objects:
        if one["kind"] in ("Deployment", "Job"):
            yield one["spec"]["template"]["spec"]


def containers(objects: list[Object]) -> Iterator[Object]:
    """Yield the containers of all pods, the first ones included."""
    for pod in pod_specs(objects):
        yield from pod.get("initContainers", [])
        yield from pod["containers"]


def _label(objects: list[Object], pairs: dict[str, str]) -> None:
    for one in objects:
        one["metadata"].setdefault("labels", {}).update(pairs)
        for path in _SELECTORS.get(one["kind"], []):
            at: Any = one
            for key in path:
                at = at[key]
            at.update(pairs)
        for constraint in one.get("spec", {}).get("template", {}).get("spec", {}).get("topologySpreadConstraints", []):
            constraint["labelSelector"]["matchLabels"].update(pairs)


def _config_map(wanted: dict[str, Any], folder: Path) -> Object:
    assert wanted.keys() == {"name", "files"}
    data = {name: (folder / name).read_text() for name in wanted["files"]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": wanted["name"]}, "data": data}


def _secret(wanted: dict[str, Any], folder: Path) -> Object:
    assert wanted.keys() == {"name", "envs"}
    lines = [line for name in wanted["envs"] for line in (folder / name).read_text().splitlines()]
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    data = {name: base64.b64encode(value.encode()).decode() for name, value in given.items()}
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": wanted["name"]}, "data": data}
