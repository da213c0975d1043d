/* Drive: the twin of `spanrun.runner.drive.drive`, and Lag, the base of `LoopLag`. */
#include "native.h"

PyObject *
attribute(PyObject *object, const char *name, PyObject **interned)
{
    if (*interned == NULL && (*interned = PyUnicode_InternFromString(name)) == NULL) {
        return NULL;
    }
    return PyObject_GetAttr(object, *interned);
}

/* --- Lag --- */

typedef struct {
    PyObject_HEAD
    double threshold;
    Py_ssize_t shown;
    PyObject *mark, *stepping;
} Lag;

static int
lag_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(((Lag *)op)->mark);
    Py_VISIT(((Lag *)op)->stepping);
    return 0;
}

static int
lag_clear(PyObject *op)
{
    Py_CLEAR(((Lag *)op)->mark);
    Py_CLEAR(((Lag *)op)->stepping);
    return 0;
}

static void
lag_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    lag_clear(op);
    Py_TYPE(op)->tp_free(op);
}

static PyMemberDef lag_members[] = {
    {"threshold", T_DOUBLE, offsetof(Lag, threshold)},
    {"shown", T_PYSSIZET, offsetof(Lag, shown)},
    {"mark", T_OBJECT_EX, offsetof(Lag, mark)}, /* of which Python knows a short way */
    {"stepping", T_OBJECT, offsetof(Lag, stepping), READONLY,
     "The innermost Drive whose step runs; None when there is none."},
    {NULL},
};

PyTypeObject Lag_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "spanrun._native.Lag",
    .tp_basicsize = sizeof(Lag),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "What a Drive looks at and tells. The base of `LoopLag`.",
    .tp_new = PyType_GenericNew,
    .tp_traverse = lag_traverse,
    .tp_clear = lag_clear,
    .tp_dealloc = lag_dealloc,
    .tp_members = lag_members,
};

/* --- Drive --- */

static Spare spare;

typedef enum { FRESH, WAITING, RUNNING, OVER } State;

typedef struct {
    PyObject_HEAD
    PyObject *coroutine, *job, *now, *mark, *outer;
    Seconds *timings;
    Lag *lag;
    double busy, began, ended;
    State state;
} Drive;

/* The step may follow on a wait: whoever blocked the loop meanwhile held us up. */
static int
begin(Drive *self)
{
    Lag *lag = self->lag;
    if (seconds_now(self->now, &self->began) < 0) {
        return -1;
    }
    if (self->state == WAITING && lag->mark != self->mark) {
        PyObject *lost =
            PyObject_CallMethod((PyObject *)lag, "held_up", "OOd", self->timings,
                                self->mark, self->began - self->ended);
        Py_XDECREF(lost);
        if (lost == NULL) {
            return -1;
        }
    }
    Py_XSETREF(self->mark, Py_XNewRef(lag->mark));
    Py_XSETREF(self->outer, lag->stepping);
    lag->stepping = Py_NewRef(self);
    self->state = RUNNING;
    return 0;
}

/* It is over; with an exception set, that is kept. */
static int
end(Drive *self, State state)
{
    Lag *lag = self->lag;
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    Py_XSETREF(lag->stepping, self->outer);
    self->outer = NULL;
    int failed = seconds_now(self->now, &self->ended) < 0;
    if (!failed) {
        double took = self->ended - self->began;
        self->busy += took;
        if (took > lag->threshold) {
            PyObject *told =
                PyObject_CallMethod((PyObject *)lag, "blocked", "OddO", self->job,
                                    self->began, self->ended, self->mark);
            Py_XDECREF(told);
            failed = told == NULL;
        }
    }
    self->state = state;
    if (state == OVER) {
        self->timings->busy += self->busy;
        Py_CLEAR(self->mark);
    }
    else {
        Py_XSETREF(self->mark, Py_XNewRef(lag->mark));
    }
    if (type != NULL) {
        if (failed) {
            PyErr_WriteUnraisable((PyObject *)self);
        }
        PyErr_Restore(type, error, traceback);
    }
    return failed && type == NULL ? -1 : 0;
}

static int
is_free(Drive *self)
{
    if (self->state == RUNNING) {
        PyErr_SetString(PyExc_ValueError, "what is driven is already executing");
        return 0;
    }
    if (self->state == OVER) {
        PyErr_SetString(PyExc_RuntimeError, "what is driven has ended");
        return 0;
    }
    return 1;
}

