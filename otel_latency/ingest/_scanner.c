/* A scanner for OTLP trace requests in protobuf: bytes in, rows out, no message objects in between.
 *
 * It does what `scanner.PythonScanner` does, by the same rules, about a hundred times faster; `scanner.py` states the
 * contract and `tests/ingest/test_scanner.py` holds both to it. The input is hostile: every read is checked against the
 * end of the buffer it belongs to, nothing is allocated in proportion to a length that was only claimed, and no
 * function recurses. The limited C API of Python 3.11 is used throughout, so one build serves later versions.
 */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#include "../_wire.h"

enum { MAX_SPANS = 20000, MAX_SPAN_BYTES = 65536, MAX_ATTRIBUTES = 128, MAX_EVENTS = 128, MAX_TEXT = 4096 };
enum { MAX_LINKS = 16, MAX_PLAIN_NAME = 64 };
enum { PROFILE_SLOTS = 4096, MAX_PROFILES = 2048, MAX_PROFILE_BYTES = 1 << 20 };
static const uint64_t UNREADABLE = UINT64_MAX; /* the context of spans whose resource or scope is malformed */
static const double MAX_PLAIN = 86400; /* beyond it a measure is looked at more closely */
enum { LABEL = 0, MEASURE = 1, FOREIGN = 2, LINK = 3, DETAIL = 4, IGNORED = 5 };
enum { MALFORMED, INVALID_TRACE_ID, INVALID_SPAN_ID, TOO_LARGE, REASONS };

static const char *const REASON_NAMES[REASONS] = {"malformed", "invalid_trace_id", "invalid_span_id", "too_large"};

static Py_ssize_t size(Bytes b) { return b.end - b.at; }

static int all_zero(Bytes b)
{
    for (; b.at < b.end; b.at++)
        if (*b.at) return 0;
    return 1;
}

static int is_utf8(Bytes b)
{
    const uint8_t *p = b.at, *end = b.end;
    while (p < end) {
        uint64_t eight;
        if (end - p >= 8 && (memcpy(&eight, p, 8), !(eight & 0x8080808080808080u))) {
            p += 8;
        } else if (*p < 0x80) {
            p++;
        } else {
            int more = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : 1;
            uint32_t point = *p & (0x3f >> more);
            if (*p < 0xc2 || *p > 0xf4 || end - p <= more) return 0;
            for (int i = 1; i <= more; i++) {
                if ((p[i] & 0xc0) != 0x80) return 0;
                point = point << 6 | (p[i] & 0x3f);
            }
            if ((more == 2 && point < 0x800) || (more == 3 && (point < 0x10000 || point > 0x10ffff))) return 0;
            if (point >= 0xd800 && point <= 0xdfff) return 0;
            p += more + 1;
        }
    }
    return 1;
}

static Bytes truncated(Bytes text)
{
    if (size(text) > MAX_TEXT) {
        text.end = text.at + MAX_TEXT;
        while (text.end > text.at && (*text.end & 0xc0) == 0x80) text.end--; /* never cut a character in two */
    }
    return text;
}

/* ---- hash tables --------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

static uint64_t hash_bytes(const uint8_t *p, size_t length)
{
    uint64_t hash = length, other = ~hash, word;
    for (; length >= 16; p += 16, length -= 16) { /* two chains, which the processor follows side by side */
        memcpy(&word, p, 8);
        hash = mix(hash, word);
        memcpy(&word, p + 8, 8);
        other = mix(other, word);
    }
    for (size_t step = length < 8 ? length : 8; length; p += step, length -= step, step = length) {
        word = 0;
        memcpy(&word, p, step);
        hash = mix(hash, word);
    }
    return mix(hash, other);
}

/* Keys share prefixes ("gen_ai.usage."), so length, head and tail tell them apart; memcmp has the last word. */
static uint64_t hash_key(const uint8_t *p, size_t length)
{
    uint64_t head, tail;
    if (length < 8) return hash_bytes(p, length);
    memcpy(&head, p, 8);
    memcpy(&tail, p + length - 8, 8);
    return mix(mix(length, head), tail);
}

