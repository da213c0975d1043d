/* Adding to the cells of `spanrun.telemetry.metrics.cells`, with nothing in between. */
#include "native.h"

/* Whether a snapshot is being taken: then it is not for us to add. */
int
is_reading(PyObject *gate)
{
    return slot(gate, other_at.reading) != Py_False;
}

static int
add_to(PyObject *cell, Py_ssize_t offset, double value)
{
    PyObject *old = slot(cell, offset);
    double sum = old == NULL ? 0 : PyFloat_AsDouble(old);
    if (sum == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    PyObject *new = PyFloat_FromDouble(sum + value);
    if (new == NULL) {
        return -1;
    }
    put(cell, offset, new);
    return 0;
}

int
sum_add(PyObject *cell, double value)
{
    return value == 0 ? 0 : add_to(cell, other_at.value, value);
}

static PyObject *
one_more(PyObject *count)
{
    PyObject *one = PyLong_FromLong(1);
    PyObject *sum = one == NULL ? NULL : PyNumber_Add(count, one);
    Py_XDECREF(one);
    return sum;
}

int
sum_count(PyObject *cell)
{
    PyObject *more = one_more(slot(cell, other_at.value));
    if (more == NULL) {
        return -1;
    }
    put(cell, other_at.value, more);
    return 0;
}

int
histogram_set(Histogram *self, PyObject *cell)
{
    histogram_clear(self);
    PyObject *bounds = PyObject_GetAttrString(cell, "bounds");
    if (bounds == NULL || !PyTuple_Check(bounds)) {
        Py_XDECREF(bounds);
        PyErr_SetString(PyExc_TypeError, "a cell's bounds must be a tuple");
        return -1;
    }
    self->size = PyTuple_GET_SIZE(bounds);
    self->bounds = PyMem_New(double, self->size + 1);
    for (Py_ssize_t i = 0; self->bounds != NULL && i < self->size; i++) {
        self->bounds[i] = PyFloat_AsDouble(PyTuple_GET_ITEM(bounds, i));
    }
    Py_DECREF(bounds);
    if (self->bounds == NULL || PyErr_Occurred()) {
        return -1;
    }
    self->kept = PyObject_GetAttrString(cell, "kept");
    self->offer = PyObject_GetAttrString(cell, "offer");
    if (self->kept == NULL || self->offer == NULL || !PyDict_Check(self->kept)) {
        return -1;
    }
    self->cell = Py_NewRef(cell);
    return 0;
}

static int
widen(PyObject *cell, Py_ssize_t offset, double value, int sign)
{
    double before = PyFloat_AsDouble(slot(cell, offset));
    if (sign * value <= sign * before) {
        return 0;
    }
    PyObject *new = PyFloat_FromDouble(value);
    if (new == NULL) {
        return -1;
    }
    put(cell, offset, new);
    return 0;
}

int
histogram_add(Histogram *self, double value, PyObject *span)
{
    /* As bisect_left does: bounds are inclusive upwards. */
    Py_ssize_t low = 0, high = self->size;
    while (low < high) {
        Py_ssize_t middle = (low + high) / 2;
        if (self->bounds[middle] < value) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    PyObject *cell = self->cell, *counts = slot(cell, other_at.counts);
    PyObject *more = one_more(PyList_GET_ITEM(counts, low));
    if (more == NULL || PyList_SetItem(counts, low, more) < 0
        || add_to(cell, other_at.sum, value) < 0
        || widen(cell, other_at.least, value, -1) < 0
        || widen(cell, other_at.greatest, value, 1) < 0) {
        return -1;
    }
    PyObject *bucket = PyLong_FromSsize_t(low);
    if (bucket == NULL) {
        return -1;
    }
    int kept = PyDict_Contains(self->kept, bucket);
    if (kept == 0) {
        PyObject *done =
            PyObject_CallFunction(self->offer, "OdO", bucket, value, span);
        kept = done == NULL ? -1 : 0;
        Py_XDECREF(done);
    }
    Py_DECREF(bucket);
    return kept < 0 ? -1 : 0;
}

int
histogram_traverse(Histogram *self, visitproc visit, void *arg)
{
    Py_VISIT(self->cell);
    Py_VISIT(self->kept);
    Py_VISIT(self->offer);
    return 0;
}

void
histogram_clear(Histogram *self)
{
    Py_CLEAR(self->cell);
    Py_CLEAR(self->kept);
    Py_CLEAR(self->offer);
    PyMem_Free(self->bounds);
    self->bounds = NULL;
}
