// What the two files of cuBLAS's interface share. Matrices lie columns first.
#pragma once
#include "device.h"
#include <complex>
#include <cstddef>
#include <cstring>
#include <functional>
#include <utility>

namespace pretended {

// The values of cublasStatus_t.
enum CublasStatus {
  CublasSuccess = 0,
  CublasNotInitialized = 1,
  CublasInvalidValue = 7,
  CublasExecutionFailed = 13,
  CublasNotSupported = 15,
};

enum PointerMode { HostPointer = 0, DevicePointer = 1 };
enum MathMode { DefaultMath = 0, PedanticMath = 2, Tf32Math = 3 };
enum Operation { Plain = 0, Transposed = 1, ConjugateTransposed = 2 };

struct Handle {
  void *stream = nullptr;
  int pointer_mode = HostPointer;
  int math_mode = DefaultMath;
  void *workspace = nullptr;  // the caller's; null: cuBLAS's own
};

// A factor: read at the call where it lies on the host, by the work where it lies on the device.
template <class T> class Scalar {
public:
  Scalar(const Handle *handle, const void *pointer) : at(static_cast<const T *>(pointer)) {
    on_host = handle && handle->pointer_mode == HostPointer;
    if (on_host) value = *at;
  }
  T get() const { return on_host ? value : *at; }

private:
  const T *at;
  T value{};
  bool on_host;
};

template <class T> T conjugate(const T &x) { return x; }
template <class T> std::complex<T> conjugate(const std::complex<T> &x) { return std::conj(x); }

// A matrix as its operation has it.
template <class T> struct Matrix {
  const T *start;
  int leading;
  int operation = Plain;
  T at(int row, int column) const {
    if (operation == Plain) return start[size_t(column) * leading + row];
    const T &element = start[size_t(row) * leading + column];
    return operation == ConjugateTransposed ? conjugate(element) : element;
  }
};

template <class T> struct Vector {
  T *start;
  int step;
  T &at(int i) const { return start[ptrdiff_t(i) * step]; }
};

inline CublasStatus cublas_status(int status) {
  return status == Success ? CublasSuccess : CublasExecutionFailed;
}

inline CublasStatus submit_product(const Handle *handle, const char *name,
                                   std::function<void()> work) {
  if (!handle) return CublasNotInitialized;
  // The products here need no workspace, but what cuBLAS may use holds rubbish afterwards.
  const int RUBBISH = 0xCB, BYTES = 64;
  auto using_workspace = [workspace = handle->workspace, work = std::move(work)] {
    if (workspace) memset(workspace, RUBBISH, BYTES);
    work();
  };
  return cublas_status(submit(handle->stream, {Kind::Product, name, using_workspace}));
}

}  // namespace pretended
