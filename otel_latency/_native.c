/* Inner loops of counting, compiled: numbers to summaries, bucket counts, columns of rows.
 *
 * `native.py` holds the same functions in Python, for where no compiler was at hand, and says what each one does;
 * tests/test_native.py holds both to one answer.
 */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { PER_OCTAVE = 64 };

static PyObject *array_type, *duration_name;

/* Any of these type codes of array.array; those of integers are 8 bytes long only on some platforms. */
static const char DOUBLES[] = "d", INTEGERS[] = "ql";

/* The items of an array.array, with PyBUF_WRITABLE to write; 0 with an exception when they are of another type. */
static int view_of(PyObject *object, Py_buffer *view, const char *types, int flags)
{
    if (PyObject_GetBuffer(object, view, PyBUF_ND | PyBUF_FORMAT | flags) < 0) return 0;
    const char *format = view->format;
    if (view->itemsize == 8 && format && format[0] && !format[1] && strchr(types, format[0])) return 1;
    PyBuffer_Release(view);
    PyErr_Format(PyExc_TypeError, "an array of 8-byte items of type '%c' is needed", types[0]);
    return 0;
}

static Py_ssize_t length_of(const Py_buffer *view) { return view->len / 8; }

static PyObject *new_array(char type, const void *items, Py_ssize_t count)
{
    return PyObject_CallFunction(array_type, "Cy#", type, items, count * 8);
}

static PyObject *summarise(PyObject *Py_UNUSED(module), PyObject *values)
{
    Py_buffer view;
    if (!view_of(values, &view, DOUBLES, 0)) return NULL;
    const double *value = view.buf;
    double sum = 0, low = INFINITY, high = -INFINITY;
    int finite = 1;
    for (Py_ssize_t i = 0; i < length_of(&view); i++) {
        finite &= isfinite(value[i]) != 0;
        sum += value[i];
        if (value[i] < low) low = value[i];
        if (value[i] > high) high = value[i];
    }
    PyBuffer_Release(&view);
    if (!finite) {
        PyErr_SetString(PyExc_ValueError, "a value is not a finite number");
        return NULL;
    }
    return Py_BuildValue("ddd", sum, low, high);
}

/* (index of the first bucket, array of counts from there on); (0, empty) for no positive value. */
static PyObject *count_buckets(PyObject *Py_UNUSED(module), PyObject *values)
{
    Py_buffer view;
    if (!view_of(values, &view, DOUBLES, 0)) return NULL;
    const double *value = view.buf;
    Py_ssize_t count = length_of(&view), used = 0;
    int *index = PyMem_Malloc((size_t)(count + 1) * sizeof *index), low = INT_MAX, high = INT_MIN;
    for (Py_ssize_t i = 0; index && i < count; i++) {
        if (!(value[i] > 0) || !isfinite(value[i])) continue;
        int at = index[used++] = (int)ceil(log2(value[i]) * PER_OCTAVE);
        if (at < low) low = at;
        if (at > high) high = at;
    }
    PyBuffer_Release(&view);
    long long *counts = index && used ? PyMem_Calloc((size_t)(high - low) + 1, sizeof *counts) : NULL;
    PyObject *result = NULL;
    if (!index || (used && !counts)) {
        PyErr_NoMemory();
    } else {
        for (Py_ssize_t i = 0; i < used; i++) counts[index[i] - low]++;
        PyObject *array = new_array('q', used ? (void *)counts : (void *)"", used ? high - low + 1 : 0);
        if (array) result = Py_BuildValue("iN", used ? low : 0, array);
    }
    PyMem_Free(counts);
    PyMem_Free(index);
    return result;
}

static PyObject *count_bounds(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *values, *bounds, *counts, *result = NULL;
    Py_buffer value_view = {0}, bound_view = {0}, count_view = {0};
    if (!PyArg_ParseTuple(args, "OOO", &values, &bounds, &counts)) return NULL;
    if (!view_of(values, &value_view, DOUBLES, 0) || !view_of(bounds, &bound_view, DOUBLES, 0)
        || !view_of(counts, &count_view, INTEGERS, PyBUF_WRITABLE))
        goto done;
    const double *value = value_view.buf, *bound = bound_view.buf;
    long long *count = count_view.buf;
    if (length_of(&count_view) != length_of(&bound_view) + 1) {
        PyErr_SetString(PyExc_ValueError, "one more count than bounds is needed");
        goto done;
    }
    for (Py_ssize_t i = 0; i < length_of(&value_view); i++) {
        Py_ssize_t low = 0, high = length_of(&bound_view);
        while (low < high) { /* the first bound that is not below the value */
            Py_ssize_t middle = (low + high) / 2;
            if (bound[middle] < value[i]) low = middle + 1;
            else high = middle;
        }
        count[low]++;
    }
    result = Py_NewRef(Py_None);
done:
    if (value_view.obj) PyBuffer_Release(&value_view);
    if (bound_view.obj) PyBuffer_Release(&bound_view);
    if (count_view.obj) PyBuffer_Release(&count_view);
    return result;
}