/* What the scanner looks for: an attribute key or an event name, and the object it is reported under. */
typedef struct {
    uint64_t hash;
    PyObject *name, *target;
    const char *text;
    Py_ssize_t length;
    int kind, is_event;
} Interest;

typedef struct { uint64_t hash; uint8_t *key; size_t length; PyObject *profile; } Known;

typedef struct { uint8_t *at; size_t used, room; } Buffer;

typedef struct {
    PyObject_HEAD
    PyObject *context, *resolve, *convert, *empty;
    PyObject *others; /* where events of any other plain name are reported, or NULL */
    Interest *interests;
    size_t interest_mask;
    Known *known;
    size_t known_count, known_bytes;
    Buffer shape;
} Scanner;

static const Interest *find_interest(const Scanner *self, Bytes name, int is_event)
{
    uint64_t hash = hash_key(name.at, (size_t)size(name));
    for (size_t slot = hash & self->interest_mask;; slot = (slot + 1) & self->interest_mask) {
        const Interest *one = &self->interests[slot];
        if (!one->name) return NULL;
        if (one->hash == hash && one->is_event == is_event && one->length == size(name)
            && !memcmp(one->text, name.at, (size_t)one->length))
            return one;
    }
}

static void forget_profiles(Scanner *self)
{
    if (!self->known_count) return;
    for (size_t slot = 0; slot < PROFILE_SLOTS; slot++) {
        PyMem_Free(self->known[slot].key);
        Py_XDECREF(self->known[slot].profile);
    }
    memset(self->known, 0, PROFILE_SLOTS * sizeof(Known));
    self->known_count = self->known_bytes = 0;
}

/* The slot of a shape: its entry, or the free slot where it belongs. */
static Known *find_profile(Scanner *self, uint64_t hash)
{
    const Buffer *shape = &self->shape;
    for (size_t slot = hash & (PROFILE_SLOTS - 1);; slot = (slot + 1) & (PROFILE_SLOTS - 1)) {
        Known *one = &self->known[slot];
        if (!one->key) return one;
        if (one->hash == hash && one->length == shape->used && !memcmp(one->key, shape->at, shape->used)) return one;
    }
}

static int append(Buffer *buffer, const void *bytes, size_t length)
{
    if (buffer->used + length > buffer->room) {
        size_t room = 2 * (buffer->used + length) + 256;
        uint8_t *grown = PyMem_Realloc(buffer->at, room);
        if (!grown) return -1;
        buffer->at = grown;
        buffer->room = room;
    }
    memcpy(buffer->at + buffer->used, bytes, length);
    buffer->used += length;
    return 0;
}

/* ---- one span ------------------------------------------------------------------------------------------------ */

typedef struct { const Interest *interest; Bytes whole, key, value; } Attribute;

typedef struct {
    Bytes trace_id, span_id, parent_id, name;
    uint64_t start_ns, end_ns, kind, status;
    Attribute found[MAX_ATTRIBUTES];
    int found_count, attribute_count, event_count, link_count;
    Bytes events[MAX_EVENTS], links[MAX_LINKS];
} Span;

typedef struct { Bytes key, value; } KeyValue;

/* Every text in it must be UTF-8, looked for or not. */
static int read_key_value(Bytes whole, KeyValue *pair)
{
    Bytes value;
    Field field;
    int more;
    pair->key = pair->value = (Bytes){whole.at, whole.at};
    while ((more = next_field(&whole, &field)) > 0) {
        if (field.tag == TAG(1, LENGTH)) pair->key = field.body;
        if (field.tag == TAG(2, LENGTH)) pair->value = field.body;
    }
    if (more < 0 || !is_utf8(pair->key)) return 0;
    value = pair->value;
    while ((more = next_field(&value, &field)) > 0)
        if (field.tag == TAG(1, LENGTH) && !is_utf8(field.body)) return 0;
    return more == 0;
}

static int read_attribute(const Scanner *self, Bytes whole, Span *span)
{
    KeyValue pair;
    if (!read_key_value(whole, &pair)) return 0;
    const Interest *interest = find_interest(self, pair.key, 0);
    if (interest && interest->kind != LINK)
        span->found[span->found_count++] = (Attribute){interest, whole, pair.key, pair.value};
    return 1;
}

