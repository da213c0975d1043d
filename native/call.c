/* The units of calls: the twins of `NativeCalls.open` and of `NativeCall`'s methods. */
#include "native.h"

/* --- Shape: what calls with the same attributes have in common --- */

typedef struct {
    PyObject_HEAD
    PyObject *gate, *count;
    Histogram duration;
    Template template;
} Shape;

/* Of the places: trace, own and parent's id, start, end. */
static const unsigned char sizes[] = {16, 8, 8, 8, 8};

static PyObject *
shape_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"text", "places", "gate", "count", "cell", NULL};
    PyObject *text, *places, *gate, *count, *cell;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "SO!OOO:Shape", names, &text,
                                     &PyTuple_Type, &places, &gate, &count, &cell)) {
        return NULL;
    }
    Shape *self = (Shape *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->gate = Py_NewRef(gate);
    self->count = Py_NewRef(count);
    if (template_set(&self->template, text, places, sizes, 5) < 0
        || (cell != Py_None && histogram_set(&self->duration, cell) < 0)) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static int
shape_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(((Shape *)op)->gate);
    Py_VISIT(((Shape *)op)->count);
    return histogram_traverse(&((Shape *)op)->duration, visit, arg);
}

static int
shape_clear(PyObject *op)
{
    Py_CLEAR(((Shape *)op)->gate);
    Py_CLEAR(((Shape *)op)->count);
    histogram_clear(&((Shape *)op)->duration);
    Py_CLEAR(((Shape *)op)->template.text);
    return 0;
}

static void
shape_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    shape_clear(op);
    Py_TYPE(op)->tp_free(op);
}

PyTypeObject Shape_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "spanrun._native.Shape",
    .tp_basicsize = sizeof(Shape),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "How calls with some attributes are encoded, and where they count.",
    .tp_new = shape_new,
    .tp_traverse = shape_traverse,
    .tp_clear = shape_clear,
    .tp_dealloc = shape_dealloc,
};

/* --- Calls, the base of NativeCalls --- */

typedef struct {
    PyObject_HEAD
    PyObject *recorder, *origin, *tracer, *name, *now, *bits, *row, *known, *no_links;
    PyObject *last_key, *last_shape;
    long long zero;
} Calls;

static PyObject *
arm(PyObject *op, PyObject *args)
{
    Calls *self = (Calls *)op;
    PyObject *recorder, *origin, *tracer, *name, *now, *bits, *row, *known;
    if (self->origin != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "arm() was called before");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "OOOUOOOO!L:arm", &recorder, &origin, &tracer,
                          &name, &now, &bits, &row, &PyDict_Type, &known, &self->zero)) {
        return NULL;
    }
    self->no_links = PyTuple_New(0);
    self->recorder = Py_NewRef(recorder);
    self->tracer = Py_NewRef(tracer);
    self->name = Py_NewRef(name);
    self->now = Py_NewRef(now);
    self->bits = Py_NewRef(bits);
    self->row = Py_NewRef(row);
    self->known = Py_NewRef(known);
    self->origin = Py_NewRef(origin);
    Py_RETURN_NONE;
}

static PyObject *
new_unit(Calls *self, PyObject *outside, PyObject *above)
{
    double now;
    PyObject *unit = bound.call->tp_alloc(bound.call, 0);
    if (unit == NULL) {
        return NULL;
    }
    PyObject *begun = PyObject_CallNoArgs(self->now);
    if (begun == NULL) {
        Py_DECREF(unit);
        return NULL;
    }
    now = PyFloat_AsDouble(begun);
    put(unit, call_at.begun, begun);
    put_new(unit, call_at.calls, (PyObject *)self);
    put_new(unit, call_at.outside, outside);
    put_new(unit, call_at.exact, Py_True);
    put_new(unit, span_at.origin, self->origin);
    put(unit, span_at.trace, Py_XNewRef(slot(above, span_at.trace)));
    put(unit, span_at.own, new_span_id(self->bits));
    put(unit, span_at.above, Py_XNewRef(slot(above, span_at.own)));
    put(unit, span_at.inherited, Py_XNewRef(slot(above, span_at.inherited)));
    put_new(unit, span_at.name, self->name);
    put_new(unit, span_at.kind, bound.client);
    put(unit, span_at.start, nanoseconds(self->zero, now));
    put_new(unit, span_at.end, Py_None);
    put_new(unit, span_at.row, self->row);
    put_new(unit, span_at.links, self->no_links);
    put_new(unit, span_at.rare, Py_None);
    put_new(unit, span_at.made, Py_None);
    if (PyErr_Occurred()) {
        Py_CLEAR(unit);
    }
    return unit;
}

