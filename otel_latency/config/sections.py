"""The picture of the YAML file: one class per section, defaults and bounds on the field.

Durations are seconds, sizes are bytes by the time a component sees them (`250ms` and `4MiB` in the file). A component
receives its own section. Unknown keys are errors; see `config.load` for how a file becomes a `Config`.
"""

from __future__ import annotations

from typing import Annotated, Literal, dataclass_transform

from msgspec import Meta, Struct

from otel_latency.config.values import Duration, Secret, Size

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
Limit = Annotated[Size, Meta(extra={"at_least": "1KiB", "at_most": "1GiB"})]
URL = Annotated[
    str, Meta(pattern=r"https?://[^/\s]+(/\S*)?", description="a URL", examples=["https://api.example.com/health"])
]
HostPort = Annotated[
    str,
    Meta(pattern=r"(\[[0-9a-fA-F:.]+\]|[\w.-]+):\d{1,5}", description="host:port", examples=["db.example.com:5432"]),
]
Target = Annotated[
    str,
    Meta(pattern=r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", description="module:Class", examples=["shop.ops:QueueDepth"]),
]
Name = Annotated[str, Meta(pattern=r"\S(.{0,98}\S)?", description="a name of 1 to 100 characters", examples=["openai"])]


class Misfit(ValueError):
    """Values that are right one by one do not fit together.

    *key* is the path of the culprit below the section; *text* is fact and cure.
    """

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


@dataclass_transform(frozen_default=True, kw_only_default=True)
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
        names = [check.name for check in self.checks]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise Misfit(f"checks[{index}].name", f"checks[{names.index(name)}] has the same name: choose another")


class Aggregate(Section):
    max_series: SeriesCount = 2000
    """Label sets kept over all families; what comes after is counted in one overflow series per family."""
    expire_after: Retention = Duration(900.0)
    """A series without a new observation for this long is forgotten."""
    turn_timeout: Interval = Duration(30.0)
    """How long a turn is waited for once its spans are put together; so far each span counts by itself."""


class Config(Section):
    """The whole file."""

    otlp: OTLP = OTLP()
    web: Web = Web()
    collect: Collect = Collect()
    aggregate: Aggregate = Aggregate()

    def __post_init__(self) -> None:
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
    "OTLP",
    "Aggregate",
    "Check",
    "Collect",
    "Config",
    "Duration",
    "GRPCReceiver",
    "HTTPReceiver",
    "Host",
    "Listener",
    "Misfit",
    "Process",
    "Secret",
    "Section",
    "Size",
    "UserCollector",
    "Web",
]
