# SPDX-License-Identifier: GPL-2.0-only
"""Measuring: every timed output is checked, rows say what they are, fallbacks are told."""

import errno
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable.cost import (
    DEFAULT,
    FULL,
    Plan,
    PlanPart,
    TreeSettings,
    measure,
    result_files,
    simulated,
    this_machine,
)
from pgtable.cost import runner as runner_module
from pgtable.cost.checking import WrongResultError
from pgtable.cost.measuring import clock_spread, undisturbed_samples
from pgtable.cost.plan import BASE, COW, HELPERS, SAVED_DIRTY
from pgtable.cost.runner import POOL_ENTRIES, Job, RunnerError, TaskTimes, require_success
from pgtable.cost.simulated import parse
from pgtable.engines.switches import COMBINATIONS
from pgtable.kernel_trees import recipe as recipe_module

from ..conftest import DATA, replace

MINI = str(DATA / "mini_tree")
DUMP = DATA / "k612-128.ptes.bin.xz"


def short(**part):
    """Return a plan of one part that takes no time: nothing here depends on what is timed."""
    return Plan((PlanPart(**part),), processes=2, seconds=0, rounds=2, memory_entries=1 << 16,
                memory_rounds=1)  # fmt: skip


def noted(plan):
    notes = []
    return measure(plan, note=notes.append), notes


@pytest.fixture
def no_simulator(monkeypatch):
    monkeypatch.setattr(simulated, "missing", lambda: "valgrind is not wanted here")


def without_perf(patch):
    """Let measuring find no perf events, as in most virtual machines."""
    read = runner_module._read

    def uncounted(job, words):
        words[4:6] = 0, errno.ENOENT  # counted, error
        return read(job, words)

    patch.setattr(runner_module, "_read", uncounted)


@pytest.fixture
def no_perf(monkeypatch):
    without_perf(monkeypatch)


@pytest.fixture(scope="module")
def rows():
    plan = short(
        helpers=("pte_wrprotect", "pte_mkwrite"),
        ways=("kernel", "vector"),
        mixes=("half",),
        files=(DUMP,),
        shapes=("table", "latency", "memory"),
        kernels=(TreeSettings(MINI),),
    )
    return measure(plan)


class TestRows:
    def test_everybody_has_a_row_in_the_order_of_the_plan(self, rows):
        keys = [row.key for row in rows]
        assert len(set(keys)) == len(keys)
        # a latency is no vector code, and the tree's mkwrite is there as well
        per_helper = 2 * (2 + 1 + 2) * 4
        assert [row.params["helper"] for row in rows[::per_helper]] == [
            "pte_wrprotect",
            "pte_mkwrite",
        ]
        assert len(rows) == 2 * per_helper

    def test_a_row_says_what_it_is(self, rows):
        first = rows[0].params
        assert first | {"compiler": ""} == {
            "helper": "pte_wrprotect",
            "engine": "base",
            "shstk": None,
            "config": None,
            "way": "kernel",
            "compiler": "",
            "mix": "half",
            "shape": "table",
        }
        assert first["compiler"].startswith("gcc ")
        engines = {(row.params["engine"], row.params["shstk"]) for row in rows}
        assert engines == {
            ("base", None),
            ("cow", True),
            ("saved_dirty", True),
            ("6.66.3-mini", True),
        }
        assert {row.params["mix"] for row in rows} == {"half", "file:k612-128.ptes.bin.xz"}

    def test_the_harness_is_measured_beside_every_row(self, rows):
        assert all(row.extra["overhead_ns"] > 0 for row in rows)
        assert all(row.summary.processes == 2 for row in rows)
        for row in rows:
            assert row.extra["cycles_low"] <= row.extra["cycles"] <= row.extra["cycles_high"]
            assert row.extra["cycles_by"] in ("chain", "perf")

    def test_inlined_code_has_a_size_vector_code_has_none(self, rows):
        for row in rows:
            assert (row.extra["code_bytes"] or 0) > 0 or row.params["way"] == "vector"
            assert (row.extra["code_bytes"] is None) == (row.params["way"] == "vector")

    def test_they_are_saved_and_read(self, rows, tmp_path):
        path = tmp_path / "saved.json"
        result_files.save(path, result_files.document(this_machine.describe(), rows))
        read = result_files.load(path).rows
        assert [row.key for row in read] == [row.key for row in rows]
        assert read[0].extra["overhead_ns"] == pytest.approx(rows[0].extra["overhead_ns"], rel=1e-4)


