/* Content taken out of OTLP protobuf requests: `redact.PythonRedactor`, four hundred times faster.
 *
 * `redact.py` states the rules and `tests/forward/test_redact.py` holds both to them. The input is hostile: every read
 * is checked against the end of the message it belongs to. Recursion goes as deep as OTLP's envelopes and no further.
 * What is written is never longer than what was read, so one buffer of the body's size holds it. The GIL is let go.
 */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../_wire.h"

enum { MALFORMED = -1, UNCHANGED = 0, CHANGED = 1 };
enum { PLACE_BITS = 10, PLACES = 1 << PLACE_BITS };

static uint8_t *write_varint(uint8_t *at, uint64_t value)
{
    for (; value > 0x7f; value >>= 7) *at++ = (uint8_t)(value | 0x80);
    *at++ = (uint8_t)value;
    return at;
}

/* ---- what OTLP's messages hold ------------------------------------------------------------------------------ */

enum Kind { MESSAGE, ATTRIBUTE, EVENT_ATTRIBUTE, BODY, NAME };

typedef struct Shape Shape;
typedef struct { uint32_t number; enum Kind kind; const Shape *inner; } Part;
struct Shape { int is_event; Part parts[6]; }; /* ends with number 0 */

static const Shape resource = {0, {{1, ATTRIBUTE, NULL}}};
static const Shape scope = {0, {{3, ATTRIBUTE, NULL}}};
static const Shape exemplar = {0, {{7, ATTRIBUTE, NULL}}};
static const Shape number_point = {0, {{7, ATTRIBUTE, NULL}, {5, MESSAGE, &exemplar}}};
static const Shape histogram_point = {0, {{9, ATTRIBUTE, NULL}, {8, MESSAGE, &exemplar}}};
static const Shape exponential_point = {0, {{1, ATTRIBUTE, NULL}, {11, MESSAGE, &exemplar}}};
static const Shape summary_point = {0, {{7, ATTRIBUTE, NULL}}};
static const Shape numbers = {0, {{1, MESSAGE, &number_point}}};
static const Shape histogram = {0, {{1, MESSAGE, &histogram_point}}};
static const Shape exponential = {0, {{1, MESSAGE, &exponential_point}}};
static const Shape summary = {0, {{1, MESSAGE, &summary_point}}};
static const Shape event = {1, {{2, NAME, NULL}, {3, EVENT_ATTRIBUTE, NULL}}};
static const Shape span_link = {0, {{4, ATTRIBUTE, NULL}}};

static const Shape span = {0, {{9, ATTRIBUTE, NULL}, {11, MESSAGE, &event}, {13, MESSAGE, &span_link}}};
static const Shape metric = {
    0,
    {{5, MESSAGE, &numbers}, {7, MESSAGE, &numbers}, {9, MESSAGE, &histogram}, {10, MESSAGE, &exponential},
     {11, MESSAGE, &summary}, {12, ATTRIBUTE, NULL}},
};
static const Shape record = {1, {{5, BODY, NULL}, {6, ATTRIBUTE, NULL}, {12, NAME, NULL}}};

static const Shape scoped_spans = {0, {{1, MESSAGE, &scope}, {2, MESSAGE, &span}}};
static const Shape scoped_metrics = {0, {{1, MESSAGE, &scope}, {2, MESSAGE, &metric}}};
static const Shape scoped_records = {0, {{1, MESSAGE, &scope}, {2, MESSAGE, &record}}};
static const Shape resource_spans = {0, {{1, MESSAGE, &resource}, {2, MESSAGE, &scoped_spans}}};
static const Shape resource_metrics = {0, {{1, MESSAGE, &resource}, {2, MESSAGE, &scoped_metrics}}};
static const Shape resource_records = {0, {{1, MESSAGE, &resource}, {2, MESSAGE, &scoped_records}}};
static const Shape traces = {0, {{1, MESSAGE, &resource_spans}}};
static const Shape metrics = {0, {{1, MESSAGE, &resource_metrics}}};
static const Shape logs = {0, {{1, MESSAGE, &resource_records}}};

static const Part *part_of(const Shape *shape, const Field *field)
{
    for (int index = 0; index < 6 && shape->parts[index].number; index++)
        if (field->tag == TAG(shape->parts[index].number, LENGTH)) return &shape->parts[index];
    return NULL;
}

