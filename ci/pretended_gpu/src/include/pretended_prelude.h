// Before every kernel's source: what the device's compiler knows, and CuPy's headers that all of
// its kernels include.
#include "pretended_device.h"
#define __CUDACC_VER_MAJOR__ 13  // CuPy then takes half precision from CUDA's header
#include <cuda_fp16.h>
#if __has_include(<cupy/carray.cuh>)
#include <cupy/math_constants.h>

#include <cupy/atomics.cuh>
#include <cupy/carray.cuh>
#include <cupy/complex.cuh>
#endif
