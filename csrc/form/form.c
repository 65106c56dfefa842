/* SPDX-License-Identifier: GPL-2.0-only */
#include "form/form.h"

#define PGTABLE_SHSTK 0	/* this file uses only bits, which do not depend on these two */
#define CONFIG_X86_SHADOW_STACK 1
#include "helpers/pgtable_types.h"

#define BITS 64
_Static_assert(PGTABLE_FORM_SHIFT == _PAGE_BIT_COW - _PAGE_BIT_DIRTY, "where Cow is");

/*
 * Entries to try: every setting of Write, Dirty and Cow, together with: no other bit, all other
 * bits, each other bit alone, all others but one, the usual bits of a table entry, and noise.
 */
#define STATES 8
#define NOISES 14
#define BACKGROUNDS (3 + 2 * BITS + NOISES)
#define PROBES (STATES * BACKGROUNDS)

static uint64_t background(size_t i)
{
	if (i < 2)
		return i ? ~(uint64_t)0 : 0;
	i -= 2;
	if (i < BITS)
		return (uint64_t)1 << i;
	i -= BITS;
	if (i < BITS)
		return ~((uint64_t)1 << i);
	i -= BITS;
	if (!i)
		return _PAGE_PRESENT | _PAGE_ACCESSED;
	/* multiples of an odd constant, derived from the golden ratio, look random */
	return i * (uint64_t)0x9e3779b97f4a7c15;
}

static uint64_t state(size_t i)
{
	return (i & 1 ? _PAGE_RW : 0) | (i & 2 ? _PAGE_DIRTY : 0) | (i & 4 ? _PAGE_COW : 0);
}

static void fill_probes(uint64_t *probes)
{
	const uint64_t states = state(STATES - 1);

	for (size_t i = 0; i < BACKGROUNDS; i++)
		for (size_t s = 0; s < STATES; s++)
			probes[i * STATES + s] = (background(i) & ~states) | state(s);
}

static uint64_t apply_form(const struct pgtable_form *form, uint64_t entry)
{
	return (entry & form->keep) | form->set | (entry & form->to_cow) << PGTABLE_FORM_SHIFT |
	       (entry & form->to_dirty) >> PGTABLE_FORM_SHIFT;
}

static uint64_t run_map(const struct pgtable_helper *helper, uint64_t arg, uint64_t entry)
{
	helper->map(&entry, NULL, arg, &entry, 1);
	return entry;
}

/* The only form that the helper can have, from what it does to single bits. */
static void guess_form(const struct pgtable_helper *helper, uint64_t arg, struct pgtable_form *form)
{
	*form = (struct pgtable_form){ .set = run_map(helper, arg, 0) };
	for (unsigned bit = 0; bit < BITS; bit++) {
		uint64_t one = (uint64_t)1 << bit;

		form->keep |= run_map(helper, arg, one) & one & ~form->set;
	}
	form->to_cow = run_map(helper, arg, _PAGE_DIRTY) & _PAGE_COW & ~form->set ? _PAGE_DIRTY : 0;
	form->to_dirty = run_map(helper, arg, _PAGE_COW) & _PAGE_DIRTY & ~form->set ? _PAGE_COW : 0;
}

int pgtable_form_of_map(const struct pgtable_helper *helper, uint64_t arg,
			struct pgtable_form *form)
{
	uint64_t probes[PROBES], results[PROBES];

	if (!helper->map)
		return 0;
	fill_probes(probes);
	guess_form(helper, arg, form);
	helper->map(probes, NULL, arg, results, PROBES);
	for (size_t i = 0; i < PROBES; i++)
		if (results[i] != apply_form(form, probes[i]))
			return 0;
	return 1;
}

static int is_met(const struct pgtable_condition *condition, uint64_t entry)
{
	return (entry & condition->mask) == condition->value ||
	       (condition->either && (entry & condition->or_mask) == condition->or_value);
}

static int run_test(const struct pgtable_helper *helper, uint64_t entry)
{
	return helper->count(&entry, NULL, 0, 1) != 0;
}

/*
 * The bits that the test looks at, found from an entry for which it is true (negate: false).
 * Changing one of these bits makes it false.
 */
static uint64_t bits_that_matter(const struct pgtable_helper *helper, int negate, uint64_t entry)
{
	uint64_t bits = 0;

	for (unsigned bit = 0; bit < BITS; bit++)
		if (run_test(helper, entry ^ (uint64_t)1 << bit) == negate)
			bits |= (uint64_t)1 << bit;
	return bits;
}