static int read_status(Bytes in, uint64_t *code)
{
    Field field;
    int more;
    while ((more = next_field(&in, &field)) > 0)
        if (field.tag == TAG(3, VARINT)) *code = field.scalar;
    return more == 0;
}

static int read_span(const Scanner *self, Bytes in, Span *span)
{
    Bytes nothing = {in.at, in.at};
    Field field;
    int more;
    span->trace_id = span->span_id = span->parent_id = span->name = nothing;
    span->start_ns = span->end_ns = span->kind = span->status = 0;
    span->found_count = span->attribute_count = span->event_count = span->link_count = 0;
    while ((more = next_field(&in, &field)) > 0) {
        switch (field.tag) {
        case TAG(1, LENGTH): span->trace_id = field.body; break;
        case TAG(2, LENGTH): span->span_id = field.body; break;
        case TAG(4, LENGTH): span->parent_id = field.body; break;
        case TAG(5, LENGTH): span->name = field.body; break;
        case TAG(6, VARINT): span->kind = field.scalar; break;
        case TAG(7, FIXED64): span->start_ns = field.scalar; break;
        case TAG(8, FIXED64): span->end_ns = field.scalar; break;
        case TAG(9, LENGTH):
            if (span->attribute_count++ < MAX_ATTRIBUTES && !read_attribute(self, field.body, span)) return MALFORMED;
            break;
        case TAG(11, LENGTH):
            if (span->event_count < MAX_EVENTS) span->events[span->event_count++] = field.body;
            break;
        case TAG(13, LENGTH):
            if (span->link_count < MAX_LINKS) span->links[span->link_count++] = field.body;
            break;
        case TAG(15, LENGTH):
            if (!read_status(field.body, &span->status)) return MALFORMED;
            break;
        }
    }
    if (more < 0 || !is_utf8(span->name)) return MALFORMED;
    if (size(span->trace_id) != 16 || all_zero(span->trace_id)) return INVALID_TRACE_ID;
    if (size(span->span_id) != 8 || all_zero(span->span_id)) return INVALID_SPAN_ID;
    if (size(span->parent_id) != 8 || all_zero(span->parent_id)) span->parent_id = nothing;
    return REASONS;
}

/* ---- Python objects ------------------------------------------------------------------------------------------ */

static PyObject *to_bytes(Bytes b) { return PyBytes_FromStringAndSize((const char *)b.at, size(b)); }

static PyObject *to_text(Bytes b)
{
    b = truncated(b);
    return PyUnicode_DecodeUTF8((const char *)b.at, size(b), "strict");
}

/* A scalar AnyValue as str, bool, int or float; NULL without an exception for anything else. */
static PyObject *to_value(Bytes in)
{
    Field field, last;
    double number;
    last.tag = 0;
    while (next_field(&in, &field) > 0) last = field;
    switch (last.tag) {
    case TAG(1, LENGTH): return to_text(last.body);
    case TAG(2, VARINT): return PyBool_FromLong(last.scalar != 0);
    case TAG(3, VARINT): return PyLong_FromLongLong((long long)last.scalar);
    case TAG(4, FIXED64):
        memcpy(&number, &last.scalar, 8);
        return PyFloat_FromDouble(number);
    default: return NULL;
    }
}

/* into[key] = value, with the dict made when there is a first one. */
static int put(PyObject **into, PyObject *key, PyObject *value)
{
    if (!*into && !(*into = PyDict_New())) return -1;
    return PyDict_SetItem(*into, key, value);
}

static int is_plain_number(PyObject *value)
{
    if (PyBool_Check(value) || !(PyFloat_Check(value) || PyLong_Check(value))) return 0;
    double number = PyFloat_AsDouble(value);
    return number >= 0 && number <= MAX_PLAIN;
}

