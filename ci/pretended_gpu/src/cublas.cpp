// cuBLAS: its handles, and the products of matrices in all their forms, in plain loops.
#include "cublas.h"
#include "numbers.h"
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

using namespace pretended;

namespace {

const int VERSION = 130000;

// The sizes of one product and how its matrices lie: C (m by n) from A (m by k) and B (k by n).
struct Sizes {
  int operation_a, operation_b;
  int m, n, k;
  int lda, ldb, ldc;
  bool are_valid() const {
    int rows_a = operation_a == Plain ? m : k;
    int rows_b = operation_b == Plain ? k : n;
    if (m < 0 || n < 0 || k < 0) return false;
    return lda >= std::max(1, rows_a) && ldb >= std::max(1, rows_b) && ldc >= std::max(1, m);
  }
};

// TF32 keeps ten bits of a float's mantissa: to the nearest, and of two to the even one.
float round_to_tf32(float x) {
  const uint32_t EXPONENT = 0x7f800000;
  const int DROPPED = 13;
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if ((bits & EXPONENT) == EXPONENT) return x;  // infinity or nan
  uint32_t is_odd = (bits >> DROPPED) & 1;
  bits += (1u << (DROPPED - 1)) - 1 + is_odd;
  bits &= ~((1u << DROPPED) - 1);
  memcpy(&x, &bits, sizeof x);
  return x;
}

std::complex<float> round_to_tf32(std::complex<float> x) {
  return {round_to_tf32(x.real()), round_to_tf32(x.imag())};
}

double round_to_tf32(double x) { return x; }
std::complex<double> round_to_tf32(std::complex<double> x) { return x; }

// Elements as the product takes them; S is what it computes in.
template <class S, class T> S element(const Matrix<T> &matrix, int row, int column, bool tf32) {
  S value = S(matrix.at(row, column));
  return tf32 ? round_to_tf32(value) : value;
}

// A without its operation, so that the innermost loop of the product runs along memory.
template <class S, class T> std::vector<S> packed(const Matrix<T> &a, int m, int k, bool tf32) {
  std::vector<S> columns;
  columns.reserve(size_t(m) * k);
  for (int column = 0; column < k; ++column) {
    for (int row = 0; row < m; ++row) columns.push_back(element<S>(a, row, column, tf32));
  }
  return columns;
}

template <class S, class T>
void add_scaled_columns(const std::vector<S> &a, const Matrix<T> &b, int k, int column, bool tf32,
                        std::vector<S> &sum) {
  size_t m = sum.size();
  for (int inner = 0; inner < k; ++inner) {
    S factor = element<S>(b, inner, column, tf32);
    const S *from = a.data() + inner * m;
    for (size_t row = 0; row < m; ++row) sum[row] += from[row] * factor;
  }
}

// With a beta of 0 the old C is not read: it may hold nan.
template <class S, class Out> void store(const std::vector<S> &sum, S alpha, S beta, Out *c) {
  for (size_t row = 0; row < sum.size(); ++row) {
    S result = alpha * sum[row];
    if (beta != S(0)) result += beta * S(c[row]);
    c[row] = Out(result);
  }
}

template <class In, class Out, class S>
void multiply(const Sizes &sizes, bool tf32, S alpha, const In *a, const In *b, S beta, Out *c) {
  Matrix<In> left = {a, sizes.lda, sizes.operation_a};
  Matrix<In> right = {b, sizes.ldb, sizes.operation_b};
  std::vector<S> columns = packed<S>(left, sizes.m, sizes.k, tf32);
  std::vector<S> sum(sizes.m);
  for (int column = 0; column < sizes.n; ++column) {
    std::fill(sum.begin(), sum.end(), S(0));
    add_scaled_columns(columns, right, sizes.k, column, tf32, sum);
    store(sum, alpha, beta, c + size_t(column) * sizes.ldc);
  }
}

// The matrices of a batch at equal distances; those behind an array of pointers index like this.
template <class T> struct Strided {
  T *start;
  long long stride;
  T *operator[](int i) const { return start + i * stride; }
};

template <class T> Strided<const T> strided(const void *start, long long stride = 0) {
  return {static_cast<const T *>(start), stride};
}

template <class T> Strided<T> strided(void *start, long long stride = 0) {
  return {static_cast<T *>(start), stride};
}

// One product or a batch of them. A, B and C give the start of each matrix by its index.
template <class S, class A, class B, class C>
CublasStatus gemm(const char *name, const Handle *handle, const Sizes &sizes, bool tf32,
                  const void *alpha, A a, B b, const void *beta, C c, int count) {
  if (!handle) return CublasNotInitialized;
  if (!sizes.are_valid() || count < 0) return CublasInvalidValue;
  Scalar<S> alpha_value(handle, alpha);
  Scalar<S> beta_value(handle, beta);
  return submit_product(handle, name, [=] {
    for (int i = 0; i < count; ++i) {
      multiply(sizes, tf32, alpha_value.get(), a[i], b[i], beta_value.get(), c[i]);
    }
  });
}

bool allows_tf32(const Handle *handle) { return handle && handle->math_mode == Tf32Math; }

}  // namespace