static PyObject *add_at(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *into, *counts, *result = NULL;
    Py_buffer into_view = {0}, count_view = {0};
    Py_ssize_t at;
    int sign;
    if (!PyArg_ParseTuple(args, "OnOi", &into, &at, &counts, &sign)) return NULL;
    if (!view_of(into, &into_view, INTEGERS, PyBUF_WRITABLE) || !view_of(counts, &count_view, INTEGERS, 0)) goto done;
    if (at < 0 || at > length_of(&into_view) - length_of(&count_view)) {
        PyErr_SetString(PyExc_IndexError, "the counts do not fit there");
        goto done;
    }
    long long *sum = (long long *)into_view.buf + at;
    const long long *count = count_view.buf;
    for (Py_ssize_t i = 0; i < length_of(&count_view); i++) sum[i] += sign * count[i];
    result = Py_NewRef(Py_None);
done:
    if (into_view.obj) PyBuffer_Release(&into_view);
    if (count_view.obj) PyBuffer_Release(&count_view);
    return result;
}

typedef struct { long long key; Py_ssize_t count; double *next; } Group;

/* The number of a key's group, made when it is new; -1 when out of memory. Neighbours mostly share a key. */
static Py_ssize_t group_of(Group **groups, Py_ssize_t *used, Py_ssize_t last, long long key)
{
    if (last < *used && (*groups)[last].key == key) return last;
    for (Py_ssize_t i = 0; i < *used; i++)
        if ((*groups)[i].key == key) return i;
    if ((*used & (*used - 1)) == 0) { /* at each power of two there is room for as many again */
        Group *grown = PyMem_Realloc(*groups, (size_t)(*used ? 2 * *used : 1) * sizeof(Group));
        if (!grown) return -1;
        *groups = grown;
    }
    (*groups)[*used] = (Group){key, 0, NULL};
    return (*used)++;
}

static PyObject *split(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *values, *keys, *result = NULL;
    Py_buffer value_view = {0}, key_view = {0};
    Group *groups = NULL;
    Py_ssize_t *member = NULL, used = 0, last = 0;
    double *sorted = NULL, *room;
    if (!PyArg_ParseTuple(args, "OO", &values, &keys)) return NULL;
    if (!view_of(values, &value_view, DOUBLES, 0) || !view_of(keys, &key_view, INTEGERS, 0)) goto done;
    Py_ssize_t count = length_of(&key_view);
    const double *value = value_view.buf;
    const long long *key = key_view.buf;
    if (length_of(&value_view) != count) {
        PyErr_SetString(PyExc_ValueError, "as many keys as values are needed");
        goto done;
    }
    member = PyMem_Malloc((size_t)(count + 1) * sizeof *member);
    room = sorted = PyMem_Malloc((size_t)(count + 1) * sizeof *sorted);
    if (!member || !sorted) goto no_memory;
    for (Py_ssize_t i = 0; i < count; i++) {
        if ((member[i] = last = group_of(&groups, &used, last, key[i])) < 0) goto no_memory;
        groups[last].count++;
    }
    for (Py_ssize_t g = 0; g < used; room += groups[g++].count) groups[g].next = room;
    for (Py_ssize_t i = 0; i < count; i++) *groups[member[i]].next++ = value[i];
    result = PyDict_New();
    for (Py_ssize_t g = 0; result && g < used; g++) {
        PyObject *number = PyLong_FromLongLong(groups[g].key);
        PyObject *group = new_array('d', groups[g].next - groups[g].count, groups[g].count);
        if (!number || !group || PyDict_SetItem(result, number, group) < 0) Py_CLEAR(result);
        Py_XDECREF(number);
        Py_XDECREF(group);
    }
    goto done;
no_memory:
    PyErr_NoMemory();
done:
    PyMem_Free(groups);
    PyMem_Free(member);
    PyMem_Free(sorted);
    if (value_view.obj) PyBuffer_Release(&value_view);
    if (key_view.obj) PyBuffer_Release(&key_view);
    return result;
}

