// cuBLAS: vectors, products of a matrix and a vector, and sums of matrices, in plain loops.
#include "cublas.h"
#include <cmath>

using namespace pretended;

namespace {

using Complex = std::complex<float>;
using DoubleComplex = std::complex<double>;

// A result for the host is waited for.
CublasStatus submit_reduction(const Handle *handle, const char *name,
                              std::function<void()> work) {
  CublasStatus status = submit_product(handle, name, std::move(work));
  if (status || handle->pointer_mode == DevicePointer) return status;
  return cublas_status(synchronize(handle->stream));
}

template <class T>
CublasStatus gemv(const char *name, const Handle *handle, int rows, int columns, const T *alpha,
                  Matrix<T> a, Vector<const T> x, const T *beta, Vector<T> y) {
  Scalar<T> alpha_value(handle, alpha);
  Scalar<T> beta_value(handle, beta);
  return submit_product(handle, name, [=] {
    for (int row = 0; row < rows; ++row) {
      T sum(0);
      for (int column = 0; column < columns; ++column) sum += a.at(row, column) * x.at(column);
      T result = alpha_value.get() * sum;
      if (beta_value.get() != T(0)) result += beta_value.get() * y.at(row);
      y.at(row) = result;
    }
  });
}

// A matrix with a factor of 0 is not read.
template <class T>
CublasStatus geam(const char *name, const Handle *handle, int m, int n, const T *alpha,
                  Matrix<T> a, const T *beta, Matrix<T> b, T *c, int ldc) {
  Scalar<T> alpha_value(handle, alpha);
  Scalar<T> beta_value(handle, beta);
  return submit_product(handle, name, [=] {
    for (int column = 0; column < n; ++column) {
      for (int row = 0; row < m; ++row) {
        T sum(0);
        if (alpha_value.get() != T(0)) sum += alpha_value.get() * a.at(row, column);
        if (beta_value.get() != T(0)) sum += beta_value.get() * b.at(row, column);
        c[size_t(column) * ldc + row] = sum;
      }
    }
  });
}

template <class T>
CublasStatus axpy(const char *name, const Handle *handle, int n, const T *alpha, Vector<const T> x,
                  Vector<T> y) {
  Scalar<T> alpha_value(handle, alpha);
  return submit_product(handle, name, [=] {
    for (int i = 0; i < n; ++i) y.at(i) += alpha_value.get() * x.at(i);
  });
}

template <class T>
CublasStatus scal(const char *name, const Handle *handle, int n, const T *alpha, Vector<T> x) {
  Scalar<T> alpha_value(handle, alpha);
  return submit_product(handle, name, [=] {
    for (int i = 0; i < n; ++i) x.at(i) *= alpha_value.get();
  });
}

template <class T>
CublasStatus dot(const char *name, const Handle *handle, int n, Vector<const T> x,
                 Vector<const T> y, T *out, bool conjugated) {
  return submit_reduction(handle, name, [=] {
    T sum(0);
    for (int i = 0; i < n; ++i) {
      T first = conjugated ? conjugate(x.at(i)) : x.at(i);
      sum += first * y.at(i);
    }
    *out = sum;
  });
}

template <class T>
CublasStatus ger(const char *name, const Handle *handle, int m, int n, const T *alpha,
                 Vector<const T> x, Vector<const T> y, T *a, int lda, bool conjugated) {
  Scalar<T> alpha_value(handle, alpha);
  return submit_product(handle, name, [=] {
    for (int column = 0; column < n; ++column) {
      T second = conjugated ? conjugate(y.at(column)) : y.at(column);
      for (int row = 0; row < m; ++row) {
        a[size_t(column) * lda + row] += alpha_value.get() * x.at(row) * second;
      }
    }
  });
}

template <class T, class Real>
CublasStatus nrm2(const char *name, const Handle *handle, int n, Vector<const T> x, Real *out) {
  return submit_reduction(handle, name, [=] {
    double sum = 0;
    for (int i = 0; i < n; ++i) {
      double size = std::abs(x.at(i));
      sum += size * size;
    }
    *out = Real(std::sqrt(sum));
  });
}

template <class T>
CublasStatus asum(const char *name, const Handle *handle, int n, Vector<const T> x, T *out) {
  return submit_reduction(handle, name, [=] {
    double sum = 0;
    for (int i = 0; i < n; ++i) sum += std::abs(x.at(i));
    *out = T(sum);
  });
}

}  // namespace

