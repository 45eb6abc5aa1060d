"""deploy/: what it renders to is legal in the oldest and the newest Kubernetes, restricted, and what inject adds."""

import os
import re
import tomllib

import kubernetes_validate
import pytest
import yaml
from deploy.manifests import DEPLOY, NEWEST, OF_THE_OPERATOR, OLDEST, ROOT, containers, render, violations
from inject.shapes import pods

from otel_latency.config.document import LOADER
from otel_latency.config.load import load
from otel_latency.config.sections import Config
from otel_latency.inject.manifest import inject
from otel_latency.inject.sidecar import DATA_LIMIT, NAME, WEB_PORT_NAME, Options, container, volumes

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
OPTIONS = Options(image=f"otel-latency:{VERSION}")
ORDINARY = Options(image=f"otel-latency:{VERSION}", is_native=False)
TOPS = ["example/native", "example/ordinary", "gateway", "monitoring"]
GOLDEN = ROOT / "tests" / "inject" / "golden"


def read(name):
    return yaml.safe_load((DEPLOY / name).read_text())


@pytest.fixture(scope="module", params=TOPS)
def rendered(request):
    return render(DEPLOY / request.param)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_rendered_is_valid(rendered, version):
    """Every field is known to that Kubernetes, and has a value of its kind; the operator's are checked elsewhere."""
    for one in rendered:
        if one["kind"] not in OF_THE_OPERATOR:
            kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.glob("*.injected.*")))
def test_injected_is_valid(name, version):
    """What inject makes is legal, too."""
    for document in yaml.safe_load_all((GOLDEN / name).read_text()):
        for one in [] if document is None else document.get("items", [document]):
            kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_the_dashboards_are_valid(version):
    """The ConfigMaps with the dashboards are small enough to be applied, and legal."""
    maps = (ROOT / "dashboards" / "configmaps.yaml").read_text().split("\n---\n")[1:]
    assert [] == [len(text) for text in maps if len(text) > 256 << 10]
    for text in maps:
        kubernetes_validate.validate(yaml.load(text, LOADER), version, strict=True)


def test_newest():
    """The newest Kubernetes that there is a schema for is the one that is checked."""
    assert f"{NEWEST}.0" == kubernetes_validate.latest_version()


