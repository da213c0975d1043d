/* The module `spanrun._native`. */
#include "native.h"

static PyMethodDef functions[] = {
    {"drive", (PyCFunction)(void (*)(void))drive, METH_FASTCALL,
     "As `spanrun.runner.drive.drive`."},
    {"filled", (PyCFunction)(void (*)(void))filled, METH_FASTCALL,
     "An object of a class of `OkFields`, without a call of its ``__init__``."},
    {NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "spanrun._native",
    .m_doc = "The hot path of a runner, in C.",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    PyObject *made = PyModule_Create(&module);
    if (made == NULL || PyModule_AddType(made, &Seconds_Type) < 0 || name_fields() < 0
        || PyModule_AddType(made, &OkFields_Type) < 0
        || PyModule_AddType(made, &Lag_Type) < 0
        || PyModule_AddType(made, &Drive_Type) < 0
        || PyModule_AddType(made, &CallStep_Type) < 0
        || PyModule_AddType(made, &Slots_Type) < 0
        || PyModule_AddType(made, &FirstAttempts_Type) < 0
        || PyModule_AddType(made, &Attempt_Type) < 0
        || PyModule_AddType(made, &FirstStep_Type) < 0 || add_numbers(made) < 0
        || find_clock() < 0) {
        Py_XDECREF(made);
        return NULL;
    }
    return made;
}
