"""Builds the optional C++ parts (TV-L1, motion differences, packing of flow); all else is in pyproject.toml."""

import hashlib
import platform
import sys
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext


class OptionalBuild(build_ext):
    """Compiles where there is a compiler; where not, installs without and says so."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:  # setuptools raises a different class for every compiler and way to fail
            self._say("the C++ parts", error)

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as error:
            self._say(ext.name, error)

    def get_outputs(self) -> list[str]:
        return [path for path in super().get_outputs() if Path(path).is_file()]

    def copy_extensions_to_source(self) -> None:
        built = [ext for ext in self.extensions if Path(self.build_lib, self.get_ext_filename(ext.name)).is_file()]
        self.extensions = built
        super().copy_extensions_to_source()

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return list(ext.export_symbols)  # called through ctypes: there is no PyInit function

    def get_ext_filename(self, fullname: str) -> str:
        return fullname.replace(".", "/") + ".so"  # of no Python version: nothing of Python's is linked

    def _say(self, what: str, error: Exception) -> None:
        print(
            f"{what}: not built ({error}). Without C++, TV-L1 runs through OpenCV, about 35 times slower, packed flow "
            "is read through NumPy, about 5 times slower, and motion is measured through PyTorch, about half as fast; "
            "install a C++ compiler and run pip install again.",
            file=sys.stderr,
        )


class WheelOfAnyPython(bdist_wheel):
    """`py3-none-PLATFORM`: one wheel serves every version of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


def digest_of(sources: list[str]) -> list[tuple[str, str | None]]:
    """Told by the library, so that one of older sources is refused where it is loaded."""
    digest = hashlib.sha256(b"".join(Path(source).read_bytes() for source in sorted(sources)))
    return [("SOURCES", f'"{digest.hexdigest()}"')]


# Python builds its own extensions with -fwrapv, which costs the vectoriser 3%.
# -ffast-math goes to the compiler only: given to the linker it would change the denormal handling of the whole process.
# The iterations take 512 bits by hand where there are: with the compiler's loops at 256 a pair took 3% longer.
# GCC 12 takes its own AVX-512 intrinsics for uninitialised.
flags = [
    "-std=c++17",
    "-O3",
    "-ffast-math",
    "-fno-wrapv",
    "-Wno-psabi",
    "-Wno-uninitialized",
    "-Wno-maybe-uninitialized",
]
if platform.machine() in ("x86_64", "AMD64"):
    flags.append("-mprefer-vector-width=512")

setup(
    cmdclass={"build_ext": OptionalBuild, "bdist_wheel": WheelOfAnyPython},
    ext_modules=[
        Extension(
            "kernels.tvl1._tvl1",
            ["kernels/tvl1/tvl1.cpp"],
            depends=glob("kernels/tvl1/*.h"),
            define_macros=digest_of(["kernels/tvl1/tvl1.cpp", *glob("kernels/tvl1/*.h")]),
            language="c++",
            extra_compile_args=flags,
            extra_link_args=["-pthread"] if sys.platform.startswith("linux") else [],
        ),
        Extension(
            "kernels._differences",
            ["kernels/differences.cpp"],
            define_macros=digest_of(["kernels/differences.cpp"]),
            language="c++",
            # To the bit what PyTorch does: one rounding for a product and a sum only where the code says so.
            extra_compile_args=["-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"],
        ),
        Extension(
            "storage.flow_store._packing",
            ["storage/flow_store/packing.cpp"],
            define_macros=digest_of(["storage/flow_store/packing.cpp"]),
            language="c++",
            extra_compile_args=["-std=c++17", "-O3", "-Wno-psabi"],
        ),
    ],
)
