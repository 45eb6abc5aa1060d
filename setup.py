"""Builds the compiled parts. They are optional: without a compiler the package works, on their Python twins."""

from setuptools import Extension, setup

SHARED = "otel_latency/_wire.h"
FLAGS = ["-O3", "-Wall", "-Wextra", "-Wno-cast-function-type", "-Wno-missing-field-initializers"]


def compiled(name: str) -> Extension:
    source = f"{name.replace('.', '/')}.c"
    return Extension(name, [source], depends=[SHARED], extra_compile_args=FLAGS, py_limited_api=True, optional=True)


COMPILED = ("otel_latency._native", "otel_latency.ingest._scanner", "otel_latency.forward._redact")

setup(
    ext_modules=[compiled(name) for name in COMPILED],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
