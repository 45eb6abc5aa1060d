"""The picture of the YAML file: one class per section, defaults and bounds on the field.

Durations are seconds, sizes are bytes by the time a component sees them (`250ms` and `4MiB` in the file). A component
receives its own section. Unknown keys are errors; see `config.load` for how a file becomes a `Config`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Annotated, Final, Literal, dataclass_transform
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field
from msgspec.structs import force_setattr

from otel_latency.config.values import Duration, Secret, Size
from otel_latency.errors import ExpressionError
from otel_latency.listening import in_url, is_loopback
from otel_latency.regex import fits

Port = Annotated[int, Meta(ge=0, le=65535, description="a port")]
SeriesCount = Annotated[int, Meta(ge=10, description="a count of series")]
Address = Annotated[
    str,
    Meta(
        pattern=r"[A-Za-z0-9._:-]+",
        description="a host name or address",
        examples=["127.0.0.1", "::1", "agent.example.com"],
    ),
]
Interval = Annotated[Duration, Meta(extra={"at_least": "100ms", "at_most": "1d"})]
Retention = Annotated[Duration, Meta(extra={"at_least": "1s", "at_most": "30d"})]
Keeping = Annotated[Duration, Meta(extra={"at_least": "1h", "at_most": "400d"})]
Latency = Annotated[Duration, Meta(extra={"at_least": "1ms", "at_most": "1h"})]
Limit = Annotated[Size, Meta(extra={"at_least": "1KiB", "at_most": "1GiB"})]
URL = Annotated[
    str, Meta(pattern=r"https?://[^/\s]+(/\S*)?", description="a URL", examples=["https://api.example.com/health"])
]
OTLPEndpoint = Annotated[
    str,
    Meta(
        pattern=r"(https?|grpcs?)://(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?(/[\w.~%/-]*)?",
        description="an OTLP endpoint",
        examples=["http://tempo:4318", "grpc://tempo:4317"],
    ),
]
AttributeKey = Annotated[
    str,
    Meta(pattern=r"[^\s*]{1,100}\*?", description="an attribute's key", examples=["exception.message", "shop.card.*"]),
]
HostPort = Annotated[
    str,
    Meta(pattern=r"(\[[0-9a-fA-F:.]+\]|[\w.-]+):\d{1,5}", description="host:port", examples=["db.example.com:5432"]),
]
SecretURL = Annotated[
    Secret,
    Meta(
        description="a URL",
        examples=["https://hooks.example.com/alerts"],
        extra={"pattern": r"https?://[^/\s]+(/\S*)?"},
    ),
]
File = Annotated[str, Meta(pattern=r"[^\0]+", description="a file name", examples=["/run/secrets/slack-webhook-url"])]
MailAddress = Annotated[
    str,
    Meta(pattern=r"[^\s@<>,;:\"()]+@[\w.\[\]:-]+", description="a mail address", examples=["oncall@example.com"]),
]
LabelName = Annotated[
    str, Meta(pattern=r"[a-zA-Z_][a-zA-Z0-9_]*|\.\.\.", description="a label name", examples=["alertname"])
]
Wait = Annotated[Duration, Meta(extra={"at_least": "0s", "at_most": "1h"})]
Repeat = Annotated[Duration, Meta(extra={"at_least": "10s", "at_most": "30d"})]
AlertCount = Annotated[int, Meta(ge=0, description="a count of alerts")]
Target = Annotated[
    str,
    Meta(pattern=r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", description="module:Class", examples=["shop.ops:QueueDepth"]),
]
Name = Annotated[str, Meta(pattern=r"\S(.{0,98}\S)?", description="a name of 1 to 100 characters", examples=["openai"])]


TraceURL = Annotated[
    str,
    Meta(
        pattern=r"https?://\S*\{trace_id\}\S*",
        description="a URL with a place for the trace",
        examples=["https://tempo.example.com/trace/{trace_id}"],
    ),
]


class Misfit(ValueError):
    """Values that are right one by one do not fit together.

    *key* is the path of the culprit below the section; *text* is fact and cure.
    """

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


def _check_names(path: str, names: Sequence[str]) -> None:
    """Each item of the list at *path* is to have a name of its own."""
    for index, name in enumerate(names):
        if name in names[:index]:
            raise Misfit(f"{path}[{index}].name", f"{path}[{names.index(name)}] has the same name: choose another")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Frozen; a key that is not a field is an error."""


