/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Runs every helper of every instance that this processor can run, and compares
 *
 *	each instruction set with the scalar loops, in place and out of place,
 *	all short lengths, at odd addresses, with guards on both sides,
 *	the closed forms with the helpers that they were found from,
 *	the driver (where, counts, threads) with the loops,
 *	a digest of all results with the file given: it is the same on every machine.
 *
 * Usage: check results.txt, or check --print to write such a file.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bulk/bulk.h"
#include "form/form.h"

/* Bits that some helper looks at or changes, and one bit of the frame. */
static const int bits[] = { 0, 1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 57, 58, 59, 63 };
#define NBITS (sizeof(bits) / sizeof(bits[0]))
#define COMBINED ((size_t)1 << NBITS)
#define N (2 * COMBINED)
/* Short runs have 0 to 130 entries: every remainder of every vector. */
#define SHORT ((size_t)131)
#define GUARD 0xa5

static const uint64_t arguments[] = {
	0, 1, 0x25, 0x8000000000000025, 0x867, (uint64_t)1 << 37, (uint64_t)1 << 58, ~(uint64_t)0,
};

static uint64_t entries[N], first_result[N], result[N];
static uint8_t first_truth[N], truth[N], mask[N];
static unsigned long failures;

/* The variant as a word; "-" if there is none. */
static const char *variant_of(const struct pgtable_instance *in)
{
	return *in->variant ? in->variant : "-";
}

static void fail(const struct pgtable_instance *in, const struct pgtable_helper *helper,
		 const char *what)
{
	printf("FAILED %s %s shstk=%d config=%d %s %s: %s\n", in->isa, in->rules, in->shstk,
	       in->config, variant_of(in), helper->name, what);
	failures++;
}

/* Marsaglia's xorshift: the same entries on every machine. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void make_entries(void)
{
	uint64_t state = 0x9e3779b97f4a7c15;

	for (size_t i = 0; i < COMBINED; i++) {
		uint64_t entry = 0;

		for (size_t bit = 0; bit < NBITS; bit++)
			entry |= (uint64_t)(i >> bit & 1) << bits[bit];
		entries[i] = entry;
		entries[COMBINED + i] = next_random(&state);
	}
	for (size_t i = 0; i < N; i++)
		mask[i] = next_random(&state) & 1;
}

static uint64_t digest_word(uint64_t digest, uint64_t word)
{
	digest ^= word;
	digest *= 0x100000001b3;
	return digest ^ digest >> 32;
}

static size_t number_of_arguments(const struct pgtable_helper *helper)
{
	return helper->argument ? sizeof(arguments) / sizeof(arguments[0]) : 1;
}

/* Results of one helper over all entries, into first_result or first_truth. */
static uint64_t run_all(const struct pgtable_helper *helper, uint64_t argument, uint64_t digest)
{
	if (helper->map)
		helper->map(entries, NULL, argument, first_result, N);
	else
		helper->test(entries, NULL, argument, first_truth, N);
	for (size_t i = 0; i < N; i++)
		digest = digest_word(digest, helper->map ? first_result[i] : first_truth[i]);
	return digest;
}

static void check_same_as_scalar(const struct pgtable_instance *in,
				 const struct pgtable_helper *helper,
				 const struct pgtable_helper *scalar, uint64_t argument)
{
	uint64_t total = 0;

	if (helper->map) {
		scalar->map(entries, NULL, argument, result, N);
		if (memcmp(result, first_result, sizeof(result)))
			fail(in, helper, "differs from the scalar loop");
		memcpy(result, entries, sizeof(result));
		helper->map(result, NULL, argument, result, N);
		if (memcmp(result, first_result, sizeof(result)))
			fail(in, helper, "in place differs");
		return;
	}
	scalar->test(entries, NULL, argument, truth, N);
	if (memcmp(truth, first_truth, sizeof(truth)))
		fail(in, helper, "differs from the scalar loop");
	for (size_t i = 0; i < N; i++)
		total += first_truth[i];
	if (helper->count(entries, NULL, argument, N) != total)
		fail(in, helper, "counts something else than it stores");
}

/* Short runs at an odd address: nothing outside is written, nothing inside is missed. */
static void check_short(const struct pgtable_instance *in, const struct pgtable_helper *helper,
			uint64_t argument)
{
	size_t width = helper->map ? sizeof(uint64_t) : 1;
	const char *want = helper->map ? (const char *)first_result : (const char *)first_truth;
	static unsigned char place[SHORT * sizeof(uint64_t) + 16];

	for (size_t n = 0; n < SHORT; n++) {
		unsigned char *out = place + 3;

		memset(place, GUARD, sizeof(place));
		if (helper->map)
			helper->map(entries, NULL, argument, out, n);
		else
			helper->test(entries, NULL, argument, out, n);
		if (memcmp(out, want, n * width))
			fail(in, helper, "a short run differs");
		if (out[-1] != GUARD || out[n * width] != GUARD)
			fail(in, helper, "a short run writes outside");
	}
}