static int collect_labels(const Span *span, PyObject *labels)
{
    for (int i = 0; i < span->found_count; i++) {
        const Interest *interest = span->found[i].interest;
        PyObject *value = interest->kind == LABEL ? to_value(span->found[i].value) : NULL;
        int failed = value ? PyDict_SetItem(labels, interest->name, value) < 0 : PyErr_Occurred() != NULL;
        Py_XDECREF(value);
        if (failed) return -1;
    }
    return 0;
}

/* A measure with a plain number goes where it belongs; all else that is no label is foreign. */
static int collect_values(const Span *span, PyObject **measures, PyObject **foreign)
{
    for (int i = 0; i < span->found_count; i++) {
        const Interest *interest = span->found[i].interest;
        PyObject *value = interest->kind != LABEL ? to_value(span->found[i].value) : NULL;
        int failed = PyErr_Occurred() != NULL;
        if (value && interest->kind == MEASURE && is_plain_number(value)) failed = put(measures, interest->target, value);
        else if (value) failed = put(foreign, interest->name, value);
        Py_XDECREF(value);
        if (failed) return -1;
    }
    return 0;
}

/* Appends *value*, whose reference it takes, to the list (*into)[key], which is made when there is a first one. */
static int push(PyObject **into, PyObject *key, PyObject *value)
{
    PyObject *list = *into ? PyDict_GetItemWithError(*into, key) : NULL, *made = NULL;
    int failed = !value || (!list && PyErr_Occurred());
    if (!failed && !list) failed = !(list = made = PyList_New(0)) || put(into, key, list) < 0;
    if (!failed) failed = PyList_Append(list, value) < 0;
    Py_XDECREF(made);
    Py_XDECREF(value);
    return failed ? -1 : 0;
}

/* Letters, digits and underscores: how our library and its users name moments. */
static int is_plain_name(Bytes name)
{
    if (size(name) < 1 || size(name) > MAX_PLAIN_NAME) return 0;
    for (; name.at < name.end; name.at++) {
        uint8_t c = *name.at, letter = c | 0x20;
        if (!((letter >= 'a' && letter <= 'z') || (c >= '0' && c <= '9') || c == '_')) return 0;
    }
    return 1;
}

/* (*into)[key] = seconds since the span's start, unless there is one already. */
static int put_seconds(const Span *span, uint64_t time_ns, PyObject **into, PyObject *key)
{
    if (time_ns < span->start_ns) return 0;
    if (*into && PyDict_GetItemWithError(*into, key)) return 0;
    PyObject *seconds = PyErr_Occurred() ? NULL : PyFloat_FromDouble((double)(time_ns - span->start_ns) * 1e-9);
    int failed = !seconds || put(into, key, seconds) < 0;
    Py_XDECREF(seconds);
    return failed ? -1 : 0;
}

/* The scalar attributes of an event as a dict; NULL without an exception when they are malformed. */
static PyObject *event_attributes(Bytes event)
{
    PyObject *attributes = PyDict_New();
    Field field;
    int count = 0;
    while (attributes && next_field(&event, &field) > 0) {
        KeyValue pair;
        if (field.tag != TAG(3, LENGTH) || count++ >= MAX_ATTRIBUTES) continue;
        int sound = read_key_value(field.body, &pair);
        PyObject *value = sound ? to_value(pair.value) : NULL, *key = NULL;
        if (value) key = PyUnicode_DecodeUTF8((const char *)pair.key.at, size(pair.key), "strict");
        if (key) PyDict_SetItem(attributes, key, value);
        Py_XDECREF(key);
        Py_XDECREF(value);
        if (!sound || PyErr_Occurred()) Py_CLEAR(attributes);
    }
    return attributes;
}

/* The moment of an event with any other plain name, under that name in one dict. */
static int put_other(const Scanner *self, const Span *span, uint64_t time_ns, Bytes name, PyObject **foreign)
{
    PyObject *moments = *foreign ? PyDict_GetItemWithError(*foreign, self->others) : NULL, *made = NULL, *key;
    int failed = !moments && PyErr_Occurred();
    if (!failed && !moments) failed = !(moments = made = PyDict_New()) || put(foreign, self->others, moments) < 0;
    key = failed ? NULL : PyUnicode_DecodeUTF8((const char *)name.at, size(name), "strict");
    failed = !key || put_seconds(span, time_ns, &moments, key) < 0;
    Py_XDECREF(key);
    Py_XDECREF(made);
    return failed ? -1 : 0;
}

