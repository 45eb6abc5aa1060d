"""Write deploy/monitoring/prometheusrule.yaml from alerts/*.rules.yaml: the same text, comments too, a level deeper.

Run it after a change to alerts/; a test compares.
"""

from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "deploy" / "monitoring" / "prometheusrule.yaml"
HEAD = """\
# Generated from alerts/ by scripts/prometheus_rule.py: change the rules there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: otel-latency
spec:
  groups:
"""


def prometheus_rule(directory: Path) -> str:
    """The custom resource with all rule files in *directory*, in the order of their names."""
    return HEAD + "".join(_groups(path.read_text()) for path in sorted(directory.glob("*.rules.yaml")))


def _groups(text: str) -> str:
    """The groups of one file as they stand in a list below `spec.groups`, its comments before them."""
    lines = text.splitlines(keepends=True)
    lines.remove("groups:\n")
    return "".join(_deeper(line) for line in lines)


def _deeper(line: str) -> str:
    indentation = "    " if line.startswith("#") else "  "
    return indentation + line if line.strip() else line


if __name__ == "__main__":
    TARGET.write_text(prometheus_rule(ROOT / "alerts"))
