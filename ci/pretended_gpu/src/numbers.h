// The numbers of CuPy's sorts, reductions, scans and histograms.
#pragma once
#include <cmath>
#include <complex>
#include <cstdint>
#include <stdexcept>
#include <type_traits>

namespace pretended {

// The compiler's own half, computed with in floats and rounded after each operation.
struct Half {
  _Float16 value;
  Half() = default;
  Half(float x) : value(static_cast<_Float16>(x)) {}
  operator float() const { return value; }
};

template <class T> bool is_nan(const T &x) {
  if constexpr (std::is_integral_v<T>) {
    return false;
  } else {
    return std::isnan(float(x));
  }
}

template <class T> bool is_nan(const std::complex<T> &x) {
  return is_nan(x.real()) || is_nan(x.imag());
}

// The order of NumPy: nan comes last, and of complex numbers those with a nan in the real part.
template <class T> bool less(const T &a, const T &b) {
  return is_nan(b) ? !is_nan(a) : a < b;
}

template <class T> bool less(const std::complex<T> &a, const std::complex<T> &b) {
  auto rank = [](const std::complex<T> &x) { return 2 * is_nan(x.real()) + is_nan(x.imag()); };
  if (rank(a) != rank(b)) return rank(a) < rank(b);
  if (less(a.real(), b.real())) return true;
  return !less(b.real(), a.real()) && less(a.imag(), b.imag());
}

// Calls `function` with a number of the type that CuPy gives this number.
template <class Function> void dispatch(int type, Function function) {
  switch (type) {
    case 0: return function(int8_t());
    case 1: return function(uint8_t());
    case 2: return function(int16_t());
    case 3: return function(uint16_t());
    case 4: return function(int32_t());
    case 5: return function(uint32_t());
    case 6: return function(int64_t());
    case 7: return function(uint64_t());
    case 8: return function(Half());
    case 9: return function(float());
    case 10: return function(double());
    case 11: return function(std::complex<float>());
    case 12: return function(std::complex<double>());
    case 13: return function(bool());
  }
  throw std::runtime_error("Unsupported dtype ID");
}

}  // namespace pretended
