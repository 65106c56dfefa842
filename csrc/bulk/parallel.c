/* SPDX-License-Identifier: GPL-2.0-only */
#define _GNU_SOURCE
#include "bulk/parallel.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include <pthread.h>

/* What fewer entries for each would gain, their way from cache to cache may cost. */
#define PGTABLE_MIN_PART ((size_t)128 * 1024)
#define PGTABLE_GRAIN ((size_t)512)
/* A part is done in about so many runs, so that others can take what a late thread has not begun. */
#define RUNS ((size_t)4)
/* From so many entries on, a thread that sleeps is worth waking for one call. */
#define WAKE_FROM ((size_t)1 << 20)
/* How long a thread looks for more work before it sleeps: calls often follow each other. */
#define AWAKE_NS 100000
/* How long a caller looks whether the last thread is done, before it sleeps. */
#define PATIENCE_NS 20000

/* The entries of one part that nobody has taken.  In a line of its own: threads write to it. */
struct rest {
	_Alignas(64) _Atomic(size_t) next;
	size_t end;
};

/* What one call leaves to do.  It lies on the caller's stack. */
struct job {
	pgtable_part *run;
	void *context;
	size_t step;
	unsigned parts;
	atomic_uint busy; /* how many threads are at it, the caller not counted */
	/* under the lock: */
	unsigned wanted; /* how many threads may still join */
	uint8_t taken[PGTABLE_MAX_THREADS]; /* the parts that a thread has begun with */
	struct job *after;
	struct rest rest[PGTABLE_MAX_THREADS];
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t work;
	pthread_cond_t idle;
	struct job *jobs;
	unsigned threads;
	unsigned asleep;
	int64_t last; /* when the last call came that threads could share */
	atomic_uint posted; /* changes with each job: threads that are awake look at it */
} pool = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.work = PTHREAD_COND_INITIALIZER,
	.idle = PTHREAD_COND_INITIALIZER,
};

unsigned pgtable_parts(size_t n, unsigned threads)
{
	size_t worth = n / PGTABLE_MIN_PART;

	if (threads > PGTABLE_MAX_THREADS)
		threads = PGTABLE_MAX_THREADS;
	if (threads > worth)
		threads = (unsigned)worth;
	return threads ? threads : 1;
}

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static void pause_a_moment(void)
{
#ifdef __x86_64__
	for (int i = 0; i < 32; i++)
		__builtin_ia32_pause();
#endif
}

static void run_rest(struct job *job, struct rest *rest, unsigned index)
{
	size_t first;

	while (atomic_load_explicit(&rest->next, memory_order_relaxed) < rest->end &&
	       (first = atomic_fetch_add(&rest->next, job->step)) < rest->end) {
		size_t left = rest->end - first;

		job->run(job->context, index, first, left < job->step ? left : job->step);
	}
}

/* A thread's own part first: from call to call it is the same, and may be in its caches. */
static void work_on(struct job *job, unsigned index)
{
	for (unsigned i = 0; i < job->parts; i++)
		run_rest(job, &job->rest[(index + i) % job->parts], index);
}

/* The first job that another thread may join.  The lock is held. */
static struct job *open_job(void)
{
	struct job *job = pool.jobs;

	while (job && !job->wanted)
		job = job->after;
	return job;
}

/* The part that a thread begins with: its own, if there is one and nobody has it. */
static unsigned part_for(struct job *job, unsigned number)
{
	unsigned index = number < job->parts && !job->taken[number] ? number : 1;

	while (job->taken[index])
		index++;
	job->taken[index] = 1;
	return index;
}

/* Join a job and work on it.  The lock is held, and held again afterwards. */
static void join(struct job *job, unsigned number)
{
	unsigned index = part_for(job, number);

	job->wanted--;
	atomic_fetch_add(&job->busy, 1);
	pthread_mutex_unlock(&pool.lock);
	work_on(job, index);
	pthread_mutex_lock(&pool.lock);
	if (atomic_fetch_sub(&job->busy, 1) == 1)
		pthread_cond_broadcast(&pool.idle);
}

/* Look for a while whether a job was posted. */
static void stay_awake(unsigned seen)
{
	int64_t until = now() + AWAKE_NS;

	while (atomic_load_explicit(&pool.posted, memory_order_relaxed) == seen && now() < until)
		pause_a_moment();
}

static void *serve(void *own)
{
	unsigned number = (unsigned)(uintptr_t)own;

	pthread_mutex_lock(&pool.lock);
	for (;;) {
		struct job *job = open_job();
		unsigned seen = atomic_load_explicit(&pool.posted, memory_order_relaxed);

		if (job) {
			join(job, number);
			pthread_mutex_unlock(&pool.lock);
			stay_awake(seen);
			pthread_mutex_lock(&pool.lock);
		} else {
			pool.asleep++;
			pthread_cond_wait(&pool.work, &pool.lock);
			pool.asleep--;
		}
	}
	return NULL;
}

