"""Latency observability for LLM and voice pipelines: a span library and a sidecar agent."""
