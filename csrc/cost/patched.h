/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A test of a processor feature as a booted kernel runs it: an asm goto, which the compiler cannot
 * look into.  Booting has patched its five bytes.  With the feature they are a nop, without it a
 * jump.
 *
 * The unpatched code reads boot_cpu_data.  It runs only until the kernel has patched itself, so its
 * cost does not matter.  The kernel shortens a near jump to two bytes and a nop of three, which
 * takes the same time.
 */
#ifndef PGTABLE_PATCHED_H
#define PGTABLE_PATCHED_H

#if defined(__x86_64__)
#define PGTABLE_PATCHED_NOP	".byte 0x0f, 0x1f, 0x44, 0x00, 0x00"
#define PGTABLE_PATCHED_JUMP	".byte 0xe9\n\t.long %l[no] - . - 4"
#elif defined(__aarch64__)
#define PGTABLE_PATCHED_NOP	"nop"
#define PGTABLE_PATCHED_JUMP	"b %l[no]"
#else
#error "no patched test of a feature is known for this processor"
#endif

static inline __attribute__((__always_inline__)) _Bool pgtable_patched_on(void)
{
	asm goto(PGTABLE_PATCHED_NOP : : : : no);
	return 1;
no:
	return 0;
}

static inline __attribute__((__always_inline__)) _Bool pgtable_patched_off(void)
{
	asm goto(PGTABLE_PATCHED_JUMP : : : : no);
	return 1;
no:
	return 0;
}

/* on: a constant; whether the processor has the feature. */
#define pgtable_patched(on) ((on) ? pgtable_patched_on() : pgtable_patched_off())

#endif