static PyObject *
open_fast(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    Calls *self = (Calls *)op;
    PyObject *unit = NULL;
    if (self->origin != NULL && wire_of(self->origin) != NULL) {
        PyObject *outside = current_context();
        if (outside == NULL) {
            return NULL;
        }
        PyObject *above = PyDict_GetItemWithError(outside, bound.span_key);
        int known = PyErr_Occurred() ? -1 : follows(self->tracer, above);
        if (known > 0) {
            unit = new_unit(self, outside, above);
        }
        Py_DECREF(outside);
        if (known) {
            return unit;
        }
    }
    return PyObject_CallMethod(op, "open", NULL);
}

/* The twin of `NativeRecorder.call`. */
static PyObject *
open_of(PyObject *recorder, PyObject *kind)
{
    if (Py_TYPE(kind) == bound.call_kind) {
        PyObject *calls = slot(kind, other_at.native);
        if (calls != NULL && PyObject_TypeCheck(calls, &Calls_Type)
            && ((Calls *)calls)->recorder == recorder) {
            return open_fast(calls, NULL);
        }
    }
    return PyObject_CallFunctionObjArgs(bound.open_call, recorder, kind, NULL);
}

PyMethodDef recorder_methods[] = {
    {"call", open_of, METH_O, "One call to a service, to be entered."},
    {NULL},
};

static int
calls_traverse(PyObject *op, visitproc visit, void *arg)
{
    Calls *self = (Calls *)op;
    Py_VISIT(self->recorder);
    Py_VISIT(self->origin);
    Py_VISIT(self->tracer);
    Py_VISIT(self->now);
    Py_VISIT(self->bits);
    Py_VISIT(self->row);
    Py_VISIT(self->known);
    Py_VISIT(self->last_key);
    Py_VISIT(self->last_shape);
    return 0;
}

static int
calls_clear(PyObject *op)
{
    Calls *self = (Calls *)op;
    Py_CLEAR(self->recorder);
    Py_CLEAR(self->origin);
    Py_CLEAR(self->tracer);
    Py_CLEAR(self->name);
    Py_CLEAR(self->now);
    Py_CLEAR(self->bits);
    Py_CLEAR(self->row);
    Py_CLEAR(self->known);
    Py_CLEAR(self->no_links);
    Py_CLEAR(self->last_key);
    Py_CLEAR(self->last_shape);
    return 0;
}

static void
calls_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    calls_clear(op);
    Py_TYPE(op)->tp_free(op);
}

static PyMethodDef calls_methods[] = {
    {"arm", arm, METH_VARARGS, "Give it what its calls share."},
    {"open_fast", open_fast, METH_NOARGS, "As `open`."},
    {NULL},
};

PyTypeObject Calls_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "spanrun._native.Calls",
    .tp_basicsize = sizeof(Calls),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "Opens the units of one kind of calls. The base of `NativeCalls`.",
    .tp_new = PyType_GenericNew,
    .tp_traverse = calls_traverse,
    .tp_clear = calls_clear,
    .tp_dealloc = calls_dealloc,
    .tp_methods = calls_methods,
};

/* --- the methods of a call's unit --- */

static int
is_last(Calls *calls, PyObject *raw)
{
    PyObject *key = calls->last_key, *name, *value;
    Py_ssize_t at = 0, i = 0;
    if (key == NULL || PyTuple_GET_SIZE(key) != PyDict_GET_SIZE(raw)) {
        return 0;
    }
    while (PyDict_Next(raw, &at, &name, &value)) {
        PyObject *pair = PyTuple_GET_ITEM(key, i++);
        if (PyTuple_GET_ITEM(pair, 0) != name || PyTuple_GET_ITEM(pair, 1) != value) {
            return 0;
        }
    }
    return 1;
}

/* ``tuple(raw.items())`` */
static PyObject *
key_of(PyObject *raw)
{
    PyObject *name, *value, *key = PyTuple_New(PyDict_GET_SIZE(raw));
    Py_ssize_t at = 0, i = 0;
    while (key != NULL && PyDict_Next(raw, &at, &name, &value)) {
        PyObject *pair = PyTuple_Pack(2, name, value);
        if (pair == NULL) {
            Py_CLEAR(key);
        }
        else {
            PyTuple_SET_ITEM(key, i++, pair);
        }
    }
    return key;
}