/* ---- Piles: rows taken apart as they come, by profile -------------------------------------------------------- */

enum { MAX_NAMES = 32 }; /* measures of one profile; there are some forty fields, and no span has half of them */

/* Values with the quantum of each, their extremes, and the row of the largest. */
typedef struct {
    double *values;
    long long *quanta, oldest, newest;
    Py_ssize_t used, room;
    double minimum, maximum;
    PyObject *largest;
} Column;

typedef struct { PyObject *name; int is_latency; double sum; Column column; } Measure;

/* Measures are made room for as they come: a flood of names is a flood of piles, and few of them have any. */
typedef struct { PyObject *profile; long long count; Column durations; Measure *measures; int measure_count; } Pile;

typedef struct {
    PyObject_HEAD
    PyObject *latencies;
    unsigned long long quantum;
    Pile **table; /* by the profile's address; a power of two of slots, at most half of them taken */
    size_t slots, used;
} Piles;

static int push(Column *column, double value, long long quantum, PyObject *row)
{
    if (column->used == column->room) {
        Py_ssize_t room = column->room ? 2 * column->room : 8;
        double *values = PyMem_Realloc(column->values, (size_t)room * sizeof(double));
        if (values) column->values = values;
        long long *quanta = PyMem_Realloc(column->quanta, (size_t)room * sizeof(long long));
        if (quanta) column->quanta = quanta;
        if (!values || !quanta) return -1;
        column->room = room;
    }
    if (!column->used || value < column->minimum) column->minimum = value;
    if (!column->used || quantum < column->oldest) column->oldest = quantum;
    if (!column->used || quantum > column->newest) column->newest = quantum;
    if (!column->largest || value > column->maximum) {
        PyObject *former = column->largest;
        column->largest = Py_NewRef(row);
        Py_XDECREF(former);
        column->maximum = value;
    }
    column->values[column->used] = value;
    column->quanta[column->used++] = quantum;
    return 0;
}

static size_t slot_of(const Piles *self, const PyObject *profile)
{
    size_t slot = ((size_t)profile >> 4) * 0x9e3779b97f4a7c15u >> 20 & (self->slots - 1);
    while (self->table[slot] && self->table[slot]->profile != profile) slot = (slot + 1) & (self->slots - 1);
    return slot;
}

static int widen(Piles *self)
{
    Pile **old = self->table;
    size_t old_slots = self->slots;
    Pile **table = PyMem_Calloc(old_slots ? 2 * old_slots : 64, sizeof *table);
    if (!table) return -1;
    self->table = table;
    self->slots = old_slots ? 2 * old_slots : 64;
    for (size_t i = 0; i < old_slots; i++)
        if (old[i]) self->table[slot_of(self, old[i]->profile)] = old[i];
    PyMem_Free(old);
    return 0;
}

static Pile *pile_of(Piles *self, PyObject *profile)
{
    if (2 * (self->used + 1) > self->slots && widen(self) < 0) return NULL;
    size_t slot = slot_of(self, profile);
    if (!self->table[slot]) {
        Pile *pile = PyMem_Calloc(1, sizeof *pile);
        if (!pile) return NULL;
        pile->profile = Py_NewRef(profile);
        self->table[slot] = pile;
        self->used++;
    }
    return self->table[slot];
}

/* The measure of that name: mostly the same object as in the row before. NULL when there are too many, or no memory. */
static Measure *measure_of(Piles *self, Pile *pile, PyObject *name)
{
    for (int i = 0; i < pile->measure_count; i++)
        if (pile->measures[i].name == name) return &pile->measures[i];
    for (int i = 0; i < pile->measure_count; i++)
        if (PyUnicode_Compare(pile->measures[i].name, name) == 0) return &pile->measures[i];
    int count = pile->measure_count;
    if (count == MAX_NAMES) return NULL;
    if ((count & (count - 1)) == 0) { /* at each power of two there is room for as many again */
        Measure *grown = PyMem_Realloc(pile->measures, (size_t)(count ? 2 * count : 1) * sizeof *grown);
        if (!grown) return (Measure *)PyErr_NoMemory();
        pile->measures = grown;
    }
    Measure *measure = &pile->measures[pile->measure_count++];
    *measure = (Measure){.name = Py_NewRef(name), .is_latency = PyDict_Contains(self->latencies, name) == 1};
    return measure;
}

