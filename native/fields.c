/* OkFields: what an `Ok` holds.
 *
 * Nearly all values are numbers and texts. What refers to nothing else can be in no
 * cycle, and the garbage collector need not look at an `Ok` of it, of which there are as
 * many as jobs: it is told of one that gets something else.
 */
#include "native.h"

#define FIELDS 6

typedef struct {
    PyObject_HEAD
    PyObject *fields[FIELDS];
} OkFields;

static PyMemberDef members[] = {
    {"index", T_OBJECT_EX, offsetof(OkFields, fields[0])},
    {"value", T_OBJECT_EX, offsetof(OkFields, fields[1])},
    {"timings", T_OBJECT_EX, offsetof(OkFields, fields[2])},
    {"attempts", T_OBJECT_EX, offsetof(OkFields, fields[3])},
    {"key", T_OBJECT_EX, offsetof(OkFields, fields[4])},
    {"trace_id", T_OBJECT_EX, offsetof(OkFields, fields[5])},
    {NULL},
};

/* ``op`` is about to refer to ``value``, which may refer to other objects. */
static void
tell(PyObject *op, PyObject *value)
{
    if (PyObject_IS_GC(value) && !PyObject_TypeCheck(value, &Seconds_Type)
        && !PyObject_GC_IsTracked(op)) {
        PyObject_GC_Track(op);
    }
}

static int
set_attribute(PyObject *op, PyObject *name, PyObject *value)
{
    if (value != NULL) {
        tell(op, value);
    }
    return PyObject_GenericSetAttr(op, name, value);
}

static PyObject *
new_fields(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    PyObject *made = type->tp_alloc(type, 0);
    if (made != NULL) {
        PyObject_GC_UnTrack(made);
    }
    return made;
}

static int
traverse(PyObject *op, visitproc visit, void *arg)
{
    for (int i = 0; i < FIELDS; i++) {
        Py_VISIT(((OkFields *)op)->fields[i]);
    }
    return 0;
}

static int
clear(PyObject *op)
{
    for (int i = 0; i < FIELDS; i++) {
        Py_CLEAR(((OkFields *)op)->fields[i]);
    }
    return 0;
}

static void
dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    (void)clear(op);
    Py_TYPE(op)->tp_free(op);
}

PyTypeObject OkFields_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "spanrun._native.OkFields",
    .tp_basicsize = sizeof(OkFields),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "What an `Ok` holds.",
    .tp_members = members,
    .tp_setattro = set_attribute,
    .tp_new = new_fields,
    .tp_dealloc = dealloc,
    .tp_traverse = traverse,
    .tp_clear = clear,
    .tp_free = PyObject_GC_Del,
};

/* Before the type is ready: a dataclass and `pickle` go by ``__slots__``. */
int
name_fields(void)
{
    PyObject *slots = PyTuple_New(FIELDS);
    for (int i = 0; slots != NULL && i < FIELDS; i++) {
        PyObject *name = PyUnicode_InternFromString(members[i].name);
        if (name == NULL) {
            Py_CLEAR(slots);
        }
        else {
            PyTuple_SET_ITEM(slots, i, name);
        }
    }
    OkFields_Type.tp_dict = slots == NULL ? NULL : Py_BuildValue("{sN}", "__slots__", slots);
    return OkFields_Type.tp_dict == NULL ? -1 : 0;
}

/* An object of the class ``args[0]``, with the fields after it. */
PyObject *
filled(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != FIELDS + 1 || !PyType_Check(args[0])
        || !PyType_IsSubtype((PyTypeObject *)args[0], &OkFields_Type)) {
        PyErr_SetString(PyExc_TypeError, "filled() takes a class and its six fields");
        return NULL;
    }
    PyObject *made = new_fields((PyTypeObject *)args[0], NULL, NULL);
    for (int i = 0; made != NULL && i < FIELDS; i++) {
        tell(made, args[i + 1]);
        ((OkFields *)made)->fields[i] = Py_NewRef(args[i + 1]);
    }
    return made;
}
