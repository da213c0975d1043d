/* Seconds: the numbers of `Timings`, each in eight bytes of its own. */
#include "native.h"

#include <time.h>

void
seconds_parts(const Seconds *self, double parts[PHASES])
{
    double told = self->queue + self->limit + self->rate_limit + self->backoff
                  + self->busy + self->loop_lag;
    double service = self->duration - told;
    parts[0] = self->queue;
    parts[1] = self->limit;
    parts[2] = self->rate_limit;
    parts[3] = self->backoff;
    parts[4] = self->busy;
    parts[5] = self->loop_lag;
    parts[6] = service > 0 ? service : 0;
}

static PyObject *
parts(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    double value[PHASES];
    seconds_parts((Seconds *)self, value);
    PyObject *made = PyTuple_New(PHASES);
    for (int i = 0; made != NULL && i < PHASES; i++) {
        PyObject *one = PyFloat_FromDouble(value[i]);
        if (one == NULL) {
            Py_CLEAR(made);
        }
        else {
            PyTuple_SET_ITEM(made, i, one);
        }
    }
    return made;
}

/* Set a number to the time since the submission, at the reading ``now``. */
static PyObject *
set_since(double submitted, PyObject *now, double *number)
{
    double reading = PyFloat_AsDouble(now);
    if (reading == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    *number = reading - submitted;
    Py_RETURN_NONE;
}

static PyObject *
begin(PyObject *op, PyObject *now)
{
    Seconds *self = (Seconds *)op;
    return set_since(self->submitted, now, &self->queue);
}

static PyObject *
end(PyObject *op, PyObject *now)
{
    Seconds *self = (Seconds *)op;
    return set_since(self->submitted, now, &self->duration);
}

static PyMethodDef methods[] = {
    {"begin", begin, METH_O, "The job's task runs: it was queued until now."},
    {"end", end, METH_O, "The job is over: this was its duration."},
    {"parts", parts, METH_NOARGS, "The seconds of each phase, in order."},
    {NULL},
};

static PyMemberDef members[] = {
    {"queue", T_DOUBLE, offsetof(Seconds, queue)},
    {"limit", T_DOUBLE, offsetof(Seconds, limit)},
    {"rate_limit", T_DOUBLE, offsetof(Seconds, rate_limit)},
    {"backoff", T_DOUBLE, offsetof(Seconds, backoff)},
    {"busy", T_DOUBLE, offsetof(Seconds, busy)},
    {"loop_lag", T_DOUBLE, offsetof(Seconds, loop_lag)},
    {"duration", T_DOUBLE, offsetof(Seconds, duration)},
    {"submitted", T_DOUBLE, offsetof(Seconds, submitted)},
    {NULL},
};

/* Numbers refer to nothing: the garbage collector need not look at them. */
static PyObject *
new_seconds(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) > 0 || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)) {
        return PyErr_Format(
            PyExc_TypeError, "%.200s() takes no arguments", type->tp_name);
    }
    PyObject *made = type->tp_alloc(type, 0);
    if (made != NULL && PyObject_IS_GC(made)) {
        PyObject_GC_UnTrack(made);
    }
    return made;
}

PyTypeObject Seconds_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "spanrun._native.Seconds",
    .tp_basicsize = sizeof(Seconds),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_doc = "Seconds()\n--\n\nWhere a job's time went.",
    .tp_methods = methods,
    .tp_members = members,
    .tp_new = new_seconds,
};

/* --- the numbers, for the part in Rust --- */

/* The seconds of each phase, the duration and the submission of ``timings``; whether
 * that is a `Seconds`. Errors are none. */
static int
numbers(PyObject *timings, double found[PHASES + 2])
{
    if (!PyObject_TypeCheck(timings, &Seconds_Type)) {
        return 0;
    }
    const Seconds *self = (Seconds *)timings;
    seconds_parts(self, found);
    found[PHASES] = self->duration;
    found[PHASES + 1] = self->submitted;
    return 1;
}

int
add_numbers(PyObject *module)
{
    PyObject *capsule =
        PyCapsule_New((void *)(uintptr_t)numbers, "spanrun._native.numbers", NULL);
    if (capsule == NULL) {
        return -1;
    }
    int failed = PyModule_AddObjectRef(module, "numbers", capsule);
    Py_DECREF(capsule);
    return failed;
}

/* --- clocks --- */

static PyObject *perf_counter;

int
find_clock(void)
{
    PyObject *time = PyImport_ImportModule("time");
    if (time == NULL) {
        return -1;
    }
    perf_counter = PyObject_GetAttrString(time, "perf_counter");
    Py_DECREF(time);
    return perf_counter == NULL ? -1 : 0;
}

/* What a clock's ``now`` reads. */
int
seconds_now(PyObject *now, double *seconds)
{
#ifdef __linux__
    struct timespec read; /* as `time.perf_counter` does, without an object */
    if (now == perf_counter && PyCFunction_CheckExact(now)
        && clock_gettime(CLOCK_MONOTONIC, &read) == 0) {
        *seconds = (double)(read.tv_sec * 1000000000LL + read.tv_nsec) / 1e9;
        return 0;
    }
#endif
    PyObject *reading = PyObject_CallNoArgs(now);
    if (reading == NULL) {
        return -1;
    }
    *seconds = PyFloat_AsDouble(reading);
    Py_DECREF(reading);
    return *seconds == -1.0 && PyErr_Occurred() ? -1 : 0;
}
