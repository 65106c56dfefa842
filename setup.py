# SPDX-License-Identifier: GPL-2.0-only
"""Build of the C half, which csrc/Makefile compiles; everything else stands in pyproject.toml."""

import fcntl
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

if sysconfig.get_config_var("Py_GIL_DISABLED"):
    sys.exit(
        "pgtable needs a Python with an interpreter lock: this is a free-threaded build;"
        " use python3.13, not python3.13t (docs/threads.md)"
    )

#: PGTABLE_SANITIZE=1: addresses and undefined behaviour; =thread: data races.
SANITIZER = os.environ.get("PGTABLE_SANITIZE", "")
SANITIZE = {
    "": [],
    "thread": ["-fsanitize=thread", "-fno-omit-frame-pointer", "-g"],
}.get(
    SANITIZER,
    [
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=undefined",
        "-fno-omit-frame-pointer",
        "-g",
    ],
)
FLAGS = ["-std=gnu11", "-O3", "-Wall", "-Wextra", *SANITIZE]


class build_helpers(build_ext):
    """Links what csrc/Makefile compiles into the extension module."""

    def build_extension(self, ext):
        ext.extra_compile_args += FLAGS
        ext.extra_link_args += SANITIZE
        if ext.name == "pgtable.engines._native":
            ext.extra_objects += compiled_objects()
            # linked again when one of them is newer
            ext.depends += ext.extra_objects
        super().build_extension(ext)


def compiled_objects():
    """Run csrc/Makefile, which compiles what has changed; return the paths of all objects."""
    name = {"": "csrc", "thread": "csrc-thread"}.get(SANITIZER, "csrc-sanitized")
    build = Path("build", name).resolve()
    make = ["make", "-C", "csrc", f"-j{os.cpu_count()}", "--no-print-directory", "--silent"]
    settings = [f"BUILD={build}", f"CFLAGS={' '.join(SANITIZE)}"]
    build.mkdir(parents=True, exist_ok=True)
    with open(build / "lock", "w") as lock:  # `make sanitize` may run beside `make test`
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([*make, "objects", *settings], check=True)
    return (build / "objects.txt").read_text().split()


class build_package(build_py):
    """Ships, beside the modules, the C that users compile: around kernel trees, and to time it."""

    def run(self):
        super().run()
        if self.editable_mode:
            return  # csrc/ is where it is looked for
        shipped = [*Path("csrc", "helpers").iterdir(), *Path("csrc", "bulk").glob("*.h")]
        for part in ("cost", "kernel_tree"):
            shipped += Path("csrc", part).rglob("*.[ch]")
        for source in shipped:
            target = Path(self.build_lib, "pgtable", source)
            self.mkpath(str(target.parent))
            self.copy_file(str(source), str(target))


setup(
    cffi_modules=["csrc/python/native_build.py:ffibuilder"],
    ext_modules=[
        Extension(
            "pgtable.engines._fastcall",
            ["csrc/python/fastcall.c"],
            include_dirs=["csrc"],
            depends=[
                "csrc/bulk/bulk.h",
                "csrc/bulk/step.h",
                "csrc/form/form.h",
                "csrc/python/operation.h",
            ],
            py_limited_api=True,
        )
    ],
    cmdclass={"build_ext": build_helpers, "build_py": build_package},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