static void check_form(const struct pgtable_instance *in, const struct pgtable_helper *helper,
		       uint64_t argument)
{
	struct pgtable_form form;
	struct pgtable_condition condition;

	if (helper->map && pgtable_form_of_map(helper, argument, &form)) {
		in->loops->form->map(&form, entries, result, N);
		if (memcmp(result, first_result, sizeof(result)))
			fail(in, helper, "its form differs");
		in->loops->form->map_stream(&form, entries, result, N);
		in->loops->block->stream_end();
		if (memcmp(result, first_result, sizeof(result)))
			fail(in, helper, "its form differs past the caches");
	}
	if (helper->test && !helper->argument && pgtable_form_of_test(helper, &condition)) {
		in->loops->form->test(&condition, entries, truth, N);
		if (memcmp(truth, first_truth, sizeof(truth)))
			fail(in, helper, "its condition differs");
	}
}

static void check_driver(const struct pgtable_instance *in, const struct pgtable_helper *helper,
			 uint64_t argument, unsigned threads)
{
	struct pgtable_step step = { .helper = helper, .argument = argument };
	uint64_t total = 0;

	if (helper->map) {
		pgtable_run(in->loops, &step, 1, NULL, mask, entries, result, entries, N, N + 1,
			    threads);
		for (size_t i = 0; i < N; i++)
			if (result[i] != (mask[i] ? first_result[i] : entries[i])) {
				fail(in, helper, "where= differs");
				return;
			}
		return;
	}
	for (size_t i = 0; i < N; i++)
		total += first_truth[i] & mask[i];
	if (pgtable_run(in->loops, &step, 1, NULL, mask, entries, NULL, NULL, N, N + 1,
			threads) != total)
		fail(in, helper, "a count with where= differs");
}

static const struct pgtable_instance *scalar_of(const struct pgtable_instance *in)
{
	for (size_t i = 0; pgtable_instances[i]; i++) {
		const struct pgtable_instance *other = pgtable_instances[i];

		if (!strcmp(other->isa, "scalar") && !strcmp(other->rules, in->rules) &&
		    other->shstk == in->shstk && other->config == in->config &&
		    !strcmp(other->variant, in->variant))
			return other;
	}
	return in;
}

static uint64_t check_instance(const struct pgtable_instance *in)
{
	const struct pgtable_instance *scalar = scalar_of(in);
	uint64_t digest = 0xcbf29ce484222325;

	for (size_t h = 0; h < in->nhelpers; h++) {
		const struct pgtable_helper *helper = &in->helpers[h];

		for (size_t a = 0; a < number_of_arguments(helper); a++) {
			digest = run_all(helper, arguments[a], digest);
			check_same_as_scalar(in, helper, &scalar->helpers[h], arguments[a]);
			check_short(in, helper, arguments[a]);
			check_form(in, helper, arguments[a]);
			check_driver(in, helper, arguments[a], 1 + a % 2);
		}
	}
	return digest;
}

/* Is the digest the one that the file has for these rules and switches? */
static int is_expected(const char *file, const struct pgtable_instance *in, uint64_t digest)
{
	char rules[32], variant[32];
	int shstk, config, found = 0;
	uint64_t expected;
	FILE *results = fopen(file, "r");

	if (!results) {
		perror(file);
		exit(2);
	}
	while (fscanf(results, "%31s %d %d %31s %" SCNx64, rules, &shstk, &config, variant,
		      &expected) == 5)
		if (!strcmp(rules, in->rules) && shstk == in->shstk && config == in->config &&
		    !strcmp(variant, variant_of(in)))
			found = expected == digest;
	fclose(results);
	return found;
}

int main(int argc, char **argv)
{
	size_t checked = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: check results.txt | check --print\n");
		return 2;
	}
	make_entries();
	for (size_t i = 0; pgtable_instances[i]; i++) {
		const struct pgtable_instance *in = pgtable_instances[i];
		uint64_t digest;

		if (!pgtable_isa_usable(in->isa)) {
			fprintf(stderr, "not run: %s, which this processor lacks\n", in->isa);
			continue;
		}
		digest = check_instance(in);
		if (!strcmp(argv[1], "--print")) {
			if (!strcmp(in->isa, "scalar"))
				printf("%s %d %d %s %016" PRIx64 "\n", in->rules, in->shstk,
				       in->config, variant_of(in), digest);
		} else if (!is_expected(argv[1], in, digest)) {
			printf("FAILED %s %s shstk=%d config=%d %s: digest %016" PRIx64 "\n", in->isa,
			       in->rules, in->shstk, in->config, variant_of(in), digest);
			failures++;
		}
		checked++;
	}
	if (strcmp(argv[1], "--print"))
		printf("%zu instances checked, %lu failures\n", checked, failures);
	return failures || !checked;
}
