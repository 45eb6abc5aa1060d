"""deploy/monitoring: the rules of alerts/, for the Prometheus operator."""

import shutil
import subprocess
import sys

import pytest
import yaml
from deploy.manifests import DEPLOY, ROOT

RULE = DEPLOY / "monitoring" / "prometheusrule.yaml"
ALERTS = sorted((ROOT / "alerts").glob("*.rules.yaml"))


def test_generated_is_committed(tmp_path):
    """The file in the repository is what the script writes from alerts/ now."""
    (tmp_path / "deploy" / "monitoring").mkdir(parents=True)
    shutil.copytree(ROOT / "alerts", tmp_path / "alerts")
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    subprocess.run([sys.executable, tmp_path / "scripts" / "prometheus_rule.py"], check=True)
    assert RULE.read_text() == (tmp_path / "deploy" / "monitoring" / "prometheusrule.yaml").read_text()


def test_the_groups_are_those_of_alerts():
    """All groups of all files, none changed, under names that are there once."""
    groups = yaml.safe_load(RULE.read_text())["spec"]["groups"]
    assert [group for path in ALERTS for group in yaml.safe_load(path.read_text())["groups"]] == groups
    assert len(groups) == len({group["name"] for group in groups})


def test_comments_are_kept():
    """Why a rule is as it is stands in the generated file as well."""
    comments = [line.strip() for path in ALERTS for line in path.read_text().splitlines() if line.strip()[:1] == "#"]
    assert comments == [line.strip() for line in RULE.read_text().splitlines() if line.strip()[:1] == "#"][1:]


@pytest.mark.e2e
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool(tmp_path):
    """The spec is a rule file that promtool takes."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(yaml.safe_load(RULE.read_text())["spec"]))
    done = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yaml"], capture_output=True, text=True)
    assert (0, "") == (done.returncode, done.stderr)