/* A child has one thread, and no job of the parent's other threads is its own. */
static void lock_for_fork(void)
{
	pthread_mutex_lock(&pool.lock);
}

static void unlock_after_fork(void)
{
	pthread_mutex_unlock(&pool.lock);
}

static void begin_again(void)
{
	pthread_mutex_init(&pool.lock, NULL);
	pthread_cond_init(&pool.work, NULL);
	pthread_cond_init(&pool.idle, NULL);
	pool.jobs = NULL;
	pool.threads = pool.asleep = 0;
}

static void watch_forks(void)
{
	pthread_atfork(lock_for_fork, unlock_after_fork, begin_again);
}

/* Have so many threads, if they can be had.  The lock is held.  Signals go to the caller's threads. */
static void have_threads(unsigned wanted)
{
	static const int own[] = { SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS };
	sigset_t others, before;
	pthread_attr_t detached;

	if (pool.threads >= wanted)
		return;
	sigfillset(&others);
	for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
		sigdelset(&others, own[i]);
	if (pthread_attr_init(&detached))
		return;
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &others, &before);
	while (pool.threads < wanted) {
		pthread_t thread;

		if (pthread_create(&thread, &detached, serve, (void *)(uintptr_t)(pool.threads + 1)))
			break;
		pool.threads++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&detached);
}

/*
 * Offer a job to the other threads.  Returns 0 where that would take longer than doing it: the job is
 * small, all threads sleep, and no call came just before.
 */
static int post(struct job *job, size_t n)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int64_t time = now();

	pthread_once(&once, watch_forks);
	pthread_mutex_lock(&pool.lock);
	int worth = n >= WAKE_FROM || pool.asleep < pool.threads || time - pool.last < AWAKE_NS;

	pool.last = time;
	if (worth) {
		have_threads(job->wanted);
		job->after = pool.jobs;
		pool.jobs = job;
		atomic_fetch_add_explicit(&pool.posted, 1, memory_order_relaxed);
		for (unsigned i = 0; i < job->wanted && i < pool.asleep; i++)
			pthread_cond_signal(&pool.work);
	}
	pthread_mutex_unlock(&pool.lock);
	return worth;
}

/* Nobody may join any more; wait for those who have. */
static void take_back(struct job *job)
{
	struct job **place = &pool.jobs;
	int64_t until = now() + PATIENCE_NS;

	pthread_mutex_lock(&pool.lock);
	while (*place != job)
		place = &(*place)->after;
	*place = job->after;
	pthread_mutex_unlock(&pool.lock);
	while (atomic_load(&job->busy) && now() < until)
		pause_a_moment();
	/* a thread that is done may still hold the lock to say so */
	pthread_mutex_lock(&pool.lock);
	while (atomic_load(&job->busy))
		pthread_cond_wait(&pool.idle, &pool.lock);
	pool.last = now();
	pthread_mutex_unlock(&pool.lock);
}

/* Divide n entries evenly. */
static void divide(struct job *job, size_t n, unsigned parts)
{
	size_t grains = n / PGTABLE_GRAIN;

	for (unsigned i = 0; i < parts; i++) {
		size_t first = grains / parts * i + (i < grains % parts ? i : grains % parts);
		size_t next = first + grains / parts + (i < grains % parts);

		atomic_init(&job->rest[i].next, first * PGTABLE_GRAIN);
		job->rest[i].end = i + 1 < parts ? next * PGTABLE_GRAIN : n;
		job->taken[i] = 0;
	}
	job->step = (grains / (parts * RUNS) + 1) * PGTABLE_GRAIN;
}

static void share(pgtable_part *run, void *context, size_t n, unsigned parts)
{
	struct job job;

	job.run = run;
	job.context = context;
	job.parts = parts;
	job.wanted = parts - 1;
	atomic_init(&job.busy, 0);
	divide(&job, n, parts);
	job.taken[0] = 1;
	if (post(&job, n)) {
		work_on(&job, 0);
		take_back(&job);
	} else {
		run(context, 0, 0, n);
	}
}

void pgtable_parallel(pgtable_part *run, void *context, size_t n, unsigned parts)
{
	if (parts > PGTABLE_MAX_THREADS)
		parts = PGTABLE_MAX_THREADS;
	if (parts <= 1)
		run(context, 0, 0, n);
	else
		share(run, context, n, parts);
}