CUDA_API CublasStatus cublasCreate_v2(Handle **handle) {
  *handle = new Handle;
  return CublasSuccess;
}

CUDA_API CublasStatus cublasDestroy_v2(Handle *handle) {
  delete handle;
  return CublasSuccess;
}

CUDA_API CublasStatus cublasGetVersion_v2(Handle *, int *version) {
  *version = VERSION;
  return CublasSuccess;
}

CUDA_API size_t cublasLtGetVersion() { return VERSION; }

CUDA_API CublasStatus cublasSetStream_v2(Handle *handle, void *stream) {
  handle->stream = stream;
  handle->workspace = nullptr;
  return CublasSuccess;
}

CUDA_API CublasStatus cublasGetStream_v2(Handle *handle, void **stream) {
  *stream = handle->stream;
  return CublasSuccess;
}

CUDA_API CublasStatus cublasSetPointerMode_v2(Handle *handle, int mode) {
  handle->pointer_mode = mode;
  return CublasSuccess;
}

CUDA_API CublasStatus cublasGetPointerMode_v2(Handle *handle, int *mode) {
  *mode = handle->pointer_mode;
  return CublasSuccess;
}

CUDA_API CublasStatus cublasSetMathMode(Handle *handle, int mode) {
  handle->math_mode = mode;
  return CublasSuccess;
}

CUDA_API CublasStatus cublasGetMathMode(Handle *handle, int *mode) {
  *mode = handle->math_mode;
  return CublasSuccess;
}

CUDA_API CublasStatus cublasSetWorkspace_v2(Handle *handle, void *workspace, size_t) {
  const uintptr_t ALIGNMENT = 256;
  if (!handle) return CublasNotInitialized;
  if (!workspace || uintptr_t(workspace) % ALIGNMENT) return CublasInvalidValue;
  handle->workspace = workspace;
  return CublasSuccess;
}

// The three forms for one type of numbers
#define GEMM(letter, T) \
  CUDA_API CublasStatus cublas##letter##gemm_v2( \
      Handle *handle, int transa, int transb, int m, int n, int k, const T *alpha, const T *a, \
      int lda, const T *b, int ldb, const T *beta, T *c, int ldc) { \
    Sizes sizes = {transa, transb, m, n, k, lda, ldb, ldc}; \
    return gemm<T>("cublas" #letter "gemm", handle, sizes, allows_tf32(handle), alpha, \
                   strided<T>(a), strided<T>(b), beta, strided<T>(c), 1); \
  } \
  CUDA_API CublasStatus cublas##letter##gemmStridedBatched( \
      Handle *handle, int transa, int transb, int m, int n, int k, const T *alpha, const T *a, \
      int lda, long long stride_a, const T *b, int ldb, long long stride_b, const T *beta, T *c, \
      int ldc, long long stride_c, int count) { \
    Sizes sizes = {transa, transb, m, n, k, lda, ldb, ldc}; \
    return gemm<T>("cublas" #letter "gemmStridedBatched", handle, sizes, allows_tf32(handle), \
                   alpha, strided<T>(a, stride_a), strided<T>(b, stride_b), beta, \
                   strided<T>(c, stride_c), count); \
  } \
  CUDA_API CublasStatus cublas##letter##gemmBatched( \
      Handle *handle, int transa, int transb, int m, int n, int k, const T *alpha, \
      const T *const *a, int lda, const T *const *b, int ldb, const T *beta, T *const *c, int ldc, \
      int count) { \
    Sizes sizes = {transa, transb, m, n, k, lda, ldb, ldc}; \
    return gemm<T>("cublas" #letter "gemmBatched", handle, sizes, allows_tf32(handle), alpha, a, \
                   b, beta, c, count); \
  }

