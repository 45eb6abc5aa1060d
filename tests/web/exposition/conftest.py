"""The schema of `io.prometheus.client`, stated apart from our encoder and read with the real protobuf library."""

from collections.abc import Callable
from io import BytesIO

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, proto

SCHEMA = {
    "LabelPair": "1 name string, 2 value string",
    "Gauge": "1 value double",
    "Counter": "1 value double, 3 created_timestamp Timestamp",
    "Quantile": "1 quantile double, 2 value double",
    "Summary": "1 sample_count uint64, 2 sample_sum double, 3 *quantile Quantile, 4 created_timestamp Timestamp",
    "Untyped": "1 value double",
    "Timestamp": "1 seconds int64, 2 nanos int32",
    "BucketSpan": "1 offset sint32, 2 length uint32",
    "Exemplar": "1 *label LabelPair, 2 value double, 3 timestamp Timestamp",
    "Bucket": "1 cumulative_count uint64, 2 upper_bound double, 3 exemplar Exemplar",
    "Histogram": "1 sample_count uint64, 2 sample_sum double, 3 *bucket Bucket, 5 schema sint32, "
    "6 zero_threshold double, 7 zero_count uint64, 12 *positive_span BucketSpan, 13 *positive_delta sint64, "
    "15 created_timestamp Timestamp, 16 *exemplars Exemplar",
    "Metric": "1 *label LabelPair, 2 gauge Gauge, 3 counter Counter, 4 summary Summary, 5 untyped Untyped, "
    "7 histogram Histogram",
    "MetricFamily": "1 name string, 2 help string, 3 type int32, 4 *metric Metric, 5 unit string",
}


def _message_classes() -> dict[str, type]:
    file = descriptor_pb2.FileDescriptorProto(name="metrics.proto", package="test", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in SCHEMA.items():
        message = file.message_type.add(name=name)
        for field in fields.split(", "):
            number, label, kind = field.split()
            is_repeated = label.startswith("*")
            added = message.field.add(
                name=label.removeprefix("*"),
                number=int(number),
                label=kinds.LABEL_REPEATED if is_repeated else kinds.LABEL_OPTIONAL,
            )
            if kind in SCHEMA:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".test.{kind}"
            else:
                added.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"test.{name}")) for name in SCHEMA}


@pytest.fixture(scope="session")
def parse_delimited() -> Callable[[bytes], list]:
    """Reads a page of delimited messages; a field that the schema does not know fails the test."""
    family_class = _message_classes()["MetricFamily"]

    def parse(page: bytes) -> list:
        families, stream = [], BytesIO(page)
        while stream.tell() < len(page):
            family = proto.parse_length_prefixed(family_class, stream)
            size = family.ByteSize()
            family.DiscardUnknownFields()
            assert family.ByteSize() == size
            families.append(family)
        return families

    return parse
