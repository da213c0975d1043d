/* Seconds: the numbers of `Timings`, each in eight bytes of its own. */
#include "native.h"

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

static PyMethodDef methods[] = {
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

PyTypeObject Seconds_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "spanrun._native.Seconds",
    .tp_basicsize = sizeof(Seconds),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_doc = "Seconds()\n--\n\nWhere a job's time went.",
    .tp_methods = methods,
    .tp_members = members,
};

/* What a clock's ``now`` reads. */
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