def test_progress_goes_to_the_end():
    told = []
    plan = short(helpers=("pte_wrprotect",), mixes=("clean",), shapes=("table", "memory"))
    measure(plan, progress=lambda part, what: told.append((part, what)))
    parts = [part for part, _ in told]
    assert parts == sorted(parts)
    assert parts[-1] == pytest.approx(1)
    assert {what for _, what in told} == {"compile", "time", "count"}


SEEDED = {
    "helpers/pgtable_saved_dirty.h": (
        "return pte_mksaveddirty(pte_clear_flags(pte, _PAGE_RW));",
        "return pte_clear_flags(pte, _PAGE_RW);",
    ),
    "cost/timed_loops.h": ("out[i] = last;", "out[i] = last & ~(uint64_t)1;"),
    "helpers/pgtable_common.h": (
        "return val ^ ((protnone_mask(oldval) ^ protnone_mask(val)) & mask);",
        "return val;",
    ),
}


@pytest.fixture
def seeded(tmp_path, monkeypatch):
    """Return a function that makes one mistake in a copy of our C."""

    def seed(file):
        csrc = tmp_path / "csrc"
        shutil.copytree(recipe_module.csrc_directory(), csrc)
        replace(csrc / file, *SEEDED[file])
        for module in ("helper_sources", "runner"):
            monkeypatch.setattr(f"pgtable.cost.{module}.csrc_directory", lambda: csrc)

    return seed


@pytest.mark.usefixtures("no_simulator")
class TestWrong:
    @pytest.mark.parametrize("shape", ["table", "memory", "latency"])
    @pytest.mark.parametrize("mix", ["dirty", "half"])
    def test_a_wrong_helper_is_found(self, seeded, shape, mix):
        seeded("helpers/pgtable_saved_dirty.h")
        plan = short(helpers=("pte_wrprotect",), mixes=(mix,), shapes=(shape,))
        with pytest.raises(WrongResultError, match=r"pte_wrprotect \(saved_dirty.*: entry \d+ is"):
            measure(plan)

    def test_what_the_mix_does_not_show_is_no_error(self, seeded):
        seeded("helpers/pgtable_saved_dirty.h")
        assert len(measure(short(helpers=("pte_wrprotect",), mixes=("clean",)))) == 3

    def test_a_wrong_harness_is_found(self, seeded):
        seeded("cost/timed_loops.h")
        plan = short(helpers=("pte_wrprotect",), mixes=("clean",), shapes=("latency",))
        with pytest.raises(WrongResultError):
            measure(plan)

    def test_a_dump_shows_what_pages_do_not(self, seeded):
        # frames of entries that are not present are turned over
        seeded("helpers/pgtable_common.h")
        with pytest.raises(WrongResultError, match="pte_modify"):
            measure(short(helpers=("pte_modify",), mixes=(), files=(DUMP,)))


class TestMissing:
    @pytest.mark.usefixtures("no_simulator")
    def test_a_compiler(self):
        plan = short(helpers=("pte_wrprotect",), mixes=("clean",), compilers=("no-cc", "gcc"))
        rows, notes = noted(plan)
        assert len(rows) == 3
        assert sum("no-cc" in note for note in notes) == 1
        with pytest.raises(ValueError, match="'no-cc' was not found"):
            measure(short(compilers=("no-cc",)))

    @pytest.mark.usefixtures("no_perf", "no_simulator")
    def test_a_simulator(self):
        rows, notes = noted(short(helpers=("pte_wrprotect",), mixes=("clean",)))
        assert rows[0].extra["counted_by"] is None
        assert rows[0].extra["instructions"] is None
        assert sum("not counted: valgrind is not wanted here" in note for note in notes) == 1
        assert all("\n" not in note for note in notes)

    def test_a_simulator_that_is_not_installed(self, monkeypatch):
        monkeypatch.setenv("PATH", "")
        assert "valgrind was not found" in simulated.missing()

    @pytest.mark.usefixtures("no_simulator")
    def test_a_helper_of_some(self):
        rows = measure(short(helpers=("pte_mksaveddirty", "pte_mkcow"), mixes=("clean",)))
        assert [(row.params["helper"], row.params["engine"]) for row in rows] == [
            ("pte_mksaveddirty", "saved_dirty"),
            ("pte_mkcow", "cow"),
        ]

    @pytest.mark.usefixtures("no_simulator")
    def test_a_helper_of_a_tree(self, make_mini_tree):
        tree = make_mini_tree()
        (tree / "arch/x86/mm/pgtable.c").unlink()
        rows, notes = noted(
            short(helpers=("pte_mkwrite",), mixes=("clean",), kernels=(TreeSettings(str(tree)),))
        )
        assert len(rows) == 3
        assert sum("6.66.3-mini: pte_mkwrite is only declared" in note for note in notes) == 1

    def test_a_helper_of_nobody(self):
        with pytest.raises(pgtable.UnknownHelperError, match="did you mean pte_wrprotect"):
            measure(short(helpers=("pte_wrprotec",)))

    @pytest.mark.parametrize(
        ("part", "match"),
        [
            ({"mixes": ("x",)}, "mix is 'x'"),
            ({"ways": ("x",)}, "way is 'x'"),
            ({"shapes": ("x",)}, "shape is 'x'"),
        ],
    )
    def test_a_name(self, part, match):
        with pytest.raises(ValueError, match=match):
            measure(short(**part))

    def test_an_instruction_set(self):
        missing = [name for name, usable in pgtable.isas().items() if not usable]
        plan = short(ways=("vector",))
        for name in [*missing, "no-isa"]:
            with pytest.raises(ValueError, match=f"instruction set '{name}'"):
                measure(Plan(plan.parts, isa=name))


