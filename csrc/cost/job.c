// SPDX-License-Identifier: GPL-2.0-only
#include "job.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct libraries {
	void **handles;
	size_t n;
};

struct pool {
	const uint64_t *words;
	size_t n;
};

void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(2);
}

static void *grow(void *array, size_t n, size_t size)
{
	/* at powers of two */
	if (n & (n - 1))
		return array;
	array = realloc(array, (n ? 2 * n : 1) * size);
	if (!array)
		die("no memory for the list of tasks");
	return array;
}

static struct pool map_pool(const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	void *words;

	if (file < 0 || fstat(file, &status))
		die("%s: %s", path, strerror(errno));
	words = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
	if (words == MAP_FAILED)
		die("%s: %s", path, strerror(errno));
	close(file);
	return (struct pool){ words, (size_t)status.st_size / sizeof(uint64_t) };
}

static void add_library(struct libraries *libraries, const char *path)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (!handle)
		die("%s", dlerror());
	libraries->handles = grow(libraries->handles, libraries->n, sizeof(handle));
	libraries->handles[libraries->n++] = handle;
}

static const uint64_t *array_of(const struct job *job, const struct pool *pool, size_t number)
{
	if (number >= pool->n / job->pool_entries)
		die("the pool has no array %zu", number);
	return pool->words + number * job->pool_entries;
}

static void add_task(struct job *job, const struct libraries *libraries, const struct pool *pool,
		     const char *line)
{
	size_t library, source, expected;
	char symbol[256];
	struct task task;
	void *found;

	if (sscanf(line, "task %zu %zu %zu %" SCNu64 " %d %255s", &library, &source, &expected,
		   &task.arg, &task.in_memory, symbol) != 6 ||
	    library >= libraries->n || !job->pool_entries)
		die("no task: %s", line);
	found = dlsym(libraries->handles[library], symbol);
	if (!found)
		die("%s", dlerror());
	memcpy(&task.loop, &found, sizeof(found));
	task.source = array_of(job, pool, source);
	task.expected = array_of(job, pool, expected);
	job->tasks = grow(job->tasks, job->ntasks, sizeof(task));
	job->tasks[job->ntasks++] = task;
}

void job_read(struct job *job, const char *path, const char *pool_path)
{
	struct libraries libraries = { 0 };
	struct pool pool = map_pool(pool_path);
	FILE *file = fopen(path, "r");
	char *line = NULL;
	size_t room = 0;
	ssize_t length;

	if (!file)
		die("%s: %s", path, strerror(errno));
	*job = (struct job){ 0 };
	while ((length = getline(&line, &room, file)) > 0) {
		if (line[length - 1] == '\n')
			line[length - 1] = '\0';
		if (!strncmp(line, "library ", 8))
			add_library(&libraries, line + 8);
		else if (sscanf(line, "pool %zu %zu", &job->pool_entries,
				&job->memory_entries) != 2)
			add_task(job, &libraries, &pool, line);
	}
	free(line);
	fclose(file);
	free(libraries.handles);	/* what they stand for stays open */
	if (!job->ntasks || job->pool_entries % TABLE_ENTRIES)
		die("%s: no job", path);
}
