"""The agent's configuration: a typed picture of one YAML file."""

from otel_latency.config.load import load
from otel_latency.config.sections import Config

__all__ = ["Config", "load"]