static int guess_condition(const struct pgtable_helper *helper, int negate,
			   const uint64_t *probes, struct pgtable_condition *condition)
{
	size_t i = 0;

	while (i < PROBES && run_test(helper, probes[i]) == negate)
		i++;
	if (i == PROBES)
		return 0;
	*condition = (struct pgtable_condition){ .negate = negate };
	condition->mask = bits_that_matter(helper, negate, probes[i]);
	condition->value = probes[i] & condition->mask;
	return 1;
}

/* Find the second value likewise, from an entry that does not have the first one. */
static int guess_other(const struct pgtable_helper *helper, const uint64_t *probes,
		       struct pgtable_condition *condition)
{
	const int negate = condition->negate;
	size_t i = 0;

	while (i < PROBES && (run_test(helper, probes[i]) == negate || is_met(condition, probes[i])))
		i++;
	if (i == PROBES)
		return 0;
	condition->either = 1;
	condition->or_mask = bits_that_matter(helper, negate, probes[i]);
	condition->or_value = probes[i] & condition->or_mask;
	return 1;
}

static int agree(const struct pgtable_helper *helper, const struct pgtable_condition *condition,
		 const uint64_t *entries)
{
	uint8_t results[PROBES];

	helper->test(entries, NULL, 0, results, PROBES);
	for (size_t i = 0; i < PROBES; i++)
		if (results[i] != (is_met(condition, entries[i]) != condition->negate))
			return 0;
	return 1;
}

/* Do they agree on each probe with the value put in, and with one bit of it changed? */
static int agree_around(const struct pgtable_helper *helper, const uint64_t *probes,
			const struct pgtable_condition *condition, uint64_t mask, uint64_t value)
{
	uint64_t with_value[PROBES], one_off[PROBES];

	for (size_t i = 0; i < PROBES; i++) {
		with_value[i] = (probes[i] & ~mask) | value;
		one_off[i] = with_value[i] ^ (mask & (uint64_t)1 << i % BITS);
	}
	return agree(helper, condition, with_value) && agree(helper, condition, one_off);
}

static int is_condition(const struct pgtable_helper *helper, const uint64_t *probes,
			const struct pgtable_condition *condition)
{
	return agree(helper, condition, probes) &&
	       agree_around(helper, probes, condition, condition->mask, condition->value) &&
	       (!condition->either ||
		agree_around(helper, probes, condition, condition->or_mask, condition->or_value));
}

/* Comparing with 0 is quickest.  A bit that must be set is a bit that must not be clear. */
static void prefer_zero(struct pgtable_condition *condition)
{
	int one_bit = condition->mask && !(condition->mask & (condition->mask - 1));

	if (one_bit && condition->value && !condition->either) {
		condition->value = 0;
		condition->negate = !condition->negate;
	}
}

int pgtable_form_of_test(const struct pgtable_helper *helper, struct pgtable_condition *condition)
{
	uint64_t probes[PROBES];

	if (!helper->test || helper->argument)
		return 0;
	fill_probes(probes);
	for (int either = 0; either < 2; either++)
		for (int negate = 0; negate < 2; negate++)
			if (guess_condition(helper, negate, probes, condition) &&
			    (!either || guess_other(helper, probes, condition)) &&
			    is_condition(helper, probes, condition)) {
				prefer_zero(condition);
				return 1;
			}
	return 0;
}

/* The form of both in this order, found by following each bit through both. */
static struct pgtable_form compose(const struct pgtable_form *first, const struct pgtable_form *second)
{
	struct pgtable_form both = {
		.keep = first->keep & second->keep,
		.set = apply_form(second, first->set),
		.to_cow = second->keep & _PAGE_COW ? first->to_cow : 0,
		.to_dirty = second->keep & _PAGE_DIRTY ? first->to_dirty : 0,
	};

	if (second->to_cow) {
		both.to_cow |= first->keep & _PAGE_DIRTY;
		both.keep |= first->to_dirty;		/* there and back: Cow is where it was */
	}
	if (second->to_dirty) {
		both.to_dirty |= first->keep & _PAGE_COW;
		both.keep |= first->to_cow;
	}
	return both;
}

size_t pgtable_fuse(const struct pgtable_step *steps, size_t nsteps,
		    struct pgtable_step *fused, struct pgtable_form *forms)
{
	size_t n = 0;

	for (size_t i = 0; i < nsteps; i++) {
		const struct pgtable_form *form = steps[i].form;

		if (form && n && fused[n - 1].form) {
			forms[n - 1] = compose(&forms[n - 1], form);
			fused[n - 1].helper = NULL;
			continue;
		}
		fused[n] = steps[i];
		if (form) {
			forms[n] = *form;
			fused[n].form = &forms[n];
		}
		n++;
	}
	return n;
}
