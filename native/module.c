/* The module `spanrun._native`. */
#include "native.h"

Bound bound;
SpanSlots span_at;
JobSlots job_at;
CallSlots call_at;
OtherSlots other_at;

/* Where the instances of ``type`` have their slot ``name``; -1 and an error if not. */
static Py_ssize_t
offset_of(PyObject *type, const char *name)
{
    PyObject *found = PyObject_GetAttrString(type, name);
    if (found == NULL) {
        return -1;
    }
    Py_ssize_t offset = -1;
    if (Py_TYPE(found) == &PyMemberDescr_Type) {
        PyMemberDef *member = ((PyMemberDescrObject *)found)->d_member;
        offset = member->type == T_OBJECT_EX ? member->offset : -1;
    }
    Py_DECREF(found);
    if (offset < 0) {
        PyErr_Format(PyExc_TypeError, "%R has no slot %s", type, name);
    }
    return offset;
}

typedef struct {
    Py_ssize_t *offset;
    PyObject *type;
    const char *name;
} Wanted;

static int
find_slots(PyObject *recorded, PyObject *job, PyObject *call, PyObject *others)
{
    PyObject *origin, *gate, *way_out, *kind, *sum, *histogram;
    if (!PyArg_ParseTuple(others, "OOOOOO", &origin, &gate, &way_out, &kind, &sum,
                          &histogram)) {
        return -1;
    }
    Wanted wanted[] = {
        {&span_at.origin, recorded, "origin"},
        {&span_at.trace, recorded, "trace"},
        {&span_at.own, recorded, "own"},
        {&span_at.above, recorded, "above"},
        {&span_at.inherited, recorded, "inherited"},
        {&span_at.name, recorded, "span_name"},
        {&span_at.kind, recorded, "span_kind"},
        {&span_at.start, recorded, "start_ns"},
        {&span_at.end, recorded, "end_ns"},
        {&span_at.raw, recorded, "raw"},
        {&span_at.row, recorded, "row"},
        {&span_at.links, recorded, "raw_links"},
        {&span_at.rare, recorded, "rare"},
        {&span_at.made, recorded, "_made"},
        {&job_at.jobs, job, "_jobs"},
        {&job_at.outside, job, "_outside"},
        {&job_at.unit, job, "_unit"},
        {&job_at.ended, job, "_ended"},
        {&job_at.own, job, "_job_own"},
        {&job_at.above, job, "_job_above"},
        {&job_at.index, job, "index"},
        {&job_at.submitted, job, "submitted"},
        {&call_at.begun, call, "_begun"},
        {&call_at.calls, call, "_calls"},
        {&call_at.exact, call, "_exact"},
        {&call_at.outside, call, "_outside"},
        {&other_at.wire, origin, "wire"},
        {&other_at.reading, gate, "reading"},
        {&other_at.left, way_out, "left"},
        {&other_at.native, kind, "native"},
        {&other_at.value, sum, "value"},
        {&other_at.counts, histogram, "counts"},
        {&other_at.sum, histogram, "sum"},
        {&other_at.least, histogram, "least"},
        {&other_at.greatest, histogram, "greatest"},
    };
    for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
        *wanted[i].offset = offset_of(wanted[i].type, wanted[i].name);
        if (*wanted[i].offset < 0) {
            return -1;
        }
    }
    return 0;
}

static int
install(PyTypeObject *type, PyMethodDef *methods)
{
    for (; methods->ml_name != NULL; methods++) {
        PyObject *method = PyDescr_NewMethod(type, methods);
        if (method == NULL
            || PyObject_SetAttrString((PyObject *)type, methods->ml_name, method) < 0) {
            Py_XDECREF(method);
            return -1;
        }
        Py_DECREF(method);
    }
    return 0;
}

static int
install_raw(PyTypeObject *type)
{
    PyObject *raw = PyDescr_NewGetSet(type, &raw_attribute);
    int failed = raw == NULL || PyObject_SetAttrString((PyObject *)type, "raw", raw) < 0;
    Py_XDECREF(raw);
    return failed ? -1 : 0;
}

