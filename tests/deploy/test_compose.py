"""deploy/compose: pinned, on loopback only, and every file of it is one that its reader takes."""

import re
import shutil
import subprocess

import pytest
import yaml
from deploy.manifests import DEPLOY, ROOT

from otel_latency.config.load import load

COMPOSE = DEPLOY / "compose"
SERVICES = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]


def test_services():
    """The agent, and what looks at it."""
    assert {"agent", "prometheus", "alertmanager", "grafana"} == SERVICES.keys()


@pytest.mark.parametrize("service", SERVICES)
def test_service(service):
    """Its image has a version, its ports are on 127.0.0.1, its files exist and cannot be written."""
    one = SERVICES[service]
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", one["image"])
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in one["ports"])
    files = [volume.split(":") for volume in one["volumes"] if volume.startswith(".")]
    assert all(mode == "ro" for _, _, mode in files)
    assert set() == {path for source, *_ in files if not (path := (COMPOSE / source).resolve()).exists()}


def test_the_agents_configuration():
    """The agent listens where compose publishes it, and Prometheus asks it there."""
    config = load(str(COMPOSE / "otel-latency.yaml"), {})
    listeners = [config.otlp.grpc, config.otlp.http, config.web]
    assert {"0.0.0.0"} == {one.host for one in listeners}
    assert [f"127.0.0.1:{one.port}:{one.port}" for one in listeners] == SERVICES["agent"]["ports"]
    scraped = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())["scrape_configs"][0]["static_configs"]
    assert [{"targets": [f"agent:{config.web.port}"]}] == scraped


def test_grafana_finds_what_it_shows():
    """The provider reads the folder that is mounted, and every variable of the data source is set."""
    folder = ROOT / "dashboards" / "provisioning"
    (provider,) = yaml.safe_load((folder / "dashboards" / "otel-latency.yaml").read_text())["providers"]
    mounted = [volume.split(":") for volume in SERVICES["grafana"]["volumes"]]
    assert ["../../dashboards", provider["options"]["path"], "ro"] in mounted
    sources = (folder / "datasources" / "prometheus.yaml").read_text()
    variables = set(re.findall(r"(?<!\$)\$\{(\w+)\}", sources))
    assert variables <= SERVICES["grafana"]["environment"].keys()
    scraping = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert scraping == SERVICES["grafana"]["environment"]["SCRAPE_INTERVAL"]


CHECKS = {
    "promtool": ["check", "config", "--syntax-only", "prometheus.yml"],
    "amtool": ["check-config", "alertmanager.yml"],
}


@pytest.mark.e2e
@pytest.mark.parametrize("program", CHECKS)
def test_their_own_programs_agree(program):
    """Prometheus and Alertmanager take their files."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([program, *CHECKS[program]], cwd=COMPOSE, capture_output=True, text=True)
    assert (0, "") == (done.returncode, done.stderr)
