"""Compiles the sparse engine, one build per instruction set, and takes conf/ into the package.

Without a compiler the installation succeeds, and dense PyTorch is used. Everything else is in
pyproject.toml.
"""

import hashlib
import platform
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

NATIVE = Path("src/rewire/engine/native")
SOURCES = sorted(NATIVE.iterdir())
# Products and sums are rounded one by one, but for those that the source fuses itself.
FLAGS = ["-std=c++20", "-O3", "-g0", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
ISAS = {"plain": []}
if platform.machine() in ("x86_64", "AMD64"):
    ISAS |= {
        "avx2": ["-mavx2", "-mfma"],
        "avx512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma"],
    }


def fingerprint() -> str:
    """Of the sources, so that a build that is older than they are is noticed (library.py)."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest()[:16]


class BuildPackage(build_py):
    """Modules and, as rewire/conf, the configuration; editable ones read the clone's."""

    def run(self):
        super().run()
        if not self.editable_mode:
            self.copy_tree("conf", str(Path(self.build_lib, "rewire", "conf")))


class BuildEngine(build_ext):
    """Plain shared libraries: called through ctypes, they know nothing of Python."""

    def get_ext_filename(self, fullname):
        return fullname.replace(".", "/") + ".so"

    def get_export_symbols(self, ext):
        return []

    def run(self):
        super().run()
        if not all(Path(self.get_ext_fullpath(ext.name)).is_file() for ext in self.extensions):
            print(
                "rewire: the sparse engine was not built, dense PyTorch will be used. For training "
                "at the cost of the connected weights install a C++20 compiler (g++ 12 or later, "
                "clang 15 or later) and install the package again."
            )


setup(
    cmdclass={"build_ext": BuildEngine, "build_py": BuildPackage},
    ext_modules=[
        Extension(
            f"rewire.engine._kernels_{isa}",
            [str(NATIVE / "engine.cpp")],
            depends=[str(path) for path in SOURCES],
            define_macros=[("REWIRE_SOURCE", f'"{fingerprint()}"')],
            language="c++",
            extra_compile_args=[*FLAGS, "-pthread", *flags],
            extra_link_args=["-pthread"],
            optional=True,
        )
        for isa, flags in ISAS.items()
    ],
)
