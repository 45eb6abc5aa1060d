#!/usr/bin/env bash
# Build the compiled parts with AddressSanitizer and UndefinedBehaviourSanitizer, apart from the installed ones, and feed
# them damaged requests for SECONDS (60).
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r otel_latency tests "$work"
find "$work" -name '*.so' -delete

include=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("include"))')
for source in otel_latency/_native.c otel_latency/ingest/_scanner.c otel_latency/forward/_redact.c; do
    gcc -g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined -shared -fPIC \
        -I"$include" "$source" -o "$work/${source%.c}.abi3.so"
done

cd "$work"
ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
    PYTHONPATH="$work" "$OLDPWD/.venv/bin/python" -m tests.fuzz.scan --seconds "${SECONDS_TO_RUN:-60}" "$@"
