/* SPDX-License-Identifier: GPL-2.0-only */
#include "walk.h"

#include <stdlib.h>
#include <string.h>

#include "bulk_loops.h"
#include "census.h"

#define PGTABLE_SHSTK 0	/* only bits are used here: they are the same with and without */
#include "pgtable_types.h"

#define MAX_LEVELS 5
#define TABLE_ENTRIES 512
#define TABLE_BYTES 4096
#define PFN_MASK_2M ((uint64_t)0x000fffffffe00000)
#define PFN_MASK_1G ((uint64_t)0x000fffffc0000000)
#define MAX_LOOPS 1000

/*
 * Swap entries keep their type in bits 59 to 63 and the inverted offset in 9
 * to 58.  Types count from 0 for swap files and from 31 down for special uses.
 * How many of these there are depends on version and configuration, never more
 * than ten; a marker is the topmost or, in 5.19 to 6.2, the one below it.
 */
#define SWP_TYPE_SHIFT 59
#define SWP_OFFSET_SHIFT 9
#define SWP_OFFSET_MASK (((uint64_t)1 << 50) - 1)
#define SWP_PFN_MASK (((uint64_t)1 << 40) - 1)
#define SWP_FIRST_SPECIAL 22
#define SWP_FIRST_MARKER 30
#define SWP_MAX_MARKER 7	/* uffd-wp 1, poisoned 2, guard 4 */
#define SWP_UNUSED_BITS 0xf0	/* bits 4 to 7 of a swap entry are clear */

struct pgtable_walk {
	const struct pgtable_segment *segments;
	size_t nsegments;
	size_t last_segment;
	unsigned levels;
	int nxe;

	struct pgtable_table *tables;
	size_t ntables;
	size_t tables_capacity;
	size_t level_end[MAX_LEVELS + 1];

	/* (pa, level) to index + 1; 0 is free */
	uint32_t *slots;
	unsigned slots_bits;

	struct pgtable_loop loops[MAX_LOOPS];
	uint64_t nloops;
	int stopped;
	uint64_t stopped_va;
};

static inline unsigned level_shift(unsigned level)
{
	return PAGE_SHIFT + 9 * (level - 1);
}

static inline int is_leaf(uint64_t entry, unsigned level)
{
	if (!(entry & _PAGE_PRESENT))
		return 0;
	return level == 1 || (level <= 3 && (entry & _PAGE_PSE));
}

static inline int is_table(uint64_t entry, unsigned level)
{
	return (entry & _PAGE_PRESENT) && !is_leaf(entry, level);
}

static inline uint64_t frame_mask(uint64_t entry, unsigned level)
{
	if (level == 2 && (entry & _PAGE_PSE))
		return PFN_MASK_2M;
	if (level == 3 && (entry & _PAGE_PSE))
		return PFN_MASK_1G;
	return PTE_PFN_MASK;
}

/* Address of an entry; the top table's upper half is sign-extended. */
static inline uint64_t entry_va(const struct pgtable_walk *walk, uint64_t table_va, unsigned level,
				size_t i)
{
	uint64_t va = table_va + ((uint64_t)i << level_shift(level));

	if (level == walk->levels && i >= TABLE_ENTRIES / 2)
		va |= ~(uint64_t)0 << (level_shift(level) + 9);
	return va;
}

