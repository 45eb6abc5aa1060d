# The agent in an image without shell, package manager or compiler, for a read-only root and any user but root.
#
#     docker build --tag otel-latency:0.1.0 .
#     docker run --rm --read-only --volume otel-latency:/data \
#       --publish 127.0.0.1:4318:4318 --env OTEL_LATENCY_OTLP__HTTP__HOST=0.0.0.0 \
#       --publish 127.0.0.1:8080:8080 --env OTEL_LATENCY_WEB__HOST=0.0.0.0 otel-latency:0.1.0
#
# As everywhere, it listens on 127.0.0.1 unless told otherwise. A configuration is read from
# /etc/otel-latency/otel-latency.yaml, history is kept in /data (in memory where nothing is mounted there), and the
# shipped alerts are /opt/otel-latency/alerts/*.rules.yaml. Other commands go where `agent` would: `... check FILE`.
#
# Both images are Debian 12: what one Python has built, the same Python runs. A release adds their digests, and names
# itself by SOURCE and REVISION.
FROM debian:bookworm-slim AS build
# Only this stage has them, and Debian keeps no old versions that could be pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src

COPY requirements.txt requirements-dev.txt ./
RUN python3 -m venv --without-pip /opt/otel-latency \
    && python3 -m pip --python /opt/otel-latency/bin/python3 install --no-cache-dir --no-compile --only-binary :all: \
        --require-hashes --requirement requirements.txt \
    && python3 -m venv /opt/build \
    && sed -n '/^setuptools==/,/[^\\]$/p' requirements-dev.txt > build.txt \
    && /opt/build/bin/python3 -m pip install --no-cache-dir --require-hashes --requirement build.txt

COPY LICENSE README.md pyproject.toml setup.py ./
COPY otel_latency otel_latency
# The compiled parts are optional elsewhere; an image without them would only be slower, and nobody would notice.
RUN /opt/build/bin/python3 -m pip wheel --no-build-isolation --no-deps --wheel-dir /dist . \
    && python3 -m pip --python /opt/otel-latency/bin/python3 install --no-cache-dir --no-compile --no-deps --no-index \
        /dist/*.whl \
    && /opt/otel-latency/bin/python3 -I -c 'import otel_latency._native, otel_latency.ingest._scanner'

# Bytecode of all there is, the standard library too: distroless images come without, and compiling at each start takes
# time and memory (the price list alone 108 MiB). It is matched by hash, for the times of files change with each copy.
RUN python3 -m compileall -q -f -j 0 --invalidation-mode checked-hash /usr/lib/python3.11 /opt/otel-latency/lib \
    && mkdir /bytecode \
    && find /usr/lib/python3.11 -name '*.pyc' -exec cp --parents --target-directory /bytecode {} + \
    && install -d -m 0700 /data
COPY alerts /opt/otel-latency/alerts

FROM gcr.io/distroless/python3-debian12:nonroot
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=https://example.com/otel-latency
LABEL org.opencontainers.image.title="otel-latency" \
      org.opencontainers.image.description="Latency observability for LLM and voice pipelines: the sidecar agent" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /bytecode/ /
COPY --from=build /opt/otel-latency /opt/otel-latency
COPY --from=build --chown=65532:65532 /data /data
ENV PYTHONDONTWRITEBYTECODE=1 \
    OTEL_LATENCY_STORE__PATH=/data
WORKDIR /etc/otel-latency
USER 65532:65532
EXPOSE 4317 4318 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["/opt/otel-latency/bin/otel-latency", "healthcheck"]
ENTRYPOINT ["/opt/otel-latency/bin/otel-latency"]
CMD ["agent"]
