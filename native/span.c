/* What the units of jobs and of calls have in common. */
#include "native.h"

/* ``object.name``; ``interned`` keeps the name for the next time. */
PyObject *
attribute(PyObject *object, const char *name, PyObject **interned)
{
    if (*interned == NULL && (*interned = PyUnicode_InternFromString(name)) == NULL) {
        return NULL;
    }
    return PyObject_GetAttr(object, *interned);
}

/* The attributes of ``unit`` as a dict, made when it is first asked for; borrowed. */
PyObject *
raw_of(PyObject *unit)
{
    if (slot(unit, span_at.raw) == NULL) {
        PyObject *made = PyDict_New();
        if (made == NULL) {
            return NULL;
        }
        put(unit, span_at.raw, made);
    }
    return slot(unit, span_at.raw);
}

static PyObject *
get_raw(PyObject *unit, void *Py_UNUSED(closure))
{
    return Py_XNewRef(raw_of(unit));
}

static int
set_raw(PyObject *unit, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL || !PyDict_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "a span's attributes are a dict");
        return -1;
    }
    put_new(unit, span_at.raw, value);
    return 0;
}

PyGetSetDef raw_attribute = {"raw", get_raw, set_raw, "Its attributes."};

/* A new reference to the current context of OpenTelemetry. */
PyObject *
current_context(void)
{
    PyObject *context;
    if (PyContextVar_Get(bound.variable, NULL, &context) < 0) {
        return NULL;
    }
    if (context == NULL || !PyDict_Check(context)) {
        Py_XDECREF(context);
        PyErr_SetString(PyExc_RuntimeError, "there is no OpenTelemetry context");
        return NULL;
    }
    return context;
}

static int
become_current(PyObject *context)
{
    PyObject *token = PyContextVar_Set(bound.variable, context);
    Py_XDECREF(token);
    return token == NULL ? -1 : 0;
}

/* Make ``span`` the current one: as in ``outside``, but for that. */
int
make_current(PyObject *outside, PyObject *span, int attempt)
{
    /* As Context() does; its __init__ is that of a dict, and has nothing to do. */
    PyObject *context = bound.context->tp_new(bound.context, bound.nothing, NULL);
    if (context == NULL) {
        return -1;
    }
    int failed = PyDict_Update(context, outside) < 0
                 || PyDict_SetItem(context, bound.span_key, span) < 0;
    if (!failed && attempt) {
        PyObject *one = PyLong_FromLong(attempt);
        failed = one == NULL || PyDict_SetItem(context, bound.attempt_key, one) < 0;
        Py_XDECREF(one);
    }
    if (!failed) {
        failed = become_current(context) < 0;
    }
    Py_DECREF(context);
    return failed ? -1 : 0;
}

/* Make ``outside`` current again if ``span`` is the current one.
 *
 * 1 when that is done, 0 when somebody has to look whose unit was left before.
 */
int
leave(PyObject *outside, PyObject *span)
{
    PyObject *context = current_context();
    if (context == NULL) {
        return -1;
    }
    PyObject *now = PyDict_GetItemWithError(context, bound.span_key);
    int is_current = now == span;
    Py_DECREF(context);
    if (!is_current) {
        return PyErr_Occurred() ? -1 : 1;
    }
    PyObject *way = PyDict_GetItemWithError(outside, bound.way_out_key);
    if (way == NULL) {
        if (PyErr_Occurred()) {
            return -1;
        }
    }
    else if (Py_TYPE(way) != bound.way_out || slot(way, other_at.left) != Py_False) {
        return 0;
    }
    return become_current(outside) < 0 ? -1 : 1;
}

static int
draw(PyObject *bits, unsigned char into[8])
{
    uint64_t number;
    if (draw_word(bits, &number) < 0) {
        return -1;
    }
    number = number ? number : 1;
    memcpy(into, &number, 8);
    return 0;
}

PyObject *
new_span_id(PyObject *bits)
{
    unsigned char id[8];
    return draw(bits, id) < 0 ? NULL : PyBytes_FromStringAndSize((char *)id, 8);
}

PyObject *
new_trace_id(PyObject *bits)
{
    unsigned char id[16];
    if (draw(bits, id) < 0 || draw(bits, id + 8) < 0) {
        return NULL;
    }
    return PyBytes_FromStringAndSize((char *)id, 16);
}

int
seconds_now(PyObject *now, double *seconds)
{
    PyObject *reading = PyObject_CallNoArgs(now);
    if (reading == NULL) {
        return -1;
    }
    *seconds = PyFloat_AsDouble(reading);
    Py_DECREF(reading);
    return *seconds == -1.0 && PyErr_Occurred() ? -1 : 0;
}

PyObject *
nanoseconds(long long zero, double seconds)
{
    return PyLong_FromLongLong(zero + (long long)(seconds * 1e9));
}

/* The buffer that takes the encoded spans of ``origin``; NULL if it isn't one. */
Buffer *
wire_of(PyObject *origin)
{
    PyObject *wire = slot(origin, other_at.wire);
    return wire != NULL && Py_TYPE(wire) == &Buffer_Type ? (Buffer *)wire : NULL;
}

/* Whether nothing is known of ``span`` that a template doesn't have. */
int
is_plain(PyObject *span, PyObject *name)
{
    PyObject *inherited = slot(span, span_at.inherited);
    return slot(span, span_at.end) == Py_None && slot(span, span_at.rare) == Py_None
           && slot(span, span_at.name) == name && PyTuple_Check(inherited)
           && PyTuple_GET_SIZE(inherited) == 2
           && PyTuple_GET_ITEM(inherited, 1) == bound.no_state;
}

/* A span is lost by the current exception: have ``owner.recorder`` count it.
 *
 * -1 when it isn't an ``Exception``, and goes on.
 */
int
lost_by_error(PyObject *owner)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        return -1;
    }
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    PyObject *recorder = PyObject_GetAttrString(owner, "recorder");
    PyObject *done =
        recorder == NULL ? NULL
                         : PyObject_CallMethod(recorder, "failed", "sO", "traces", error);
    Py_XDECREF(recorder);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Whether a span below ``above`` need not be asked for. */
int
follows(PyObject *tracer, PyObject *above)
{
    static PyObject *follow_name;
    if (above == NULL || !PyObject_TypeCheck(above, bound.recorded)) {
        return 0;
    }
    PyObject *follow = attribute(tracer, "follow", &follow_name);
    if (follow == NULL) {
        return -1;
    }
    Py_DECREF(follow);
    return follow == Py_True;
}

/* What the method's twin in Python makes of it. */
PyObject *
by_twin(PyObject *twin, PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    PyObject *all[4] = {self};
    for (Py_ssize_t i = 0; i < count; i++) {
        all[i + 1] = args[i];
    }
    return PyObject_Vectorcall(twin, all, count + 1, NULL);
}

/* Whether a method was given as many arguments as it takes, three at most. */
int
takes(const char *name, Py_ssize_t count, Py_ssize_t wanted)
{
    if (count != wanted) {
        PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments (%zd given)", name,
                     wanted, count);
    }
    return count == wanted;
}