/* ---- names -------------------------------------------------------------------------------------------------- */

typedef struct { const uint8_t *at; size_t size; } Name;

/* Names in the order of their places; those of a place begin at runs[place] and end where the next one's begin. */
typedef struct { PyObject *owner; Name *names; size_t count; uint32_t runs[PLACES + 2]; } Names;

typedef struct {
    PyObject_HEAD
    Names keys, prefixes, events;
    PyObject *event_name, *kept;
} Redactor;

static inline uint32_t place_of(uint64_t value) { return (uint32_t)(value * 0x9E3779B97F4A7C15u >> (64 - PLACE_BITS)); }

/* Whole names lie where their length and last byte say. */
static inline uint32_t place_of_whole(const uint8_t *at, size_t size)
{
    return size ? place_of((uint64_t)size << 8 | at[size - 1]) : 0;
}

/* Beginnings lie where their first eight bytes say; shorter ones come last. */
static inline uint32_t place_of_beginning(const uint8_t *at, size_t size)
{
    uint64_t head;
    if (size < sizeof head) return PLACES;
    memcpy(&head, at, sizeof head);
    return place_of(head);
}

static int by_place_of_whole(const void *left, const void *right)
{
    const Name *a = left, *b = right;
    return (int)place_of_whole(a->at, a->size) - (int)place_of_whole(b->at, b->size);
}

static int by_place_of_beginning(const void *left, const void *right)
{
    const Name *a = left, *b = right;
    return (int)place_of_beginning(a->at, a->size) - (int)place_of_beginning(b->at, b->size);
}

static int begins_with(Bytes text, const Name *name)
{
    size_t size = name->size;
    if ((size_t)(text.end - text.at) < size) return 0;
    /* names alike differ at their ends, and a call for each would take most of the time */
    return !size || (text.at[size - 1] == name->at[size - 1] && !memcmp(text.at, name->at, size));
}

static int is_name(Bytes text, const Name *name)
{
    return (size_t)(text.end - text.at) == name->size && begins_with(text, name);
}

static int holds(const Names *self, Bytes name)
{
    uint32_t place = place_of_whole(name.at, (size_t)(name.end - name.at));
    for (uint32_t index = self->runs[place]; index < self->runs[place + 1]; index++)
        if (is_name(name, &self->names[index])) return 1;
    return 0;
}

static int holds_beginning_of(const Names *self, Bytes name)
{
    uint32_t place = place_of_beginning(name.at, (size_t)(name.end - name.at));
    if (place < PLACES)
        for (uint32_t index = self->runs[place]; index < self->runs[place + 1]; index++)
            if (begins_with(name, &self->names[index])) return 1;
    for (uint32_t index = self->runs[PLACES]; index < self->count; index++)
        if (begins_with(name, &self->names[index])) return 1;
    return 0;
}

static int is_event_name(const Redactor *self, Bytes text) { return holds(&self->events, text); }

static int is_denied(const Redactor *self, Bytes key)
{
    return holds(&self->keys, key) || holds_beginning_of(&self->prefixes, key);
}

static Name name_of(PyObject *bytes)
{
    return (Name){(const uint8_t *)PyBytes_AsString(bytes), (size_t)PyBytes_Size(bytes)};
}

/* ---- the walk ----------------------------------------------------------------------------------------------- */

/* Whether a field of this number holds one of the content events; MALFORMED. */
static int holds_event(const Redactor *self, Bytes message, uint32_t number)
{
    Field field;
    int more, found = 0;
    while ((more = next_field(&message, &field)) == 1)
        if (field.tag == TAG(number, LENGTH)) found |= is_event_name(self, field.body);
    return more < 0 ? MALFORMED : found;
}

static int is_event_attribute(const Redactor *self, Bytes attribute)
{
    Name wanted = name_of(self->event_name);
    Field field;
    Bytes rest = attribute;
    int more, is_it = 0;
    while ((more = next_field(&rest, &field)) == 1)
        is_it |= field.tag == TAG(1, LENGTH) && is_name(field.body, &wanted);
    if (more < 0 || !is_it) return 0;
    for (rest = attribute; next_field(&rest, &field) == 1;) {
        if (field.tag != TAG(2, LENGTH)) continue;
        int found = holds_event(self, field.body, 1);
        if (found) return found == 1;
    }
    return 0;
}

