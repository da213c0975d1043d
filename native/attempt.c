/* FirstAttempts: the twin of `Retrier`'s layer, for attempts that succeed at once.
 *
 * All others are the twin's: a job for which there is no slot from the start, and what
 * follows on an error. Slots is the base of `spanrun.policies.limit.Slots`.
 */
#include "native.h"

/* --- Slots --- */

typedef struct {
    PyObject_HEAD
    Py_ssize_t used, limit;
    PyObject *places; /* a list of who waits */
} Slots;

static int
slots_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(((Slots *)op)->places);
    return 0;
}

static int
slots_clear(PyObject *op)
{
    Py_CLEAR(((Slots *)op)->places);
    return 0;
}

static void
slots_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    slots_clear(op);
    Py_TYPE(op)->tp_free(op);
}

static int
anybody_waits(Slots *self)
{
    return self->places != NULL && PyList_Check(self->places)
           && PyList_GET_SIZE(self->places) > 0;
}

static PyObject *
take(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    Slots *self = (Slots *)op;
    if (self->used >= self->limit || anybody_waits(self)) {
        Py_RETURN_FALSE;
    }
    self->used++;
    Py_RETURN_TRUE;
}

static PyObject *
release(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    Slots *self = (Slots *)op;
    self->used--;
    return anybody_waits(self) ? PyObject_CallMethod(op, "wake", NULL)
                               : Py_NewRef(Py_None);
}

static PyMethodDef slots_methods[] = {
    {"take", take, METH_NOARGS, "Take a slot, if one is free and nobody waits for it."},
    {"release", release, METH_NOARGS, "Give a slot back, or to the first that waits."},
    {NULL},
};

static PyMemberDef slots_members[] = {
    {"used", T_PYSSIZET, offsetof(Slots, used)},
    {"limit", T_PYSSIZET, offsetof(Slots, limit)},
    {"places", T_OBJECT, offsetof(Slots, places)},
    {NULL},
};

PyTypeObject Slots_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "spanrun._native.Slots",
    .tp_basicsize = sizeof(Slots),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "How many slots there are, and how many are taken.",
    .tp_new = PyType_GenericNew,
    .tp_traverse = slots_traverse,
    .tp_clear = slots_clear,
    .tp_dealloc = slots_dealloc,
    .tp_methods = slots_methods,
    .tp_members = slots_members,
};

/* --- FirstAttempts --- */

static Spare spare;

typedef struct {
    PyObject_HEAD
    PyObject *inner, *retry, *again;
    Slots *slots; /* NULL when another layer holds them */
    long long firsts;
} FirstAttempts;

typedef struct {
    PyObject_HEAD
    FirstAttempts *layer;
    PyObject *job, *unit, *coroutine; /* what is awaited now */
    int is_twin, holds_slot, is_over;
} Attempt;

static PyObject *
layer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"inner", "slots", "retry", "again", NULL};
    PyObject *inner, *slots, *retry, *again;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO:FirstAttempts", names, &inner,
                                     &slots, &retry, &again)) {
        return NULL;
    }
    if (slots != Py_None && !PyObject_TypeCheck(slots, &Slots_Type)) {
        return PyErr_Format(PyExc_TypeError, "slots must be Slots or None, not %R", slots);
    }
    FirstAttempts *self = (FirstAttempts *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->inner = Py_NewRef(inner);
        self->retry = Py_NewRef(retry);
        self->again = Py_NewRef(again);
        self->slots = slots == Py_None ? NULL : (Slots *)Py_NewRef(slots);
    }
    return (PyObject *)self;
}

static PyObject *
layer_call(PyObject *op, PyObject *args, PyObject *kwargs)
{
    PyObject *job;
    if (kwargs != NULL || !PyArg_UnpackTuple(args, "FirstAttempts", 1, 1, &job)) {
        return NULL;
    }
    Attempt *self = (Attempt *)take_spare(&spare, &Attempt_Type);
    if (self != NULL) {
        self->layer = (FirstAttempts *)Py_NewRef(op);
        self->job = Py_NewRef(job);
    }
    return (PyObject *)self;
}

static int
layer_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(((FirstAttempts *)op)->inner);
    Py_VISIT(((FirstAttempts *)op)->retry);
    Py_VISIT(((FirstAttempts *)op)->again);
    Py_VISIT(((FirstAttempts *)op)->slots);
    return 0;
}

static int
layer_clear(PyObject *op)
{
    Py_CLEAR(((FirstAttempts *)op)->inner);
    Py_CLEAR(((FirstAttempts *)op)->retry);
    Py_CLEAR(((FirstAttempts *)op)->again);
    Py_CLEAR(((FirstAttempts *)op)->slots);
    return 0;
}

static void
layer_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    layer_clear(op);
    Py_TYPE(op)->tp_free(op);
}

static PyMemberDef layer_members[] = {
    {"firsts", T_LONGLONG, offsetof(FirstAttempts, firsts), 0,
     "How many jobs had a first attempt."},
    {NULL},
};