@pytest.fixture(scope="module")
def counted_rows():
    """Rows of a machine that does not count instructions itself: the simulator does."""
    plan = short(
        helpers=("pte_wrprotect", "pte_mkclean"), mixes=("clean", "half"), rules=(BASE, COW)
    )
    with pytest.MonkeyPatch.context() as patch:
        without_perf(patch)
        return measure(plan)


@pytest.mark.skipif(simulated.missing() is not None, reason="there is no valgrind")
class TestSimulated:
    def test_instructions_are_those_of_the_helper_alone(self, counted_rows):
        for row in result_files.find(counted_rows, engine="base"):
            # clearing a bit, and at most bringing the mask there
            assert 0.9 < row.extra["instructions"] < 2.1
            assert row.extra["branches"] == pytest.approx(0, abs=0.01)

    def test_branches_go_wrong_where_the_mix_is_random(self, counted_rows):
        clean, half = (
            result_files.find(counted_rows, engine="cow", helper="pte_wrprotect", mix=mix)[0].extra
            for mix in ("clean", "half")
        )
        assert clean["branches"] == pytest.approx(1, abs=0.01)
        assert clean["mispredictions"] == pytest.approx(0, abs=0.02)
        assert 0.4 < half["mispredictions"] < 0.6


PROFILE = """\
version: 1
events: Ir Bc Bcm Bi Bim
part: 1
desc: Trigger: --dump-after=cost_count_one
fn=(1) loop
1 9
totals: 81920 16384 8192 3 4

part: 2
desc: Trigger: --dump-after=cost_count_one
totals: 8192 0 0 0 0

part: 3
desc: Trigger: Program termination
totals: 7 7 7 7 7
"""


def test_profiles_are_read():
    counts = parse(PROFILE, 2)
    assert counts.tolist() == [[10, 2, 1], [1, 0, 0]]
    with pytest.raises(RunnerError, match="2 profiles of 3"):
        parse(PROFILE, 3)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (errno.EACCES, "not permitted"),
        (errno.ENOENT, "has no perf events"),
        (errno.EBUSY, "are in use"),
        (errno.EINVAL, "Invalid argument"),
        (0, ""),
    ],
)
def test_why_the_processor_does_not_count(error, says):
    said = runner_module._why_not_counted(error)
    assert says in said
    assert bool(says) == bool(said)


class TestJob:
    def test_arrays_are_there_once(self):
        job = Job()
        ones, twos = (np.full(POOL_ENTRIES, n, np.uint64) for n in (1, 2))
        assert [job.array(each) for each in (ones, twos, ones.copy())] == [0, 1, 0]
        with pytest.raises(ValueError, match="is no array of the pool"):
            job.array(ones[1:])

    def test_what_went_wrong_is_said_in_a_line(self):
        with pytest.raises(RunnerError, match="failed: no memory for 7 entries"):
            require_success([], 2, "", "no memory for 7 entries\n")
        with pytest.raises(RunnerError, match="signal 11"):
            require_success([], -11, "", "")
        require_success([], 0, "...", "")


class TestPlans:
    def test_the_full_plan_has_everything_of_everybody(self):
        rules = {switches for part in FULL.parts for switches in part.rules}
        assert rules == set(COMBINATIONS)
        for name, values in {
            "ways": {"kernel", "constant", "vector"},
            "mixes": {"clean", "dirty", "half", "sorted"},
            "shapes": {"table", "latency", "memory"},
            "compilers": {"gcc", "clang"},
        }.items():
            assert {value for part in FULL.parts for value in getattr(part, name)} == values
        assert set(HELPERS) <= {name for part in FULL.parts for name in part.helpers}

    def test_trees_and_files_are_added_to_every_part(self):
        plan = FULL.with_kernels(TreeSettings("a")).with_files("b")
        assert all(part.kernels == (TreeSettings("a"),) for part in plan.parts)
        assert all(part.files == ("b",) for part in plan.parts)
        assert FULL.parts[0].kernels == ()

    def test_the_default_is_before_the_patch_the_patch_and_as_merged(self):
        (part,) = DEFAULT.parts
        assert part.rules == (BASE, COW, SAVED_DIRTY)
        assert part.helpers == HELPERS


