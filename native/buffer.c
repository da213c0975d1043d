/* Buffer: encoded spans, one behind the other, until somebody takes them.
 *
 * Who puts the first ones calls ``begun(buffer)``, so that they are taken in time; who
 * puts so many that there are ``most`` bytes takes them himself, and calls
 * ``full(encoded, spans)``.
 */
#include "native.h"

char *
buffer_reserve(Buffer *self, Py_ssize_t size)
{
    if (size > self->room - self->used) {
        Py_ssize_t room = self->used + size + self->most;
        char *data = PyMem_Realloc(self->data, room);
        if (data == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        self->data = data;
        self->room = room;
    }
    return self->data + self->used;
}

static PyObject *
take_bytes(Buffer *self)
{
    PyObject *data = PyBytes_FromStringAndSize(self->data, self->used);
    if (data != NULL) {
        self->used = self->spans = 0;
    }
    return data;
}

int
buffer_commit(Buffer *self, Py_ssize_t size, Py_ssize_t spans)
{
    PyObject *done;
    self->used += size;
    self->spans += spans;
    if (self->used >= self->most) {
        Py_ssize_t count = self->spans;
        PyObject *data = take_bytes(self);
        if (data == NULL) {
            return -1;
        }
        done = PyObject_CallFunction(self->full, "Nn", data, count);
    }
    else if (!self->queued) {
        self->queued = 1;
        done = PyObject_CallOneArg(self->begun, (PyObject *)self);
        if (done == NULL) {
            self->queued = 0;
        }
    }
    else {
        return 0;
    }
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static PyObject *
take(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    Buffer *self = (Buffer *)op;
    Py_ssize_t spans = self->spans;
    self->queued = 0;
    PyObject *data = take_bytes(self);
    return data == NULL ? NULL : Py_BuildValue("Nn", data, spans);
}

static PyObject *
call(PyObject *op, PyObject *args, PyObject *kwargs)
{
    const char *data;
    Py_ssize_t size, spans;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs)) {
        PyErr_SetString(PyExc_TypeError, "Buffer takes no keywords");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "(y#n)", &data, &size, &spans)) {
        return NULL;
    }
    char *place = buffer_reserve((Buffer *)op, size);
    if (place == NULL) {
        return NULL;
    }
    memcpy(place, data, size);
    if (buffer_commit((Buffer *)op, size, spans) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"begun", "full", "most", NULL};
    PyObject *begun, *full;
    Py_ssize_t most;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "OOn:Buffer", names, &begun, &full, &most)) {
        return NULL;
    }
    if (most < 1) {
        return PyErr_Format(PyExc_ValueError, "Buffer(most=%zd): must be above 0", most);
    }
    Buffer *self = (Buffer *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->begun = Py_NewRef(begun);
        self->full = Py_NewRef(full);
        self->most = most;
    }
    return (PyObject *)self;
}

static int
traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(((Buffer *)op)->begun);
    Py_VISIT(((Buffer *)op)->full);
    return 0;
}

static int
clear(PyObject *op)
{
    Py_CLEAR(((Buffer *)op)->begun);
    Py_CLEAR(((Buffer *)op)->full);
    return 0;
}

static void
dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    clear(op);
    PyMem_Free(((Buffer *)op)->data);
    Py_TYPE(op)->tp_free(op);
}

static PyMethodDef methods[] = {
    {"take", take, METH_NOARGS, "What is in it, as bytes and a number of spans."},
    {NULL},
};

static PyMemberDef members[] = {
    {"spans", T_PYSSIZET, offsetof(Buffer, spans), READONLY, "How many are in it."},
    {NULL},
};

PyTypeObject Buffer_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "spanrun._native.Buffer",
    .tp_basicsize = sizeof(Buffer),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "Encoded spans on their way out. Call it with some and their number.",
    .tp_call = call,
    .tp_new = new,
    .tp_traverse = traverse,
    .tp_clear = clear,
    .tp_dealloc = dealloc,
    .tp_methods = methods,
    .tp_members = members,
};
