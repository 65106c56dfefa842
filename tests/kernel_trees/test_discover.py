# SPDX-License-Identifier: GPL-2.0-only
"""Which helpers are read out of preprocessed headers."""

import pytest

from pgtable.kernel_trees.compiler import errors_by_helper, first_error
from pgtable.kernel_trees.discover import discover
from pgtable.kernel_trees.objects import Object, lacking, read_objdump


def found(text):
    return discover(text).candidates


def only(text):
    (candidate,) = found(text).values()
    return candidate


@pytest.mark.parametrize(
    ("text", "level", "takes", "argument", "call"),
    [
        ("static inline int pte_young(pte_t pte)\n{", "pte", "pte", None, "__pte(word)"),
        ("pmd_t pmd_mk(pmd_t pmd) {", "pmd", "pmd", None, "__pmd(word)"),
        (
            "static inline __attribute__((__gnu_inline__)) __attribute__((unused)) bool\n"
            "pud_ok(const pud_t pud, bool write) {",
            *("pud", "pud", "write", "__pud(word), (arg != 0)"),
        ),
        (
            "pte_t pfn_pte(unsigned long page_nr, pgprot_t pgprot) {",
            *("pte", "val", "prot", "(unsigned long)word, __pgprot(arg)"),
        ),
        (
            "pte_t pte_modify(pte_t pte, pgprot_t newprot) {",
            *("pte", "pte", "newprot", "__pte(word), __pgprot(arg)"),
        ),
        ("int pte_same(pte_t a, pte_t b) {", "pte", "pte", "other", "__pte(word), __pte(arg)"),
        (
            "pte_t pte_set_flags(pte_t pte, pteval_t set) {",
            *("pte", "pte", "mask", "__pte(word), (pteval_t)arg"),
        ),
        ("int is_swap_pte(pte_t pte) {", "pte", "pte", None, "__pte(word)"),
        ("u64 p4d_pfn(p4d_t p4d) {", "p4d", "p4d", None, "__p4d(word)"),
        ("pgprot_t some_prot(struct pgprot prot) {", "prot", "val", None, "__pgprot(word)"),
        ("pte_t swp_to_pte(swp_entry_t e) {", "swp", "swp", None, "((swp_entry_t){ word })"),
        (
            "static inline unsigned long swp_offset(swp_entry_t entry) {",
            *("swp", "swp", None, "((swp_entry_t){ word })"),
        ),
        (
            "static inline swp_entry_t swp_entry(unsigned long type, pgoff_t offset) {",
            *("swp", "val", "offset", "(unsigned long)word, (pgoff_t)arg"),
        ),
    ],
)
def test_functions(text, level, takes, argument, call):
    candidate = only(f'# 1 "pgtable.h"\n{text} return x; }}\n')
    assert candidate[1:4] == (level, takes, argument)
    assert candidate.call == f"{candidate.name}({call})"
    assert not candidate.declared


@pytest.mark.parametrize(
    "text",
    [
        "static inline void set_pte(pte_t *ptep, pte_t pte) {}",  # pointers are no values
        "static inline void pte_free(pte_t pte) {}",  # nothing comes back
        "static inline unsigned long pte_index(unsigned long address) {}",  # about addresses
        "static inline pgprot_t prot_none(void) {}",
        "static inline int other(int a) {}",
        "static int f(void) { return pte_young(pte); }",  # a call
        "static int f(void) { pte_young(pte); }",
        "#define pte_clear_all(mm, addr, ptep) 0",
        "#define pte_index(address) 0",
        "#define pte_gone(pte) 0\n#undef pte_gone",
        "#define PTE_MASK 5",
    ],
)
def test_not_value_helpers(text):
    discovery = discover(f'# 1 "pgtable.h"\n{text}\n')
    assert not discovery.candidates
    assert not discovery.unavailable


def test_numbers_count_in_headers_of_page_tables_only():
    text = "static inline u64 protval_up(u64 val) { return val; }"
    assert only(f'# 1 "asm/pgtable_types.h" 1\n{text}').level == "prot"
    assert not found(f'# 1 "asm/other.h" 1\n{text}')


def test_three_values_and_pointers_are_reported():
    text = (
        "pte_t pte_three(pte_t a, pte_t b, pte_t c) {}\n"
        "static inline struct page *pte_pg(pte_t a) {}\n"
    )
    discovery = discover(text)
    assert not discovery.candidates
    assert discovery.unavailable == {
        "pte_three": "takes 3 values; a helper takes one or two",
        "pte_pg": "gives a pointer (struct page *)",
    }


def test_macros_and_aliases():
    candidates = found(
        "#define pte_hard(x) __pte(x)\n"
        "static inline int pmd_large(pmd_t pte) { return 1; }\n"
        "#define pmd_leaf pmd_large\n"
        "#define pte_two(pte, n) 0\n"
        "#define pgprot_up(prot) (prot)\n"
        "#define pmd_large pmd_large\n"
    )
    assert list(candidates) == ["pte_hard", "pmd_large", "pmd_leaf", "pte_two", "pgprot_up"]
    assert candidates["pmd_leaf"].call == "pmd_leaf(__pmd(word))"
    assert candidates["pte_two"].call == "pte_two(__pte(word), (unsigned long)arg)"
    assert candidates["pte_two"].argument == "n"
    assert candidates["pgprot_up"].takes == "val"