class TestDisturbed:
    @staticmethod
    def run(*widths):
        width = np.array(widths, float).T
        nothing = np.zeros_like(width)
        row = np.zeros(width.shape[1])
        return TaskTimes(nothing, nothing, nothing, width, row, row, nothing, False, "")

    def test_samples_of_a_shared_core_are_left_out(self):
        alone = self.run([3.5] * 10)
        shared = self.run([3.5, 3.4, 3.2, 3.1, 2.0, 2.0, 3.5, 3.5, 3.5, 3.5])
        found = undisturbed_samples([alone, shared])
        assert found[0].all()
        assert found[1][:, 0].tolist() == [True, True, True, False, False, False] + [True] * 4

    def test_who_was_disturbed_all_the_time_keeps_all(self):
        found = undisturbed_samples([self.run([3.5] * 10), self.run([2.0] * 9 + [3.5])])
        assert found[1].all()
        found = undisturbed_samples([self.run([3.5] * 10), self.run([2.0] * 8 + [3.5] * 2)])
        assert found[1][:, 0].tolist() == [False] * 8 + [True] * 2

    def test_each_task_for_itself(self):
        run = self.run([3.5] * 10, [2.0] * 10, [2.0] * 5 + [3.5] * 5)
        kept = undisturbed_samples([run])[0]
        assert kept.sum(axis=0).tolist() == [10, 10, 5]

    def test_they_are_counted(self):
        row = measure(short(helpers=("pte_wrprotect",), mixes=("clean",)))[0]
        assert row.summary.samples + row.extra["disturbed"] == 2 * 2


def test_nanoseconds_are_no_surer_than_the_clock():
    def run(clock):
        array = np.full((100, 2), clock)
        return TaskTimes(array, array, array, array, array[0], array[0], array, False, "")

    assert clock_spread([run(1.3), run(1.3)]) == 0
    # most of the time at one, some at a slower one
    assert clock_spread([run(1.3), run(1.3), run(1.17)]) == pytest.approx(0.1)
    row = measure(short(helpers=("pte_wrprotect",), mixes=("clean",)))[0]
    assert row.summary.low <= row.summary.median <= row.summary.high


class TestCounters:
    """With counters that stand in for the processor's; the rest is the real thing."""

    @pytest.fixture
    def timed(self, tmp_path, monkeypatch):
        library = tmp_path / "perf_events.so"
        source = Path(__file__).with_name("perf_events.c")
        subprocess.run(["gcc", "-shared", "-fPIC", source, "-o", library], check=True)
        runs = []
        original = runner_module.time_job

        def time_job(*given, **options):
            monkeypatch.setenv("LD_PRELOAD", str(library))
            runs.append(original(*given, **options))
            monkeypatch.delenv("LD_PRELOAD")
            return runs[-1]

        monkeypatch.setattr("pgtable.cost.measuring.time_job", time_job)
        return runs

    def test_what_they_count_is_of_an_entry(self, timed):
        rows = measure(short(helpers=("pte_wrprotect",), mixes=("clean",)))
        for run in timed:
            assert run.counted
            assert run.counts == pytest.approx(np.tile([7, 3, 1], (6, 1)))
        for row in rows:
            assert (row.extra["counted_by"], row.extra["cycles_by"]) == ("perf", "perf")
            # the identity beside it has as many
            assert row.extra["instructions"] == pytest.approx(0)
            assert row.extra["mispredictions"] == pytest.approx(0)

    def test_what_one_does_not_count_is_not_known(self, timed, monkeypatch):
        monkeypatch.setenv("PERF_MISSING", "1")
        row = measure(short(helpers=("pte_wrprotect",), mixes=("clean",)))[0]
        assert row.extra["branches"] == pytest.approx(0)
        assert row.extra["mispredictions"] is None
        assert timed[0].reason == "this machine has no perf events"

    @pytest.mark.usefixtures("no_simulator")
    def test_counters_that_others_have_do_not_count(self, timed, monkeypatch):
        monkeypatch.setenv("PERF_BUSY", "1")
        row = measure(short(helpers=("pte_wrprotect",), mixes=("clean",)))[0]
        assert not timed[0].counted
        assert (row.extra["counted_by"], row.extra["cycles_by"]) == (None, "chain")
        assert timed[0].reason == "all perf events are in use"
