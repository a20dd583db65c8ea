"""Compiles the sparse engine, one build per instruction set; everything else is in pyproject.toml.

Without a compiler the installation succeeds, and dense PyTorch is used.
"""

import platform

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCE = "src/rewire/engine/native/engine.cpp"
FLAGS = ["-std=c++20", "-O3", "-g0", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-pthread"]
ISAS = {"plain": []}
if platform.machine() in ("x86_64", "AMD64"):
    ISAS |= {
        "avx2": ["-mavx2", "-mfma"],
        "avx512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma"],
    }


class BuildEngine(build_ext):
    """Plain shared libraries: called through ctypes, they know nothing of Python."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or True

    def get_ext_filename(self, fullname):
        return fullname.replace(".", "/") + ".so"

    def get_export_symbols(self, ext):
        return []

    def run(self):
        super().run()
        missing = [ext.name for ext in self.extensions if not self._is_there(ext)]
        if missing:
            print(
                "rewire: the sparse engine was not built, dense PyTorch will be used. For training "
                "at the cost of the connected weights install a C++20 compiler (g++ 11 or later, "
                "clang 14 or later) and install the package again."
            )

    def _is_there(self, ext):
        from pathlib import Path

        return Path(self.get_ext_fullpath(ext.name)).is_file()


setup(
    cmdclass={"build_ext": BuildEngine},
    ext_modules=[
        Extension(
            f"rewire.engine._kernels_{isa}",
            [SOURCE],
            depends=[f"src/rewire/engine/native/{name}.h" for name in (
                "conv", "index", "layout", "line", "norm", "threads", "update")],
            language="c++",
            extra_compile_args=[*FLAGS, *flags],
            extra_link_args=["-pthread"],
            optional=True,
        )
        for isa, flags in ISAS.items()
    ],
)