static int is_content_event(const Redactor *self, Bytes message, const Shape *shape)
{
    Field field;
    int more, found = 0;
    while ((more = next_field(&message, &field)) == 1) {
        const Part *part = found ? NULL : part_of(shape, &field);
        if (part && part->kind == NAME) found = is_event_name(self, field.body);
        else if (part && part->kind == ATTRIBUTE) found = is_event_attribute(self, field.body);
    }
    return more < 0 ? MALFORMED : found;
}

/* Whether it is a key, then a value, each of less than 128 bytes, and nothing else: nearly all are. */
static int is_plain(Bytes attribute, Bytes *key)
{
    const uint8_t *at = attribute.at, *value;
    Py_ssize_t size = attribute.end - at;
    if (size < 4 || at[0] != TAG(1, LENGTH) || at[1] > 0x7f || at[1] > size - 4) return 0;
    value = at + 2 + at[1];
    *key = (Bytes){at + 2, value};
    return value[0] == TAG(2, LENGTH) && value[1] < 0x80 && value + 2 + value[1] == attribute.end;
}

static int attribute_goes(const Redactor *self, Bytes attribute, int has_to_be_kept)
{
    Bytes key;
    if (!has_to_be_kept && is_plain(attribute, &key)) return is_denied(self, key);
    Name kept = has_to_be_kept ? name_of(self->kept) : (Name){NULL, 0};
    Field field;
    int more, keys = 0, others = 0, denied = 0;
    while ((more = next_field(&attribute, &field)) == 1) {
        if (field.tag != TAG(1, LENGTH)) continue;
        keys++;
        others += has_to_be_kept && !begins_with(field.body, &kept);
        denied += is_denied(self, field.body);
    }
    return more < 0 || denied || (has_to_be_kept && (!keys || others));
}

/* Write the message as it is to be; nothing is written of one that is UNCHANGED. */
static int walk(const Redactor *self, Bytes in, const Shape *shape, uint8_t **out)
{
    int is_event = shape->is_event ? is_content_event(self, in, shape) : 0, result = UNCHANGED, more;
    if (is_event < 0) return MALFORMED;
    const uint8_t *kept = in.at; /* what is before was written, or is cut */
    Field field;
    while ((more = next_field(&in, &field)) == 1) {
        const Part *part = part_of(shape, &field);
        int goes = 0;
        if (!part || part->kind == NAME) {
            continue;
        } else if (part->kind == MESSAGE) {
            uint8_t *begin = *out + (field.body.at - kept), *end = begin;
            int inner = walk(self, field.body, part->inner, &end);
            if (inner == CHANGED) {
                memcpy(*out, kept, (size_t)(field.length_at - kept));
                uint8_t *at = write_varint(*out + (field.length_at - kept), (uint64_t)(end - begin));
                memmove(at, begin, (size_t)(end - begin));
                *out = at + (end - begin);
                kept = in.at;
                result = CHANGED;
            }
            goes = inner == MALFORMED;
        } else if (part->kind == BODY) {
            goes = is_event;
        } else {
            goes = attribute_goes(self, field.body, is_event && part->kind == EVENT_ATTRIBUTE);
        }
        if (goes) {
            memcpy(*out, kept, (size_t)(field.begin - kept));
            *out += field.begin - kept;
            kept = in.at;
            result = CHANGED;
        }
    }
    if (more < 0) return MALFORMED;
    if (result == CHANGED) {
        memcpy(*out, kept, (size_t)(in.end - kept));
        *out += in.end - kept;
    }
    return result;
}

/* ---- for Python --------------------------------------------------------------------------------------------- */

static const Shape *shape_of(PyObject *signal)
{
    PyObject *value = PyObject_GetAttrString(signal, "value");
    const Shape *found = NULL;
    if (value && PyUnicode_Check(value)) {
        if (PyUnicode_CompareWithASCIIString(value, "traces") == 0) found = &traces;
        if (PyUnicode_CompareWithASCIIString(value, "metrics") == 0) found = &metrics;
        if (PyUnicode_CompareWithASCIIString(value, "logs") == 0) found = &logs;
    }
    Py_XDECREF(value);
    if (!found && !PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "not a signal");
    return found;
}

