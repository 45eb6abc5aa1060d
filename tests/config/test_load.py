"""`testdata/` holds one fault per file, named for it, with the whole of its messages beside it."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_latency.config import document
from otel_latency.config.load import MAX_BYTES, faults, load
from otel_latency.config.sections import Check, Config, ForwardDestination, ForwardTLS, UserCollector
from otel_latency.config.values import Secret
from otel_latency.errors import ConfigError

TESTDATA = Path(__file__).parent / "testdata"
FAULTS = sorted(path.stem for path in TESTDATA.glob("*.yaml"))
CANARY = "c4n4ry"
ENVIRON = {"CANARY": CANARY}

EVERYTHING = """\
# every key once, in every spelling
otlp:
  http: {enabled: true, host: 127.0.0.1, port: 14318}
  grpc: {enabled: false, host: "::1", port: 0, max_message: 1MiB}
  max_body: 512KiB
  max_in_flight: 1048576
web: {host: localhost, port: "18080", allowed_hosts: [latency.example.com]}
collect:
  host: {enabled: false, interval: 1h30m}
  process: {names: [python3, "22:22"], interval: 250ms}
  gpu: on
  collectors: ["shop.ops:QueueDepth", {target: "shop.ops:Stock", interval: 1m, timeout: 1.5s}]
  checks:
    - {name: no, http: "https://api.openai.com/v1/models", interval: 5s, timeout: 2s, required: true}
    - {name: 1.10, tcp: "[::1]:5432"}
aggregate: {max_series: 10, expire_after: 1h, turn_timeout: 30s}
targets: {stt: {target: 150ms, critical: 300ms}, first_audio: {best: 1s, target: 1500ms}, tts: }
store: {path: data, detail: 12h, aggregate: 7d, max_bytes: 64MiB}
forward:
  - {endpoint: "http://tempo:4318"}
  - endpoint: https://otlp.example.com/tenant/a
    name: backend
    headers: {authorization: Bearer x}
    header_files: {x-key: /run/secrets/key}
    tls: {ca_file: ca.pem, cert_file: agent.pem, key_file: agent.key}
    compression: none
    timeout: 5s
    content: drop
    drop_attributes: [exception.message, shop.card.*]
  - {endpoint: "grpcs://[2001:db8::1]", content: keep}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write otel-latency.yaml into the working folder, and nothing else is there."""
    monkeypatch.chdir(tmp_path)
    return lambda content: Path("otel-latency.yaml").write_bytes(
        content.encode() if isinstance(content, str) else content
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(fault, monkeypatch):
    """Each fault is reported with file, key path, fact and cure, each on one line, and nothing besides."""
    monkeypatch.chdir(TESTDATA)
    expected = Path(f"{fault}.txt").read_text()
    found = faults(f"{fault}.yaml", ENVIRON)
    assert expected == "".join(f"{error}\n" for error in found)
    with pytest.raises(ConfigError) as raised:
        load(f"{fault}.yaml", ENVIRON)
    assert (expected.splitlines()[0], 2) == (str(raised.value), raised.value.exit_code)


@pytest.mark.parametrize("fault", FAULTS)
def test_pure_python_parser(fault, monkeypatch):
    """Where PyYAML was built without its C parser the messages are the same, columns included."""
    monkeypatch.chdir(TESTDATA)
    monkeypatch.setattr(document, "LOADER", yaml.SafeLoader)
    assert Path(f"{fault}.txt").read_text() == "".join(f"{error}\n" for error in faults(f"{fault}.yaml", ENVIRON))


def test_no_secret():
    """What a file or the environment holds where a secret may stand is in no message, though it is in the files."""
    assert any(CANARY in path.read_text(errors="replace") for path in TESTDATA.glob("*.yaml"))
    assert [] == [path.name for path in TESTDATA.glob("*.txt") if CANARY in path.read_text()]


def test_no_leftover():
    """Every message file has the file that causes it."""
    assert FAULTS == sorted(path.stem for path in TESTDATA.glob("*.txt"))


def test_everything(write):
    """Every key is read, and words such as on, no, 1.10 and 22:22 stay words unless their field says otherwise."""
    write(EVERYTHING)
    config = load(None, {})
    assert (14318, False, "::1", 1 << 20) == (
        config.otlp.http.port,
        config.otlp.grpc.enabled,
        config.otlp.grpc.host,
        config.otlp.grpc.max_message,
    )
    assert (512 << 10, 1 << 20) == (config.otlp.max_body, config.otlp.max_in_flight)
    assert ("localhost", 18080, ["latency.example.com"]) == (
        config.web.host,
        config.web.port,
        config.web.allowed_hosts,
    )
    assert (False, 5400.0) == (config.collect.host.enabled, config.collect.host.interval)
    assert (["python3", "22:22"], 0.25) == (config.collect.process.names, config.collect.process.interval)
    assert "on" == config.collect.gpu
    assert ["shop.ops:QueueDepth", UserCollector(target="shop.ops:Stock", interval=60.0, timeout=1.5)] == (
        config.collect.collectors
    )
    assert [
        Check(name="no", http="https://api.openai.com/v1/models", interval=5.0, timeout=2.0, required=True),
        Check(name="1.10", tcp="[::1]:5432"),
    ] == config.collect.checks
    assert (10, 3600.0, 30.0) == (
        config.aggregate.max_series,
        config.aggregate.expire_after,
        config.aggregate.turn_timeout,
    )
    assert [(None, 0.15, 0.3), (1.0, 1.5, None), (None, None, None)] == [
        (config.targets[name].best, config.targets[name].target, config.targets[name].critical)
        for name in ("stt", "first_audio", "tts")
    ]
    assert ("data", 43200.0, 604800.0, 64 << 20) == (
        config.store.path,
        config.store.detail,
        config.store.aggregate,
        config.store.max_bytes,
    )
    assert [
        ForwardDestination(endpoint="http://tempo:4318"),
        ForwardDestination(
            endpoint="https://otlp.example.com/tenant/a",
            name="backend",
            headers={"authorization": Secret("Bearer x")},
            header_files={"x-key": "/run/secrets/key"},
            tls=ForwardTLS(ca_file="ca.pem", cert_file="agent.pem", key_file="agent.key"),
            compression="none",
            timeout=5.0,
            content="drop",
            drop_attributes=["exception.message", "shop.card.*"],
        ),
        ForwardDestination(endpoint="grpcs://[2001:db8::1]", content="keep"),
    ] == config.forward


NOTIFIERS = """\
notify:
  - {name: a, type: webhook, url: "https://h.example.com/${env:CANARY}",
     headers: {Authorization: "Bearer ${env:CANARY}"}, header_files: {X-Key: /run/key}, max_alerts: 5,
     match: {severity: "=~critical|page"}, group_by: [alertname, stage], group_wait: 30s,
     repeat_interval: 12h, flap_interval: 5m, send_resolved: false}
  - {type: slack, name: b, webhook_url_file: /run/slack, channel: "#oncall"}
  - {name: c, type: pagerduty, routing_key: "${env:CANARY}", url: "https://events.eu.pagerduty.com/v2/enqueue"}
  - {name: d, type: email, smarthost: "[::1]:587", from: a@example.com, to: [b@example.com], username: u, password: p}
  - {name: e, type: alertmanager, url: "http://alertmanager:9093"}