static uint64_t add_saturating(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

static uint64_t multiply_saturating(uint64_t a, uint64_t b)
{
	uint64_t product;

	return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

/* Where a page of the machine is, or NULL when the image does not have all of it. */
static const void *find_page(struct pgtable_walk *walk, uint64_t pa)
{
	size_t low = 0, high = walk->nsegments;
	const struct pgtable_segment *at;

	if (!high)
		return NULL;
	at = &walk->segments[walk->last_segment];
	if (pa < at->pa || pa - at->pa >= at->size) {
		while (high - low > 1) {
			size_t middle = low + (high - low) / 2;

			if (walk->segments[middle].pa <= pa)
				low = middle;
			else
				high = middle;
		}
		walk->last_segment = low;
		at = &walk->segments[low];
	}
	if (pa < at->pa || pa - at->pa >= at->size || at->size - (pa - at->pa) < TABLE_BYTES)
		return NULL;
	return (const char *)at->data + (pa - at->pa);
}

static inline size_t hash_slot(const struct pgtable_walk *walk, uint64_t pa, unsigned level)
{
	return ((pa >> PAGE_SHIFT << 3 | level) * (uint64_t)0x9e3779b97f4a7c15) >>
	       (64 - walk->slots_bits);
}

/* The slot that holds this table, or the free one where it belongs. */
static uint32_t *find_slot(const struct pgtable_walk *walk, uint64_t pa, unsigned level)
{
	size_t mask = ((size_t)1 << walk->slots_bits) - 1;

	for (size_t slot = hash_slot(walk, pa, level);; slot = (slot + 1) & mask) {
		uint32_t found = walk->slots[slot];

		if (!found)
			return &walk->slots[slot];
		if (walk->tables[found - 1].pa == pa && walk->tables[found - 1].level == level)
			return &walk->slots[slot];
	}
}

static int grow_slots(struct pgtable_walk *walk, unsigned bits)
{
	uint32_t *slots = calloc((size_t)1 << bits, sizeof(*slots));

	if (!slots)
		return -1;
	free(walk->slots);
	walk->slots = slots;
	walk->slots_bits = bits;
	for (size_t i = 0; i < walk->ntables; i++)
		*find_slot(walk, walk->tables[i].pa, walk->tables[i].level) = i + 1;
	return 0;
}

static int grow_tables(struct pgtable_walk *walk)
{
	size_t capacity = walk->tables_capacity + walk->tables_capacity / 2 + 64;
	struct pgtable_table *tables;

	if (capacity >= UINT32_MAX)
		return -1;
	tables = realloc(walk->tables, capacity * sizeof(*tables));
	if (!tables)
		return -1;
	walk->tables = tables;
	walk->tables_capacity = capacity;
	return 0;
}

/* Note that a table is reached so many times (more), first at va. */
static int reach(struct pgtable_walk *walk, uint64_t pa, unsigned level, uint64_t va, uint64_t times)
{
	uint32_t *slot = find_slot(walk, pa, level);
	struct pgtable_table *table;

	if (*slot) {
		table = &walk->tables[*slot - 1];
		table->times = add_saturating(table->times, times);
		return 0;
	}
	if (walk->ntables == walk->tables_capacity && grow_tables(walk))
		return -1;
	table = &walk->tables[walk->ntables];
	memset(table, 0, sizeof(*table));
	table->data = find_page(walk, pa);
	table->pa = pa;
	table->va = va;
	table->times = times;
	table->level = level;
	*slot = ++walk->ntables;
	/* at most half full */
	if (walk->ntables >= (size_t)1 << (walk->slots_bits - 1))
		return grow_slots(walk, walk->slots_bits + 1);
	return 0;
}

struct pgtable_walk *pgtable_walk_new(const struct pgtable_segment *segments, size_t n,
				      uint64_t root, unsigned levels, int nxe)
{
	struct pgtable_walk *walk = calloc(1, sizeof(*walk));

	if (!walk)
		return NULL;
	walk->segments = segments;
	walk->nsegments = n;
	walk->levels = levels;
	walk->nxe = nxe;
	if (grow_slots(walk, 10) || reach(walk, root, levels, 0, 1)) {
		pgtable_walk_free(walk);
		return NULL;
	}
	return walk;
}

void pgtable_walk_free(struct pgtable_walk *walk)
{
	if (!walk)
		return;
	free(walk->tables);
	free(walk->slots);
	free(walk);
}

static size_t count_entries(const pgtable_word *table)
{
	uint64_t count = 0;

	for (size_t i = 0; i < TABLE_ENTRIES; i++)
		count += table[i] != 0;
	return count;
}

/* The next table is seldom the next page, so the processor does not foresee it. */
static inline void prefetch_table(const void *table)
{
	if (!table)
		return;
	for (size_t at = 0; at < TABLE_BYTES; at += 64)
		__builtin_prefetch((const char *)table + at);
}

static int discover_table(struct pgtable_walk *walk, size_t index, int list)
{
	/* a copy: reach() may move the tables */
	struct pgtable_table table = walk->tables[index];
	const pgtable_word *entries = table.data;

	if (!entries || (table.level == 1 && !list))
		return 0;
	if (index + 1 < walk->ntables)
		prefetch_table(walk->tables[index + 1].data);
	walk->tables[index].entries = count_entries(entries);
	if (table.level == 1)
		return 0;
	for (size_t i = 0; i < TABLE_ENTRIES; i++) {
		uint64_t entry = entries[i];

		if (is_table(entry, table.level) &&
		    reach(walk, entry & PTE_PFN_MASK, table.level - 1,
			  entry_va(walk, table.va, table.level, i), table.times))
			return -1;
	}
	return 0;
}

int pgtable_walk_discover(struct pgtable_walk *walk, int list)
{
	size_t index = 0;

	for (unsigned level = walk->levels; level >= 1; level--) {
		walk->level_end[level] = walk->ntables;
		for (; index < walk->level_end[level]; index++) {
			if (discover_table(walk, index, list))
				return -1;
		}
	}
	return 0;
}

const struct pgtable_table *pgtable_walk_tables(const struct pgtable_walk *walk, size_t *n)
{
	*n = walk->ntables;
	return walk->tables;
}

struct pgtable_bounds pgtable_walk_bounds(const struct pgtable_walk *walk)
{
	struct pgtable_bounds bounds = { 0 };

	for (size_t i = 0; i < walk->ntables; i++) {
		const struct pgtable_table *table = &walk->tables[i];
		uint64_t expanded = multiply_saturating(table->entries, table->times);

		bounds.once += table->entries;
		bounds.everywhere = add_saturating(bounds.everywhere, expanded);
		bounds.tables = add_saturating(bounds.tables, table->times);
	}
	return bounds;
}

/* One visit of all tables in address order, whatever is done with them. */
struct visit {
	struct pgtable_walk *walk;
	const struct pgtable_columns *out;
	struct pgtable_census *const *census;
	size_t n;
	size_t capacity;
	int once;
	int err;
	uint64_t path[MAX_LEVELS + 1];
	size_t next[MAX_LEVELS + 1];
};

/* Tables are mostly visited in the order in which they were discovered. */
static struct pgtable_table *find_table(struct visit *visit, uint64_t pa, unsigned level)
{
	struct pgtable_walk *walk = visit->walk;
	size_t next = visit->next[level];
	uint32_t found;

	if (next < walk->level_end[level] && walk->tables[next].pa == pa) {
		visit->next[level]++;
		return &walk->tables[next];
	}
	found = *find_slot(walk, pa, level);
	return found ? &walk->tables[found - 1] : NULL;
}

/* The table that is probably visited after this one of the same level, or NULL. */
static const void *next_table(const struct visit *visit, unsigned level)
{
	size_t next = visit->next[level];

	return next < visit->walk->level_end[level] ? visit->walk->tables[next].data : NULL;
}

static void note_loop(struct pgtable_walk *walk, uint64_t va, uint64_t pa, unsigned level)
{
	if (walk->nloops < MAX_LOOPS)
		walk->loops[walk->nloops] = (struct pgtable_loop){ va, pa, level };
	walk->nloops++;
}

/* The table below an entry, if it is to be visited now. */
static struct pgtable_table *descend(struct visit *visit, uint64_t va, uint64_t entry,
				     unsigned level)
{
	uint64_t pa = entry & PTE_PFN_MASK;
	struct pgtable_table *table;

	for (unsigned above = level; above <= visit->walk->levels; above++) {
		if (visit->path[above] == pa) {
			note_loop(visit->walk, va, pa, level);
			return NULL;
		}
	}
	table = find_table(visit, pa, level - 1);
	if (!table)
		return NULL;
	table->reached++;
	if (!table->data || (visit->once && table->reached > 1))
		return NULL;
	return table;
}

static void stop(struct visit *visit, uint64_t va)
{
	if (!visit->walk->stopped) {
		visit->walk->stopped = 1;
		visit->walk->stopped_va = va;
	}
}

/* The low bits that a swap entry stores its type and offset above. */
static int is_swap_like(uint64_t va, uint64_t entry, unsigned level)
{
	unsigned type = entry >> SWP_TYPE_SHIFT;

	/* the kernel half is never swapped, and tables of huge pages have no swap files */
	return !(va >> 63 || entry & SWP_UNUSED_BITS || (level > 1 && type < SWP_FIRST_SPECIAL));
}

static uint64_t swap_offset(uint64_t entry)
{
	return ~entry >> SWP_OFFSET_SHIFT & SWP_OFFSET_MASK;
}

static enum pgtable_kind classify_not_present(uint64_t va, uint64_t entry, unsigned level)
{
	unsigned type = entry >> SWP_TYPE_SHIFT;
	uint64_t offset = swap_offset(entry);

	if (level > 3)
		return PGTABLE_KIND_OTHER;
	if (entry & _PAGE_PROTNONE)
		return PGTABLE_KIND_PROT_NONE;
	if (!is_swap_like(va, entry, level))
		return PGTABLE_KIND_OTHER;
	if (type < SWP_FIRST_SPECIAL)
		return PGTABLE_KIND_SWAP;
	if (type >= SWP_FIRST_MARKER && offset && offset <= SWP_MAX_MARKER)
		return PGTABLE_KIND_MARKER;
	return PGTABLE_KIND_MIGRATION;
}

static uint64_t frame_of(uint64_t entry, unsigned traits)
{
	unsigned level = traits / PGTABLE_LEVEL;

	if (!(traits & PGTABLE_NOT_PRESENT))
		return entry & (traits & PGTABLE_TABLE ? PTE_PFN_MASK : frame_mask(entry, level));
	switch (traits % PGTABLE_NOT_PRESENT) {
	case PGTABLE_KIND_SWAP:
	case PGTABLE_KIND_MARKER:
		return 0;
	case PGTABLE_KIND_MIGRATION:
		return (swap_offset(entry) & SWP_PFN_MASK) << PAGE_SHIFT;
	default:
		/* a non-zero entry that is not present stores its frame inverted */
		return ~entry & frame_mask(entry, level);
	}
}

/* Mostly all are leaves of level 1, which vectors do at once; then the others. */
static void put_frames(const uint64_t *restrict entry, const uint8_t *restrict traits,
		       uint64_t *restrict pa, size_t n)
{
	const uint8_t rights = PGTABLE_WRITABLE | PGTABLE_USER | PGTABLE_NX;
	uint16_t odd[TABLE_ENTRIES];
	size_t nodd = 0;
	uint8_t others = 0;

	for (size_t i = 0; i < n; i++) {
		pa[i] = entry[i] & PTE_PFN_MASK;
		others |= (traits[i] & ~rights) ^ PGTABLE_LEVEL;
	}
	if (!others)
		return;
	for (size_t i = 0; i < n; i++) {
		odd[nodd] = i;
		nodd += (traits[i] & ~rights) != PGTABLE_LEVEL;
	}
	for (size_t i = 0; i < nodd; i++)
		pa[odd[i]] = frame_of(entry[odd[i]], traits[odd[i]]);
}

void pgtable_walk_frames(const uint64_t *entry, const uint8_t *traits, uint64_t *pa, size_t n)
{
	for (size_t i = 0; i < n; i += TABLE_ENTRIES) {
		size_t some = n - i < TABLE_ENTRIES ? n - i : TABLE_ENTRIES;

		put_frames(entry + i, traits + i, pa + i, some);
	}
}

/* What this entry allows of what the levels above allow. */
static inline uint8_t combine(uint8_t above, uint64_t entry, uint8_t nx_mask)
{
	uint8_t allowed = (entry >> _PAGE_BIT_RW) & (PGTABLE_WRITABLE | PGTABLE_USER);
	uint8_t nx = (entry >> (_PAGE_BIT_NX - 2)) & nx_mask;

	return (above & (allowed | PGTABLE_NX)) | nx;
}

static uint8_t nx_mask_of(const struct pgtable_walk *walk)
{
	return walk->nxe ? PGTABLE_NX : 0;
}

static uint8_t traits_of(uint64_t va, uint64_t entry, unsigned level, uint8_t rights)
{
	uint8_t traits = level * PGTABLE_LEVEL;

	if (!(entry & _PAGE_PRESENT))
		return traits | PGTABLE_NOT_PRESENT | classify_not_present(va, entry, level);
	return traits | rights | (is_leaf(entry, level) ? 0 : PGTABLE_TABLE);
}

/* Non-zero entries and their addresses, moved together. */
static size_t gather(const pgtable_word *table, uint64_t va, uint64_t *entries, uint64_t *addresses)
{
	size_t n = 0;

	for (size_t i = 0; i < TABLE_ENTRIES; i++) {
		uint64_t entry = table[i];

		entries[n] = entry;
		addresses[n] = va + ((uint64_t)i << PAGE_SHIFT);
		n += entry != 0;
	}
	return n;
}

/* Level 1 as if all were present; returns whether they are. */
static int put_traits(uint8_t *restrict traits, const pgtable_word *restrict entries, size_t n,
		      uint8_t above, uint8_t nx_mask)
{
	uint64_t all = _PAGE_PRESENT;

	for (size_t i = 0; i < n; i++)
		all &= entries[i];
	for (size_t i = 0; i < n; i++)
		traits[i] = PGTABLE_LEVEL | combine(above, entries[i], nx_mask);
	return all != 0;
}

/* Without a branch: which ones are not present is as good as random. */
static size_t find_absent(uint16_t *absent, const uint64_t *entries, size_t n)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++) {
		absent[found] = i;
		found += !(entries[i] & _PAGE_PRESENT);
	}
	return found;
}