class Listener(Section):
    """Where a server listens. Port 0 asks the system for a free one."""

    host: Address = "127.0.0.1"
    port: Port = 0


class HTTPReceiver(Listener):
    enabled: bool = True
    port: Port = 4318


class GRPCReceiver(Listener):
    enabled: bool = True
    port: Port = 4317
    max_message: Limit = Size(2 << 20)
    """The largest message taken: grpcio holds a whole message before we see it, so this bounds memory."""


class OTLP(Section):
    http: HTTPReceiver = HTTPReceiver()
    grpc: GRPCReceiver = GRPCReceiver()
    max_body: Limit = Size(4 << 20)
    """Largest request body, before and after decompression."""
    max_in_flight: Limit = Size(16 << 20)
    """Bytes of requests being read or decoded at once; beyond it senders are told to retry."""


class Web(Listener):
    port: Port = 8080
    allowed_hosts: list[Address] = []
    """Host headers answered besides localhost and loopback addresses."""


class Host(Section):
    enabled: bool = True
    interval: Interval = Duration(1.0)


class Process(Section):
    names: list[Name] = []
    """Command names of processes to watch; the agent watches itself anyway."""
    interval: Interval = Duration(1.0)


class Check(Section):
    """An external service to watch: exactly one of `http` (a URL) and `tcp` (host:port)."""

    name: Name
    http: URL | None = None
    tcp: HostPort | None = None
    interval: Interval = Duration(5.0)
    timeout: Interval = Duration(2.0)
    required: bool = False
    """A required check that is down makes /health/ready answer 503."""

    def __post_init__(self) -> None:
        if self.http is None and self.tcp is None:
            raise Misfit("", "neither http nor tcp is set: write http: https://host/path or tcp: host:port")
        if self.http is not None and self.tcp is not None:
            raise Misfit("", "both http and tcp are set: keep one")


class UserCollector(Section):
    """`module:Class` with a cadence; a bare string in the file stands for the default cadence."""

    target: Target
    interval: Interval = Duration(10.0)
    timeout: Interval = Duration(5.0)


class Collect(Section):
    host: Host = Host()
    process: Process = Process()
    gpu: Literal["auto", "on", "off"] = "auto"
    collectors: list[UserCollector | Target] = []
    checks: list[Check] = []

    def __post_init__(self) -> None:
        _check_names("checks", [check.name for check in self.checks])


class Aggregate(Section):
    max_series: SeriesCount = 2000
    """Label sets kept over all families; what comes after is counted in one overflow series per family."""
    expire_after: Retention = Duration(900.0)
    """A series without a new observation for this long is forgotten."""
    turn_timeout: Interval = Duration(30.0)
    """A trace without the span of its turn is closed, with what came of it, after nothing came for this long."""


class Rules(Section):
    """Prometheus rule files, evaluated over what `/metrics` shows."""

    files: list[str] = []
    """Paths and globs, from the directory of the configuration; read again on SIGHUP and when they change."""
    interval: Interval = Duration(1.0)
    """How often groups that name no interval are evaluated."""
    sample_interval: Interval = Duration(1.0)
    semantics: Literal[2, 3] = 3
    """Whose major version's semantics expressions have; see Prometheus' migration guide to version 3."""
    resend_delay: Interval = Duration(60.0)
    """A firing alert is handed to the notifiers again after this long."""
    max_bytes: Limit = Size(32 << 20)
    """Memory for the samples that rules look back on; a rule that would need more is refused."""
    target_labels: dict[str, str] = {}
    """Added to every series, as Prometheus adds those of a scraped target; `job` and `instance` are set anyway."""
    external_labels: dict[str, str] = {}
    """Added to every alert that is sent."""
    external_url: URL | None = None
    """Where people find this agent; links in notifications begin with it."""
    trace_url: TraceURL | None = None
    """Where people find a trace; notifications link the slowest. The agent's page shows it where this is not set."""


class LatencyTarget(Section):
    """What a stage or milestone should take: within `best` it is excellent, above `critical` it is broken."""

    best: Latency | None = None
    target: Latency | None = None
    critical: Latency | None = None

    def __post_init__(self) -> None:
        levels = [(name, getattr(self, name)) for name in ("best", "target", "critical")]
        known = [(name, seconds) for name, seconds in levels if seconds is not None]
        for (lower, low), (upper, high) in pairwise(known):
            if low > high:
                raise Misfit(lower, f"{low:g} s is more than {upper}, {high:g} s: exchange the two")