static int add_row(Piles *self, PyObject *row)
{
    if (!PyTuple_Check(row) || PyTuple_Size(row) != 7) {
        PyErr_SetString(PyExc_TypeError, "a row has seven parts");
        return -1;
    }
    unsigned long long start = PyLong_AsUnsignedLongLong(PyTuple_GetItem(row, 4));
    unsigned long long end = PyLong_AsUnsignedLongLong(PyTuple_GetItem(row, 5));
    if (PyErr_Occurred()) return -1;
    double seconds = end >= start ? (double)(end - start) * 1e-9 : -((double)(start - end) * 1e-9);
    long long quantum = (long long)(end / self->quantum);
    PyObject *measures = PyTuple_GetItem(row, 6), *name, *value;
    Py_ssize_t position = 0;
    PyObject *told = PyDict_Check(measures) ? PyDict_GetItemWithError(measures, duration_name) : NULL;
    int has_duration = (start && end) || (told && PyFloat_Check(told));
    if (told && PyFloat_Check(told)) seconds = PyFloat_AsDouble(told);
    Pile *pile = pile_of(self, PyTuple_GetItem(row, 0));
    if (!pile || (has_duration && push(&pile->durations, seconds, quantum, row) < 0)) goto no_memory;
    pile->count++;
    while (PyDict_Check(measures) && PyDict_Next(measures, &position, &name, &value)) {
        int is_float = PyFloat_Check(value);
        if (!is_float && !PyLong_Check(value)) continue;
        double number = is_float ? PyFloat_AsDouble(value) : PyLong_AsDouble(value);
        if (number == -1 && PyErr_Occurred()) return -1;
        Measure *measure = measure_of(self, pile, name);
        if (!measure && PyErr_Occurred()) return -1;
        if (!measure) continue;
        measure->sum += number;
        if (measure->is_latency && push(&measure->column, number, quantum, row) < 0) goto no_memory;
    }
    return 0;
no_memory:
    PyErr_NoMemory();
    return -1;
}

static PyObject *piles_add(Piles *self, PyObject *rows)
{
    if (!self->latencies) return PyErr_Format(PyExc_RuntimeError, "not initialised");
    if (!PyList_Check(rows)) return PyErr_Format(PyExc_TypeError, "a list of rows is needed");
    for (Py_ssize_t i = 0; i < PyList_Size(rows); i++)
        if (add_row(self, PyList_GetItem(rows, i)) < 0) return NULL;
    return PyLong_FromSize_t(self->used);
}

/* (values, quanta, minimum, maximum, oldest and newest quantum, row of the largest); None when there are no values */
static PyObject *column_of(const Column *column)
{
    if (!column->used) Py_RETURN_NONE;
    PyObject *values = new_array('d', column->values, column->used), *quanta = new_array('q', column->quanta, column->used);
    if (values && quanta)
        return Py_BuildValue("NNddLLO", values, quanta, column->minimum, column->maximum, column->oldest, column->newest,
                             column->largest);
    Py_XDECREF(values);
    Py_XDECREF(quanta);
    return NULL;
}

static PyObject *object_of(const Pile *pile)
{
    PyObject *durations = column_of(&pile->durations), *sums = PyDict_New(), *latencies = PyDict_New(), *result = NULL;
    int failed = !durations || !sums || !latencies;
    for (int i = 0; i < pile->measure_count && !failed; i++) {
        const Measure *measure = &pile->measures[i];
        PyObject *value = measure->is_latency ? column_of(&measure->column) : PyFloat_FromDouble(measure->sum);
        failed = !value || PyDict_SetItem(measure->is_latency ? latencies : sums, measure->name, value) < 0;
        Py_XDECREF(value);
    }
    if (!failed) result = Py_BuildValue("OLOOO", pile->profile, pile->count, durations, sums, latencies);
    Py_XDECREF(durations);
    Py_XDECREF(sums);
    Py_XDECREF(latencies);
    return result;
}

static void free_column(Column *column)
{
    PyMem_Free(column->values);
    PyMem_Free(column->quanta);
    Py_XDECREF(column->largest);
}

