"""The deployments that we ship: their configurations load, their probes ask what the bridge answers."""

import re
from pathlib import Path

import pytest
import yaml

from bridge import __version__, config

DEPLOY = Path(__file__).parent.parent / "deploy"
DOCKERFILE = (DEPLOY.parent / "Dockerfile").read_text(encoding="utf-8")
ENVIRONMENT = {
    "AWX_URL": "https://awx.example.com",
    "AWX_TOKEN": "t",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
}
USER = 10001


def loaded(path, tmp_path):
    """The configuration at `path`, with its secrets' folder at a place that this machine has."""
    for name in ("awx-token", "slack-token"):
        (tmp_path / name).write_text("xoxb-1", encoding="utf-8")
    text = path.read_text(encoding="utf-8").replace("/etc/awx-bridge-secrets", str(tmp_path))
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    return config.load(tmp_path / "config.yaml", ENVIRONMENT)


def manifest(*parts):
    return yaml.safe_load(DEPLOY.joinpath(*parts).read_text(encoding="utf-8"))


def workload(name):
    """The pod template and our container of one of the two Kubernetes forms."""
    file = {"kubernetes": "statefulset.yaml", "sidecar": "sidecar.yaml"}[name]
    pod = manifest(name, file)["spec"]["template"]["spec"]
    return pod, next(container for container in pod["containers"] if container["name"] == "awx-bridge")


@pytest.mark.parametrize("place", ["docker", "kubernetes", "sidecar"])
def test_configurations_load_and_listen_where_probes_ask(place, tmp_path):
    made = loaded(DEPLOY / place / "config.yaml", tmp_path)
    assert made.server.address == ("0.0.0.0", 8088)
    assert made.state.path == Path("/var/lib/awx-bridge/bridge.db")


@pytest.mark.parametrize("place", ["kubernetes", "sidecar"])
def test_pods_are_locked_down(place):
    pod, container = workload(place)
    rights = pod["securityContext"] | container["securityContext"]
    assert rights["runAsNonRoot"] is True
    assert (rights["runAsUser"], rights["runAsGroup"], rights["fsGroup"]) == (USER, USER, USER)
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert rights["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("place", ["kubernetes", "sidecar"])
def test_pods_mount_what_the_configuration_names(place):
    pod, container = workload(place)
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(mounts) == {"/etc/awx-bridge", "/etc/awx-bridge-secrets", "/var/lib/awx-bridge"}
    claims = (
        manifest(place, "statefulset.yaml")["spec"]["volumeClaimTemplates"] if place == "kubernetes" else []
    )
    volumes = {volume["name"] for volume in pod["volumes"]} | {claim["metadata"]["name"] for claim in claims}
    assert set(mounts.values()) == volumes
    assert container["args"] == ["run", "/etc/awx-bridge/config.yaml"]


@pytest.mark.parametrize(
    ("place", "probes"),
    [
        ("kubernetes", {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}),
        # A sidecar that is not ready would take AWX itself out of its Service.
        ("sidecar", {"livenessProbe": "/livez"}),
    ],
)
def test_probes_ask_the_bridge(place, probes):
    _, container = workload(place)
    found = {key: probe["httpGet"] for key, probe in container.items() if key.endswith("Probe")}
    assert {key: probe["path"] for key, probe in found.items()} == probes
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {ports[probe["port"]] for probe in found.values()} == {8088}


def test_there_is_one_bridge_on_one_state():
    assert manifest("kubernetes", "statefulset.yaml")["spec"]["replicas"] == 1
    assert manifest("sidecar", "sidecar.yaml")["spec"]["strategy"]["type"] == "Recreate"


@pytest.mark.parametrize("place", ["kubernetes", "sidecar"])
def test_kustomizations_name_files_that_exist_and_this_version(place):
    made = manifest(place, "kustomization.yaml")
    named = [*made["resources"], *made["configMapGenerator"][0]["files"]]
    named += [patch["path"] for patch in made.get("patches", [])]
    assert [name for name in named if not (DEPLOY / place / name).is_file()] == []
    assert made["images"] == [{"name": "awx-event-bridge", "newTag": __version__}]


def test_image_has_no_root_and_runs_its_own_configuration():
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == [f"{USER}:{USER}"]
    assert re.findall(r"^COPY (deploy/\S+) (\S+)$", DOCKERFILE, re.MULTILINE) == [
        ("deploy/docker/config.yaml", "/etc/awx-bridge/config.yaml")
    ]
    assert 'ENTRYPOINT ["awx-bridge"]\nCMD ["run", "/etc/awx-bridge/config.yaml"]' in DOCKERFILE
    assert len(re.findall(r"pip .*install --require-hashes --only-binary :all:", DOCKERFILE)) == 2


def test_image_is_made_of_files_that_are_not_ignored():
    allowed = re.findall(
        r"^!(.+)$", (DEPLOY.parent / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE
    )
    copied = [
        word
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for word in line.split()
    ]
    assert [
        name
        for name in copied
        if not f"{name}/".startswith(tuple(f"{entry.rstrip('/')}/" for entry in allowed))
    ] == []
    assert [name for name in copied if not (DEPLOY.parent / name).exists()] == []


def test_unit_does_not_repeat_what_a_restart_cannot_cure():
    unit = (DEPLOY / "systemd" / "awx-bridge.service").read_text(encoding="utf-8")
    assert "RestartPreventExitStatus=2 66 75 78\n" in unit
    assert "Restart=always\n" in unit
    assert "StateDirectory=awx-bridge\n" in unit


def test_compose_gives_the_image_what_its_configuration_asks_for():
    services = manifest("compose", "compose.yaml")["services"]
    asked = set(re.findall(r"\$\{(\w+)\}", (DEPLOY / "docker" / "config.yaml").read_text(encoding="utf-8")))
    assert asked == set(services["bridge"]["environment"])
    assert (
        services["bridge"]["environment"]["KAFKA_BOOTSTRAP_SERVERS"]
        in services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    )