def _target(target: float, critical: float | None = None, *, best: float | None = None) -> LatencyTarget:
    best, critical = (None if seconds is None else Duration(seconds) for seconds in (best, critical))
    return LatencyTarget(target=Duration(target), critical=critical, best=best)


DEFAULT_TARGETS: Final[Mapping[str, LatencyTarget]] = MappingProxyType(
    {
        "audio": _target(0.05, 0.1),
        "stt": _target(0.15, 0.3),
        "classification": _target(0.1, 0.2),
        "retrieval": _target(0.5, 1.0),
        "llm": _target(1.5, 3.0),
        "tts": _target(0.2, 0.5),
        "first_token": _target(0.5),
        "first_sentence": _target(0.8),
        "tts_start": _target(1.0),
        "first_audio": _target(1.5, best=1.0),
    }
)
"""The one place of our thresholds: what a voice assistant needs for its answers to feel immediate."""


class NotifierSection(Section):
    """What every notifier has; `type` in the file says which of them it is."""

    name: Name
    match: dict[str, str] = {}
    """Labels of the alerts it is for: `critical`, `!=info`, `=~critical|page` or `!~test.*`."""
    group_by: list[LabelName] = field(default_factory=lambda: ["alertname"])
    """Alerts alike in these labels are one notification; `...` stands for all labels."""
    group_wait: Wait = Duration(0.0)
    """How long the first notification of a group waits for more alerts."""

    def __post_init__(self) -> None:
        for label, condition in self.match.items():
            _check_condition(label, condition)


def _check_condition(label: str, condition: str) -> None:
    if condition[:2] not in {"=~", "!~"}:
        return
    try:
        fits(condition[2:])
    except ExpressionError:
        key = f"match.{label}" if re.fullmatch(r"\w{1,40}", label, re.ASCII) else "match"
        raise Misfit(key, "the pattern is wrong: write one such as =~critical|page") from None


def _check_one_of(section: Section, value: str, file: str) -> None:
    """Of the keys *value*, a secret, and *file*, where it can be read, one is to be set."""
    is_set = [getattr(section, key) is not None for key in (value, file)]
    if not any(is_set):
        raise Misfit("", f"neither {value} nor {file} is set: write one of them")
    if all(is_set):
        raise Misfit("", f"both {value} and {file} are set: keep one")


def _check_headers(key: str, headers: Mapping[str, Secret] | Mapping[str, str]) -> None:
    """Names, and values where they stand in the file, are to be what a header can hold."""
    if not all(re.fullmatch(r"[A-Za-z0-9-]{1,100}", name, re.ASCII) for name in headers):
        raise Misfit(key, "a name is not that of a header: write one such as Authorization")
    if not all(value.reveal().isprintable() for value in headers.values() if isinstance(value, Secret)):
        raise Misfit(key, "a value has characters that no header has: write it on one line")


class MessageNotifier(NotifierSection):
    """One that decides itself when to tell its side again."""

    repeat_interval: Repeat = Duration(4 * 3600.0)
    flap_interval: Wait = Duration(60.0)
    """An alert that fires again before it was quiet for this long is told at most this often; 0s tells every change."""
    send_resolved: bool = True


class WebhookNotifier(MessageNotifier, tag_field="type", tag="webhook"):
    """Alertmanager's webhook format, to any address."""

    url: SecretURL | None = None
    url_file: File | None = None
    headers: dict[str, Secret] = {}
    header_files: dict[str, File] = {}
    """Headers whose value is in a file."""
    max_alerts: AlertCount = 0
    """The most alerts in one notification; 0 sends all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_one_of(self, "url", "url_file")
        _check_headers("headers", self.headers)
        _check_headers("header_files", self.header_files)


class SlackNotifier(MessageNotifier, tag_field="type", tag="slack"):
    """An incoming webhook of Slack, or of what speaks like it."""

    webhook_url: SecretURL | None = None
    webhook_url_file: File | None = None
    channel: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_one_of(self, "webhook_url", "webhook_url_file")


class PagerDutyNotifier(MessageNotifier, tag_field="type", tag="pagerduty"):
    """PagerDuty's Events API v2."""

    routing_key: Secret | None = None
    routing_key_file: File | None = None
    url: SecretURL = Secret("https://events.pagerduty.com/v2/enqueue")

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_one_of(self, "routing_key", "routing_key_file")


