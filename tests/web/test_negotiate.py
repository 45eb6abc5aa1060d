"""The format follows the Accept header, as real scrapers send it."""

import pytest

from otel_latency.web.negotiate import Format, accepts_gzip, choose_format

PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
ACCEPTS = {
    "nothing": ("", Format.TEXT),
    "curl": ("*/*", Format.TEXT),
    "a browser": ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Format.TEXT),
    "prometheus 2.42": (
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
        ),
        Format.OPENMETRICS,
    ),
    "prometheus 2.42 with native histograms": (
        (
            f"{PROTOBUF},application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;"
            "q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
        ),
        Format.PROTOBUF,
    ),
    "prometheus 3": (
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;"
            "version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,"
            "*/*;q=0.1"
        ),
        Format.OPENMETRICS,
    ),
    "text preferred": ("application/openmetrics-text;version=1.0.0;q=0.5, text/plain", Format.TEXT),
    "the first of equals": ("text/plain, application/openmetrics-text", Format.TEXT),
    "no version": ("application/openmetrics-text", Format.OPENMETRICS),
    "an old version": ("application/openmetrics-text;version=0.0.1, text/plain;q=0.1", Format.TEXT),
    "upper case and spaces": ("Application/OpenMetrics-Text ; Version=1.0.0 ; Q=1", Format.OPENMETRICS),
    "quotes": ('application/openmetrics-text; version="1.0.0"', Format.OPENMETRICS),
    "refused": ("application/openmetrics-text;version=1.0.0;q=0, text/plain;q=0.1", Format.TEXT),
    "a weight that is none": ("application/openmetrics-text;q=high, text/plain;q=0.1", Format.TEXT),
    "a weight above one": ("application/openmetrics-text;q=2, text/plain;q=0.1", Format.TEXT),
    "another protobuf": ("application/vnd.google.protobuf;proto=x.Y;encoding=delimited", Format.TEXT),
    "protobuf as text": (PROTOBUF.replace("delimited", "text"), Format.TEXT),
    "none of ours": ("application/json", Format.TEXT),
    "noise": (";;,=,;q=,\x00", Format.TEXT),
}
ENCODINGS = {
    "": False,
    "gzip": True,
    "deflate, GZIP;q=0.5": True,
    "gzip;q=0": False,
    "*": True,
    "*, gzip;q=0": False,
    "identity": False,
    "gzip;q=no": False,
}


@pytest.mark.parametrize(("accept", "expected"), ACCEPTS.values(), ids=ACCEPTS)
def test_choose_format(accept, expected):
    """The best of what the scraper accepts, else text."""
    assert choose_format(accept) is expected


@pytest.mark.parametrize(("header", "expected"), ENCODINGS.items())
def test_accepts_gzip(header, expected):
    """Compressed only for those who said so."""
    assert accepts_gzip(header) is expected
