/* SPDX-License-Identifier: GPL-2.0-only */
#include "walk/sieve.h"

#include "walk/walk.h"

#define RIGHTS (PGTABLE_WRITABLE | PGTABLE_USER | PGTABLE_NX)
#define LOW_BITS 12
#define FIRST_HIGH 57
#define RIGHTS_SHIFT 19
#define HALF_SHIFT 22
#define CELLS_IN_BLOCK 512

static uint32_t class_of(uint64_t va, uint64_t entry, uint8_t traits)
{
	return (uint32_t)((entry & ((1 << LOW_BITS) - 1)) | entry >> FIRST_HIGH << LOW_BITS |
			  (uint64_t)(traits & RIGHTS) << RIGHTS_SHIFT | va >> 63 << HALF_SHIFT);
}

/* A class that is met for the first time: until it is judged, its rows are looked at. */
static uint8_t meet(struct pgtable_sieve *sieve, uint32_t class)
{
	if (sieve->nfresh < sieve->room) {
		sieve->fresh[sieve->nfresh++] = class;
		sieve->classes[class] = PGTABLE_JUDGED | PGTABLE_ALWAYS;
	}
	return PGTABLE_ALWAYS;
}

/* Which of the wanted bits hold for a frame. */
static inline uint8_t cell_of(const struct pgtable_sieve *sieve, uint64_t frame, uint8_t wanted)
{
	uint8_t here;

	if (frame >= sieve->ncells)
		return sieve->beyond & wanted;
	here = sieve->blocks[frame / CELLS_IN_BLOCK] & wanted;
	return here ? sieve->cells[frame] & wanted : 0;
}

size_t pgtable_sieve_rows(struct pgtable_sieve *sieve, const uint64_t *va, const uint64_t *entry,
			  const uint8_t *traits, size_t n, uint32_t *rows)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t frame = (entry[i] & sieve->frame_mask) >> sieve->shift;
		uint8_t verdict, here;
		uint32_t class;

		if ((traits[i] & ~RIGHTS) != PGTABLE_LEVEL) {
			rows[found++] = (uint32_t)i;
			continue;
		}
		class = class_of(va[i], entry[i], traits[i]);
		if (sieve->counts) {
			sieve->counts[class]++;
			sieve->outside += cell_of(sieve, frame, sieve->outside_bit) != 0;
		}
		verdict = sieve->classes[class];
		if (!verdict)
			verdict = meet(sieve, class);
		here = verdict & PGTABLE_ALWAYS;
		here |= cell_of(sieve, frame, verdict & (PGTABLE_ALWAYS - 1));
		rows[found] = (uint32_t)i;
		found += (here | (entry[i] & sieve->always)) != 0;
	}
	return found;
}
