"""Sends on what was received, to any number of OTLP destinations."""