static void free_piles(Pile **table, size_t slots)
{
    for (size_t i = 0; i < slots; i++) {
        Pile *pile = table[i];
        if (!pile) continue;
        free_column(&pile->durations);
        for (int m = 0; m < pile->measure_count; m++) {
            free_column(&pile->measures[m].column);
            Py_DECREF(pile->measures[m].name);
        }
        Py_DECREF(pile->profile);
        PyMem_Free(pile->measures);
        PyMem_Free(pile);
    }
    PyMem_Free(table);
}

static PyObject *piles_take(Piles *self, PyObject *Py_UNUSED(none))
{
    if (!self->latencies) return PyErr_Format(PyExc_RuntimeError, "not initialised");
    PyObject *result = PyList_New(0);
    Pile **table = self->table;
    size_t slots = self->slots;
    self->table = NULL;
    self->slots = self->used = 0;
    for (size_t i = 0; i < slots && result; i++) {
        PyObject *pile = table[i] ? object_of(table[i]) : NULL;
        if (table[i] && (!pile || PyList_Append(result, pile) < 0)) Py_CLEAR(result);
        Py_XDECREF(pile);
    }
    free_piles(table, slots);
    return result;
}

static int piles_init(Piles *self, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    PyObject *latencies;
    unsigned long long quantum;
    if (!PyArg_ParseTuple(args, "KO!", &quantum, &PyDict_Type, &latencies)) return -1;
    if (!quantum || self->latencies) {
        PyErr_SetString(PyExc_ValueError, "a positive quantum is needed, once");
        return -1;
    }
    self->quantum = quantum;
    self->latencies = Py_NewRef(latencies);
    return 0;
}

static int piles_traverse(Piles *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->latencies);
    for (size_t i = 0; i < self->slots; i++) {
        Pile *pile = self->table[i];
        if (!pile) continue;
        Py_VISIT(pile->profile);
        Py_VISIT(pile->durations.largest);
        for (int m = 0; m < pile->measure_count; m++) Py_VISIT(pile->measures[m].column.largest);
    }
    return 0;
}

static int piles_clear(Piles *self)
{
    Pile **table = self->table;
    size_t slots = self->slots;
    self->table = NULL;
    self->slots = self->used = 0;
    free_piles(table, slots);
    Py_CLEAR(self->latencies);
    return 0;
}

