"""deploy/kubernetes: valid by Kubernetes' own schemas, and as deploying needs it."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from click import Group
from click.testing import CliRunner
from ruamel.yaml import YAML

from tests.parts.composed import Image, parse_seconds, read_compose
from tests.parts.environment import Environment
from tests.parts.kustomized import FOLDER, Object, containers, of_kind, pod_specs, read_all, render
from worker68.cli.main import main
from worker68.settings import PREFIX, Settings
from worker68.store.migration import upgrade
from worker68.watchdog import END_AFTER_SECONDS

EXAMPLE = FOLDER / "example"
VERSIONS = ("1.30", "1.37")


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    return Environment(monkeypatch, tmp_path)


@pytest.fixture
def objects() -> list[Object]:
    return render(EXAMPLE)


@pytest.fixture
def deployment(objects: list[Object]) -> Object:
    (found,) = of_kind(objects, "Deployment")
    return found


@pytest.fixture
def pod(deployment: Object) -> Object:
    found: Object = deployment["spec"]["template"]["spec"]
    return found


@pytest.fixture
def worker(pod: Object) -> Object:
    (found,) = pod["containers"]
    return dict(found)


def validate(one: Object, version: str = VERSIONS[-1]) -> None:
    kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_everything_is_valid_by_the_schemas(objects: list[Object], version: str) -> None:
    kinds = sorted(one["kind"] for one in objects)
    assert kinds == ["ConfigMap", "Deployment", "Job", "Namespace", "PodDisruptionBudget", "Secret", "Service"]
    for one in objects:
        validate(one, version)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("replica",), 3),
        ("Deployment", ("template", "spec", "terminationGracePeriodSeconds"), "60s"),
        ("Job", ("template", "spec", "restart"), "Never"),
        ("PodDisruptionBudget", ("maxUnavailable",), [1]),
    ],
)
def test_the_schemas_find_mistakes(objects: list[Object], kind: str, path: tuple[str, ...], value: object) -> None:
    (one,) = of_kind(objects, kind)
    at = one["spec"]
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(one)


def test_each_file_is_part_of_it() -> None:
    for folder in (FOLDER / "base", EXAMPLE):
        (wanted,) = read_all(folder / "kustomization.yaml")
        listed = {*wanted["resources"], *files_of(wanted, "configMapGenerator"), *files_of(wanted, "secretGenerator")}
        assert {file.name for file in folder.iterdir()} - {"kustomization.yaml"} == listed - {"../base"}


def files_of(wanted: Object, generator: str) -> list[str]:
    return [name for one in wanted.get(generator, []) for name in (*one.get("files", []), *one.get("envs", []))]


@pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="without kubectl the rendering of the tests alone is looked at"
)
def test_kubectl_renders_the_same(objects: list[Object]) -> None:
    done = subprocess.run(["kubectl", "kustomize", EXAMPLE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    text = re.sub(r"(worker68-(?:settings|urls))-[0-9a-z]{10}\b", r"\1", done.stdout)
    rendered = list(YAML(typ="safe").load_all(text))
    for one in of_kind(rendered, "Secret"):  # which it breaks into lines
        one["data"] = {name: "".join(value.split()) for name, value in one["data"].items()}
    assert by_name(rendered) == by_name(objects)


def by_name(objects: list[Object]) -> dict[tuple[str, str], Object]:
    return {(one["kind"], one["metadata"]["name"]): one for one in objects}


def test_what_is_written_has_time_for_its_verdict(pod: Object) -> None:
    grace = pod["terminationGracePeriodSeconds"]
    assert grace >= END_AFTER_SECONDS + 10
    assert grace == parse_seconds(read_compose()["services"]["worker"]["stop_grace_period"])


def test_a_worker_is_replaced_only_by_one_that_is_ready(deployment: Object) -> None:
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert deployment["spec"]["replicas"] > 1, "the example sets it"


def test_probes_run_the_health_command(worker: Object) -> None:
    image = Image.read()
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert worker[name]["exec"]["command"] == image.health_check
    liveness = worker["livenessProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 300, "an outage of the database restarts nothing"


def test_every_command_is_there(objects: list[Object]) -> None:
    image = Image.read()
    commands = [[*one.get("command", image.entrypoint), *one.get("args", [])] for one in containers(objects)]
    assert ["worker68", "worker"] in commands
    assert ["worker68", "db", "upgrade"] in commands
    words = [" ".join(command) for command in commands]
    words += [
        " ".join(one["readinessProbe"]["exec"]["command"]) for one in containers(objects) if "readinessProbe" in one
    ]
    found = [name.split() for line in words for name in re.findall(r"worker68 ((?:[a-z]+ ?)+)", line)]
    assert len(found) == len(words)
    for names in found:
        command: Any = main
        for name in names:
            assert isinstance(command, Group)
            command = command.get_command(None, name)  # type: ignore[arg-type]
            assert command is not None, names


def test_a_new_worker_waits_for_the_migration(pod: Object, tmp_path: Path) -> None:
    (waiting,) = pod["initContainers"]
    shell, option, script = waiting["command"]
    assert (shell, option) == ("sh", "-c")
    (words,) = re.findall(r"until worker68 (.+) > /dev/null; do sleep 2; done", script)
    url = f"sqlite:///{tmp_path / 'worker68.db'}"
    runner = CliRunner(env={f"{PREFIX}DATABASE_URL": url, f"{PREFIX}REDIS_URL": "redis://127.0.0.1:1/0"})
    assert runner.invoke(main, words.split()).exit_code == 1
    upgrade(url)
    assert runner.invoke(main, words.split()).exit_code == 0


def test_a_pod_may_do_no_more_than_it_must(objects: list[Object]) -> None:
    user, group = map(int, Image.read().user.split(":"))
    for pod in pod_specs(objects):
        given = pod["securityContext"]
        assert (given["runAsNonRoot"], given["runAsUser"], given["runAsGroup"]) == (True, user, group)
        assert given["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
    for container in containers(objects):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"].keys() == {"requests", "limits"}


def test_the_health_file_can_be_written(worker: Object, pod: Object) -> None:
    file = Path(Image.read().environment[f"{PREFIX}HEALTH_FILE"])
    (name,) = [mount["name"] for mount in worker["volumeMounts"] if Path(mount["mountPath"]) == file.parent]
    assert "emptyDir" in next(volume for volume in pod["volumes"] if volume["name"] == name)


def test_no_service_is_taken_for_a_setting(objects: list[Object]) -> None:
    """The Service `worker68-metrics` would set WORKER68_METRICS_PORT in every pod of its namespace."""
    assert all(pod["enableServiceLinks"] is False for pod in pod_specs(objects))


def test_every_variable_is_a_setting(objects: list[Object]) -> None:
    names = [one["name"] for container in containers(objects) for one in container.get("env", [])]
    names += [name for secret in of_kind(objects, "Secret") for name in secret["data"]]
    assert {f"{PREFIX}REDIS_URL", f"{PREFIX}DATABASE_URL", f"{PREFIX}METRICS_PORT"} <= set(names)
    assert set(names) <= {PREFIX + field.upper() for field in Settings.model_fields} | {f"{PREFIX}CONFIG"}


def test_the_example_is_read_as_it_is(objects: list[Object], worker: Object, pod: Object, env: Environment) -> None:
    (settings,), (urls,) = of_kind(objects, "ConfigMap"), of_kind(objects, "Secret")
    (volume,) = [one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one]
    assert volume == settings["metadata"]["name"]
    assert [one["secretRef"]["name"] for one in worker["envFrom"]] == [urls["metadata"]["name"]]
    given = {name: base64.b64decode(value).decode() for name, value in urls["data"].items()}
    given |= {one["name"]: one["value"] for one in worker["env"]}
    (mount,) = [one["mountPath"] for one in worker["volumeMounts"] if one["name"] == "settings"]
    ((file, _),) = settings["data"].items()
    assert given[f"{PREFIX}CONFIG"] == f"{mount}/{file}"

    given[f"{PREFIX}CONFIG"] = str(EXAMPLE / file)
    loaded = env.load(**{name.removeprefix(PREFIX): value for name, value in given.items()})
    assert sorted(loaded.account_settings()) == ["main", "shop"]
    (port,) = worker["ports"]
    assert loaded.metrics_port == port["containerPort"]
    assert all("CHANGE_ME" in value for value in (loaded.redis_url or "", loaded.database_url))


def test_workers_alone_are_selected(objects: list[Object], deployment: Object) -> None:
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    (job,), (budget,), (service,) = (of_kind(objects, kind) for kind in ("Job", "PodDisruptionBudget", "Service"))
    selectors = [one["spec"]["selector"]["matchLabels"] for one in (deployment, budget)]
    for selector in (*selectors, service["spec"]["selector"]):
        assert selector.items() <= labels.items()
        assert not selector.items() <= job["spec"]["template"]["metadata"]["labels"].items()


def test_keda_scales_the_workers_and_never_to_none(deployment: Object) -> None:
    authentication, scaled = read_all(FOLDER / "keda.yaml")
    assert (authentication["kind"], scaled["kind"]) == ("TriggerAuthentication", "ScaledObject")
    assert scaled["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert 1 <= scaled["spec"]["minReplicaCount"] < scaled["spec"]["maxReplicaCount"]
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    assert {"query", "targetQueryValue"} == trigger["metadata"].keys()


def test_the_base_leaves_the_number_of_workers_to_others() -> None:
    """Else each ``kubectl apply`` would reset the number that KEDA has set."""
    (deployment,) = read_all(FOLDER / "base" / "worker.yaml")
    assert "replicas" not in deployment["spec"]


def test_the_readme_names_every_file() -> None:
    readme = (FOLDER / "README.md").read_text()
    files = [
        file for file in FOLDER.rglob("*") if file.is_file() and file.name not in ("README.md", "kustomization.yaml")
    ]
    assert [file.name for file in files if f"`{file.name}`" not in readme] == ["namespace.yaml"]
