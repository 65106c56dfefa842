/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Small calls.  A page table has 512 entries, and a loop over them takes less time than cffi needs
 * to find their address.  So the simplest calls are made here:
 *
 *	helper(int)		helper(array)		helper(array, out=array)
 *	helper(array, out=array, where=array or test)
 *	test.count(array)	test.count(array, where=array or test)
 *
 * of helpers and chains, with C-contiguous ndarrays (no subclasses) of 64-bit integers, or of bool
 * for a test's out and for where, and an int as second argument.  These calls are called plain.
 * All other calls go to the checks in Python, which also report all errors: this file reports none.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

/* This file relies on the interpreter lock for all that it changes. */
#ifdef Py_GIL_DISABLED
#error "pgtable needs a Python with an interpreter lock, not a free-threaded build"
#endif

#include <string.h>

#include "bulk/step.h"
#include "python/operation.h"

/* More entries may exceed the caches, for which the driver has other loops. */
#define MOST_ENTRIES ((size_t)512 * 1024)
/* From so many entries on, the interpreter lock is released: the loop takes longer than that. */
#define KEEP_LOCK ((size_t)2048)

/* From so many entries on it matters whether vectors lie in two cache lines. */
#define ALIGN_FROM ((size_t)1024)

/*
 * What a helper or chain runs.  A target never changes: binding again makes a new one.  Its holders
 * are counted, under the interpreter lock: the helper or chain, and each call that runs it.
 */
struct target {
	size_t holders;
	PyObject *owner;	/* owns all that the operation points to */
	struct pgtable_operation operation;
	const struct pgtable_form_loops *forms;	/* of the operation's loops */
};

typedef struct {
	PyObject_HEAD
	struct target *target;	/* NULL: never bound */
} FastCall;

/*
 * A plain call.  While the interpreter lock is released, another thread may bind its helpers again,
 * so the call holds their targets.
 */
struct call {
	struct target *target;
	struct target *where_target;	/* NULL: where is no test */
	struct pgtable_step own;	/* the step of a helper with its argument */
	PyObject *array;
	PyObject *out;
	PyObject *where;
	Py_buffer in, into, mask;
	const Py_buffer *to;	/* where results go: in or into */
};

/* Set when the module is loaded, and only read afterwards. */
static PyTypeObject *fastcall_type;
static PyObject *ndarray_type;
static PyObject *empty_like;
static PyObject *name_out;
static PyObject *name_where;
static PyObject *name_call;
static PyObject *name_count;

/* Set *word and return 1, or return 0 without an exception. */
static int get_word(PyObject *value, uint64_t *word)
{
	if (!PyLong_CheckExact(value))
		return 0;
	*word = PyLong_AsUnsignedLongLong(value);
	if (*word != UINT64_MAX || !PyErr_Occurred())
		return 1;
	PyErr_Clear();
	return 0;
}

static struct target *hold(struct target *target)
{
	if (target)
		target->holders++;
	return target;
}

static void let_go(struct target *target)
{
	if (!target || --target->holders)
		return;
	Py_DECREF(target->owner);
	PyMem_Free(target);
}

static const struct pgtable_operation *operation_of(const struct call *call)
{
	return &call->target->operation;
}

static void begin(struct call *call, PyObject *self)
{
	call->target = hold(((FastCall *)self)->target);
	call->where_target = NULL;
}

static void end(struct call *call)
{
	let_go(call->target);
	let_go(call->where_target);
}

/* Read the arguments; return 0 if the call is not plain. */
static int parse(struct call *call, PyObject *args, PyObject *kwargs)
{
	const struct pgtable_operation *operation = call->target ? operation_of(call) : NULL;
	const struct pgtable_helper *helper = operation ? operation->last : NULL;
	Py_ssize_t given = kwargs ? PyDict_Size(kwargs) : 0;
	int takes_argument = helper && !operation->is_chain && helper->argument;

	if (!helper || PyTuple_Size(args) != (takes_argument ? 2 : 1))
		return 0;
	call->own = (struct pgtable_step){ .helper = helper };
	if (takes_argument && !get_word(PyTuple_GetItem(args, 1), &call->own.argument))
		return 0;
	call->array = PyTuple_GetItem(args, 0);
	call->out = given ? PyDict_GetItemWithError(kwargs, name_out) : NULL;
	call->where = given ? PyDict_GetItemWithError(kwargs, name_where) : NULL;
	return given == !!call->out + !!call->where && call->out != Py_None &&
	       call->where != Py_None;
}

