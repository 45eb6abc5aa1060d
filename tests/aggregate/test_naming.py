"""OpenTelemetry names become the Prometheus names that Prometheus itself would give them."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_latency.aggregate.naming import label_name, label_value, labels, metric_name
from otel_latency.records import MetricKind

GAUGE, COUNTER, HISTOGRAM = "gauge", "counter", "histogram"

NAMES = {
    # name, unit, type -> Prometheus name, unit on the page
    ("system.filesystem.usage", "By", GAUGE): ("system_filesystem_usage_bytes", "bytes"),
    ("system.io", "By", COUNTER): ("system_io_bytes_total", "bytes"),
    ("network_transmitted_bytes_total", "By", COUNTER): ("network_transmitted_bytes_total", "bytes"),
    ("\t system.filesystem.usage       ", "  By\t", GAUGE): ("system_filesystem_usage_bytes", "bytes"),
    ("system.network.dropped", "{packets}", GAUGE): ("system_network_dropped", ""),
    ("system.network.dropped", "{packets}", COUNTER): ("system_network_dropped_total", ""),
    ("system.network.dropped", "packets", GAUGE): ("system_network_dropped_packets", "packets"),
    ("system.network.packets.dropped", "packets", GAUGE): ("system_network_packets_dropped", ""),
    ("system.network.packets", "packets", COUNTER): ("system_network_packets_total", "packets"),
    ("hw.gpu.memory.utilization", "1", GAUGE): ("hw_gpu_memory_utilization_ratio", "ratio"),
    ("hw.fan.speed_ratio", "1", GAUGE): ("hw_fan_speed_ratio", "ratio"),
    ("objects", "1", COUNTER): ("objects_total", ""),
    ("hw.cpu.speed_limit", "Hz", GAUGE): ("hw_cpu_speed_limit_hertz", "hertz"),
    ("broken.metric.speed", "km/h", GAUGE): ("broken_metric_speed_km_per_hour", "km_per_hour"),
    ("astro.light.speed_limit", "m/s", GAUGE): ("astro_light_speed_limit_meters_per_second", "meters_per_second"),
    ("broken.metric.success_ratio", "%", GAUGE): ("broken_metric_success_ratio_percent", "percent"),
    ("broken.metric.success_percent", "%", GAUGE): ("broken_metric_success_percent", "percent"),
    ("test.metric.no_unit", "", GAUGE): ("test_metric_no_unit", ""),
    ("test.metric.spaces", "   \t  ", GAUGE): ("test_metric_spaces", ""),
    ("unsupported.metric.temperature", "°F", GAUGE): ("unsupported_metric_temperature_F", "F"),
    ("unsupported.metric.weird", "+=.:,!* & #", GAUGE): ("unsupported_metric_weird", ""),
    ("unsupported.metric.redundant", "__test $/°C", GAUGE): ("unsupported_metric_redundant_test_per_C", "test_per_C"),
    ("ds.replication.object.rate", "{objects}/s", GAUGE): ("ds_replication_object_rate_per_second", "per_second"),
    ("mongodbatlas.oplog.rate", "GiBy/h", GAUGE): ("mongodbatlas_oplog_rate_gibibytes_per_hour", "gibibytes_per_hour"),
    ("scanned_per_returned", "{scanned}/{returned}", GAUGE): ("scanned_per_returned", ""),
    ("requests", "1/s", COUNTER): ("requests_per_second_total", "per_second"),
    ("redis.latest_fork", "us", GAUGE): ("redis_latest_fork_microseconds", "microseconds"),
    ("system.cpu.load_average.15m", "1", GAUGE): ("system_cpu_load_average_15m_ratio", "ratio"),
    ("http.server.request.duration", "s", HISTOGRAM): ("http_server_request_duration_seconds", "seconds"),
    ("request_seconds", "s", HISTOGRAM): ("request_seconds", "seconds"),
    ("gen_ai.client.token.usage", "{token}", HISTOGRAM): ("gen_ai_client_token_usage", ""),
    ("requests.total", "", COUNTER): ("requests_total", ""),
    ("total.requests", "", COUNTER): ("requests_total", ""),
    ("3.14 digits", "", GAUGE): ("_3_14_digits", ""),
    ("envoy__rule_engine_zlib_buf_error", "", GAUGE): ("envoy_rule_engine_zlib_buf_error", ""),
    ("metric@@##$$name", "", GAUGE): ("metric_name", ""),
    ("system.io", "foo/bar", COUNTER): ("system_io_foo_per_bar_total", "foo_per_bar"),
    ("custom_metric", "unit@with#special/chars", GAUGE): (
        "custom_metric_unit_with_special_per_chars",
        "unit_with_special_per_chars",
    ),
    ("@#$%", "s", GAUGE): ("", ""),
    ("", "s", GAUGE): ("", ""),
    ("日本", "", GAUGE): ("", ""),
    ("total", "", COUNTER): ("", ""),
}

KINDS = {GAUGE: (MetricKind.GAUGE, False), COUNTER: (MetricKind.SUM, True), HISTOGRAM: (MetricKind.HISTOGRAM, False)}


@pytest.mark.parametrize(("given_", "expected"), NAMES.items(), ids=[f"{name} {unit}" for name, unit, _ in NAMES])
def test_metric_name(given_, expected):
    """A metric is called what Prometheus would call it; the unit is shown where the name ends in it."""
    name, unit, type_ = given_
    kind, is_monotonic = KINDS[type_]
    assert expected == metric_name(name, unit, kind, is_monotonic=is_monotonic)


def test_up_down_counter_of_unit_one():
    """Only a gauge of unit 1 is a ratio; a sum that goes up and down counts things."""
    assert ("queue_size", "") == metric_name("queue.size", "1", MetricKind.SUM, is_monotonic=False)


LABEL_NAMES = {
    "http.request.method": "http_request_method",
    "CamelCase": "CamelCase",
    "label!with&special$chars)": "label_with_special_chars_",
    "label:with:colons": "label_with_colons",
    "123label": "key_123label",
    "_hidden": "key_hidden",
    "__name__": "key_name_",
    "日本": "key_",
    "": "",
}


@pytest.mark.parametrize(("attribute", "expected"), LABEL_NAMES.items())
def test_label_name(attribute, expected):
    """A label's name is legal and none of Prometheus' own."""
    assert expected == label_name(attribute)


VALUES = [
    ("text", "text"),
    (True, "true"),
    (False, "false"),
    (3, "3"),
    (0.5, "0.5"),
    (b"\x00\xff", "AP8="),
    (None, ""),
    ([1, "a", None], '[1,"a",null]'),
    ({"k": [b"\x00", float("nan")]}, '{"k":["AA==",null]}'),
]


@pytest.mark.parametrize(("value", "expected"), VALUES)
def test_label_value(value, expected):
    """Every kind of attribute value has a text."""
    assert expected == label_value(value)


def test_labels():
    """Our labels come first, then the attributes by name; empty ones are left out."""
    found = labels([("service", "shop"), ("service_instance_id", "")], {"b": 2, "a": True, "c": "", "": "x"}, ())
    assert (("service", "shop"), ("a", "true"), ("b", "2")) == found


def test_colliding_labels_are_joined():
    """Values whose names become one are joined in the order of the original names."""
    assert (("a_b", "1;2;3"),) == labels([], {"a_b": 3, "a.b": 2, "a b": 1}, ())


def test_taken_labels_are_renamed():
    """An attribute cannot take a label that means something else to us or to Prometheus."""
    found = labels([("service", "shop")], {"service": "cart", "le": "5", "exported.le": "6"}, {"le"})
    assert (("service", "shop"), ("exported_le", "6;5"), ("exported_service", "cart")) == found


@given(st.text(), st.text(max_size=8), st.sampled_from(sorted(KINDS)))
@settings(max_examples=200, deadline=None)
def test_any_name_becomes_legal(name, unit, type_):
    """Whatever the names, the exposition's grammar holds."""
    kind, is_monotonic = KINDS[type_]
    found, shown_unit = metric_name(name, unit, kind, is_monotonic=is_monotonic)
    assert not found or re.fullmatch("[a-zA-Z_:][a-zA-Z0-9_:]*", found)
    assert not shown_unit or found.removesuffix("_total").endswith(f"_{shown_unit}")
    label = label_name(name)
    assert not label or re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", label)
    assert not label.startswith("__")