def test_a_definition_wins_over_declarations():
    text = "pte_t pte_up(pte_t);\npte_t pte_up(pte_t pte) { return pte; }\npte_t pte_up(pte_t);\n"
    assert not only(text).declared
    assert only("pte_t pte_up(pte_t);\n").declared


def test_mappings_and_entries_in_memory():
    candidates = found(
        "pte_t pte_mkwrite(pte_t pte, struct vm_area_struct *vma);\n"
        "int pte_ask(pte_t pte, struct vm_area_struct *vma);\n"
        "static inline void pmdp_set_wrprotect(struct mm_struct *mm, unsigned long addr,\n"
        "    pmd_t *pmdp) {}\n"
        "static inline void pmdp_set_access(struct mm_struct *mm, unsigned long addr,\n"
        "    pmd_t *pmdp) {}\n"
    )
    assert list(candidates) == ["pte_mkwrite", "pmdp_set_wrprotect"]
    assert candidates["pte_mkwrite"][1:5] == (
        *("pte", "pte", "vma", "pte_mkwrite(__pte(word), TREE_VMA(arg))"),
    )
    assert candidates["pmdp_set_wrprotect"].takes == "pmd"


def test_types_that_not_every_tree_has():
    assert discover("typedef struct { unsigned long val; } swp_entry_t;").has == {"SWP_ENTRY"}
    assert discover("struct vm_area_struct {};\nstruct mm_struct {};").has == {"VMA"}
    assert discover("struct vm_area_struct;\nstruct mm_struct {};").has == set()


GCC = """\
In file included from wrappers.h:9:
tree/asm/pgtable.h: In function 'pte_other':
tree/asm/pgtable.h:5:2: warning: never mind
pgtable-helper/pte_a: In function 'apply_t_pte_a':
pgtable-helper/pte_a:1:70: error: incompatible type
pgtable-helper/pte_a:1:80: error: and another
tree/asm/pgtable.h: In function 'apply_t_pte_b':
tree/asm/pgtable.h:70:9: error: lvalue required
tree/asm/pgtable.h: In function 'pte_inner':
tree/asm/pgtable.h:75:9: error: in a macro
pgtable-helper/pte_d:1:40: note: in expansion of macro 'TREE_HELPER'
In function 'pte_c_inner',
    inlined from 'apply_t_pte_c' at pgtable-helper/pte_c:1:1:
tree/asm/pgtable.h:80:9: error: call to '__compiletime_assert' declared with attribute error
"""


def test_errors_are_those_of_helpers():
    assert errors_by_helper(GCC) == {
        "pte_a": "incompatible type",
        "pte_b": "lvalue required",
        "pte_d": "in a macro",
        "pte_c": "call to '__compiletime_assert' declared with attribute error",
    }
    header = "tree/x.h: In function 'f':\ntree/x.h:3:1: error: bad\npgtable-helper/p: In function"
    assert errors_by_helper(header) == {}


@pytest.mark.parametrize(
    ("errors", "first"),
    [
        (GCC, "pgtable-helper/pte_a:1: incompatible type"),
        (
            "a b/x.h:7:10: fatal error: no/such.h: No such file",
            "a b/x.h:7: no/such.h: No such file",
        ),
        ("gcc: error: unrecognized option\n", "gcc: error: unrecognized option"),
        (
            "ld: a.o: in f:\na.c:(.text+0x1): undefined reference to `x'\ncollect2: error: ld",
            "undefined reference to `x'",
        ),
        (
            "ld: b.o:(.data+0x0): multiple definition of `y'; c.o: first",
            "multiple definition of `y'",
        ),
        ("Killed\n", "Killed"),
        ("", "no message"),
    ],
)
def test_first_error(errors, first):
    assert first_error(errors) == first


OBJDUMP = """
SYMBOL TABLE:
0000000000000000 l     F .text.map_a\t0000000000000010 map_a
0000000000000000 g     F .text.helper_a\t0000000000000010 .hidden helper_a
0000000000000000 g     F .text.helper_b\t0000000000000010 .hidden helper_b
0000000000000000         *UND*\t0000000000000000 .hidden cc_mkenc
0000000000000000         *UND*\t0000000000000000 patched

RELOCATION RECORDS FOR [.text.helper_a]:
OFFSET           TYPE              VALUE
0000000000000003 R_X86_64_PC32     .data.rel.ro.local.h-0x0000000000000004
0000000000000009 R_X86_64_PC32     .altinstr_aux+0x0000000000000004

RELOCATION RECORDS FOR [.data.rel.ro.local.h]:
0000000000000003 R_X86_64_64       map_a

RELOCATION RECORDS FOR [.text.map_a]:
0000000000000003 R_X86_64_PLT32    cc_mkenc-0x0000000000000004

RELOCATION RECORDS FOR [.altinstr_aux]:
0000000000000003 R_X86_64_PC32     patched-0x0000000000000004
"""


def test_what_a_symbol_needs():
    read = read_objdump(OBJDUMP)
    assert lacking("helper_a", read, []) == {"cc_mkenc"}
    assert lacking("helper_b", read, []) == set()


def test_another_object_may_have_what_is_needed():
    # a section of the same name in it is another one
    read = read_objdump(OBJDUMP)
    has = Object({"cc_mkenc": ".text.cc"}, {".text.cc": {"deeper"}, ".text.map_a": {"wrong"}}, {})
    assert lacking("helper_a", read, [has]) == {"deeper"}
