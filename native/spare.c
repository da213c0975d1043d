/* Spare: memory of objects that each job needs, used again.
 *
 * As the interpreter does for its own: such an object is not counted as a new one,
 * so the garbage collector comes less often.
 */
#include "native.h"

/* A new object of a static ``type``, with zeros behind its head. */
PyObject *
take_spare(Spare *spare, PyTypeObject *type)
{
    if (spare->count == 0) {
        return type->tp_alloc(type, 0);
    }
    PyObject *object = spare->objects[--spare->count];
    memset((char *)object + sizeof(PyObject), 0, type->tp_basicsize - sizeof(PyObject));
    (void)PyObject_Init(object, type);
    PyObject_GC_Track(object);
    return object;
}

/* At the end of its ``tp_dealloc``: nothing refers to it, and it to nothing. */
void
keep_spare(Spare *spare, PyObject *object)
{
    if (spare->count < MOST_SPARE) {
        spare->objects[spare->count++] = object;
    }
    else {
        Py_TYPE(object)->tp_free(object);
    }
}