static PySendResult
drive_send(PyObject *op, PyObject *value, PyObject **result)
{
    Drive *self = (Drive *)op;
    *result = NULL;
    if (!is_free(self) || begin(self) < 0) {
        return PYGEN_ERROR;
    }
    PySendResult sent = PyIter_Send(self->coroutine, value, result);
    if (end(self, sent == PYGEN_NEXT ? WAITING : OVER) < 0) {
        Py_CLEAR(*result);
        return PYGEN_ERROR;
    }
    return sent;
}

/* What ``send`` gives: a value that was returned is in a StopIteration. */
PyObject *
stop_with(PySendResult sent, PyObject *result)
{
    if (sent == PYGEN_RETURN) {
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
        Py_CLEAR(result);
        if (stop != NULL) {
            PyErr_SetObject(PyExc_StopIteration, stop);
            Py_DECREF(stop);
        }
    }
    return result;
}

static PyObject *
send(PyObject *op, PyObject *value)
{
    PyObject *result;
    PySendResult sent = drive_send(op, value, &result);
    return stop_with(sent, result);
}

static PyObject *
next(PyObject *op)
{
    return send(op, Py_None);
}

/* Have the coroutine do what it does when ``method`` is called with ``args``. */
static PyObject *
step_by(Drive *self, const char *method, PyObject *args)
{
    PyObject *call = PyObject_GetAttrString(self->coroutine, method);
    if (call == NULL || begin(self) < 0) {
        Py_XDECREF(call);
        return NULL;
    }
    PyObject *result = PyObject_Call(call, args, NULL);
    Py_DECREF(call);
    int waits = result != NULL && strcmp(method, "throw") == 0;
    if (end(self, waits ? WAITING : OVER) < 0) {
        Py_CLEAR(result);
    }
    return result;
}

static PyObject *
close_drive(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    Drive *self = (Drive *)op;
    if (self->state == OVER) {
        Py_RETURN_NONE;
    }
    if (!is_free(self)) {
        return NULL;
    }
    PyObject *nothing = PyTuple_New(0);
    PyObject *closed = nothing == NULL ? NULL : step_by(self, "close", nothing);
    Py_XDECREF(nothing);
    return closed;
}

static PyObject *
throw(PyObject *op, PyObject *args)
{
    Drive *self = (Drive *)op;
    PyObject *error, *value = NULL, *traceback = NULL;
    if (!PyArg_UnpackTuple(args, "throw", 1, 3, &error, &value, &traceback)) {
        return NULL;
    }
    if (!is_free(self)) {
        return NULL;
    }
    if (PyErr_GivenExceptionMatches(error, PyExc_GeneratorExit)) {
        PyObject *closed = close_drive(op, NULL);
        if (closed != NULL) {
            Py_DECREF(closed);
            PyErr_SetObject(PyExceptionInstance_Check(error) ? (PyObject *)Py_TYPE(error)
                                                             : error,
                            PyExceptionInstance_Check(error) ? error : value);
        }
        return NULL;
    }
    return step_by(self, "throw", args);
}

static PyObject *
new_drive(PyObject *coroutine, PyObject *job, PyObject *lag, PyObject *now)
{
    static PyObject *timings_name;
    PyObject *timings = attribute(job, "timings", &timings_name);
    if (timings == NULL || !PyObject_TypeCheck(timings, &Seconds_Type)) {
        Py_XDECREF(timings);
        return PyErr_Format(PyExc_TypeError, "%R has no timings", job);
    }
    Drive *self = (Drive *)take_spare(&spare, &Drive_Type);
    if (self == NULL) {
        Py_DECREF(timings);
        return NULL;
    }
    self->timings = (Seconds *)timings;
    self->coroutine = Py_NewRef(coroutine);
    self->job = Py_NewRef(job);
    self->lag = (Lag *)Py_NewRef(lag);
    self->now = Py_NewRef(now);
    return (PyObject *)self;
}

PyObject *
drive(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 4 || !PyObject_TypeCheck(args[2], &Lag_Type)) {
        return PyErr_Format(PyExc_TypeError,
                            "drive() takes a coroutine, a job, a Lag and a clock");
    }
    return new_drive(args[0], args[1], args[2], args[3]);
}

static int
drive_traverse(PyObject *op, visitproc visit, void *arg)
{
    Drive *self = (Drive *)op;
    Py_VISIT(self->coroutine);
    Py_VISIT(self->job);
    Py_VISIT(self->now);
    Py_VISIT(self->mark);
    Py_VISIT(self->outer);
    Py_VISIT(self->lag);
    return 0;
}