/* Reports each event as its interest says. 1: done, 0: malformed, -1 with an exception set. */
static int collect_events(const Scanner *self, const Span *span, PyObject **measures, PyObject **foreign)
{
    for (int i = 0; i < span->event_count; i++) {
        Bytes in = span->events[i], name = {in.at, in.at};
        uint64_t time_ns = 0;
        Field field;
        int more, failed = 0;
        while ((more = next_field(&in, &field)) > 0) {
            if (field.tag == TAG(1, FIXED64)) time_ns = field.scalar;
            if (field.tag == TAG(2, LENGTH)) name = field.body;
        }
        if (more < 0 || !is_utf8(name)) return 0;
        const Interest *interest = find_interest(self, name, 1);
        if (!interest) {
            if (self->others && time_ns >= span->start_ns && is_plain_name(name))
                failed = put_other(self, span, time_ns, name, foreign);
        } else if (interest->kind == DETAIL) {
            PyObject *attributes = event_attributes(span->events[i]);
            if (!attributes) return PyErr_Occurred() ? -1 : 0;
            failed = push(foreign, interest->target, attributes);
        } else if (interest->kind != IGNORED) {
            failed = put_seconds(span, time_ns, interest->kind == MEASURE ? measures : foreign, interest->target);
        }
        if (failed) return -1;
    }
    return 1;
}

/* Hands over (span id, text) for each link with a LINK attribute. 1: done, 0: malformed, -1 with an exception set. */
static int collect_links(const Scanner *self, const Span *span, PyObject **foreign)
{
    for (int i = 0; i < span->link_count; i++) {
        Bytes in = span->links[i], span_id = {in.at, in.at}, value = span_id;
        const Interest *found = NULL;
        Field field;
        int more, count = 0;
        while ((more = next_field(&in, &field)) > 0) {
            KeyValue pair;
            if (field.tag == TAG(2, LENGTH)) span_id = field.body;
            if (field.tag != TAG(4, LENGTH) || count++ >= MAX_ATTRIBUTES) continue;
            if (!read_key_value(field.body, &pair)) return 0;
            const Interest *interest = find_interest(self, pair.key, 0);
            if (!interest || interest->kind != LINK) continue;
            found = interest;
            value = pair.value;
        }
        if (more < 0) return 0;
        if (!found || size(span_id) != 8) continue;
        PyObject *text = to_value(value), *id = NULL, *pair = NULL;
        int is_text = text && PyUnicode_Check(text);
        if (is_text && (id = to_bytes(span_id))) pair = PyTuple_Pack(2, id, text);
        Py_XDECREF(id);
        Py_XDECREF(text);
        if (is_text ? push(foreign, found->name, pair) < 0 : PyErr_Occurred() != NULL) return -1;
    }
    return 1;
}

/* The profile of a span, borrowed: from the table, or asked of Python once per shape. */
static PyObject *profile_of(Scanner *self, uint64_t context, const Span *span)
{
    Buffer *shape = &self->shape;
    uint64_t head[5] = {context, span->kind, span->status, size(span->parent_id) == 0, (uint64_t)size(span->name)};
    shape->used = 0;
    int failed = append(shape, head, sizeof head) || append(shape, span->name.at, (size_t)size(span->name));
    for (int i = 0; i < span->found_count && !failed; i++) {
        const Attribute *attribute = &span->found[i];
        if (attribute->interest->kind != LABEL) continue;
        uint64_t length = (uint64_t)size(attribute->whole);
        failed = append(shape, &length, sizeof length) || append(shape, attribute->whole.at, (size_t)length);
    }
    if (failed) return PyErr_NoMemory();
    uint64_t hash = hash_bytes(shape->at, shape->used);
    Known *known = find_profile(self, hash);
    if (known->key) return known->profile;

    if (self->known_count >= MAX_PROFILES || self->known_bytes + shape->used > MAX_PROFILE_BYTES) {
        forget_profiles(self);
        known = find_profile(self, hash);
    }
    PyObject *labels = PyDict_New(), *name = to_text(span->name), *profile = NULL;
    uint8_t *key = NULL;
    if (labels && name && collect_labels(span, labels) == 0)
        profile = PyObject_CallFunction(self->resolve, "KOKOKO", (unsigned long long)context, name,
                                        (unsigned long long)span->kind, head[3] ? Py_True : Py_False,
                                        (unsigned long long)span->status, labels);
    Py_XDECREF(labels);
    Py_XDECREF(name);
    if (!profile) return NULL;
    if (!(key = PyMem_Malloc(shape->used))) {
        Py_DECREF(profile);
        return PyErr_NoMemory();
    }
    memcpy(key, shape->at, shape->used);
    *known = (Known){hash, key, shape->used, profile};
    self->known_count++;
    self->known_bytes += shape->used;
    return profile;
}