static int
find_twins(PyObject *job, PyObject *call)
{
    return (bound.begin_attempt = PyObject_GetAttrString(job, "begin_attempt")) == NULL
           || (bound.end_attempt = PyObject_GetAttrString(job, "end_attempt")) == NULL
           || (bound.succeed = PyObject_GetAttrString(job, "succeed")) == NULL
           || (bound.exit = PyObject_GetAttrString(call, "__exit__")) == NULL
           || (bound.set = PyObject_GetAttrString(call, "set")) == NULL;
}

static PyObject *
bind(PyObject *module, PyObject *args)
{
    PyObject *job, *call, *recorded, *others, *context, *variable, *span_key, *attempt,
        *way_out_key, *no_state, *internal, *client;
    if (!PyArg_ParseTuple(args, "O!O!O!O!O!O!OOOOOO:bind", &PyType_Type, &job,
                          &PyType_Type, &call, &PyType_Type, &recorded, &PyTuple_Type,
                          &others, &PyType_Type, &context, &PyContextVar_Type,
                          &variable, &span_key, &attempt, &way_out_key, &no_state,
                          &internal, &client)) {
        return NULL;
    }
    if (bound.job != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "bind() was called before");
        return NULL;
    }
    if (find_slots(recorded, job, call, others) < 0 || find_twins(job, call)
        || install((PyTypeObject *)job, job_methods) < 0
        || install_raw((PyTypeObject *)job) < 0
        || install((PyTypeObject *)call, call_methods) < 0
        || install_raw((PyTypeObject *)call) < 0) {
        return NULL;
    }
    bound.nothing = PyTuple_New(0);
    bound.context = (PyTypeObject *)Py_NewRef(context);
    bound.variable = Py_NewRef(variable);
    bound.span_key = Py_NewRef(span_key);
    bound.attempt_key = Py_NewRef(attempt);
    bound.way_out_key = Py_NewRef(way_out_key);
    bound.no_state = Py_NewRef(no_state);
    bound.internal = Py_NewRef(internal);
    bound.client = Py_NewRef(client);
    bound.recorded = (PyTypeObject *)Py_NewRef(recorded);
    bound.way_out = (PyTypeObject *)Py_NewRef(PyTuple_GET_ITEM(others, 2));
    bound.call_kind = (PyTypeObject *)Py_NewRef(PyTuple_GET_ITEM(others, 3));
    bound.call = (PyTypeObject *)Py_NewRef(call);
    bound.job = (PyTypeObject *)Py_NewRef(job);
    Py_RETURN_NONE;
}

static PyObject *
bind_recorder(PyObject *module, PyObject *type)
{
    if (!PyType_Check(type) || bound.open_call != NULL) {
        PyErr_SetString(PyExc_TypeError, "bind_recorder() takes a class, once");
        return NULL;
    }
    bound.open_call = PyObject_GetAttrString(type, "call");
    if (bound.open_call == NULL || install((PyTypeObject *)type, recorder_methods) < 0) {
        return NULL;
    }
    return Py_NewRef(type);
}

static PyMethodDef functions[] = {
    {"bind_recorder", bind_recorder, METH_O, "Give its method to a recorder's class."},
    {"drive", (PyCFunction)(void (*)(void))drive, METH_FASTCALL,
     "As `spanrun.runner.drive.drive`."},
    {"bind", bind, METH_VARARGS, "Give the methods here to two classes, once."},
    {NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "spanrun._native",
    .m_doc = "The hot path of native units, in C.",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    /* Without arguments. Set here, as the address is no constant with every linker. */
    Seconds_Type.tp_new = PyBaseObject_Type.tp_new;
    PyObject *made = PyModule_Create(&module);
    if (made == NULL || PyModule_AddType(made, &Seconds_Type) < 0
        || PyModule_AddType(made, &Buffer_Type) < 0
        || PyModule_AddType(made, &Jobs_Type) < 0
        || PyModule_AddType(made, &Calls_Type) < 0
        || PyModule_AddType(made, &Shape_Type) < 0
        || PyModule_AddType(made, &Lag_Type) < 0
        || PyModule_AddType(made, &Drive_Type) < 0
        || PyModule_AddType(made, &CallStep_Type) < 0
        || PyModule_AddType(made, &Slots_Type) < 0
        || PyModule_AddType(made, &FirstAttempts_Type) < 0
        || PyModule_AddType(made, &Attempt_Type) < 0
        || PyModule_AddType(made, &RandomBits_Type) < 0) {
        Py_XDECREF(made);
        return NULL;
    }
    return made;
}