PyTypeObject FirstAttempts_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "spanrun._native.FirstAttempts",
    .tp_basicsize = sizeof(FirstAttempts),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "A layer around ``inner``. Call it with a job.",
    .tp_call = layer_call,
    .tp_new = layer_new,
    .tp_traverse = layer_traverse,
    .tp_clear = layer_clear,
    .tp_dealloc = layer_dealloc,
    .tp_members = layer_members,
};

/* --- Attempt --- */

/* From now on the twin does all, in ``coroutine``, of which this takes the reference. */
static int
hand_over(Attempt *self, PyObject *coroutine)
{
    if (coroutine == NULL) {
        return -1;
    }
    Py_XSETREF(self->coroutine, coroutine);
    self->is_twin = 1;
    return 0;
}

static int
begin_as_twin(Attempt *self)
{
    return hand_over(self, PyObject_CallOneArg(self->layer->retry, self->job));
}

/* What ``await`` makes of an awaitable. Takes the reference over. */
static PyObject *
iterator_of(PyObject *awaitable)
{
    if (awaitable == NULL || PyCoro_CheckExact(awaitable)) {
        return awaitable;
    }
    PyAsyncMethods *methods = Py_TYPE(awaitable)->tp_as_async;
    PyObject *iterator = NULL;
    if (methods != NULL && methods->am_await != NULL) {
        iterator = methods->am_await(awaitable);
    }
    else {
        PyErr_Format(PyExc_TypeError, "%R can't be awaited", awaitable);
    }
    Py_DECREF(awaitable);
    return iterator;
}

/* 1 when it has begun, 0 when the twin has to do it; -1 is an error of the attempt. */
static int
begin(Attempt *self)
{
    static PyObject *attempts_name, *unit_name, *begin_name, *one;
    Slots *slots = self->layer->slots;
    if (one == NULL
        && ((one = PyLong_FromLong(1)) == NULL
            || (begin_name = PyUnicode_InternFromString("begin_attempt")) == NULL)) {
        return -1;
    }
    PyObject *attempts = attribute(self->job, "attempts", &attempts_name);
    if (attempts == NULL) {
        return -1;
    }
    int is_first = PyLong_CheckExact(attempts) && PyLong_AsLong(attempts) == 0;
    Py_DECREF(attempts);
    if (!is_first || (slots && (slots->used >= slots->limit || anybody_waits(slots)))) {
        return 0;
    }
    self->unit = attribute(self->job, "unit", &unit_name);
    if (self->unit == NULL || PyObject_SetAttr(self->job, attempts_name, one) < 0) {
        return -1;
    }
    self->layer->firsts++;
    if (self->unit != Py_None) {
        PyObject *begun = PyObject_CallMethodOneArg(self->unit, begin_name, one);
        Py_XDECREF(begun);
        if (begun == NULL) {
            return -1;
        }
    }
    if (slots) {
        slots->used++;
        self->holds_slot = 1;
    }
    self->coroutine = iterator_of(PyObject_CallOneArg(self->layer->inner, self->job));
    return self->coroutine == NULL ? -1 : 1;
}

static int
give_back(Attempt *self)
{
    if (!self->holds_slot) {
        return 0;
    }
    self->holds_slot = 0;
    PyObject *given = release((PyObject *)self->layer->slots, NULL);
    Py_XDECREF(given);
    return given == NULL ? -1 : 0;
}

/* Its span has ended, with ``error`` or None. */
static int
end_unit(Attempt *self, PyObject *error)
{
    static PyObject *end_name;
    if (self->unit == Py_None) {
        return 0;
    }
    if (end_name == NULL
        && (end_name = PyUnicode_InternFromString("end_attempt")) == NULL) {
        return -1;
    }
    PyObject *one = PyLong_FromLong(1);
    PyObject *ended =
        one == NULL ? NULL
                    : PyObject_CallMethodObjArgs(self->unit, end_name, one, error, NULL);
    Py_XDECREF(one);
    Py_XDECREF(ended);
    return ended == NULL ? -1 : 0;
}

/* The attempt has raised the current exception: it stands, or the twin goes on. */
static PySendResult
fail(Attempt *self, PyObject **result)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(error, traceback);
    }
    PySendResult sent = PYGEN_ERROR;
    if (give_back(self) == 0 && end_unit(self, error) == 0) {
        PyObject *others =
            PyObject_CallFunctionObjArgs(self->layer->again, self->job, error, NULL);
        if (others == Py_None) { /* no frame of ours in its traceback */
            Py_DECREF(others);
            PyErr_Restore(type, error, traceback);
            return PYGEN_ERROR;
        }
        if (hand_over(self, others) == 0) {
            sent = PyIter_Send(self->coroutine, Py_None, result);
        }
    }
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
    return sent;
}

static PySendResult
finish(Attempt *self, PySendResult sent, PyObject **result)
{
    if (!self->is_twin && sent == PYGEN_ERROR) {
        sent = fail(self, result);
    }
    else if (!self->is_twin && sent == PYGEN_RETURN
             && (give_back(self) < 0 || end_unit(self, Py_None) < 0)) {
        Py_CLEAR(*result);
        sent = PYGEN_ERROR;
    }
    self->is_over = sent != PYGEN_NEXT;
    return sent;
}

