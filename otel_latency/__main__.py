"""`python -m otel_latency` is the `otel-latency` command."""

import sys

from otel_latency.cli import main

if __name__ == "__main__":
    sys.exit(main())
