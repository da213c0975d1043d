/* FirstStep: what `spanrun.runner.tasks.start` awaits; its twin is in spanrun.speed. */
#include "native.h"

typedef struct {
    PyObject_HEAD
    PyObject *steps; /* (None,) */
} FirstStep;

static PyObject *
new_step(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":FirstStep", names)) {
        return NULL;
    }
    FirstStep *self = (FirstStep *)type->tp_alloc(type, 0);
    if (self != NULL && (self->steps = PyTuple_Pack(1, Py_None)) == NULL) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static PyObject *
await_step(PyObject *self)
{
    return PyObject_GetIter(((FirstStep *)self)->steps);
}

static void
step_dealloc(PyObject *self)
{
    Py_XDECREF(((FirstStep *)self)->steps);
    Py_TYPE(self)->tp_free(self);
}

static PyAsyncMethods step_async = {.am_await = await_step};

PyTypeObject FirstStep_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "spanrun._native.FirstStep",
    .tp_basicsize = sizeof(FirstStep),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "FirstStep()\n--\n\nTakes one step when it is awaited.",
    .tp_as_async = &step_async,
    .tp_new = new_step,
    .tp_dealloc = step_dealloc,
};