static int
drive_clear(PyObject *op)
{
    Drive *self = (Drive *)op;
    self->state = OVER;
    Py_CLEAR(self->coroutine);
    Py_CLEAR(self->job);
    Py_CLEAR(self->now);
    Py_CLEAR(self->mark);
    Py_CLEAR(self->outer);
    Py_CLEAR(self->lag);
    Py_CLEAR(self->timings);
    return 0;
}

static void
drive_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    drive_clear(op);
    keep_spare(&spare, op);
}

static PyMethodDef drive_methods[] = {
    {"send", send, METH_O, "As of a generator."},
    {"throw", throw, METH_VARARGS, "As of a generator."},
    {"close", close_drive, METH_NOARGS, "As of a generator."},
    {NULL},
};

static PyMemberDef drive_members[] = {
    {"coroutine", T_OBJECT, offsetof(Drive, coroutine), READONLY, "What is driven."},
    {"job", T_OBJECT, offsetof(Drive, job), READONLY, "Whose it is."},
    {"now", T_OBJECT, offsetof(Drive, now), READONLY, "The clock."},
    {"began", T_DOUBLE, offsetof(Drive, began), READONLY, "When its last step did."},
    {"outer", T_OBJECT, offsetof(Drive, outer), READONLY, "Inside whose step this is."},
    {NULL},
};

static PyAsyncMethods drive_async = {
    .am_await = PyObject_SelfIter,
    .am_send = drive_send,
};

PyTypeObject Drive_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "spanrun._native.Drive",
    .tp_basicsize = sizeof(Drive),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "Awaits a coroutine, and books where its time goes.",
    .tp_as_async = &drive_async,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = next,
    .tp_traverse = drive_traverse,
    .tp_clear = drive_clear,
    .tp_dealloc = drive_dealloc,
    .tp_methods = drive_methods,
    .tp_members = drive_members,
};

/* --- CallStep: the twin of what `spanrun.runner.job.call_step` makes --- */

typedef struct {
    PyObject_HEAD
    PyObject *lag, *now, *other;
} CallStep;

static PyObject *
step_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"lag", "now", "other", NULL};
    PyObject *lag, *now, *other;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!OO:CallStep", names, &Lag_Type,
                                     &lag, &now, &other)) {
        return NULL;
    }
    CallStep *self = (CallStep *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->lag = Py_NewRef(lag);
        self->now = Py_NewRef(now);
        self->other = Py_NewRef(other);
    }
    return (PyObject *)self;
}

static PyObject *
step_call(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static PyObject *call_name, *item_name;
    CallStep *self = (CallStep *)op;
    PyObject *job, *awaited = NULL;
    if (kwargs != NULL || !PyArg_UnpackTuple(args, "CallStep", 1, 1, &job)) {
        return NULL;
    }
    PyObject *call = attribute(job, "call", &call_name);
    PyObject *item = call == NULL ? NULL : attribute(job, "item", &item_name);
    if (item != NULL) {
        awaited = PyObject_CallOneArg(call, item);
    }
    if (awaited != NULL && !PyCoro_CheckExact(awaited)) {
        PyObject *other = PyObject_CallFunctionObjArgs(self->other, awaited, call, NULL);
        Py_SETREF(awaited, other);
    }
    Py_XDECREF(call);
    Py_XDECREF(item);
    if (awaited != NULL && ((Lag *)self->lag)->shown) {
        PyObject *driven = new_drive(awaited, job, self->lag, self->now);
        Py_SETREF(awaited, driven);
    }
    return awaited;
}

static int
step_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(((CallStep *)op)->lag);
    Py_VISIT(((CallStep *)op)->now);
    Py_VISIT(((CallStep *)op)->other);
    return 0;
}

static int
step_clear(PyObject *op)
{
    Py_CLEAR(((CallStep *)op)->lag);
    Py_CLEAR(((CallStep *)op)->now);
    Py_CLEAR(((CallStep *)op)->other);
    return 0;
}

static void
step_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    step_clear(op);
    Py_TYPE(op)->tp_free(op);
}

PyTypeObject CallStep_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "spanrun._native.CallStep",
    .tp_basicsize = sizeof(CallStep),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "Calls a job's function, and drives what that gives.",
    .tp_call = step_call,
    .tp_new = step_new,
    .tp_traverse = step_traverse,
    .tp_clear = step_clear,
    .tp_dealloc = step_dealloc,
};