static void piles_dealloc(Piles *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject_GC_UnTrack(self);
    piles_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef piles_methods[] = {
    {"add", (PyCFunction)piles_add, METH_O, NULL},
    {"take", (PyCFunction)piles_take, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot piles_slots[] = {
    {Py_tp_init, piles_init},
    {Py_tp_traverse, piles_traverse},
    {Py_tp_clear, piles_clear},
    {Py_tp_dealloc, piles_dealloc},
    {Py_tp_methods, piles_methods},
    {0, NULL},
};

static PyType_Spec piles_spec = {
    .name = "otel_latency._native.Piles",
    .basicsize = sizeof(Piles),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = piles_slots,
};

/* ---- Recent: which spans were seen lately --------------------------------------------------------------------- */

enum { GENERATION = 65536, RECENT_SLOTS = 2 * GENERATION };

typedef struct {
    PyObject_HEAD
    uint64_t seed, *young, *old; /* fingerprints, open addressing; 0 marks a free slot */
    size_t young_count, old_count;
} Recent;

static uint64_t fingerprint(uint64_t seed, PyObject *row)
{
    PyObject *trace_id = PyTuple_GetItem(row, 1), *span_id = PyTuple_GetItem(row, 2);
    uint64_t part[3];
    if (!trace_id || !span_id) return 0;
    if (PyBytes_Size(trace_id) != 16 || PyBytes_Size(span_id) != 8) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "ids have 16 and 8 bytes");
        return 0;
    }
    memcpy(part, PyBytes_AsString(trace_id), 16);
    memcpy(part + 2, PyBytes_AsString(span_id), 8);
    for (int i = 0; i < 3; i++) { /* the finaliser of SplitMix64, a round for each word */
        seed ^= part[i];
        seed = (seed ^ seed >> 30) * 0xbf58476d1ce4e5b9u;
        seed = (seed ^ seed >> 27) * 0x94d049bb133111ebu;
        seed ^= seed >> 31;
    }
    return seed ? seed : 1;
}

static uint64_t *slot_for(uint64_t *table, uint64_t print)
{
    size_t slot = print & (RECENT_SLOTS - 1);
    while (table[slot] && table[slot] != print) slot = (slot + 1) & (RECENT_SLOTS - 1);
    return &table[slot];
}

static void turn_over(Recent *self)
{
    uint64_t *forgotten = self->old;
    if (self->old_count) /* a table that holds nothing is no memory yet: leave it untouched */
        memset(forgotten, 0, RECENT_SLOTS * sizeof *forgotten);
    self->old = self->young;
    self->old_count = self->young_count;
    self->young = forgotten;
    self->young_count = 0;
}

static PyObject *recent_fresh(Recent *self, PyObject *rows)
{
    if (!self->young || !self->old) return PyErr_Format(PyExc_RuntimeError, "not initialised");
    if (!PyList_Check(rows)) return PyErr_Format(PyExc_TypeError, "a list of rows is needed");
    PyObject *kept = NULL; /* made at the first row that is not fresh */
    for (Py_ssize_t i = 0; i < PyList_Size(rows); i++) {
        PyObject *row = PyList_GetItem(rows, i);
        uint64_t print = fingerprint(self->seed, row);
        if (!print) goto fail;
        uint64_t *slot = slot_for(self->young, print);
        int is_fresh = !*slot && !*slot_for(self->old, print);
        if (is_fresh) {
            *slot = print;
            if (++self->young_count >= GENERATION) turn_over(self);
            if (kept && PyList_Append(kept, row) < 0) goto fail;
        } else if (!kept && !(kept = PyList_GetSlice(rows, 0, i))) {
            goto fail;
        }
    }
    return kept ? kept : Py_NewRef(rows);
fail:
    Py_XDECREF(kept);
    return NULL;
}

static PyObject *recent_turn(Recent *self, PyObject *Py_UNUSED(none))
{
    if (!self->young || !self->old) return PyErr_Format(PyExc_RuntimeError, "not initialised");
    turn_over(self);
    Py_RETURN_NONE;
}

static int recent_init(Recent *self, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    unsigned long long seed;
    if (!PyArg_ParseTuple(args, "K", &seed)) return -1;
    self->seed = seed;
    if (!self->young) self->young = PyMem_Calloc(RECENT_SLOTS, sizeof *self->young);
    if (!self->old) self->old = PyMem_Calloc(RECENT_SLOTS, sizeof *self->old);
    if (self->young && self->old) return 0;
    PyErr_NoMemory();
    return -1;
}

static void recent_dealloc(Recent *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyMem_Free(self->young);
    PyMem_Free(self->old);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef recent_methods[] = {
    {"fresh", (PyCFunction)recent_fresh, METH_O, NULL},
    {"turn", (PyCFunction)recent_turn, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot recent_slots[] = {
    {Py_tp_init, recent_init},
    {Py_tp_dealloc, recent_dealloc},
    {Py_tp_methods, recent_methods},
    {0, NULL},
};

static PyType_Spec recent_spec = {
    .name = "otel_latency._native.Recent",
    .basicsize = sizeof(Recent),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = recent_slots,
};

static PyMethodDef methods[] = {
    {"summarise", summarise, METH_O, NULL},
    {"count_buckets", count_buckets, METH_O, NULL},
    {"count_bounds", count_bounds, METH_VARARGS, NULL},
    {"add_at", add_at, METH_VARARGS, NULL},
    {"split", split, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_native", "Inner loops of counting, compiled; see native.py.", -1, methods, NULL, NULL, NULL, NULL,
};

static int add_type(PyObject *into, const char *name, PyType_Spec *spec)
{
    PyObject *type = PyType_FromSpec(spec);
    int failed = !type || PyModule_AddObjectRef(into, name, type) < 0;
    Py_XDECREF(type);
    return failed ? -1 : 0;
}

PyMODINIT_FUNC PyInit__native(void)
{
    PyObject *array_module = PyImport_ImportModule("array"), *self = NULL;
    if (!array_module) return NULL;
    array_type = PyObject_GetAttrString(array_module, "array");
    duration_name = PyUnicode_InternFromString("duration");
    Py_DECREF(array_module);
    if (!array_type || !duration_name || !(self = PyModule_Create(&module)) || add_type(self, "Piles", &piles_spec) < 0
        || add_type(self, "Recent", &recent_spec) < 0)
        Py_CLEAR(self);
    return self;
}