static void fill_full_ptes(struct visit *visit, const pgtable_word *table, uint64_t va)
{
	uint64_t *addresses = visit->out->va + visit->n;

	memcpy(visit->out->entry + visit->n, table, TABLE_BYTES);
	for (size_t i = 0; i < TABLE_ENTRIES; i++)
		addresses[i] = va + ((uint64_t)i << PAGE_SHIFT);
}

static size_t fill_some_ptes(struct visit *visit, const pgtable_word *table, uint64_t va)
{
	uint64_t entries[TABLE_ENTRIES], addresses[TABLE_ENTRIES];
	size_t n = gather(table, va, entries, addresses);

	if (n > visit->capacity - visit->n) {
		n = visit->capacity - visit->n;
		stop(visit, addresses[n]);
	}
	memcpy(visit->out->entry + visit->n, entries, n * sizeof(*entries));
	memcpy(visit->out->va + visit->n, addresses, n * sizeof(*addresses));
	return n;
}

static void fill_ptes(struct visit *visit, const struct pgtable_table *table, uint64_t va,
		      uint8_t above)
{
	const struct pgtable_columns *out = visit->out;
	const uint64_t *entries = out->entry + visit->n;
	uint8_t *traits = out->traits + visit->n;
	size_t n = TABLE_ENTRIES;

	if (table->entries == TABLE_ENTRIES && n <= visit->capacity - visit->n)
		fill_full_ptes(visit, table->data, va);
	else
		n = fill_some_ptes(visit, table->data, va);
	if (!put_traits(traits, entries, n, above, nx_mask_of(visit->walk))) {
		uint16_t absent[TABLE_ENTRIES];
		size_t nabsent = find_absent(absent, entries, n);

		for (size_t i = 0; i < nabsent; i++) {
			size_t at = absent[i];

			traits[at] = traits_of(out->va[visit->n + at], entries[at], 1, 0);
		}
	}
	visit->n += n;
}

