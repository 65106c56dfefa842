/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The short way into a loop for small calls.  A page table has 512 entries and a
 * loop over them takes less time than cffi needs to find out where they lie, so
 * the plainest calls are made here:
 *
 *	helper(int)	helper(array)	helper(array, out=array)	test.count(array)
 *
 * with exact ndarrays, C-contiguous, of 64-bit integers (bool for a test's out),
 * and an int as second argument where the helper has one.
 * Whatever is not that plain is handed on to the checked way in Python, which
 * also words every error; this file raises none of its own.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include <string.h>

#include "bulk.h"

/* Larger outputs may be worth streaming, which the driver decides. */
#define SMALL_OUT ((size_t)256 * 1024)
/* Others may run meanwhile when the loop takes longer than switching does. */
#define KEEP_LOCK ((size_t)2048)

typedef struct {
	PyObject_HEAD
	const struct pgtable_helper *helper;
} FastCall;

/* Set once when the module is made, only read afterwards. */
static PyObject *ndarray_type;
static PyObject *empty_like;
static PyObject *name_out;
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

/* The helper, if args are an entry or array and just the argument it takes. */
static const struct pgtable_helper *plain_helper(PyObject *self, PyObject *args, uint64_t *arg)
{
	const struct pgtable_helper *helper = ((FastCall *)self)->helper;

	*arg = 0;
	if (!helper || PyTuple_Size(args) != (helper->argument ? 2 : 1))
		return NULL;
	if (helper->argument && !get_word(PyTuple_GetItem(args, 1), arg))
		return NULL;
	return helper;
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

/* C-contiguous memory of an exact ndarray; 0 without an exception if it is none. */
static int get_buffer(PyObject *array, Py_buffer *view, int flags)
{
	if ((PyObject *)Py_TYPE(array) != ndarray_type)
		return 0;
	if (PyObject_GetBuffer(array, view, PyBUF_FORMAT | PyBUF_ND | flags) == 0)
		return 1;
	PyErr_Clear();
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

static void run(const struct pgtable_helper *helper, uint64_t arg, const void *in, void *out,
		size_t n)
{
	PyThreadState *state = n > KEEP_LOCK ? PyEval_SaveThread() : NULL;

	if (helper->map)
		helper->map(in, NULL, arg, out, n);
	else
		helper->test(in, NULL, arg, out, n);
	if (state)
		PyEval_RestoreThread(state);
}

static int call_in_place(const struct pgtable_helper *helper, uint64_t arg, PyObject *array)
{
	Py_buffer view;
	int plain;

	if (!helper->map || !get_buffer(array, &view, PyBUF_WRITABLE))
		return 0;
	plain = is_word(&view);
	if (plain)
		run(helper, arg, view.buf, view.buf, (size_t)view.len / 8);
	PyBuffer_Release(&view);
	return plain;
}

static int call_into(const struct pgtable_helper *helper, uint64_t arg, PyObject *array,
		     PyObject *out)
{
	Py_buffer in, to;
	int plain = 0;

	if (!get_buffer(array, &in, 0))
		return 0;
	if (get_buffer(out, &to, PyBUF_WRITABLE)) {
		plain = is_word(&in) && (helper->map ? is_word(&to) : is_bool(&to)) &&
			same_shape(&in, &to) && disjoint(&in, &to) &&
			(size_t)in.len / 8 < SMALL_OUT;
		if (plain)
			run(helper, arg, in.buf, to.buf, (size_t)in.len / 8);
		PyBuffer_Release(&to);
	}
	PyBuffer_Release(&in);
	return plain;
}

static PyObject *call_int(const struct pgtable_helper *helper, uint64_t arg, uint64_t entry)
{
	if (helper->count)
		return PyBool_FromLong(helper->count(&entry, NULL, arg, 1) != 0);
	helper->map(&entry, NULL, arg, &entry, 1);
	return PyLong_FromUnsignedLongLong(entry);
}

/*
 * A new reference, or NULL: an exception, or (none set) not plain.  Results of
 * maps are uint64 whatever the entries are, so the entries must be.
 */
static PyObject *call_new(const struct pgtable_helper *helper, uint64_t arg, PyObject *array)
{
	PyObject *out;
	Py_buffer in;
	int plain;

	if (!get_buffer(array, &in, 0))
		return NULL;
	plain = is_word(&in) && strchr("QL", in.format[0]) && (size_t)in.len / 8 < SMALL_OUT;
	PyBuffer_Release(&in);
	if (!plain)
		return NULL;
	out = PyObject_CallFunctionObjArgs(empty_like, array,
					   helper->map ? NULL : (PyObject *)&PyBool_Type, NULL);
	if (out && !call_into(helper, arg, array, out))
		Py_CLEAR(out);
	return out;
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

static PyObject *fastcall_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
	uint64_t arg, entry;
	const struct pgtable_helper *helper = plain_helper(self, args, &arg);

	if (helper && !kwargs) {
		PyObject *value = PyTuple_GetItem(args, 0);
		PyObject *result = get_word(value, &entry) ? call_int(helper, arg, entry) :
							     call_new(helper, arg, value);

		if (result || PyErr_Occurred())
			return result;
	} else if (helper && PyDict_Size(kwargs) == 1) {
		PyObject *array = PyTuple_GetItem(args, 0);
		PyObject *out = PyDict_GetItemWithError(kwargs, name_out);

		if (out && (out == array ? call_in_place(helper, arg, array) :
					   call_into(helper, arg, array, out))) {
			Py_INCREF(out);
			return out;
		}
	}
	return hand_on(self, name_call, args, kwargs);
}

static PyObject *fastcall_count(PyObject *self, PyObject *args, PyObject *kwargs)
{
	uint64_t arg;
	const struct pgtable_helper *helper = plain_helper(self, args, &arg);
	Py_buffer view;

	if (helper && helper->count && !kwargs &&
	    get_buffer(PyTuple_GetItem(args, 0), &view, 0)) {
		int plain = is_word(&view);
		size_t n = (size_t)view.len / 8;
		uint64_t total = 0;

		if (plain) {
			PyThreadState *state = n > KEEP_LOCK ? PyEval_SaveThread() : NULL;

			total = helper->count(view.buf, NULL, arg, n);
			if (state)
				PyEval_RestoreThread(state);
		}
		PyBuffer_Release(&view);
		if (plain)
			return PyLong_FromUnsignedLongLong(total);
	}
	return hand_on(self, name_count, args, kwargs);
}

static PyObject *fastcall_bind(PyObject *self, PyObject *address)
{
	void *helper = PyLong_AsVoidPtr(address);

	if (!helper && PyErr_Occurred())
		return NULL;
	((FastCall *)self)->helper = helper;
	Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
	{ "count", (PyCFunction)(void (*)(void))fastcall_count, METH_VARARGS | METH_KEYWORDS,
	  "Count the entries for which a test is true; see Operation.count." },
	{ "_bind", fastcall_bind, METH_O,
	  "Take calls for the struct pgtable_helper at an address." },
	{ NULL, NULL, 0, NULL },
};

static void fastcall_dealloc(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);
	freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

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

static int add_type(PyObject *module)
{
	PyObject *type = PyType_FromSpec(&spec);
	int err = type ? PyModule_AddObjectRef(module, "FastCall", type) : -1;

	Py_XDECREF(type);
	return err;
}

static int look_up_names(void)
{
	PyObject *numpy = PyImport_ImportModule("numpy");

	ndarray_type = numpy ? PyObject_GetAttrString(numpy, "ndarray") : NULL;
	empty_like = ndarray_type ? PyObject_GetAttrString(numpy, "empty_like") : NULL;
	Py_XDECREF(numpy);
	name_out = PyUnicode_InternFromString("out");
	name_call = PyUnicode_InternFromString("call_checked");
	name_count = PyUnicode_InternFromString("count_checked");
	return empty_like && name_out && name_call && name_count ? 0 : -1;
}

static struct PyModuleDef definition = {
	PyModuleDef_HEAD_INIT,
	.m_name = "_fastcall",
	.m_doc = "The short way into a loop for small calls.",
	.m_size = -1,
};

PyMODINIT_FUNC PyInit__fastcall(void)
{
	PyObject *module = PyModule_Create(&definition);

	if (module && (look_up_names() || add_type(module))) {
		Py_DECREF(module);
		module = NULL;
	}
	return module;
}