static PyObject *redactor_redact(Redactor *self, PyObject *args)
{
    PyObject *body, *signal;
    if (!PyArg_ParseTuple(args, "SO:redact", &body, &signal)) return NULL;
    const Shape *shape = shape_of(signal);
    if (!shape) return NULL;
    if (!self->event_name) {
        PyErr_SetString(PyExc_RuntimeError, "the redactor was not made");
        return NULL;
    }
    Name whole = name_of(body);
    uint8_t *buffer = PyMem_Malloc(whole.size + 1), *out = buffer;
    if (!buffer) return PyErr_NoMemory();
    int result;
    Py_BEGIN_ALLOW_THREADS
    result = walk(self, (Bytes){whole.at, whole.at + whole.size}, shape, &out);
    Py_END_ALLOW_THREADS
    PyObject *answer = NULL;
    if (result == MALFORMED) PyErr_SetString(PyExc_ValueError, "not an OTLP message");
    else if (result == UNCHANGED) answer = Py_NewRef(body);
    else answer = PyBytes_FromStringAndSize((const char *)buffer, out - buffer);
    PyMem_Free(buffer);
    return answer;
}

static int take(Names *into, PyObject *list, uint32_t (*place)(const uint8_t *, size_t),
                int (*order)(const void *, const void *))
{
    if (!PyList_Check(list)) {
        PyErr_SetString(PyExc_TypeError, "lists of bytes are wanted");
        return 0;
    }
    into->owner = PyList_AsTuple(list);
    if (!into->owner) return 0;
    size_t count = (size_t)PyTuple_Size(into->owner);
    into->names = PyMem_Calloc(count + 1, sizeof(Name));
    if (!into->names) {
        PyErr_NoMemory();
        return 0;
    }
    for (; into->count < count; into->count++) {
        PyObject *name = PyTuple_GetItem(into->owner, (Py_ssize_t)into->count);
        if (!PyBytes_Check(name) || !PyBytes_Size(name)) {
            PyErr_SetString(PyExc_TypeError, "lists of bytes are wanted, none of them empty");
            return 0;
        }
        into->names[into->count] = name_of(name);
    }
    qsort(into->names, count, sizeof(Name), order);
    uint32_t index = 0;
    for (uint32_t at = 0; at <= PLACES; at++) {
        into->runs[at] = index;
        while (index < count && place(into->names[index].at, into->names[index].size) == at) index++;
    }
    into->runs[PLACES + 1] = index;
    return 1;
}

static int redactor_init(Redactor *self, PyObject *args, PyObject *kwargs)
{
    PyObject *keys, *prefixes, *events, *event_name, *kept;
    if (kwargs && PyDict_Size(kwargs)) {
        PyErr_SetString(PyExc_TypeError, "CompiledRedactor() takes no keyword arguments");
        return -1;
    }
    if (!PyArg_ParseTuple(args, "OOOSS", &keys, &prefixes, &events, &event_name, &kept)) return -1;
    if (self->event_name) {
        PyErr_SetString(PyExc_RuntimeError, "a redactor is made once");
        return -1;
    }
    self->event_name = Py_NewRef(event_name);
    self->kept = Py_NewRef(kept);
    return take(&self->keys, keys, place_of_whole, by_place_of_whole)
                   && take(&self->prefixes, prefixes, place_of_beginning, by_place_of_beginning)
                   && take(&self->events, events, place_of_whole, by_place_of_whole)
               ? 0
               : -1;
}

static void redactor_dealloc(Redactor *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    Names *all[] = {&self->keys, &self->prefixes, &self->events};
    for (int index = 0; index < 3; index++) {
        Py_XDECREF(all[index]->owner);
        PyMem_Free(all[index]->names);
    }
    Py_XDECREF(self->event_name);
    Py_XDECREF(self->kept);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"redact", (PyCFunction)redactor_redact, METH_VARARGS, "redact(body, signal) -> body; see redact.Redactor"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_init, redactor_init},
    {Py_tp_dealloc, redactor_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "otel_latency.forward._redact.CompiledRedactor",
    .basicsize = sizeof(Redactor),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_redact", "Content taken out of OTLP requests, compiled.", -1, NULL, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__redact(void)
{
    PyObject *self = PyModule_Create(&module), *type = self ? PyType_FromSpec(&spec) : NULL;
    if (!type || PyModule_AddObjectRef(self, "CompiledRedactor", type) < 0) {
        Py_XDECREF(self);
        self = NULL;
    }
    Py_XDECREF(type);
    return self;
}