static int is_word(const Py_buffer *view)
{
	return view->itemsize == 8 && view->format && strlen(view->format) == 1 &&
	       strchr("QqLl", view->format[0]);
}

static int is_bool(const Py_buffer *view)
{
	return view->itemsize == 1 && view->format && !strcmp(view->format, "?");
}

static size_t entries_of(const struct call *call)
{
	return (size_t)call->in.len / sizeof(uint64_t);
}

/* Get the C-contiguous memory of an ndarray; return 0, without an exception, if it has none. */
static int get_buffer(PyObject *array, Py_buffer *view, int flags)
{
	if ((PyObject *)Py_TYPE(array) != ndarray_type)
		return 0;
	if (PyObject_GetBuffer(array, view, PyBUF_FORMAT | PyBUF_ND | flags) == 0)
		return 1;
	PyErr_Clear();
	return 0;
}

/* Get the entries; return 0 if they are not plain or too many. */
static int get_entries(struct call *call, int flags)
{
	if (!get_buffer(call->array, &call->in, flags))
		return 0;
	if (is_word(&call->in) && entries_of(call) <= MOST_ENTRIES)
		return 1;
	PyBuffer_Release(&call->in);
	return 0;
}

static int same_shape(const Py_buffer *a, const Py_buffer *b)
{
	if (a->ndim != b->ndim)
		return 0;
	for (int i = 0; i < a->ndim; i++)
		if (a->shape[i] != b->shape[i])
			return 0;
	return 1;
}

static int disjoint(const Py_buffer *a, const Py_buffer *b)
{
	uintptr_t first = (uintptr_t)a->buf, second = (uintptr_t)b->buf;

	return first + (size_t)a->len <= second || second + (size_t)b->len <= first;
}

/* The step of where=, if that is a test helper of the same engine, else NULL. */
static const struct pgtable_step *where_test(struct call *call)
{
	const struct pgtable_operation *where;
	struct target *target;

	if (!PyObject_TypeCheck(call->where, fastcall_type))
		return NULL;
	target = ((FastCall *)call->where)->target;
	where = target ? &target->operation : NULL;
	if (!where || where->is_chain || !where->last || !where->last->test ||
	    where->engine != operation_of(call)->engine)
		return NULL;
	call->where_target = hold(target);
	return where->steps;	/* NULL if it takes an argument */
}

/* The driver aligns its loops to cache lines.  Small or aligned memory does not need that. */
static int needs_no_alignment(const void *written, size_t n)
{
	return n < ALIGN_FROM || (uintptr_t)written % PGTABLE_LINE == 0;
}

/* Run one helper directly, and everything else through the driver. */
static uint64_t run(const struct call *call, void *out, const struct pgtable_step *test,
		    const uint8_t *mask)
{
	const struct pgtable_operation *operation = operation_of(call);
	const struct pgtable_step *steps = operation->steps ? operation->steps : &call->own;
	size_t nsteps = operation->steps ? operation->nsteps : 1;
	const void *in = call->in.buf;
	size_t n = entries_of(call);
	PyThreadState *state = n > KEEP_LOCK ? PyEval_SaveThread() : NULL;
	uint64_t total;

	if (!operation->is_chain && !test && !mask &&
	    needs_no_alignment(operation->last->map ? out : in, n))
		total = pgtable_run_step(call->target->forms, steps, in, NULL, out, n,
					 PGTABLE_IN_CACHES);
	else
		total = operation->run(operation->loops, steps, nsteps, test, mask, in, out, NULL, n,
				       SIZE_MAX, 1);
	if (state)
		PyEval_RestoreThread(state);
	return total;
}

