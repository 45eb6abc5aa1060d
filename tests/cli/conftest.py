import shlex

import pytest


@pytest.fixture
def examples():
    """The calls that a docstring shows, each with the output shown for it."""

    def extract(docstring):
        lines = [line.removeprefix("    ") for line in docstring.splitlines() if line.startswith("    ")]
        blocks = "\n".join(lines).split("$ otel-latency ")[1:]
        return [(shlex.split(call), output.strip("\n") + "\n") for call, _, output in map(_partition, blocks)]

    return extract


def _partition(block):
    return block.partition("\n")