static void fill_table(struct visit *visit, const struct pgtable_table *table, uint64_t va,
		       uint8_t above)
{
	const pgtable_word *entries = table->data;
	const struct pgtable_columns *out = visit->out;
	unsigned level = table->level;

	if (level == 1) {
		prefetch_table(next_table(visit, level));
		fill_ptes(visit, table, va, above);
		return;
	}
	visit->path[level] = table->pa;
	for (size_t i = 0; i < TABLE_ENTRIES && !visit->walk->stopped; i++) {
		uint64_t entry = entries[i], at = entry_va(visit->walk, va, level, i);
		uint8_t rights = combine(above, entry, nx_mask_of(visit->walk));
		const struct pgtable_table *child;

		if (!entry)
			continue;
		if (visit->n == visit->capacity) {
			stop(visit, at);
			return;
		}
		out->va[visit->n] = at;
		out->entry[visit->n] = entry;
		out->traits[visit->n] = traits_of(at, entry, level, rights);
		visit->n++;
		if (!is_table(entry, level))
			continue;
		child = descend(visit, at, entry, level);
		if (child)
			fill_table(visit, child, at, rights);
	}
}

static void census_table(struct visit *visit, const struct pgtable_table *table, uint64_t va)
{
	const pgtable_word *entries = table->data;
	unsigned level = table->level;
	const void *next = level == 1 ? next_table(visit, level) : NULL;
	/* only the top table has entries of both halves */
	size_t step = level == visit->walk->levels ? TABLE_ENTRIES / 2 : TABLE_ENTRIES;

	for (size_t i = 0; i < TABLE_ENTRIES; i += step) {
		size_t half = entry_va(visit->walk, va, level, i) >> 63;

		visit->err |= pgtable_census_add_table(
			visit->census[half * MAX_LEVELS + level - 1], entries + i, step, next);
	}
	if (level == 1)
		return;
	visit->path[level] = table->pa;
	for (size_t i = 0; i < TABLE_ENTRIES; i++) {
		uint64_t entry = entries[i], at = entry_va(visit->walk, va, level, i);
		const struct pgtable_table *child;

		if (!is_table(entry, level))
			continue;
		child = descend(visit, at, entry, level);
		if (child)
			census_table(visit, child, at);
	}
}

