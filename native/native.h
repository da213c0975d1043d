/* The hot path of a runner, in C: see docs/explanation/architecture.md.
 *
 * Every class here has a twin in Python that does the same. All of it runs with the
 * interpreter's lock held, and nothing lets it go.
 */
#ifndef SPANRUN_NATIVE_H
#define SPANRUN_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#ifdef Py_GIL_DISABLED
#error "slots rely on the interpreter's lock"
#endif

#define PHASES 7

/* --- spare.c: memory of objects that each job needs, used again --- */

#define MOST_SPARE 256

typedef struct {
    int count;
    PyObject *objects[MOST_SPARE];
} Spare;

PyObject *take_spare(Spare *spare, PyTypeObject *type);
void keep_spare(Spare *spare, PyObject *object);

/* --- seconds.c: where a job's time went --- */

typedef struct {
    PyObject_HEAD
    double queue, limit, rate_limit, backoff, busy, loop_lag, duration, submitted;
} Seconds;

extern PyTypeObject Seconds_Type;
void seconds_parts(const Seconds *self, double parts[PHASES]);
int seconds_now(PyObject *now, double *seconds);
int find_clock(void);
int add_numbers(PyObject *module);

/* --- fields.c: what an `Ok` holds --- */

extern PyTypeObject OkFields_Type;
int name_fields(void);
PyObject *filled(PyObject *module, PyObject *const *args, Py_ssize_t count);

/* --- drive.c: the steps of a job's coroutine, timed --- */

extern PyTypeObject Lag_Type, Drive_Type, CallStep_Type;
PyObject *drive(PyObject *module, PyObject *const *args, Py_ssize_t count);

/* ``object.name``; ``interned`` keeps the name for the next time. */
PyObject *attribute(PyObject *object, const char *name, PyObject **interned);

PyObject *stop_with(PySendResult sent, PyObject *result);

/* --- attempt.c: first attempts, and the slots that they hold --- */

extern PyTypeObject Slots_Type, FirstAttempts_Type, Attempt_Type;

/* --- step.c: the first step of a coroutine --- */

extern PyTypeObject FirstStep_Type;

#endif
