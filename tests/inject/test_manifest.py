"""What inject makes of whole manifests: goldens for every kind, and the promise that nothing else changes."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from inject.shapes import pods, without_ours

from otel_latency.errors import ConfigError
from otel_latency.inject.manifest import Injection, inject
from otel_latency.inject.sidecar import Options, container, volumes

GOLDEN = Path(__file__).parent / "golden"
OPTIONS = Options(image="example.com/otel-latency:1")
OTHERS = replace(OPTIONS, config="otel-latency", is_native=False, sets_env=False, web_port=9000)
NAMES = sorted(path.name for path in GOLDEN.iterdir() if path.suffixes[:-1] == [])
DOCUMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  template:
    spec:
"""
CONTAINERS = "      containers: [{name: app, image: x}]\n"


def read(name):
    return (GOLDEN / name).read_bytes().decode()


def injected(name):
    stem, suffix = name.split(".")
    return read(f"{stem}.injected.{suffix}")


def loaded(text):
    return [one for one in yaml.safe_load_all(text) if one]


def in_deployment(text):
    return DOCUMENT + "".join(f"      {line}\n" for line in text.splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_golden(name):
    """Each kind, in several styles, comes out as it was looked at once, to the last byte."""
    assert injected(name) == inject(read(name), name, OPTIONS).text


def test_golden_with_all_options():
    """An ordinary container comes last, with its ConfigMap and port; no environment is touched."""
    assert read("deployment.options.yaml") == inject(read("deployment.yaml"), "", OTHERS).text


@pytest.mark.parametrize("options", [OPTIONS, OTHERS], ids=["other options", "all options"])
@pytest.mark.parametrize("name", NAMES)
def test_injected_stays(name, options):
    """What has the agent is not changed by a second run, whatever options that has."""
    text = injected(name)
    second = inject(text, name, options)
    assert text == second.text
    assert {"unchanged", "passed"} >= {one.outcome for one in second.objects}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_else_changes(name):
    """Without what was added the manifest means what it meant, and every line of it that was not extended is there."""
    before, after = loaded(read(name)), loaded(injected(name))
    assert before == [without_ours(one, original) for one, original in zip(after, before, strict=True)]
    comments = [line for line in read(name).splitlines() if line.strip().startswith("#")]
    assert comments == [line for line in injected(name).splitlines() if line.strip().startswith("#")]


@pytest.mark.parametrize("name", NAMES)
def test_every_pod_has_the_sidecar(name):
    """The first init container of every pod is the agent, and its volumes are there."""
    found = [pod for one in yaml.safe_load_all(injected(name)) if one for pod in pods(one)]
    assert found
    assert [container(OPTIONS)] * len(found) == [pod["initContainers"][0] for pod in found]
    assert all(one in pod["volumes"] for pod in found for one in volumes(OPTIONS))


def test_summary():
    """Each object is told of with its place: injected, or passed as it makes no pods."""
    assert (
        Injection("ConfigMap", "shop", 3, "passed"),
        Injection("Deployment", "shop", 13, "injected"),
        Injection("Pod", "debug", 28, "injected"),
    ) == inject(read("several.yaml"), "", OPTIONS).objects


def test_an_endpoint_that_is_set_stays():
    """A container that sends elsewhere goes on to do so, and a note says it."""
    (one,) = inject(read("statefulset.yaml"), "", OPTIONS).objects
    assert ("container exporter sends where it did: OTEL_EXPORTER_OTLP_ENDPOINT is set",) == one.notes


def test_variables_from_elsewhere():
    """What a ConfigMap says about the address cannot be seen: a note says that it counts no more."""
    source = "[{configMapRef: {name: c}}]"
    (one,) = inject(in_deployment(f"containers: [{{name: app, envFrom: {source}}}]"), "", OPTIONS).objects
    assert ("injected", ("container app sends to the agent, whatever its envFrom says",)) == (one.outcome, one.notes)


@pytest.mark.parametrize(("protocol", "port"), [("grpc", 4317), ("http/json", 4318)])
def test_a_protocol_that_is_set_stays(protocol, port):
    """The address fits the protocol that the application has chosen."""
    env = f"[{{name: OTEL_EXPORTER_OTLP_PROTOCOL, value: {protocol}}}]"
    text = inject(in_deployment(f"containers: [{{name: app, image: x, env: {env}}}]"), "", OPTIONS).text
    (pod,) = pods(yaml.safe_load(text))
    assert [
        {"name": "OTEL_EXPORTER_OTLP_PROTOCOL", "value": protocol},
        {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": f"http://127.0.0.1:{port}"},
    ] == pod["containers"][0]["env"]


def test_byte_order_mark():
    """A byte order mark stays the first character, and the places are right nevertheless."""
    text = read("deployment.yaml")
    assert "\ufeff" + injected("deployment.yaml") == inject("\ufeff" + text, "", OPTIONS).text


FOREIGN = {
    "another group's kind of the same name": "apiVersion: batch.volcano.sh/v1alpha1\nkind: Job\nspec: {template: 1}\n",
    "no kind": "name: values\n",
    "a list": "- 1\n",
    "nothing": "# only a comment\n",
    "anchors": "kind: X\nbase: &base {a: 1}\nmore: {<<: *base}\n",
}


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
def test_foreign(text):
    """What makes no pods that we know of passes unchanged."""
    result = inject(text, "", OPTIONS)
    assert text == result.text
    assert {"passed"} >= {one.outcome for one in result.objects}


REFUSED = {
    "the pod is missing": (DOCUMENT, "6:5: Deployment shop: spec is missing: add it, down to the containers"),
    "no containers": (
        in_deployment("restartPolicy: Always"),
        "7:7: Deployment shop: containers is missing: add the application's",
    ),
    "hostNetwork": (
        in_deployment("hostNetwork: true\n" + CONTAINERS.strip()),
        (
            "7:7: Deployment shop: hostNetwork is true, so that two pods on a node would want the same ports: "
            "send to the gateway in place of a sidecar"
        ),
    ),
    "Windows": (
        in_deployment("nodeSelector: {kubernetes.io/os: windows}\n" + CONTAINERS.strip()),
        "7:7: Deployment shop: its nodes run Windows, and the agent's image does not: send to the gateway",
    ),
    "a container of the name": (
        in_deployment("containers: [{name: app}, {name: otel-latency, image: x}]"),
        "7:33: Deployment shop: a container that is not the agent is called otel-latency: rename it",
    ),
    "the OTLP port": (
        in_deployment("containers: [{name: app, ports: [{containerPort: 4318}]}]"),
        (
            "7:40: Deployment shop: container app listens on 4318, as the agent would: "
            "move it, or send to the gateway in place of a sidecar"
        ),
    ),
    "the web port": (
        in_deployment("containers: [{name: app, ports: [{containerPort: 14318, protocol: TCP}]}]"),
        "7:40: Deployment shop: container app listens on 14318, as the agent would: choose another with --port",
    ),
    "the port's name": (
        in_deployment("containers: [{name: app, ports: [{containerPort: 1, name: latency-http}]}]"),
        "7:40: Deployment shop: a port is called latency-http already: rename it",
    ),
    "a volume of the name": (
        in_deployment("containers: [{name: app}]\nvolumes: [{name: otel-latency-data}]"),
        "8:17: Deployment shop: a volume is called otel-latency-data already: rename it",
    ),
    "an alias": (
        "x: &pod {containers: [{name: app}]}\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: *pod\n",
        "5:7: Pod a: spec is an alias of what stands elsewhere: write it out",
    ),
    "an alias in a list": (
        "x: &app {name: app}\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [*app]}\n",
        "5:21: Pod a: an entry of this list is an alias of what stands elsewhere: write it out",
    ),
    "an alias of nothing": (
        "x: &no\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: app}], volumes: *no}\n",
        "5:44: Pod a: volumes is an alias of what stands elsewhere: write it out",
    ),
    "a question mark": (
        in_deployment("? containers\n: [{name: app}]"),
        "7:9: Deployment shop: a key is written with a question mark: write it without",
    ),
    "a merge key": (
        in_deployment("containers: [{name: app, <<: {image: x}}]"),
        "7:20: Deployment shop: a merge key (<<) says what is in here: write its entries out",
    ),
    "a key twice": (
        in_deployment("containers: [{name: app}]\ncontainers: [{name: b}]"),
        "8:7: Deployment shop: containers stands here for a second time: keep one",
    ),
    "no list": (
        in_deployment("containers: {name: app}"),
        "7:19: Deployment shop: a list belongs here: compare with the Kubernetes reference",
    ),
    "no mapping": (
        in_deployment("containers: [app]"),
        "7:20: Deployment shop: a mapping belongs here: compare with the Kubernetes reference",
    ),
    "not YAML": (
        DOCUMENT + "      containers: [\n",
        "8:1: a bracket or a comma is missing before this: close what [ or { has opened",
    ),
    "a control character": ("a: \x07\n", "1:4: a control character stands here: remove it"),
    "an alias of nothing that there is": (
        "a: *b\n",
        "1:4: this is not YAML: check the indentation and the characters just before it",
    ),
    "too deep": ("[" * 5000, "1:1: this is nested too deep: is it the right file?"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(text, message):
    """What cannot be done safely is refused with place, fact and cure."""
    with pytest.raises(ConfigError) as raised:
        inject(text, "shop.yaml", OPTIONS)
    assert f"shop.yaml:{message}" == str(raised.value)


@pytest.mark.parametrize("name", ["job.yaml", "cronjob.yaml"])
def test_an_ordinary_container_in_a_job(name):
    """A Job would never end beside an agent that does not."""
    with pytest.raises(ConfigError, match=r"would keep the pod from ending: leave out --ordinary$"):
        inject(read(name), name, OTHERS)


def test_harmless_ports():
    """UDP and other numbers are no clash."""
    text = in_deployment(
        "containers: [{name: app, ports: [{containerPort: 4317, protocol: UDP}, {containerPort: 80}]}]"
    )
    assert ["injected"] == [one.outcome for one in inject(text, "", OPTIONS).objects]


ODD = {
    "anchors and tags": """\
apiVersion: v1
kind: Pod
metadata: {name: a}
spec: &spec
  initContainers: &init # first of all
    # why
    - &wait
      name: wait
  containers: !!seq
  -
    # what
    name: app
    env: &env

    - name: A # one
      value: |+
        kept

  volumes: !!null
""",
    "aliases at the end": """\
apiVersion: v1
kind: Pod
spec:
  securityContext: &context {runAsUser: 1}
  containers:
  - {name: a, livenessProbe: &probe {exec: {command: [x]}}, readinessProbe: *probe}
  - name: b
    resources:
      limits: &limits
        memory: 1Mi
      requests: *limits
    readinessProbe:
      *probe
  other: *context
""",
    "nothing after the last value": "{apiVersion: v1, kind: Pod, spec: {containers: [{name: a, env: }], volumes: }}",
    "a block scalar at the end": "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: a\n    image: >-\n      x",
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_odd_layouts(text):
    """What is legal, and seldom written, is understood as well."""
    first = inject(text, "", OPTIONS).text
    (before,), (after,) = loaded(text), loaded(first)
    assert container(OPTIONS) == after["spec"]["initContainers"][0]
    assert before == without_ours(after, before)
    assert first == inject(first, "", OPTIONS).text


NAME = st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\u2028\u2029\ufeff"))
VARIABLE = st.fixed_dictionaries({"name": NAME, "value": TEXT | st.just("several\nlines\n\n")})
APPLICATION = st.fixed_dictionaries(
    {"name": NAME, "image": NAME},
    optional={"env": st.lists(VARIABLE, max_size=2), "command": st.lists(TEXT, max_size=2), "tty": st.booleans()},
)
POD = st.fixed_dictionaries(
    {"containers": st.lists(APPLICATION, min_size=1, max_size=3)},
    optional={
        "initContainers": st.lists(APPLICATION, max_size=2) | st.none(),
        "volumes": st.lists(st.fixed_dictionaries({"name": NAME}, optional={"emptyDir": st.just({})}), max_size=2),
        "nodeSelector": st.dictionaries(NAME, TEXT, max_size=2),
    },
)


@settings(max_examples=100)
@given(
    pod=POD,
    flow=st.sampled_from([True, False, None]),
    indent=st.integers(2, 6),
    width=st.sampled_from([20, 80, 1000]),
    style=st.sampled_from([None, "'", '"', "|"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    is_native=st.booleans(),
)
def test_any_layout(pod, flow, indent, width, style, newline, is_native):
    """However a manifest is laid out, it gets the agent, keeps the rest, and is left alone the second time."""
    looks = {"default_flow_style": flow, "indent": indent, "width": width, "default_style": style}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": pod}
    text = yaml.safe_dump(document, **looks, line_break=newline, allow_unicode=True)
    options = replace(OPTIONS, is_native=is_native)
    first = inject(text, "", options)
    after = yaml.safe_load(first.text)
    place = after["spec"]["initContainers"][0] if is_native else after["spec"]["containers"][-1]
    assert container(options) == place
    before = yaml.safe_load(text)  # in rare cases PyYAML writes something else than it was given
    assert before == without_ours(after, before)
    assert first.text == inject(first.text, "", options).text