static void begin(struct visit *visit)
{
	struct pgtable_walk *walk = visit->walk;

	for (size_t i = 0; i < walk->ntables; i++)
		walk->tables[i].reached = 0;
	for (unsigned level = 0; level < walk->levels; level++)
		visit->next[level] = walk->level_end[level + 1];
	/* no frame: the tables above are not known yet */
	memset(visit->path, 0xff, sizeof(visit->path));
	walk->tables[0].reached = 1;
	walk->nloops = 0;
	walk->stopped = 0;
}

size_t pgtable_walk_fill(struct pgtable_walk *walk, const struct pgtable_columns *out, int once)
{
	struct visit visit = { .walk = walk, .out = out, .capacity = out->capacity, .once = once };

	begin(&visit);
	if (walk->tables[0].data)
		fill_table(&visit, &walk->tables[0], 0, PGTABLE_WRITABLE | PGTABLE_USER);
	return visit.n;
}

int pgtable_walk_census(struct pgtable_walk *walk, struct pgtable_census *const *census, int once)
{
	struct visit visit = { .walk = walk, .census = census, .once = once };

	begin(&visit);
	if (walk->tables[0].data)
		census_table(&visit, &walk->tables[0], 0);
	return visit.err;
}

const struct pgtable_loop *pgtable_walk_loops(const struct pgtable_walk *walk, size_t *kept,
					      uint64_t *all)
{
	*kept = walk->nloops < MAX_LOOPS ? walk->nloops : MAX_LOOPS;
	*all = walk->nloops;
	return walk->loops;
}

int pgtable_walk_stopped(const struct pgtable_walk *walk, uint64_t *va)
{
	*va = walk->stopped_va;
	return walk->stopped;
}
