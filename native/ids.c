/* RandomBits: random numbers for ids, from another seed in each process.
 *
 * A child that goes on with its parent's state draws its parent's next ids. Python tells
 * of its own forks (`os.register_at_fork`) and hears of no other, such as those that
 * uWSGI makes. The C library hears of all, but in the child nothing is safe just then but
 * to take note. So who draws first in a child asks for a seed, which is also how the rest
 * of spanrun hears of a fork.
 *
 * The numbers are those of xoshiro256** 1.0, by Blackman and Vigna.
 */
#include "native.h"

#ifndef MS_WINDOWS
#include <pthread.h>
#endif

#define SEED_BYTES 32

typedef struct {
    PyObject_HEAD
    PyObject *seed;
    uint64_t state[SEED_BYTES / sizeof(uint64_t)];
    unsigned long process;
} RandomBits;

static unsigned long process = 1; /* another number in each child */

#ifndef MS_WINDOWS
static void
in_child(void)
{
    process++;
}
#endif

static int
renew(RandomBits *self)
{
    unsigned long here = process;
    PyObject *drawn = PyObject_CallNoArgs(self->seed);
    if (drawn == NULL) {
        return -1;
    }
    if (!PyBytes_Check(drawn) || PyBytes_GET_SIZE(drawn) != SEED_BYTES) {
        PyErr_Format(PyExc_ValueError, "a seed has %d bytes", SEED_BYTES);
        Py_DECREF(drawn);
        return -1;
    }
    memcpy(self->state, PyBytes_AS_STRING(drawn), SEED_BYTES);
    self->process = here;
    Py_DECREF(drawn);
    return 0;
}

static uint64_t
rotated(uint64_t word, int by)
{
    return word << by | word >> (64 - by);
}

static uint64_t
next(uint64_t *state)
{
    uint64_t drawn = rotated(state[1] * 5, 7) * 9, shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotated(state[3], 45);
    return drawn;
}

static int
draw_words(RandomBits *self, uint64_t *words, int count)
{
    if (self->process != process && renew(self) < 0) {
        return -1;
    }
    for (int i = 0; i < count; i++) {
        words[i] = next(self->state);
    }
    return 0;
}

static PyObject *
draw(PyObject *self, PyObject *size)
{
    uint64_t words[2];
    long bits = PyLong_AsLong(size);
    if (bits == 64) {
        return draw_words((RandomBits *)self, words, 1) < 0
                   ? NULL
                   : PyLong_FromUnsignedLongLong(words[0]);
    }
    if (bits == 128) {
        if (draw_words((RandomBits *)self, words, 2) < 0) {
            return NULL;
        }
#if PY_VERSION_HEX >= 0x030D0000
        return PyLong_FromUnsignedNativeBytes(words, sizeof(words),
                                              Py_ASNATIVEBYTES_NATIVE_ENDIAN);
#else
        return _PyLong_FromByteArray((unsigned char *)words, sizeof(words), 1, 0);
#endif
    }
    return PyErr_Occurred() ? NULL
                            : PyErr_Format(PyExc_ValueError, "64 or 128, not %ld", bits);
}

/* Eight bytes of an id, by what draws them: as a call of it does, with less ado. */
int
draw_word(PyObject *bits, uint64_t *word)
{
    if (PyCFunction_CheckExact(bits) && PyCFunction_GET_FUNCTION(bits) == draw) {
        return draw_words((RandomBits *)PyCFunction_GET_SELF(bits), word, 1);
    }
    PyObject *size = PyLong_FromLong(64);
    PyObject *drawn = size == NULL ? NULL : PyObject_CallOneArg(bits, size);
    Py_XDECREF(size);
    if (drawn == NULL) {
        return -1;
    }
    *word = PyLong_AsUnsignedLongLongMask(drawn);
    Py_DECREF(drawn);
    return *word == (uint64_t)-1 && PyErr_Occurred() ? -1 : 0;
}

static PyObject *
renew_now(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (renew((RandomBits *)self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"seed", NULL};
    static int told;
    PyObject *seed;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:RandomBits", names, &seed)) {
        return NULL;
    }
#ifndef MS_WINDOWS
    if (!told && pthread_atfork(NULL, NULL, in_child) != 0) {
        return PyErr_NoMemory();
    }
#endif
    told = 1;
    RandomBits *self = (RandomBits *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->seed = Py_NewRef(seed);
    }
    return (PyObject *)self;
}

static int
traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(((RandomBits *)op)->seed);
    return 0;
}

static int
clear(PyObject *op)
{
    Py_CLEAR(((RandomBits *)op)->seed);
    return 0;
}

static void
dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    clear(op);
    Py_TYPE(op)->tp_free(op);
}

static PyMethodDef methods[] = {
    {"draw", draw, METH_O, "A random number of 64 or 128 bits."},
    {"renew", renew_now, METH_NOARGS, "Go on from another seed."},
    {NULL},
};

PyTypeObject RandomBits_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "spanrun._native.RandomBits",
    .tp_basicsize = sizeof(RandomBits),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "Random numbers, from another seed in each process.",
    .tp_new = new,
    .tp_traverse = traverse,
    .tp_clear = clear,
    .tp_dealloc = dealloc,
    .tp_methods = methods,
};