// What there is for each of the four types of numbers
#define FOR_EACH_TYPE(letter, T) \
  CUDA_API CublasStatus cublas##letter##gemv_v2( \
      Handle *handle, int trans, int m, int n, const T *alpha, const T *a, int lda, const T *x, \
      int incx, const T *beta, T *y, int incy) { \
    int rows = trans == Plain ? m : n; \
    int columns = trans == Plain ? n : m; \
    return gemv<T>("cublas" #letter "gemv", handle, rows, columns, alpha, {a, lda, trans}, \
                   {x, incx}, beta, {y, incy}); \
  } \
  CUDA_API CublasStatus cublas##letter##geam( \
      Handle *handle, int transa, int transb, int m, int n, const T *alpha, const T *a, int lda, \
      const T *beta, const T *b, int ldb, T *c, int ldc) { \
    return geam<T>("cublas" #letter "geam", handle, m, n, alpha, {a, lda, transa}, beta, \
                   {b, ldb, transb}, c, ldc); \
  } \
  CUDA_API CublasStatus cublas##letter##axpy_v2(Handle *handle, int n, const T *alpha, const T *x, \
                                                int incx, T *y, int incy) { \
    return axpy<T>("cublas" #letter "axpy", handle, n, alpha, {x, incx}, {y, incy}); \
  } \
  CUDA_API CublasStatus cublas##letter##scal_v2(Handle *handle, int n, const T *alpha, T *x, \
                                                int incx) { \
    return scal<T>("cublas" #letter "scal", handle, n, alpha, {x, incx}); \
  }

FOR_EACH_TYPE(S, float)
FOR_EACH_TYPE(D, double)
FOR_EACH_TYPE(C, Complex)
FOR_EACH_TYPE(Z, DoubleComplex)

#define DOT(name, T, conjugated) \
  CUDA_API CublasStatus name##_v2(Handle *handle, int n, const T *x, int incx, const T *y, \
                                  int incy, T *out) { \
    return dot<T>(#name, handle, n, {x, incx}, {y, incy}, out, conjugated); \
  }

DOT(cublasSdot, float, false)
DOT(cublasDdot, double, false)
DOT(cublasCdotu, Complex, false)
DOT(cublasZdotu, DoubleComplex, false)
DOT(cublasCdotc, Complex, true)
DOT(cublasZdotc, DoubleComplex, true)

#define GER(name, T, conjugated) \
  CUDA_API CublasStatus name##_v2(Handle *handle, int m, int n, const T *alpha, const T *x, \
                                  int incx, const T *y, int incy, T *a, int lda) { \
    return ger<T>(#name, handle, m, n, alpha, {x, incx}, {y, incy}, a, lda, conjugated); \
  }

GER(cublasSger, float, false)
GER(cublasDger, double, false)
GER(cublasCgeru, Complex, false)
GER(cublasZgeru, DoubleComplex, false)
GER(cublasCgerc, Complex, true)
GER(cublasZgerc, DoubleComplex, true)

#define REDUCTION(name, reduce, T, Real) \
  CUDA_API CublasStatus name##_v2(Handle *handle, int n, const T *x, int incx, Real *out) { \
    return reduce<T>(#name, handle, n, {x, incx}, out); \
  }

REDUCTION(cublasSnrm2, nrm2, float, float)
REDUCTION(cublasDnrm2, nrm2, double, double)
REDUCTION(cublasScnrm2, nrm2, Complex, float)
REDUCTION(cublasDznrm2, nrm2, DoubleComplex, double)
REDUCTION(cublasSasum, asum, float, float)
REDUCTION(cublasDasum, asum, double, double)