/* The shape of ``call``, borrowed; NULL without an error when there is none. */
static Shape *
shape_of(Calls *calls, PyObject *call)
{
    PyObject *raw = raw_of(call);
    if (raw == NULL) {
        return NULL;
    }
    if (is_last(calls, raw)) {
        return (Shape *)calls->last_shape;
    }
    PyObject *key = key_of(raw);
    if (key == NULL) {
        return NULL;
    }
    PyObject *known = Py_XNewRef(PyDict_GetItemWithError(calls->known, key));
    if (known == NULL && !PyErr_Occurred()) {
        known = PyObject_CallMethod((PyObject *)calls, "learn", "OO", call, key);
    }
    Shape *shape = NULL;
    if (known != NULL && known != Py_None) {
        PyObject *found = PyTuple_GetItem(known, 2);
        if (found != NULL && Py_TYPE(found) == &Shape_Type) {
            shape = (Shape *)found;
            Py_XSETREF(calls->last_key, Py_NewRef(key));
            Py_XSETREF(calls->last_shape, Py_NewRef(found));
        }
    }
    Py_XDECREF(known);
    Py_DECREF(key);
    return shape;
}

static int
count_in(Shape *shape, double seconds, PyObject *span)
{
    if (shape->duration.cell != NULL) {
        return histogram_add(&shape->duration, seconds, span);
    }
    PyObject *done = PyObject_CallFunction(shape->count, "dO", seconds, span);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* The template with this call in its places, in the order of `template.child_encoder`.
 */
static int
encode(Shape *shape, Buffer *wire, PyObject *call, long long zero, double now)
{
    long long start = PyLong_AsLongLong(slot(call, span_at.start));
    long long end = zero + (long long)(now * 1e9);
    if (PyErr_Occurred()) {
        return -1;
    }
    put(call, span_at.end, PyLong_FromLongLong(end));
    const Template *template = &shape->template;
    Py_ssize_t size = PyBytes_GET_SIZE(template->text);
    char *text = buffer_reserve(wire, size);
    if (text == NULL) {
        return -1;
    }
    memcpy(text, PyBytes_AS_STRING(template->text), size);
    fill_id(text, template->at[0], slot(call, span_at.trace), 16);
    fill_id(text, template->at[1], slot(call, span_at.own), 8);
    fill_id(text, template->at[2], slot(call, span_at.above), 8);
    fill(text, template->at[3], &start, 8);
    fill(text, template->at[4], &end, 8);
    return buffer_commit(wire, size, 1);
}

static PyObject *
enter(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (make_current(slot(self, call_at.outside), self, 0) < 0) {
        return NULL;
    }
    return Py_NewRef(self);
}

static PyObject *
leave_call(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (!takes("__exit__", count, 3)) {
        return NULL;
    }
    Calls *calls = (Calls *)slot(self, call_at.calls);
    Buffer *wire = wire_of(slot(self, span_at.origin));
    if (args[1] != Py_None || wire == NULL || slot(self, call_at.exact) != Py_True
        || !is_plain(self, calls->name)) {
        return by_twin(bound.exit, self, args, count);
    }
    double now, begun = PyFloat_AsDouble(slot(self, call_at.begun));
    if (seconds_now(calls->now, &now) < 0) {
        return NULL;
    }
    Shape *shape = (Shape *)Py_XNewRef(shape_of(calls, self));
    if (shape == NULL || is_reading(shape->gate)) {
        Py_XDECREF(shape);
        PyErr_Clear(); /* the twin meets it again, and has it counted */
        return by_twin(bound.exit, self, args, count);
    }
    int left = leave(slot(self, call_at.outside), self);
    if (left == 0) {
        Py_DECREF(shape);
        return by_twin(bound.exit, self, args, count);
    }
    if (left < 0 || encode(shape, wire, self, calls->zero, now) < 0
        || count_in(shape, now - begun, self) < 0) {
        if (lost_by_error((PyObject *)calls) < 0) {
            Py_DECREF(shape);
            return NULL;
        }
    }
    Py_DECREF(shape);
    Py_RETURN_NONE;
}

static PyObject *
set(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (!takes("set", count, 2)) {
        return NULL;
    }
    if (!PyLong_CheckExact(args[1])) {
        return by_twin(bound.set, self, args, count);
    }
    PyObject *raw = raw_of(self);
    if (raw == NULL || PyDict_SetItem(raw, args[0], args[1]) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef call_methods[] = {
    {"__enter__", enter, METH_NOARGS, "Make it the current span."},
    {"__exit__", (PyCFunction)(void (*)(void))leave_call, METH_FASTCALL, "End it."},
    {"set", (PyCFunction)(void (*)(void))set, METH_FASTCALL, "As `CallUnit.set`."},
    {NULL},
};
