/* SPDX-License-Identifier: GPL-2.0-only */
#define _GNU_SOURCE
#include "guard/guard.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * Guards are never freed, since the handler may look at any.  One with start 0 can be
 * used again.
 */
struct pgtable_guard {
	_Atomic(uintptr_t) start;
	_Atomic(uintptr_t) end;
	atomic_int lost;
	struct pgtable_guard *next;
};

static _Atomic(struct pgtable_guard *) guards;
static size_t used;
static uintptr_t page_mask;
static struct sigaction before;

/* A signal about memory that is not guarded goes to the former handler. */
static void pass_on(int number, siginfo_t *info, void *context)
{
	static _Thread_local int passing;
	int sent = info->si_code <= 0;

	if (!passing++ && before.sa_flags & SA_SIGINFO) {
		before.sa_sigaction(number, info, context);
	} else if (passing == 1 && before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
		before.sa_handler(number);
	} else if (!sent || passing > 1 || before.sa_handler == SIG_DFL) {
		/* ends who reads it again; what was sent comes again */
		signal(number, SIG_DFL);
		if (sent)
			raise(number);
	}
	passing--;
}

/* Map zeros over a guard's memory, from an address on. */
static int replace_from(struct pgtable_guard *guard, uintptr_t at)
{
	uintptr_t start = atomic_load(&guard->start), end = atomic_load(&guard->end);
	uintptr_t page = at & page_mask;

	if (!start || at < start || at >= end)
		return 0;
	/* this comes first: no thread may read zeros and be told that nothing was lost */
	atomic_store(&guard->lost, 1);
	return mmap((void *)page, end - page, PROT_READ,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

static void on_bus_error(int number, siginfo_t *info, void *context)
{
	int kept = errno, replaced = 0;

	/* the kernel's own: si_code is positive, and there is an address */
	if (info->si_code > 0)
		for (struct pgtable_guard *guard = atomic_load(&guards); guard && !replaced;
		     guard = guard->next)
			replaced = replace_from(guard, (uintptr_t)info->si_addr);
	if (!replaced)
		pass_on(number, info, context);
	errno = kept;
}

static int install(void)
{
	struct sigaction ours = { .sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	page_mask = ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
	sigemptyset(&ours.sa_mask);
	return sigaction(SIGBUS, &ours, &before);
}

static int is_installed(void)
{
	struct sigaction now;

	return !sigaction(SIGBUS, NULL, &now) && now.sa_flags & SA_SIGINFO &&
	       now.sa_sigaction == on_bus_error;
}

static struct pgtable_guard *unused_guard(void)
{
	struct pgtable_guard *guard;

	for (guard = atomic_load(&guards); guard; guard = guard->next)
		if (!atomic_load(&guard->start))
			return guard;
	guard = calloc(1, sizeof(*guard));
	if (!guard)
		return NULL;
	guard->next = atomic_load(&guards);
	atomic_store(&guards, guard);
	return guard;
}

struct pgtable_guard *pgtable_guard_add(const void *start, size_t n)
{
	struct pgtable_guard *guard = unused_guard();

	if (!guard || (!used && !is_installed() && install()))
		return NULL;
	used++;
	atomic_store(&guard->lost, 0);
	atomic_store(&guard->end, (uintptr_t)start + n);
	atomic_store(&guard->start, (uintptr_t)start);
	return guard;
}

void pgtable_guard_remove(struct pgtable_guard *guard)
{
	if (!guard || !atomic_exchange(&guard->start, 0))
		return;
	/* another library may have set a handler meanwhile, which may call this one */
	if (!--used && is_installed())
		sigaction(SIGBUS, &before, NULL);
}

int pgtable_guard_lost(const struct pgtable_guard *guard)
{
	return atomic_load(&guard->lost);
}
