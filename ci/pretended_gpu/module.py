"""module.py MODULE: the C++ of a module of CuPy's, in its source tree, with the settings of its own setup.py."""

from __future__ import annotations

import sys

from Cython.Build import cythonize
from setuptools import Extension

SETTINGS = {
    "CUPY_USE_CUDA_PYTHON": False,
    "CUPY_CUFFT_STATIC": False,
    "CUPY_CYTHON_VERSION": "3.2.0",
    "CUPY_CUDA_VERSION": 13000,
    "CUPY_HIP_VERSION": 0,
}
DIRECTIVES = {
    "embedsignature": True,
    "linetrace": False,
    "profile": False,
    "c_api_binop_methods": True,
    "binding": False,
    "warn.deprecated.IF": False,
    "freethreading_compatible": True,
}

if __name__ == "__main__":
    name = sys.argv[1]
    extension = Extension(name, [name.replace(".", "/") + ".pyx"], language="c++")
    cythonize([extension], language_level=3, compile_time_env=SETTINGS, compiler_directives=DIRECTIVES, force=True)
