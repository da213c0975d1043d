/* The hot path of native units, in C: see docs/explanation/architecture.md.
 *
 * Every function here has a twin in Python that says the same, and does the rest:
 * whatever is out of the ordinary is handed to that one, before anything was done.
 * All of it runs with the interpreter's lock held, and nothing lets it go.
 */
#ifndef SPANRUN_NATIVE_H
#define SPANRUN_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#if PY_BIG_ENDIAN
#error "the places of a template are filled in as little-endian numbers"
#endif
#ifdef Py_GIL_DISABLED
#error "units rely on the interpreter's lock"
#endif

#define PHASES 7

/* --- what bind() was given: classes, keys, and where their slots are --- */

typedef struct {
    PyTypeObject *context;   /* opentelemetry.context.Context */
    PyObject *nothing;       /* () */
    PyObject *variable;      /* the context variable that has the current one */
    PyObject *span_key, *attempt_key, *way_out_key;
    PyObject *no_state;      /* DEFAULT_TRACE_STATE */
    PyObject *internal, *client; /* SpanKind */
    PyTypeObject *recorded, *way_out, *call_kind;
    PyTypeObject *job, *call;
    PyObject *begin_attempt, *end_attempt, *succeed; /* NativeJob's own */
    PyObject *exit, *set;                            /* NativeCall's own */
    PyObject *open_call;                             /* NativeRecorder.call */
} Bound;

typedef struct {
    Py_ssize_t origin, trace, own, above, inherited, name, kind, start, end, raw, row,
        links, rare, made;
} SpanSlots;

typedef struct {
    Py_ssize_t jobs, outside, unit, ended, own, above, index, submitted;
} JobSlots;

typedef struct {
    Py_ssize_t begun, calls, exact, outside;
} CallSlots;

typedef struct {
    Py_ssize_t wire;                               /* Origin */
    Py_ssize_t reading;                            /* Gate */
    Py_ssize_t left;                               /* WayOut */
    Py_ssize_t native;                             /* CallKind */
    Py_ssize_t value;                              /* SumCell */
    Py_ssize_t counts, sum, least, greatest;       /* HistogramCell */
} OtherSlots;

extern Bound bound;
extern SpanSlots span_at;
extern JobSlots job_at;
extern CallSlots call_at;
extern OtherSlots other_at;

static inline PyObject *
slot(PyObject *object, Py_ssize_t offset)
{
    return *(PyObject **)((char *)object + offset);
}

/* Takes over the reference to ``value``. */
static inline void
put(PyObject *object, Py_ssize_t offset, PyObject *value)
{
    PyObject **place = (PyObject **)((char *)object + offset);
    PyObject *old = *place;
    *place = value;
    Py_XDECREF(old);
}

static inline void
put_new(PyObject *object, Py_ssize_t offset, PyObject *value)
{
    put(object, offset, Py_NewRef(value));
}

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
    double queue, limit, rate_limit, backoff, busy, loop_lag, duration;
} Seconds;

extern PyTypeObject Seconds_Type;
void seconds_parts(const Seconds *self, double parts[PHASES]);

/* --- buffer.c: encoded spans on their way out --- */

typedef struct {
    PyObject_HEAD
    char *data;
    Py_ssize_t used, room, most, spans;
    int queued;
    PyObject *begun, *full;
} Buffer;

extern PyTypeObject Buffer_Type;
char *buffer_reserve(Buffer *self, Py_ssize_t size);
int buffer_commit(Buffer *self, Py_ssize_t size, Py_ssize_t spans);

/* --- template.c: encoded spans with places that are filled in --- */

#define MOST_PLACES 18

typedef struct {
    PyObject *text; /* bytes */
    Py_ssize_t at[MOST_PLACES];
} Template;

int template_set(Template *self, PyObject *text, PyObject *places,
                 const unsigned char *sizes, Py_ssize_t count);
void fill(char *text, Py_ssize_t at, const void *what, size_t size);
void fill_id(char *text, Py_ssize_t at, PyObject *id, Py_ssize_t size);

/* --- cells.c: adding to series --- */

typedef struct {
    PyObject *cell; /* a HistogramCell; NULL when there is none */
    PyObject *kept, *offer;
    double *bounds;
    Py_ssize_t size;
} Histogram;

int is_reading(PyObject *gate);
int sum_add(PyObject *cell, double value);
int sum_count(PyObject *cell);
int histogram_set(Histogram *self, PyObject *cell);
int histogram_add(Histogram *self, double value, PyObject *span);
int histogram_traverse(Histogram *self, visitproc visit, void *arg);
void histogram_clear(Histogram *self);

/* --- span.c: what jobs and calls have in common --- */

extern PyGetSetDef raw_attribute;
PyObject *attribute(PyObject *object, const char *name, PyObject **interned);
PyObject *raw_of(PyObject *unit);
PyObject *current_context(void);
int make_current(PyObject *outside, PyObject *span, int attempt);
int leave(PyObject *outside, PyObject *span);
PyObject *new_span_id(PyObject *bits);
PyObject *new_trace_id(PyObject *bits);
int seconds_now(PyObject *now, double *seconds);
PyObject *nanoseconds(long long zero, double seconds);
Buffer *wire_of(PyObject *origin);
int is_plain(PyObject *span, PyObject *name);
int lost_by_error(PyObject *owner);
int follows(PyObject *tracer, PyObject *above);
PyObject *by_twin(PyObject *twin, PyObject *self, PyObject *const *args,
                  Py_ssize_t count);
int takes(const char *name, Py_ssize_t count, Py_ssize_t wanted);

/* --- drive.c: the steps of a job's coroutine, timed --- */

extern PyTypeObject Lag_Type, Drive_Type, CallStep_Type;
PyObject *drive(PyObject *module, PyObject *const *args, Py_ssize_t count);

PyObject *stop_with(PySendResult sent, PyObject *result);

/* --- attempt.c: first attempts, and the slots that they hold --- */

extern PyTypeObject Slots_Type, FirstAttempts_Type, Attempt_Type;

/* --- ids.c: what ids are drawn from --- */

extern PyTypeObject RandomBits_Type;
int draw_word(PyObject *bits, uint64_t *word);

/* --- job.c and call.c --- */

extern PyTypeObject Jobs_Type, Calls_Type, Shape_Type;
extern PyMethodDef job_methods[], call_methods[], recorder_methods[];

#endif