class EmailNotifier(MessageNotifier, tag_field="type", tag="email", kw_only=True):
    smarthost: HostPort
    sender: MailAddress = field(name="from")
    to: list[MailAddress]
    require_tls: bool = True
    username: str = ""
    password: Secret | None = None
    password_file: File | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.to:
            raise Misfit("to", "nobody is named: write at least one address")
        if self.username:
            _check_one_of(self, "password", "password_file")
            if not self.require_tls:
                raise Misfit("require_tls", "a password is only sent over TLS: write true, or remove username")
        elif self.password is not None or self.password_file is not None:
            raise Misfit("", "a password is set without username: add it")


class AlertmanagerNotifier(NotifierSection, tag_field="type", tag="alertmanager"):
    """Hands alerts to an Alertmanager, every minute while they fire; repeating and resolving is left to it."""

    url: SecretURL | None = None
    url_file: File | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_one_of(self, "url", "url_file")


AnyNotifier = WebhookNotifier | SlackNotifier | PagerDutyNotifier | EmailNotifier | AlertmanagerNotifier


class Store(Section):
    """What survives a restart: history, the states of alerts, and notifications on their way."""

    path: File = "otel-latency-data"
    """A directory, from that of the configuration; made when something is to be written."""
    durability: Literal["disk", "memory"] = "disk"
    """Whether a request is on disk before it is acknowledged, or lives as long as the process."""
    on_disk_failure: Literal["memory", "refuse"] = "memory"
    """While the disk cannot be written: go on in memory, counted as acknowledged without being durable, or answer 503
    so that senders try again."""
    log_bytes: Annotated[Size, Meta(extra={"at_least": "4MiB", "at_most": "16GiB"})] = Size(64 << 20)
    """The most that acknowledged requests take on disk while they wait for a destination; beyond it the oldest go."""
    detail: Keeping = Duration(24 * 3600.0)
    """How long each operation is kept, and every minute of every series."""
    aggregate: Keeping = Duration(30 * 86400.0)
    """How long every quarter of an hour of every series is kept, and alerts."""
    max_bytes: Annotated[Size, Meta(extra={"at_least": "16MiB", "at_most": "16GiB"})] = Size(256 << 20)
    """The most that the history takes on disk; beyond it the oldest operations go before their time."""

    def __post_init__(self) -> None:
        if self.detail > self.aggregate:
            raise Misfit("detail", "it is longer than aggregate: exchange the two")


_OWN_HEADERS: Final = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "idempotency-key",
        "te",
        "transfer-encoding",
    }
)


class ForwardTLS(Section):
    """How the two sides of `https` and `grpcs` know each other: files in PEM, read again for new connections."""

    ca_file: File | None = None
    """Who vouches for the destination, in place of the system's authorities."""
    cert_file: File | None = None
    """Our own certificate, for a destination that wants to know who we are."""
    key_file: File | None = None

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise Misfit("", "cert_file and key_file go together: write both or none")