static int
is_free(Attempt *self)
{
    if (self->is_over) {
        PyErr_SetString(PyExc_RuntimeError, "the attempt has ended");
    }
    return !self->is_over;
}

static PySendResult
attempt_send(PyObject *op, PyObject *value, PyObject **result)
{
    Attempt *self = (Attempt *)op;
    *result = NULL;
    if (!is_free(self)) {
        return PYGEN_ERROR;
    }
    if (self->coroutine == NULL) {
        int begun = begin(self);
        if (begun < 0) {
            return self->unit == NULL ? PYGEN_ERROR : finish(self, PYGEN_ERROR, result);
        }
        if (begun == 0 && begin_as_twin(self) < 0) {
            return PYGEN_ERROR;
        }
    }
    return finish(self, PyIter_Send(self->coroutine, value, result), result);
}

static PyObject *
send(PyObject *op, PyObject *value)
{
    PyObject *result;
    PySendResult sent = attempt_send(op, value, &result);
    return stop_with(sent, result);
}

static PyObject *
next(PyObject *op)
{
    return send(op, Py_None);
}

/* After a call of ``throw`` or ``close``: an exception, if there was no result. */
static PyObject *
go_on(Attempt *self, PyObject *result)
{
    PySendResult sent = PYGEN_NEXT;
    if (result == NULL) {
        sent = PYGEN_ERROR;
        if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
            PyObject *type, *error, *traceback;
            PyErr_Fetch(&type, &error, &traceback);
            PyErr_NormalizeException(&type, &error, &traceback);
            result = PyObject_GetAttrString(error, "value");
            Py_XDECREF(type);
            Py_XDECREF(error);
            Py_XDECREF(traceback);
            sent = result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
        }
    }
    sent = finish(self, sent, &result);
    return stop_with(sent, result);
}

static PyObject *
throw(PyObject *op, PyObject *args)
{
    Attempt *self = (Attempt *)op;
    PyObject *method;
    if (!is_free(self)) {
        return NULL;
    }
    if (self->coroutine == NULL && begin_as_twin(self) < 0) {
        return NULL;
    }
    method = PyObject_GetAttrString(self->coroutine, "throw");
    if (method == NULL) {
        return NULL;
    }
    PyObject *result = PyObject_Call(method, args, NULL);
    Py_DECREF(method);
    return go_on(self, result);
}

static PyObject *
close_attempt(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    Attempt *self = (Attempt *)op;
    if (self->is_over || self->coroutine == NULL) {
        self->is_over = 1;
        Py_RETURN_NONE;
    }
    PyObject *result = PyObject_CallMethod(self->coroutine, "close", NULL);
    if (self->is_twin) {
        self->is_over = 1;
        return result;
    }
    if (result != NULL) {
        PyErr_SetNone(PyExc_GeneratorExit);
        Py_DECREF(result);
    }
    result = go_on(self, NULL);
    if (result != NULL) {
        Py_DECREF(result);
        return PyErr_Format(PyExc_RuntimeError, "an attempt ignored GeneratorExit");
    }
    if (PyErr_ExceptionMatches(PyExc_GeneratorExit)
        || PyErr_ExceptionMatches(PyExc_StopIteration)) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    return NULL;
}

static int
attempt_traverse(PyObject *op, visitproc visit, void *arg)
{
    Attempt *self = (Attempt *)op;
    Py_VISIT(self->layer);
    Py_VISIT(self->job);
    Py_VISIT(self->unit);
    Py_VISIT(self->coroutine);
    return 0;
}

static int
attempt_clear(PyObject *op)
{
    Attempt *self = (Attempt *)op;
    self->is_over = 1;
    Py_CLEAR(self->layer);
    Py_CLEAR(self->job);
    Py_CLEAR(self->unit);
    Py_CLEAR(self->coroutine);
    return 0;
}

static void
attempt_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    attempt_clear(op);
    keep_spare(&spare, op);
}

static PyMethodDef attempt_methods[] = {
    {"send", send, METH_O, "As of a generator."},
    {"throw", throw, METH_VARARGS, "As of a generator."},
    {"close", close_attempt, METH_NOARGS, "As of a generator."},
    {NULL},
};

static PyMemberDef attempt_members[] = {
    {"coroutine", T_OBJECT, offsetof(Attempt, coroutine), READONLY, "What it awaits."},
    {NULL},
};

static PyAsyncMethods attempt_async = {
    .am_await = PyObject_SelfIter,
    .am_send = attempt_send,
};

PyTypeObject Attempt_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "spanrun._native.Attempt",
    .tp_basicsize = sizeof(Attempt),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "The first attempt of a job, and where that fails all others.",
    .tp_as_async = &attempt_async,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = next,
    .tp_traverse = attempt_traverse,
    .tp_clear = attempt_clear,
    .tp_dealloc = attempt_dealloc,
    .tp_methods = attempt_methods,
    .tp_members = attempt_members,
};
