"""The Dockerfile, as far as it can be read; that the image runs is for a machine with podman or docker to say."""

import re
import shlex

from deploy.manifests import ROOT

from otel_latency.config.sections import Config
from otel_latency.inject.sidecar import Options, container

TEXT = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", (ROOT / "Dockerfile").read_text()))
LINES = [line.split(None, 1) for line in TEXT.splitlines() if line.strip()]
FINAL = LINES[max(index for index, (word, _) in enumerate(LINES) if word == "FROM") :]


def values(word, lines=LINES):
    return [rest for each, rest in lines if each == word]


def test_images_are_pinned():
    """Every base has a tag, and none is latest."""
    tags = [base.split()[0].partition(":")[2] for base in values("FROM")]
    assert [] == [tag for tag in tags if tag in {"", "latest"}]


def test_the_last_stage_only_copies():
    """Without a shell nothing could run there: it copies, and says how to run."""
    assert {"FROM", "ARG", "LABEL", "COPY", "ENV", "WORKDIR", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"} | {
        "ENTRYPOINT",
        "CMD",
    } == {word for word, _ in FINAL}
    assert ["65532:65532"] == values("USER", FINAL)


def test_no_shell_at_run_time():
    """Entry point, command and health check are lists, and not lines for a shell."""
    (check,) = values("HEALTHCHECK", FINAL)
    calls = [*values("ENTRYPOINT", FINAL), *values("CMD", FINAL), check.partition("CMD ")[2]]
    assert ["["] * 3 == [call[0] for call in calls]


def test_packages_come_with_hashes():
    """Everything that pip fetches is in a lock."""
    installs = [part for run in values("RUN") for part in run.split("&&") if " install " in part and "pip" in part]
    fetched = [words for words in map(shlex.split, installs) if "apt-get" not in words and "--no-index" not in words]
    assert 2 == len(fetched)
    assert all("--require-hashes" in words for words in fetched)


def test_copies_are_let_in():
    """What is copied from the project exists, and .dockerignore lets it in; all else stays out."""
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line.removeprefix("!").partition("/")[0] for line in patterns if line.startswith("!")}
    copied = {name for rest in values("COPY") if "--from" not in rest for name in rest.split()[:-1]}
    assert "*" in patterns
    assert copied == let_in
    assert [] == [name for name in copied if not (ROOT / name).exists()]


def test_old_builders_can_read_it():
    """No here-documents and no COPY --link, which buildah knows only lately."""
    assert not re.search(r"<<|--link", TEXT)


def test_places_are_those_that_manifests_mount():
    """Configuration and history are where the sidecar has its volumes, and the ports are the defaults."""
    mounts = {one["name"]: one["mountPath"] for one in container(Options(image="x", config="y"))["volumeMounts"]}
    (environment,) = (shlex.split(rest) for rest in values("ENV", FINAL))
    places = {"otel-latency-config": values("WORKDIR", FINAL)[-1]}
    places["otel-latency-data"] = dict(one.split("=") for one in environment)["OTEL_LATENCY_STORE__PATH"]
    assert mounts == places
    config = Config()
    ports = [config.otlp.grpc.port, config.otlp.http.port, config.web.port]
    assert [" ".join(map(str, ports))] == values("EXPOSE", FINAL)
