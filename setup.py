# SPDX-License-Identifier: GPL-2.0-only
"""Build of the C half; everything else stands in pyproject.toml."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

NATIVE_BUILD = Path(__file__).parent / "pgtable" / "engines" / "native_build.py"
sys.path.insert(0, str(NATIVE_BUILD.parent))
from native_build import COMMON_FLAGS, units  # noqa: E402

SANITIZE = (
    [
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=undefined",
        "-fno-omit-frame-pointer",
        "-g",
    ]
    if os.environ.get("PGTABLE_SANITIZE")
    else []
)


class build_helpers(build_ext):
    """Compiles the loops once for each rule set and instruction set, and links them in."""

    def build_extension(self, ext):
        ext.extra_compile_args += [*COMMON_FLAGS, *SANITIZE]
        ext.extra_link_args += SANITIZE
        if ext.name == "pgtable.engines._native":
            self.add_loops(ext)
        super().build_extension(ext)

    def add_loops(self, ext):
        newest = max(Path(path).stat().st_mtime for path in [*ext.depends, NATIVE_BUILD])

        def compile_unit(unit):
            source = f"csrc/{unit.source}"
            directory = os.path.join(self.build_temp, unit.directory)
            objects = self.compiler.object_filenames([source], output_dir=directory)
            if all(os.path.exists(o) and os.path.getmtime(o) > newest for o in objects):
                return objects
            return self.compiler.compile(
                [source],
                output_dir=directory,
                include_dirs=["csrc"],
                extra_postargs=[*COMMON_FLAGS, *unit.flags, *SANITIZE],
                depends=ext.depends,
            )

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for objects in pool.map(compile_unit, units()):
                ext.extra_objects += objects


class build_package(build_py):
    """Ships, beside the modules, the C that users compile: around kernel trees, and to time it."""

    def run(self):
        super().run()
        if self.editable_mode:
            return  # csrc/ is where it is looked for
        shipped = [*Path("csrc").glob("*.h"), Path("csrc/helpers.def")]
        for part in ("cost", "kernel_tree"):
            shipped += Path("csrc", part).rglob("*.[ch]")
        for source in shipped:
            target = Path(self.build_lib, "pgtable", source)
            self.mkpath(str(target.parent))
            self.copy_file(str(source), str(target))


setup(
    cffi_modules=["pgtable/engines/native_build.py:ffibuilder"],
    ext_modules=[
        Extension(
            "pgtable.engines._fastcall",
            ["csrc/fastcall.c"],
            depends=["csrc/bulk.h"],
            py_limited_api=True,
        )
    ],
    cmdclass={"build_ext": build_helpers, "build_py": build_package},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