/* A new row (see records.SpanRow), Py_None when the span turned out malformed, or NULL with an exception. */
static PyObject *row_of(Scanner *self, uint64_t context, const Span *span)
{
    PyObject *measures = NULL, *foreign = NULL, *row = NULL;
    PyObject *profile = NULL;
    if (collect_values(span, &measures, &foreign) < 0) goto done;
    int sound = span->event_count ? collect_events(self, span, &measures, &foreign) : 1;
    if (sound > 0 && span->link_count) sound = collect_links(self, span, &foreign);
    if (sound == 0) row = Py_NewRef(Py_None);
    if (sound <= 0) goto done;
    profile = Py_XNewRef(profile_of(self, context, span));
    if (!profile) goto done;
    if (foreign) {
        if (!measures && !(measures = PyDict_New())) goto done;
        PyObject *converted = PyObject_CallFunction(self->convert, "KOOOKK", (unsigned long long)context, profile, foreign,
                                                    measures, (unsigned long long)span->start_ns,
                                                    (unsigned long long)span->end_ns);
        if (!converted) goto done;
        Py_DECREF(converted);
    }
    PyObject *trace_id = to_bytes(span->trace_id), *span_id = to_bytes(span->span_id);
    PyObject *parent_id = size(span->parent_id) ? to_bytes(span->parent_id) : Py_NewRef(self->empty);
    PyObject *start = PyLong_FromUnsignedLongLong(span->start_ns), *end = PyLong_FromUnsignedLongLong(span->end_ns);
    if (trace_id && span_id && parent_id && start && end && (row = PyTuple_New(7))) {
        PyObject *parts[7] = {Py_NewRef(profile), trace_id, span_id, parent_id, start, end,
                              Py_NewRef(measures && PyDict_Size(measures) ? measures : Py_None)};
        for (int i = 0; i < 7; i++) PyTuple_SetItem(row, i, parts[i]);
    } else {
        Py_XDECREF(trace_id);
        Py_XDECREF(span_id);
        Py_XDECREF(parent_id);
        Py_XDECREF(start);
        Py_XDECREF(end);
    }
done:
    Py_XDECREF(profile);
    Py_XDECREF(measures);
    Py_XDECREF(foreign);
    return row;
}

/* ---- one request --------------------------------------------------------------------------------------------- */

typedef struct { Scanner *scanner; PyObject *rows; long spans, envelopes, rejected[REASONS]; Span span; } Scan;

/* Each step returns 1 to go on, 0 when the framing is broken, -1 with an exception set. */

static int too_many(void)
{
    PyErr_SetString(PyExc_OverflowError, "more than 20000 spans in one request");
    return -1;
}

static int scan_span(Scan *scan, uint64_t context, Bytes in)
{
    if (++scan->spans > MAX_SPANS) return too_many();
    int refused = size(in) > MAX_SPAN_BYTES ? TOO_LARGE
                  : context == UNREADABLE   ? MALFORMED
                                            : read_span(scan->scanner, in, &scan->span);
    if (refused == REASONS) {
        PyObject *row = row_of(scan->scanner, context, &scan->span);
        if (!row) return -1;
        int failed = row != Py_None && PyList_Append(scan->rows, row) < 0;
        refused = row == Py_None ? MALFORMED : REASONS;
        Py_DECREF(row);
        if (failed) return -1;
    }
    if (refused != REASONS) scan->rejected[refused]++;
    return 1;
}