/* Run with the given where=; return 0 if that is not plain. */
static int run_where(struct call *call, void *out, uint64_t *total)
{
	const struct pgtable_step *test;
	int plain;

	if (!call->where) {
		*total = run(call, out, NULL, NULL);
		return 1;
	}
	test = where_test(call);
	if (test) {
		*total = run(call, out, test, NULL);
		return 1;
	}
	if (!get_buffer(call->where, &call->mask, 0))
		return 0;
	plain = is_bool(&call->mask) && same_shape(&call->mask, &call->in) &&
		(!out || disjoint(&call->mask, call->to));
	if (plain)
		*total = run(call, out, NULL, call->mask.buf);
	PyBuffer_Release(&call->mask);
	return plain;
}

static int call_in_place(struct call *call)
{
	uint64_t total;
	int plain;

	if (!operation_of(call)->last->map || !get_entries(call, PyBUF_WRITABLE))
		return 0;
	call->to = &call->in;
	plain = run_where(call, call->in.buf, &total);
	PyBuffer_Release(&call->in);
	return plain;
}

static int call_into(struct call *call)
{
	int is_map = operation_of(call)->last->map != NULL;
	uint64_t total;
	int plain = 0;

	if (!get_entries(call, 0))
		return 0;
	call->to = &call->into;
	if (get_buffer(call->out, &call->into, PyBUF_WRITABLE)) {
		plain = (is_map ? is_word(&call->into) : is_bool(&call->into)) &&
			same_shape(&call->in, &call->into) && disjoint(&call->in, &call->into) &&
			run_where(call, call->into.buf, &total);
		PyBuffer_Release(&call->into);
	}
	PyBuffer_Release(&call->in);
	return plain;
}

/*
 * Returns a new reference.  NULL with an exception is an error; NULL without one means that the
 * call is not plain.  Results of maps are uint64, so the entries must be uint64.
 */
static PyObject *call_new(struct call *call)
{
	int plain;

	if (!get_entries(call, 0))
		return NULL;
	plain = strchr("QL", call->in.format[0]) != NULL;
	PyBuffer_Release(&call->in);
	if (!plain)
		return NULL;
	call->out = PyObject_CallFunctionObjArgs(
		empty_like, call->array,
		operation_of(call)->last->map ? NULL : (PyObject *)&PyBool_Type, NULL);
	if (call->out && !call_into(call))
		Py_CLEAR(call->out);
	return call->out;
}

/* The call for one entry. */
static PyObject *call_int(const struct call *call, uint64_t entry)
{
	const struct pgtable_helper *helper = operation_of(call)->last;
	uint64_t result = pgtable_run_on_one(helper, entry, call->own.argument);

	return helper->map ? PyLong_FromUnsignedLongLong(result) : PyBool_FromLong(result != 0);
}

static PyObject *hand_on(PyObject *self, PyObject *name, PyObject *args, PyObject *kwargs)
{
	PyObject *method = PyObject_GetAttr(self, name);
	PyObject *result;

	if (!method)
		return NULL;
	result = PyObject_Call(method, args, kwargs);
	Py_DECREF(method);
	return result;
}

/* Returns as call_new() does. */
static PyObject *call_plain(struct call *call)
{
	uint64_t entry;

	if (call->out) {
		if (!(call->out == call->array ? call_in_place(call) : call_into(call)))
			return NULL;
		Py_INCREF(call->out);
		return call->out;
	}
	if (call->where)
		return NULL;
	if (!get_word(call->array, &entry))
		return call_new(call);
	return operation_of(call)->is_chain ? NULL : call_int(call, entry);
}

static PyObject *fastcall_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
	struct call call;
	PyObject *result = NULL;

	begin(&call, self);
	if (parse(&call, args, kwargs))
		result = call_plain(&call);
	end(&call);
	if (result || PyErr_Occurred())
		return result;
	return hand_on(self, name_call, args, kwargs);
}

static PyObject *fastcall_count(PyObject *self, PyObject *args, PyObject *kwargs)
{
	struct call call;
	uint64_t total;
	int plain = 0;

	begin(&call, self);
	if (parse(&call, args, kwargs) && operation_of(&call)->last->count && !call.out &&
	    get_entries(&call, 0)) {
		plain = run_where(&call, NULL, &total);
		PyBuffer_Release(&call.in);
	}
	end(&call);
	if (plain)
		return PyLong_FromUnsignedLongLong(total);
	return hand_on(self, name_count, args, kwargs);
}