class ForwardDestination(Section):
    """An OTLP backend that everything received is sent on to, as it came but for `content`."""

    endpoint: OTLPEndpoint
    """`http(s)` for OTLP over HTTP, to which `/v1/traces` and the like are added; `grpc(s)` for OTLP over gRPC."""
    name: Name | None = None
    """How metrics and /status call it; its host and port by default."""
    headers: dict[str, Secret] = {}
    header_files: dict[str, File] = {}
    """Headers whose value is in a file, which is read each time."""
    tls: ForwardTLS = ForwardTLS()
    compression: Literal["gzip", "none"] = "gzip"
    timeout: Interval = Duration(10.0)
    """How long one attempt may take."""
    content: Literal["drop", "keep"] = "drop"
    """Whether prompts, completions, tool arguments and the like are taken out."""
    drop_attributes: list[AttributeKey] = []
    """Attributes to take out besides those; `shop.card.*` stands for all that begin with `shop.card.`."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.endpoint)
        try:
            has_port = parts.port != 0
        except ValueError:
            has_port = False
        if not has_port:
            raise Misfit("endpoint", "its port is out of range: write 1 to 65535")
        if parts.scheme.startswith("grpc") and parts.path not in {"", "/"}:
            raise Misfit("endpoint", "gRPC has no path: write grpc://tempo:4317")
        if self.tls != ForwardTLS() and parts.scheme in {"http", "grpc"}:
            raise Misfit("endpoint", f"tls is set, and {parts.scheme} has none: write {parts.scheme}s://")
        if self.content == "keep" and self.drop_attributes:
            raise Misfit("drop_attributes", "with content: keep nothing is taken out: remove one of the two")
        _check_headers("headers", self.headers)
        _check_headers("header_files", self.header_files)
        for key, names in (("headers", self.headers), ("header_files", self.header_files)):
            if not _OWN_HEADERS.isdisjoint(name.lower() for name in names):
                raise Misfit(key, "one of them says how a request is written, and that is for us to say: remove it")
        if not all(value.reveal().isascii() for value in self.headers.values()):
            raise Misfit("headers", "a value has characters that no header has: write it in ASCII")

    @property
    def host(self) -> str:
        return urlsplit(self.endpoint).hostname or ""

    @property
    def port(self) -> int:
        parts = urlsplit(self.endpoint)
        return parts.port or {"http": 80, "grpc": 4317}.get(parts.scheme, 443)

    @property
    def label(self) -> str:
        """Its name, or else its host and port."""
        return self.name or f"{in_url(self.host)}:{self.port}"


def _check_loop(path: str, destination: ForwardDestination, otlp: OTLP) -> None:
    """What is received is not to be sent to where it came from."""
    receivers: list[tuple[str, HTTPReceiver | GRPCReceiver]] = [("otlp.http", otlp.http), ("otlp.grpc", otlp.grpc)]
    for name, receiver in receivers:
        is_here = destination.host == receiver.host or (
            is_loopback(destination.host) and (is_loopback(receiver.host) or receiver.host in {"0.0.0.0", "::"})
        )
        if receiver.enabled and is_here and destination.port == receiver.port:
            raise Misfit(f"{path}.endpoint", f"that is this agent's own {name}: write the address of another")


class Config(Section):
    """The whole file."""

    otlp: OTLP = OTLP()
    web: Web = Web()
    collect: Collect = Collect()
    aggregate: Aggregate = Aggregate()
    store: Store = Store()
    targets: dict[str, LatencyTarget] = {}
    """By stage or milestone. An entry takes the place of the default of its name; an empty one takes it away."""
    rules: Rules = Rules()
    notify: list[AnyNotifier] = []
    forward: list[ForwardDestination] = []

    def __post_init__(self) -> None:
        _check_names("notify", [notifier.name for notifier in self.notify])
        _check_names("forward", [destination.label for destination in self.forward])
        for index, destination in enumerate(self.forward):
            _check_loop(f"forward[{index}]", destination, self.otlp)
        force_setattr(self, "targets", {**DEFAULT_TARGETS, **self.targets})
        listeners: dict[str, Listener] = {"web": self.web}
        if self.otlp.grpc.enabled:
            listeners = {"otlp.grpc": self.otlp.grpc, **listeners}
        if self.otlp.http.enabled:
            listeners = {"otlp.http": self.otlp.http, **listeners}
        owners: dict[int, str] = {}
        for path, listener in listeners.items():
            if listener.port and (owner := owners.setdefault(listener.port, path)) != path:
                raise Misfit(f"{path}.port", f"{owner} listens on {listener.port} already: choose another port")


__all__ = [
    "DEFAULT_TARGETS",
    "OTLP",
    "Aggregate",
    "AlertmanagerNotifier",
    "AnyNotifier",
    "Check",
    "Collect",
    "Config",
    "Duration",
    "EmailNotifier",
    "ForwardDestination",
    "ForwardTLS",
    "GRPCReceiver",
    "HTTPReceiver",
    "Host",
    "LatencyTarget",
    "Listener",
    "MessageNotifier",
    "Misfit",
    "NotifierSection",
    "PagerDutyNotifier",
    "Process",
    "Rules",
    "Secret",
    "Section",
    "Size",
    "SlackNotifier",
    "Store",
    "UserCollector",
    "Web",
    "WebhookNotifier",
]
