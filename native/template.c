/* Template: as `spanrun.telemetry.spans.template` makes it. */
#include "native.h"

/* ``sizes`` has the bytes of each place. */
int
template_set(Template *self, PyObject *text, PyObject *places,
             const unsigned char *sizes, Py_ssize_t count)
{
    if (PyTuple_GET_SIZE(places) != count || count > MOST_PLACES) {
        PyErr_Format(PyExc_ValueError, "a template with %zd places, not %zd",
                     PyTuple_GET_SIZE(places), count);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_ssize_t at = PyLong_AsSsize_t(PyTuple_GET_ITEM(places, i));
        if (at == -1 && PyErr_Occurred()) {
            return -1;
        }
        if (at < -1 || at > PyBytes_GET_SIZE(text) - sizes[i]) { /* -1 is no place */
            PyErr_Format(PyExc_ValueError, "place %zd is outside of the text", at);
            return -1;
        }
        self->at[i] = at;
    }
    Py_XSETREF(self->text, Py_NewRef(text));
    return 0;
}

/* Put an id of ``size`` bytes into the copy ``text`` of a template. */
void
fill_id(char *text, Py_ssize_t at, PyObject *id, Py_ssize_t size)
{
    if (at >= 0 && PyBytes_Check(id) && PyBytes_GET_SIZE(id) == size) {
        memcpy(text + at, PyBytes_AS_STRING(id), size);
    }
}

/* The same with what is in memory as it is on the wire. */
void
fill(char *text, Py_ssize_t at, const void *what, size_t size)
{
    if (at >= 0) {
        memcpy(text + at, what, size);
    }
}
