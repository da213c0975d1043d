/* The units of jobs: the twins of `NativeJobs.open` and of `NativeJob`'s methods. */
#include "native.h"

#define INDEX_END (1 << 28) /* template.MOST */

/* Of the places: trace, own and parent's id, start, end, index, the phases; of the
 * attempt: trace, own and parent's id, start, end. */
static const unsigned char sizes[MOST_PLACES] = {16, 8, 8, 8, 8, 4, 8, 8,  8,
                                                 8,  8, 8, 8, 16, 8, 8, 8, 8};

typedef struct {
    PyObject_HEAD
    PyObject *origin, *tracer, *linked, *links, *no_links, *name, *now, *bits;
    PyObject *gate, *count;
    PyObject *phases[PHASES];
    Histogram duration;
    Template template;
    long long zero;
    int armed, attempts;
} Jobs;

/* --- Jobs, the base of NativeJobs --- */

static PyObject *
arm(PyObject *op, PyObject *args)
{
    Jobs *self = (Jobs *)op;
    PyObject *origin, *tracer, *linked, *links, *name, *now, *bits, *count, *duration,
        *phases, *gate;
    if (self->origin != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "arm() was called before");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "OOOOUOOLp(OOO!)O:arm", &origin, &tracer, &linked,
                          &links, &name, &now, &bits, &self->zero, &self->attempts,
                          &count, &duration, &PyTuple_Type, &phases, &gate)) {
        return NULL;
    }
    self->origin = Py_NewRef(origin);
    self->tracer = Py_NewRef(tracer);
    self->links = Py_NewRef(links);
    self->name = Py_NewRef(name);
    self->now = Py_NewRef(now);
    self->bits = Py_NewRef(bits);
    self->gate = Py_NewRef(gate);
    self->count = Py_NewRef(count);
    self->linked = linked == Py_None ? NULL : Py_NewRef(linked);
    self->no_links = PyTuple_New(0);
    if (self->no_links == NULL || PyTuple_GET_SIZE(phases) != PHASES) {
        return PyErr_Format(PyExc_ValueError, "there are %d phases", PHASES);
    }
    for (int i = 0; i < PHASES; i++) {
        self->phases[i] = Py_NewRef(PyTuple_GET_ITEM(phases, i));
    }
    if (histogram_set(&self->duration, duration) < 0) {
        return NULL;
    }
    self->armed = 1;
    Py_RETURN_NONE;
}