GEMM(S, float)
GEMM(D, double)
GEMM(C, std::complex<float>)
GEMM(Z, std::complex<double>)

namespace {

// Of cudaDataType
enum DataType { R32F = 0, R64F = 1, R16F = 2, C32F = 4, C64F = 5 };

// Of cublasComputeType_t
enum ComputeType {
  Compute16F = 64,
  Compute16FPedantic = 65,
  Compute32F = 68,
  Compute32FPedantic = 69,
  Compute32FFastTf32 = 77,
};

// A matrix, or a batch of them, whose type is known only at the call.
template <class Pointer> struct Untyped {
  Pointer start;
  int type;
  long long stride = 0;
};

using Input = Untyped<const void *>;
using Output = Untyped<void *>;

CublasStatus gemm_ex(const char *name, const Handle *handle, const Sizes &sizes, int compute,
                     const void *alpha, Input a, Input b, const void *beta, Output c, int count) {
  bool tf32 = allows_tf32(handle) || compute == Compute32FFastTf32;
  if (compute == Compute32FPedantic) tf32 = false;
  auto typed = [=](auto in, auto out, auto scalar) {
    using In = decltype(in);
    using Out = decltype(out);
    return gemm<decltype(scalar)>(name, handle, sizes, tf32, alpha, strided<In>(a.start, a.stride),
                                  strided<In>(b.start, b.stride), beta,
                                  strided<Out>(c.start, c.stride), count);
  };
  // These have factors of halves.
  if (compute == Compute16F || compute == Compute16FPedantic) return CublasNotSupported;
  if (a.type != b.type) return CublasNotSupported;
  if (a.type == R16F && c.type == R16F) return typed(Half(), Half(), float());
  if (a.type == R16F && c.type == R32F) return typed(Half(), float(), float());
  if (a.type != c.type) return CublasNotSupported;
  if (a.type == R32F) return typed(float(), float(), float());
  if (a.type == R64F) return typed(double(), double(), double());
  using Complex = std::complex<float>;
  using DoubleComplex = std::complex<double>;
  if (a.type == C32F) return typed(Complex(), Complex(), Complex());
  if (a.type == C64F) return typed(DoubleComplex(), DoubleComplex(), DoubleComplex());
  return CublasNotSupported;
}

}  // namespace

CUDA_API CublasStatus cublasGemmEx(Handle *handle, int transa, int transb, int m, int n, int k,
                                   const void *alpha, const void *a, int type_a, int lda,
                                   const void *b, int type_b, int ldb, const void *beta, void *c,
                                   int type_c, int ldc, int compute, int) {
  Sizes sizes = {transa, transb, m, n, k, lda, ldb, ldc};
  return gemm_ex("cublasGemmEx", handle, sizes, compute, alpha, {a, type_a}, {b, type_b}, beta,
                 {c, type_c}, 1);
}

CUDA_API CublasStatus cublasSgemmEx(Handle *handle, int transa, int transb, int m, int n, int k,
                                    const float *alpha, const void *a, int type_a, int lda,
                                    const void *b, int type_b, int ldb, const float *beta, void *c,
                                    int type_c, int ldc) {
  Sizes sizes = {transa, transb, m, n, k, lda, ldb, ldc};
  return gemm_ex("cublasSgemmEx", handle, sizes, Compute32F, alpha, {a, type_a}, {b, type_b}, beta,
                 {c, type_c}, 1);
}

CUDA_API CublasStatus cublasGemmStridedBatchedEx(
    Handle *handle, int transa, int transb, int m, int n, int k, const void *alpha, const void *a,
    int type_a, int lda, long long stride_a, const void *b, int type_b, int ldb,
    long long stride_b, const void *beta, void *c, int type_c, int ldc, long long stride_c,
    int count, int compute, int) {
  Sizes sizes = {transa, transb, m, n, k, lda, ldb, ldc};
  return gemm_ex("cublasGemmStridedBatchedEx", handle, sizes, compute, alpha,
                 {a, type_a, stride_a}, {b, type_b, stride_b}, beta, {c, type_c, stride_c}, count);
}
