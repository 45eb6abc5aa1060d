/* The protobuf wire format, as the scanner of requests and the redactor read it. The input is hostile: every read is
 * checked against the end of the buffer it belongs to. Groups are refused: OTLP has none.
 */
#ifndef OTEL_LATENCY_WIRE_H
#define OTEL_LATENCY_WIRE_H

#include <stdint.h>
#include <string.h>

enum { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 };

/* The tag of a field. To compare it whole is one comparison; that of a number and a type, each just written, would be
 * merged into one by the compiler, and stall until both have arrived: that took half of the time. */
#define TAG(number, type) ((uint64_t)(number) << 3 | (type))

typedef struct { const uint8_t *at, *end; } Bytes;

/* From *begin*, its length at *length_at*; *scalar* of a VARINT or FIXED64, *body* of the others. */
typedef struct { uint64_t tag, scalar; const uint8_t *begin, *length_at; Bytes body; } Field;

static inline int read_varint(Bytes *in, uint64_t *out)
{
    if (in->at < in->end && *in->at < 0x80) { /* nearly all of them */
        *out = *in->at++;
        return 1;
    }
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && in->at < in->end; shift += 7) {
        uint8_t byte = *in->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return 1;
        }
    }
    return 0;
}

/* 1: a field was read; 0: the end; -1: the bytes are no message. */
static inline int next_field(Bytes *in, Field *field)
{
    if (in->at == in->end) return 0;
    field->begin = in->at;
    if (!read_varint(in, &field->tag) || field->tag >> 3 == 0 || field->tag >> 32) return -1;
    field->length_at = in->at;
    uint64_t length;
    switch (field->tag & 7) {
    case VARINT:
        return read_varint(in, &field->scalar) ? 1 : -1;
    case FIXED64:
        if (in->end - in->at < 8) return -1;
        memcpy(&field->scalar, in->at, 8); /* little-endian, as every platform that we build on */
        in->at += 8;
        return 1;
    case FIXED32:
        if (in->end - in->at < 4) return -1;
        in->at += 4;
        return 1;
    case LENGTH:
        if (!read_varint(in, &length) || length > (uint64_t)(in->end - in->at)) return -1;
        field->body.at = in->at;
        field->body.end = in->at += length;
        return 1;
    default:
        return -1;
    }
}

#endif