static PyObject *
teach(PyObject *op, PyObject *args)
{
    Jobs *self = (Jobs *)op;
    PyObject *text, *places;
    if (!PyArg_ParseTuple(args, "SO!:teach", &text, &PyTuple_Type, &places)) {
        return NULL;
    }
    if (template_set(&self->template, text, places, sizes, self->attempts ? 18 : 13)
        < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* What a job's first span hands down, and where it begins. All are new references. */
typedef struct {
    PyObject *outside, *trace, *above, *inherited;
} Origins;

/* 1 when found, 0 when the twin has to do it. */
static int
begin_linked(Jobs *self, Origins *from)
{
    static PyObject *root_name;
    PyObject *root = attribute(self->tracer, "root", &root_name);
    if (root == NULL || root == Py_None) {
        Py_XDECREF(root);
        return root == NULL ? -1 : 0;
    }
    from->inherited = root;
    from->outside = Py_NewRef(self->linked);
    from->above = Py_NewRef(Py_None);
    from->trace = new_trace_id(self->bits);
    return from->trace == NULL ? -1 : 1;
}

static int
begin_below(Jobs *self, Origins *from)
{
    from->outside = current_context();
    if (from->outside == NULL) {
        return -1;
    }
    PyObject *above = PyDict_GetItemWithError(from->outside, bound.span_key);
    int known = PyErr_Occurred() ? -1 : follows(self->tracer, above);
    if (known > 0) {
        from->trace = Py_XNewRef(slot(above, span_at.trace));
        from->above = Py_XNewRef(slot(above, span_at.own));
        from->inherited = Py_XNewRef(slot(above, span_at.inherited));
        known = from->trace && from->above && from->inherited;
    }
    return known;
}

static PyObject *
new_unit(Jobs *self, Origins *from, PyObject *index, PyObject *submitted)
{
    double began = PyFloat_AsDouble(submitted);
    if (began == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *unit = bound.job->tp_alloc(bound.job, 0);
    PyObject *own = unit == NULL ? NULL : new_span_id(self->bits);
    if (own == NULL) {
        Py_XDECREF(unit);
        return NULL;
    }
    put(unit, job_at.own, own);
    put_new(unit, job_at.jobs, (PyObject *)self);
    put_new(unit, job_at.outside, from->outside);
    put_new(unit, job_at.unit, Py_None);
    put(unit, job_at.ended, PyLong_FromLong(0));
    put_new(unit, job_at.above, from->above);
    put_new(unit, job_at.index, index);
    put_new(unit, job_at.submitted, submitted);
    put_new(unit, span_at.origin, self->origin);
    put_new(unit, span_at.trace, from->trace);
    put_new(unit, span_at.inherited, from->inherited);
    put_new(unit, span_at.name, self->name);
    put_new(unit, span_at.kind, bound.internal);
    put_new(unit, span_at.end, Py_None);
    put_new(unit, span_at.row, Py_None);
    put_new(unit, span_at.rare, Py_None);
    put_new(unit, span_at.made, Py_None);
    if (self->attempts) {
        put(unit, span_at.own, new_span_id(self->bits));
        put_new(unit, span_at.above, own);
        put(unit, span_at.start, PyLong_FromLong(0));
        put_new(unit, span_at.links, self->no_links);
    }
    else {
        put_new(unit, span_at.own, own);
        put_new(unit, span_at.above, from->above);
        put(unit, span_at.start, nanoseconds(self->zero, began));
        put_new(unit, span_at.links, self->links);
    }
    if (PyErr_Occurred()) {
        Py_CLEAR(unit);
    }
    return unit;
}

static PyObject *
open_fast(PyObject *op, PyObject *job)
{
    static PyObject *key_name, *index_name, *submitted_name, *open_name;
    Jobs *self = (Jobs *)op;
    Origins from = {NULL};
    PyObject *unit = NULL, *index = NULL, *submitted = NULL;
    int known = 0;
    if (open_name == NULL) {
        open_name = PyUnicode_InternFromString("open");
    }
    PyObject *key = attribute(job, "key", &key_name);
    if (key == NULL) {
        return NULL;
    }
    Py_DECREF(key);
    if (self->armed && key == Py_None && wire_of(self->origin) != NULL) {
        known = self->linked ? begin_linked(self, &from) : begin_below(self, &from);
    }
    if (known > 0) {
        index = attribute(job, "index", &index_name);
        submitted = index ? attribute(job, "submitted", &submitted_name) : NULL;
        if (submitted != NULL) {
            unit = new_unit(self, &from, index, submitted);
        }
        if (unit && make_current(from.outside, unit, self->attempts) < 0) {
            Py_CLEAR(unit);
        }
    }
    else if (known == 0) {
        unit = PyObject_CallMethodOneArg(op, open_name, job);
    }
    Py_XDECREF(index);
    Py_XDECREF(submitted);
    Py_XDECREF(from.outside);
    Py_XDECREF(from.trace);
    Py_XDECREF(from.above);
    Py_XDECREF(from.inherited);
    return unit;
}

static int
jobs_traverse(PyObject *op, visitproc visit, void *arg)
{
    Jobs *self = (Jobs *)op;
    Py_VISIT(self->origin);
    Py_VISIT(self->tracer);
    Py_VISIT(self->linked);
    Py_VISIT(self->links);
    Py_VISIT(self->now);
    Py_VISIT(self->bits);
    Py_VISIT(self->gate);
    Py_VISIT(self->count);
    for (int i = 0; i < PHASES; i++) {
        Py_VISIT(self->phases[i]);
    }
    return histogram_traverse(&self->duration, visit, arg);
}

static int
jobs_clear(PyObject *op)
{
    Jobs *self = (Jobs *)op;
    self->armed = 0;
    Py_CLEAR(self->origin);
    Py_CLEAR(self->tracer);
    Py_CLEAR(self->linked);
    Py_CLEAR(self->links);
    Py_CLEAR(self->no_links);
    Py_CLEAR(self->name);
    Py_CLEAR(self->now);
    Py_CLEAR(self->bits);
    Py_CLEAR(self->gate);
    Py_CLEAR(self->count);
    for (int i = 0; i < PHASES; i++) {
        Py_CLEAR(self->phases[i]);
    }
    histogram_clear(&self->duration);
    Py_CLEAR(self->template.text);
    return 0;
}

static void
jobs_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    jobs_clear(op);
    Py_TYPE(op)->tp_free(op);
}

static PyMethodDef jobs_methods[] = {
    {"arm", arm, METH_VARARGS, "Give it what its jobs share."},
    {"teach", teach, METH_VARARGS, "Give it the template of a job that succeeds."},
    {"open_fast", open_fast, METH_O, "As `open`."},
    {NULL},
};

PyTypeObject Jobs_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "spanrun._native.Jobs",
    .tp_basicsize = sizeof(Jobs),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "Opens the units of a run's jobs. The base of `NativeJobs`.",
    .tp_new = PyType_GenericNew,
    .tp_traverse = jobs_traverse,
    .tp_clear = jobs_clear,
    .tp_dealloc = jobs_dealloc,
    .tp_methods = jobs_methods,
};

/* --- the methods of a job's unit --- */

static int
is_first(PyObject *number)
{
    return PyLong_CheckExact(number) && PyLong_AsLong(number) == 1;
}

static PyObject *
begin_attempt(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    double now;
    if (!takes("begin_attempt", count, 1)) {
        return NULL;
    }
    if (!is_first(args[0])) {
        return by_twin(bound.begin_attempt, self, args, count);
    }
    Jobs *jobs = (Jobs *)slot(self, job_at.jobs);
    if (seconds_now(jobs->now, &now) < 0) {
        return NULL;
    }
    PyObject *began = nanoseconds(jobs->zero, now);
    if (began == NULL) {
        return NULL;
    }
    put(self, span_at.start, began);
    Py_RETURN_NONE;
}

static PyObject *
end_attempt(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    double now;
    if (!takes("end_attempt", count, 2)) {
        return NULL;
    }
    if (!is_first(args[0]) || args[1] != Py_None) {
        return by_twin(bound.end_attempt, self, args, count);
    }
    Jobs *jobs = (Jobs *)slot(self, job_at.jobs);
    if (seconds_now(jobs->now, &now) < 0) {
        return NULL;
    }
    PyObject *ended = nanoseconds(jobs->zero, now);
    if (ended == NULL) {
        return NULL;
    }
    put(self, job_at.ended, ended);
    Py_RETURN_NONE;
}

/* The template with this job in its places, in the order of `template.job_encoder`. */
static int
encode(Jobs *jobs, Buffer *wire, PyObject *unit, long long index, const Seconds *took,
       const double parts[PHASES])
{
    double submitted = PyFloat_AsDouble(slot(unit, job_at.submitted));
    long long start = jobs->zero + (long long)(submitted * 1e9);
    long long end = jobs->zero + (long long)((submitted + took->duration) * 1e9);
    long long begun = PyLong_AsLongLong(slot(unit, span_at.start));
    long long ended = PyLong_AsLongLong(slot(unit, job_at.ended));
    if (PyErr_Occurred()) {
        return -1;
    }
    ended = ended ? ended : end;
    put(unit, span_at.end, PyLong_FromLongLong(ended));

    const Template *template = &jobs->template;
    const Py_ssize_t *at = template->at;
    Py_ssize_t size = PyBytes_GET_SIZE(template->text);
    char *text = buffer_reserve(wire, size);
    if (text == NULL) {
        return -1;
    }
    PyObject *trace = slot(unit, span_at.trace), *own = slot(unit, job_at.own);
    uint32_t number = (uint32_t)((index & 0x7F) | (index << 1 & 0x7F00)
                                 | (index << 2 & 0x7F0000) | (index << 3 & 0x7F000000)
                                 | 0x808080);
    memcpy(text, PyBytes_AS_STRING(template->text), size);
    fill_id(text, at[0], trace, 16);
    fill_id(text, at[1], own, 8);
    fill_id(text, at[2], slot(unit, job_at.above), 8);
    fill(text, at[3], &start, 8);
    fill(text, at[4], &end, 8);
    fill(text, at[5], &number, 4);
    for (int i = 0; i < PHASES; i++) {
        fill(text, at[6 + i], &parts[i], 8);
    }
    if (jobs->attempts) {
        fill_id(text, at[13], trace, 16);
        fill_id(text, at[14], slot(unit, span_at.own), 8);
        fill_id(text, at[15], own, 8);
        fill(text, at[16], &begun, 8);
        fill(text, at[17], &ended, 8);
    }
    return buffer_commit(wire, size, jobs->attempts ? 2 : 1);
}

static int
count_in(Jobs *jobs, double seconds, const double parts[PHASES], PyObject *span)
{
    if (sum_count(jobs->count) < 0) {
        return -1;
    }
    for (int i = 0; i < PHASES; i++) {
        if (sum_add(jobs->phases[i], parts[i]) < 0) {
            return -1;
        }
    }
    return histogram_add(&jobs->duration, seconds, span);
}

static int
is_known(Jobs *jobs)
{
    if (jobs->template.text == NULL) {
        PyObject *learnt = PyObject_CallMethod((PyObject *)jobs, "learn", NULL);
        Py_XDECREF(learnt);
        if (learnt == NULL) {
            return -1;
        }
    }
    return jobs->template.text != NULL;
}

static PyObject *
succeed(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (!takes("succeed", count, 2)) {
        return NULL;
    }
    Jobs *jobs = (Jobs *)slot(self, job_at.jobs);
    Buffer *wire = wire_of(slot(self, span_at.origin));
    PyObject *raw = slot(self, span_at.raw);
    long long index = PyLong_AsLongLong(slot(self, job_at.index));
    if (index < 0) {
        PyErr_Clear();
    }
    if (wire == NULL || !PyObject_TypeCheck(args[0], &Seconds_Type) || index < 0
        || index >= INDEX_END || slot(self, job_at.unit) != Py_None
        || (raw != NULL && PyDict_GET_SIZE(raw)) || !is_plain(self, jobs->name)
        || is_reading(jobs->gate)) {
        return by_twin(bound.succeed, self, args, count);
    }
    const Seconds *took = (Seconds *)args[0];
    double parts[PHASES];
    seconds_parts(took, parts);
    int known = is_known(jobs);
    if (known == 0) {
        return by_twin(bound.succeed, self, args, count);
    }
    if (known < 0 || encode(jobs, wire, self, index, took, parts) < 0
        || count_in(jobs, took->duration, parts, self) < 0) {
        if (lost_by_error((PyObject *)jobs) < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

PyMethodDef job_methods[] = {
    {"begin_attempt", (PyCFunction)(void (*)(void))begin_attempt, METH_FASTCALL,
     "As `JobUnit.begin_attempt`."},
    {"end_attempt", (PyCFunction)(void (*)(void))end_attempt, METH_FASTCALL,
     "As `JobUnit.end_attempt`."},
    {"succeed", (PyCFunction)(void (*)(void))succeed, METH_FASTCALL,
     "As `JobUnit.succeed`."},
    {NULL},
};