static int scan_scope(Scan *scan, PyObject *resource, Bytes in)
{
    if (++scan->envelopes > MAX_SPANS) return too_many(); /* millions of empty envelopes are an attack, too */
    Bytes scope = {in.at, in.at}, walk = in;
    Field field;
    int more, go = 1;
    while ((more = next_field(&walk, &field)) > 0)
        if (field.tag == TAG(1, LENGTH)) scope = field.body;
    if (more < 0) return 0;
    PyObject *context = PyObject_CallFunction(scan->scanner->context, "Oy#", resource, scope.at, size(scope));
    if (!context) return -1;
    uint64_t id = PyLong_AsUnsignedLongLong(context);
    Py_DECREF(context);
    if (PyErr_Occurred()) return -1;
    while (go > 0 && next_field(&in, &field) > 0)
        if (field.tag == TAG(2, LENGTH)) go = scan_span(scan, id, field.body);
    return go;
}

static int scan_resource(Scan *scan, Bytes in)
{
    if (++scan->envelopes > MAX_SPANS) return too_many();
    Bytes resource = {in.at, in.at}, walk = in;
    Field field;
    int more, go = 1;
    while ((more = next_field(&walk, &field)) > 0)
        if (field.tag == TAG(1, LENGTH)) resource = field.body;
    if (more < 0) return 0;
    PyObject *bytes = to_bytes(resource);
    if (!bytes) return -1;
    while (go > 0 && next_field(&in, &field) > 0)
        if (field.tag == TAG(2, LENGTH)) go = scan_scope(scan, bytes, field.body);
    Py_DECREF(bytes);
    return go;
}

static int scan_request(Scan *scan, Bytes in)
{
    Field field;
    int more = 0, go = 1;
    while (go > 0 && (more = next_field(&in, &field)) > 0)
        if (field.tag == TAG(1, LENGTH)) go = scan_resource(scan, field.body);
    return more < 0 ? 0 : go;
}

static int is_ready(const Scanner *self) { return self->interests && self->known && self->empty; }

static PyObject *scanner_scan(Scanner *self, PyObject *body)
{
    if (!is_ready(self)) return PyErr_Format(PyExc_RuntimeError, "not initialised");
    char *bytes;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(body, &bytes, &length) < 0) return NULL;
    Scan scan = {.scanner = self, .rows = PyList_New(0)};
    PyObject *rejected = PyDict_New(), *result = NULL;
    if (!scan.rows || !rejected) goto done;
    int go = scan_request(&scan, (Bytes){(const uint8_t *)bytes, (const uint8_t *)bytes + length});
    if (go == 0) PyErr_SetString(PyExc_ValueError, "the body is not an ExportTraceServiceRequest");
    if (go <= 0) goto done;
    for (int reason = 0; reason < REASONS; reason++) {
        if (!scan.rejected[reason]) continue;
        PyObject *count = PyLong_FromLong(scan.rejected[reason]);
        int failed = !count || PyDict_SetItemString(rejected, REASON_NAMES[reason], count) < 0;
        Py_XDECREF(count);
        if (failed) goto done;
    }
    result = PyTuple_Pack(2, scan.rows, rejected);
done:
    Py_XDECREF(scan.rows);
    Py_XDECREF(rejected);
    return result;
}

static PyObject *scanner_forget(Scanner *self, PyObject *Py_UNUSED(none))
{
    if (!is_ready(self)) return PyErr_Format(PyExc_RuntimeError, "not initialised");
    forget_profiles(self);
    Py_RETURN_NONE;
}

/* ---- the type ------------------------------------------------------------------------------------------------ */