"""


def test_every_notifier(write):
    """Each type of notifier has its own keys beside the common ones, and shows none of its secrets."""
    write(NOTIFIERS)
    config = load(None, ENVIRON)
    webhook, slack, pagerduty, email, alertmanager = config.notify
    assert (f"https://h.example.com/{CANARY}", f"Bearer {CANARY}", {"X-Key": "/run/key"}) == (
        webhook.url.reveal(),
        webhook.headers["Authorization"].reveal(),
        webhook.header_files,
    )
    assert (5, {"severity": "=~critical|page"}, ["alertname", "stage"], 30.0, 43200.0, 300.0, False) == (
        webhook.max_alerts,
        webhook.match,
        webhook.group_by,
        webhook.group_wait,
        webhook.repeat_interval,
        webhook.flap_interval,
        webhook.send_resolved,
    )
    assert (None, "/run/slack", "#oncall") == (slack.webhook_url, slack.webhook_url_file, slack.channel)
    assert ({}, ["alertname"], 0.0, 14400.0, 60.0, True) == (
        slack.match,
        slack.group_by,
        slack.group_wait,
        slack.repeat_interval,
        slack.flap_interval,
        slack.send_resolved,
    )
    assert (CANARY, "https://events.eu.pagerduty.com/v2/enqueue") == (
        pagerduty.routing_key.reveal(),
        pagerduty.url.reveal(),
    )
    assert ("[::1]:587", "a@example.com", ["b@example.com"], True, "u", "p") == (
        email.smarthost,
        email.sender,
        email.to,
        email.require_tls,
        email.username,
        email.password.reveal(),
    )
    assert "http://alertmanager:9093" == alertmanager.url.reveal()
    assert CANARY not in repr(config)


def test_defaults(write):
    """Without a file, with comments only, and with sections whose lines are commented out, the defaults hold."""
    assert Config() == load(None, {})
    write("# web: {port: 9090}\n")
    assert Config() == load(None, {})
    write("web:\n  # port: 9090\ncollect:\n  checks:\n")
    assert Config() == load(None, {})


def test_byte_order_mark(write):
    """A file saved with a byte order mark is read."""
    write(b"\xef\xbb\xbfweb: {port: 9090}\n")
    assert 9090 == load(None, {}).web.port


def test_named_file_must_exist(write):
    """Only the default file may be absent."""
    with pytest.raises(ConfigError, match=r"^nowhere.yaml: there is no such file: check the name$"):
        load("nowhere.yaml", {})


def test_unreadable_file(tmp_path):
    """What cannot be read as a file is said in one line."""
    expected = f"{tmp_path}: the file cannot be read (Is a directory): check the name and its rights"
    assert [expected] == [str(error) for error in faults(str(tmp_path), {})]


def test_large_file(write):
    """A file over 1 MiB is refused before it is parsed, one of exactly 1 MiB is read."""
    write("web: {port: 9090}\n".ljust(MAX_BYTES, "#"))
    assert 9090 == load(None, {}).web.port
    write("web: {port: 9090}\n".ljust(10 * MAX_BYTES, "#"))
    with pytest.raises(ConfigError, match=r"^otel-latency.yaml: the file is larger than 1 MiB: is it the right one\?$"):
        load(None, {})


def test_links_are_read_whole(tmp_path, monkeypatch):
    """A symbolic link that moves to another file, as Kubernetes does it, yields the one or the other."""
    monkeypatch.chdir(tmp_path)
    for port in (1111, 2222):
        Path(f"{port}.yaml").write_text(f"web: {{port: {port}}}\n")
    for port in (1111, 2222):
        Path("next").symlink_to(f"{port}.yaml")
        Path("next").replace("otel-latency.yaml")
        assert port == load(None, {}).web.port


def test_environment_comes_last(write):
    """A variable overrides the file, and its own fault is reported under its name."""
    write("web: {port: 9090, host: localhost}\n")
    config = load(None, {"OTEL_LATENCY_WEB__PORT": "9999"})
    assert ("localhost", 9999) == (config.web.host, config.web.port)
    with pytest.raises(ConfigError) as raised:
        load(None, {"OTEL_LATENCY_WEB__PORT": CANARY})
    assert "OTEL_LATENCY_WEB__PORT: web.port: this value is not a port: write 0 to 65535" == str(raised.value)


def test_the_environment_hides_no_fault_of_the_file(write):
    """A wrong value is told though a variable takes its place; it would bite where the variable is not set."""
    write("web: {port: 99999, host: localhost}\n")
    expected = ["otel-latency.yaml: web.port: '99999' is out of range: write 0 to 65535"]
    assert expected == [str(error) for error in faults("otel-latency.yaml", {"OTEL_LATENCY_WEB__PORT": "9999"})]
    both = faults("otel-latency.yaml", {"OTEL_LATENCY_WEB__PORT": CANARY})
    assert ["OTEL_LATENCY_WEB__PORT: web.port: this value is not a port: write 0 to 65535", *expected] == [
        str(error) for error in both
    ]


def test_the_environment_may_part_what_clashes(write):
    """Ports that are right one by one are compared as they will be."""
    write("otlp: {http: {port: 8080}}\n")
    assert 9999 == load(None, {"OTEL_LATENCY_WEB__PORT": "9999"}).web.port
    with pytest.raises(ConfigError, match=r"otlp.http listens on 8080 already"):
        load(None, {})


def test_clash_without_a_file(write):
    """Without a file a clash is put down to the variable."""
    with pytest.raises(ConfigError) as raised:
        load(None, {"OTEL_LATENCY_WEB__PORT": "4317"})
    expected = "OTEL_LATENCY_WEB__PORT: web.port: otlp.grpc listens on 4317 already: choose another port"
    assert expected == str(raised.value)


def check_robust(content):
    Path("otel-latency.yaml").write_bytes(content)
    for error in faults("otel-latency.yaml", {}):
        assert str(error).startswith("otel-latency.yaml:")
        assert str(error).isprintable()


def test_any_bytes(write):
    """Whatever the file holds, the answer is a configuration or messages of one line."""
    contents = st.binary() | st.text().map(lambda text: text.encode(errors="surrogatepass"))
    settings(deadline=None)(given(contents)(check_robust))()


def test_any_damage(write):
    """The same for a good file that lost, gained or repeated some of its bytes."""
    good = EVERYTHING.encode()

    @given(
        st.integers(0, len(good)), st.integers(0, 20), st.binary(max_size=6) | st.sampled_from([b"&a ", b"*a", b"!"])
    )
    def damage(start, length, insertion):
        check_robust(good[:start] + insertion + good[start + length :])

    damage()