def test_a_wrong_field_is_found():
    """The validation above does find a misspelt field."""
    (one,) = (one for one in render(DEPLOY / "example" / "native") if one["kind"] == "Deployment")
    one["spec"]["template"]["spec"]["initContainers"][0]["restartpolicy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError, match="restartpolicy"):
        kubernetes_validate.validate(one, OLDEST, strict=True)


def test_restricted(rendered):
    """Namespaces demand `restricted`, and every pod meets it, with a read-only root and without a token."""
    for one in rendered:
        if one["kind"] == "Namespace":
            assert one["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        for pod in pods(one):
            assert [] == violations(pod)
            assert (False, False) == (pod["automountServiceAccountToken"], pod["enableServiceLinks"])


def test_an_unrestricted_pod_is_found():
    """The check above does find what is missing."""
    pod = {"hostPID": True, "containers": [{"name": "a", "securityContext": {"runAsNonRoot": True}}]}
    assert ["hostPID", "a: allowPrivilegeEscalation"] == violations(pod)[:2]


@pytest.mark.parametrize(("file", "options"), [("sidecar/workload.yaml", OPTIONS), ("sidecar/cronjob.yaml", OPTIONS)])
def test_the_component_is_what_inject_adds(file, options):
    """One sidecar, whether by Kustomize or by inject."""
    (pod,) = pods(read(file))
    assert {"initContainers": [container(options)], "volumes": volumes(options)} == pod


def test_the_ordinary_component_is_what_inject_adds():
    """One ordinary container, too."""
    (patch,) = read("sidecar-ordinary/container.yaml")
    (pod,) = pods(read("sidecar-ordinary/volumes.yaml"))
    assert (container(ORDINARY), {"volumes": volumes(ORDINARY)}) == (patch["value"], pod)


@pytest.mark.parametrize(
    ("component", "names"),
    [
        ("sidecar", ["deployment", "statefulset", "daemonset", "job", "cronjob"]),
        ("sidecar-ordinary", ["deployment", "statefulset", "daemonset"]),
    ],
)
def test_every_kind_that_asks_for_it(component, names, tmp_path):
    """Each kind with the annotation gets the sidecar, at the place where inject puts it; without it, nothing."""
    for name in names:
        one = yaml.safe_load((GOLDEN / f"{name}.yaml").read_text())
        for suffix, annotations in (("asks", {"otel-latency/inject": "true"}), ("asks-not", {})):
            one["metadata"] = {"name": f"{name}-{suffix}", "annotations": annotations}
            (tmp_path / f"{name}-{suffix}.yaml").write_text(yaml.safe_dump(one))
    top = {"resources": sorted(path.name for path in tmp_path.iterdir())}
    top["components"] = [os.path.relpath(DEPLOY / component, tmp_path)]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(top))
    options = ORDINARY if component == "sidecar-ordinary" else OPTIONS
    for one in render(tmp_path):
        text = yaml.safe_dump(one)
        (pod,) = pods(one)
        (outcome,) = (each.outcome for each in inject(text, "", options).objects)
        if one["metadata"]["name"].endswith("asks"):
            place = pod["initContainers"][0] if options.is_native else pod["containers"][-1]
            assert (container(options), "unchanged") == (place, outcome)
            assert volumes(options)[0] in pod["volumes"]
        else:
            assert NAME not in [each["name"] for each in containers(pod)]


def test_the_commands_that_are_shown():
    """Every folder that a text says to apply is rendered above."""
    texts = [path.read_text() for path in [*DEPLOY.rglob("*.yaml"), DEPLOY / "README.md"]]
    shown = {folder for text in texts for folder in re.findall(r"kubectl apply -k deploy/([\w/-]+)", text)}
    assert {*TOPS} == shown


def test_readiness():
    """The gateway's own traffic waits until it is ready; a sidecar never takes its pod out of service."""
    (gateway,) = read("gateway/deployment.yaml")["spec"]["template"]["spec"]["containers"]
    assert "/health/ready" == gateway["readinessProbe"]["httpGet"]["path"]
    assert not [one for one in (container(OPTIONS), container(ORDINARY)) if "readinessProbe" in one]
    assert "No readinessProbe: " in (DEPLOY / "sidecar" / "workload.yaml").read_text()


def test_room_for_the_history():
    """The volume holds more than the history may take: its write-ahead log comes on top."""
    room = int(re.fullmatch(r"(\d+)Mi", DATA_LIMIT)[1]) << 20
    assert room >= 1.25 * Config().store.max_bytes
    (data,) = (
        one for one in read("gateway/deployment.yaml")["spec"]["template"]["spec"]["volumes"] if one["name"] == "data"
    )
    assert {"sizeLimit": DATA_LIMIT} == data["emptyDir"]


def test_ports_agree():
    """Configuration, container, Service, policies and PodMonitor speak of the same ports."""
    config = load(str(DEPLOY / "gateway" / "otel-latency.yaml"), {})
    listening = {WEB_PORT_NAME: config.web.port, "otlp-grpc": config.otlp.grpc.port, "otlp-http": config.otlp.http.port}
    (gateway,) = read("gateway/deployment.yaml")["spec"]["template"]["spec"]["containers"]
    service = read("gateway/service.yaml")["spec"]["ports"]
    rules = read("gateway/networkpolicy.yaml")["spec"]["ingress"]
    assert listening == {port["name"]: port["containerPort"] for port in gateway["ports"]}
    assert listening == {port["targetPort"]: port["port"] for port in service}
    assert {*listening} == {port["port"] for rule in rules for port in rule["ports"]}
    assert [WEB_PORT_NAME] == [one["port"] for one in read("monitoring/podmonitor.yaml")["spec"]["podMetricsEndpoints"]]
    ((only,),) = (rule["ports"] for rule in read("network-policy/networkpolicy.yaml")["spec"]["ingress"])
    assert OPTIONS.web_port == only["port"]


def test_the_gateways_configuration_is_right():
    """Its listeners can be reached, as the Service's traffic comes from elsewhere."""
    config = load(str(DEPLOY / "gateway" / "otel-latency.yaml"), {})
    assert {"0.0.0.0"} == {config.web.host, config.otlp.http.host, config.otlp.grpc.host}


def test_one_version():
    """Every image of ours, and the Dockerfile, is of the version in pyproject.toml."""
    texts = {path: path.read_text() for path in [*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.md"), ROOT / "Dockerfile"]}
    pattern = re.compile(r"otel-latency:(\d+\.[\d.]+)|VERSION=(\S+)|newTag: ([\d.]+)|kubernetes.io/version: ([\d.]+)")
    found = {"".join(groups) for text in texts.values() for groups in pattern.findall(text)}
    assert {VERSION} == found