/* interests: {name: (kind, target)}; "*" stands for every other event with a plain name. */
static int add_interest(Scanner *self, PyObject *name, PyObject *item, int is_event)
{
    PyObject *target;
    Py_ssize_t length;
    int kind;
    const char *text = PyArg_ParseTuple(item, "iO", &kind, &target) ? PyUnicode_AsUTF8AndSize(name, &length) : NULL;
    if (!text) return -1;
    if (is_event && length == 1 && *text == '*') {
        self->others = Py_NewRef(target);
        return 0;
    }
    uint64_t hash = hash_key((const uint8_t *)text, (size_t)length);
    size_t slot = hash & self->interest_mask;
    while (self->interests[slot].name) slot = (slot + 1) & self->interest_mask;
    self->interests[slot] = (Interest){hash, Py_NewRef(name), Py_NewRef(target), text, length, kind, is_event};
    return 0;
}

static int scanner_init(Scanner *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"attributes", "events", "context", "resolve", "convert", NULL};
    PyObject *attributes, *events, *context, *resolve, *convert, *name, *item;
    Py_ssize_t position = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!OOO", names, &PyDict_Type, &attributes, &PyDict_Type, &events,
                                     &context, &resolve, &convert))
        return -1;
    if (self->interests) {
        PyErr_SetString(PyExc_RuntimeError, "a Scanner is initialised once");
        return -1;
    }
    size_t slots = 64;
    while (slots < 4 * (size_t)(PyDict_Size(attributes) + PyDict_Size(events))) slots *= 2;
    self->interest_mask = slots - 1;
    self->interests = PyMem_Calloc(slots, sizeof(Interest));
    self->known = PyMem_Calloc(PROFILE_SLOTS, sizeof(Known));
    self->empty = PyBytes_FromStringAndSize("", 0);
    self->context = Py_NewRef(context);
    self->resolve = Py_NewRef(resolve);
    self->convert = Py_NewRef(convert);
    if (!self->interests || !self->known || !self->empty) {
        PyErr_NoMemory();
        return -1;
    }
    while (PyDict_Next(attributes, &position, &name, &item))
        if (add_interest(self, name, item, 0) < 0) return -1;
    position = 0;
    while (PyDict_Next(events, &position, &name, &item))
        if (add_interest(self, name, item, 1) < 0) return -1;
    return 0;
}

static int scanner_traverse(Scanner *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->context);
    Py_VISIT(self->resolve);
    Py_VISIT(self->convert);
    for (size_t slot = 0; self->known && slot < PROFILE_SLOTS; slot++) Py_VISIT(self->known[slot].profile);
    return 0;
}

static int scanner_clear(Scanner *self)
{
    if (self->known) forget_profiles(self);
    Py_CLEAR(self->context);
    Py_CLEAR(self->resolve);
    Py_CLEAR(self->convert);
    return 0;
}

static void scanner_dealloc(Scanner *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject_GC_UnTrack(self);
    scanner_clear(self);
    for (size_t slot = 0; self->interests && slot <= self->interest_mask; slot++) {
        Py_XDECREF(self->interests[slot].name);
        Py_XDECREF(self->interests[slot].target);
    }
    Py_XDECREF(self->empty);
    Py_XDECREF(self->others);
    PyMem_Free(self->interests);
    PyMem_Free(self->known);
    PyMem_Free(self->shape.at);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"scan", (PyCFunction)scanner_scan, METH_O, "scan(body: bytes) -> (rows, rejected); see scanner.SpanScanner"},
    {"forget", (PyCFunction)scanner_forget, METH_NOARGS, "Drop every cached profile."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_init, scanner_init},
    {Py_tp_traverse, scanner_traverse},
    {Py_tp_clear, scanner_clear},
    {Py_tp_dealloc, scanner_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "otel_latency.ingest._scanner.Scanner",
    .basicsize = sizeof(Scanner),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_scanner", "OTLP trace requests to rows, compiled.", -1, NULL, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__scanner(void)
{
    PyObject *self = PyModule_Create(&module), *type = self ? PyType_FromSpec(&spec) : NULL;
    if (!type || PyModule_AddObjectRef(self, "Scanner", type) < 0) {
        Py_XDECREF(self);
        self = NULL;
    }
    Py_XDECREF(type);
    return self;
}