/* Copy an operation from an object's memory; return 0, with an exception, if it has none. */
static int get_operation(PyObject *object, struct pgtable_operation *operation)
{
	Py_buffer memory;
	int fits;

	if (PyObject_GetBuffer(object, &memory, PyBUF_SIMPLE))
		return 0;
	fits = memory.len == sizeof(*operation);
	if (fits)
		memcpy(operation, memory.buf, sizeof(*operation));
	else
		PyErr_SetString(PyExc_ValueError, "not the memory of a struct pgtable_operation");
	PyBuffer_Release(&memory);
	return fits;
}

/* Calls that have begun keep the former target. */
static PyObject *fastcall_bind(PyObject *self, PyObject *args)
{
	struct target *former = ((FastCall *)self)->target, *target;
	PyObject *owner, *operation;

	if (!PyArg_ParseTuple(args, "OO", &owner, &operation))
		return NULL;
	target = PyMem_Calloc(1, sizeof(*target));
	if (!target)
		return PyErr_NoMemory();
	if (!get_operation(operation, &target->operation)) {
		PyMem_Free(target);
		return NULL;
	}
	Py_INCREF(owner);
	target->holders = 1;
	target->owner = owner;
	target->forms = target->operation.loops ? target->operation.loops->form : NULL;
	((FastCall *)self)->target = target;
	let_go(former);
	Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
	{ "count", (PyCFunction)(void (*)(void))fastcall_count, METH_VARARGS | METH_KEYWORDS,
	  "Count the entries for which a test is true; see Operation.count." },
	{ "_bind", fastcall_bind, METH_VARARGS,
	  "Take calls: what owns all that the operation points to, and the operation's memory." },
	{ NULL, NULL, 0, NULL },
};

static void fastcall_dealloc(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);
	freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

	let_go(((FastCall *)self)->target);
	release(self);
	Py_DECREF(type);
}

static PyType_Slot slots[] = {
	{ Py_tp_call, fastcall_call },
	{ Py_tp_dealloc, fastcall_dealloc },
	{ Py_tp_methods, methods },
	{ Py_tp_doc, "Calls small and plain enough to be made without Python's checks." },
	{ 0, NULL },
};

static PyType_Spec spec = {
	.name = "pgtable.engines._fastcall.FastCall",
	.basicsize = sizeof(FastCall),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	.slots = slots,
};

static int look_up_names(void)
{
	PyObject *numpy = PyImport_ImportModule("numpy");

	ndarray_type = numpy ? PyObject_GetAttrString(numpy, "ndarray") : NULL;
	empty_like = ndarray_type ? PyObject_GetAttrString(numpy, "empty_like") : NULL;
	Py_XDECREF(numpy);
	name_out = PyUnicode_InternFromString("out");
	name_where = PyUnicode_InternFromString("where");
	name_call = PyUnicode_InternFromString("call_checked");
	name_count = PyUnicode_InternFromString("count_checked");
	return empty_like && name_out && name_where && name_call && name_count ? 0 : -1;
}

/* These objects belong to one interpreter.  NumPy works in the main interpreter only, too. */
static int fill_module(PyObject *module)
{
	if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) {
		PyErr_SetString(PyExc_ImportError,
				"pgtable runs in the main interpreter only, not in a sub-interpreter;"
				" use threads or processes");
		return -1;
	}
	if (!fastcall_type && look_up_names())
		return -1;
	if (!fastcall_type)
		fastcall_type = (PyTypeObject *)PyType_FromSpec(&spec);
	return fastcall_type ? PyModule_AddObjectRef(module, "FastCall", (PyObject *)fastcall_type) :
			       -1;
}

static PyModuleDef_Slot module_slots[] = {
	{ Py_mod_exec, fill_module },
	{ 0, NULL },
};

static struct PyModuleDef definition = {
	PyModuleDef_HEAD_INIT,
	.m_name = "_fastcall",
	.m_doc = "The short way into a loop for small calls.",
	.m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__fastcall(void)
{
	return PyModuleDef_Init(&definition);
}
