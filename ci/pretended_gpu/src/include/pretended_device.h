// What a CUDA compiler gives a kernel, for the host's compiler. Included before every kernel's
// source.
#pragma once
#include <cuda_runtime_api.h>
#include <math.h>
#include <vector_functions.h>

#include <cassert>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>

#include "launch.h"

// The host's headers of CUDA have made these empty.
#undef __device__
#undef __host__
#undef __global__
#undef __constant__
#undef __shared__
#undef __managed__
#undef __forceinline__
#undef __noinline__
#undef __launch_bounds__
#undef __grid_constant__
#define __device__
#define __host__
#define __global__
#define __constant__ static
#define __shared__ static
#define __managed__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#ifndef __restrict__
#define __restrict__ __restrict
#endif

static PretendedIndex threadIdx, blockIdx, blockDim, gridDim;
static void *pretended_dynamic_shared;
static PretendedContext pretended_context = {&threadIdx, &blockIdx, &blockDim, &gridDim,
                                             &pretended_dynamic_shared};
static const PretendedCalls *pretended_calls;
extern "C" __attribute__((visibility("default"))) PretendedContext *pretended_bind(
    const PretendedCalls *calls) {
  pretended_calls = calls;
  return &pretended_context;
}
static const int warpSize = 32;

inline void __syncthreads() {
  pretended_calls->wait_block();
}
inline void __syncwarp(unsigned mask = ~0u) {
  pretended_calls->wait_warp(mask);
}
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
static int pretended_votes;
inline int __syncthreads_or(int p) {
  if (!threadIdx.x) pretended_votes = 0;
  __syncthreads();
  pretended_votes |= !!p;
  __syncthreads();
  int r = pretended_votes;
  __syncthreads();
  return r;
}
inline int __syncthreads_and(int p) {
  return !__syncthreads_or(!p);
}

// A warp's exchange of values
static unsigned long long pretended_slots[32][32];
inline unsigned pretended_thread() {
  return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}
template <class T>
T pretended_exchange(unsigned mask, T value, int from) {
  static_assert(sizeof(T) <= 8, "a value that fits");
  unsigned thread = pretended_thread(), warp = thread / 32, lane = thread % 32;
  memcpy(&pretended_slots[warp][lane], &value, sizeof(T));
  __syncwarp(mask);
  T out;
  memcpy(&out, &pretended_slots[warp][from & 31], sizeof(T));
  __syncwarp(mask);
  return out;
}
template <class T>
T __shfl_sync(unsigned mask, T v, int from, int width = 32) {
  int lane = pretended_thread() % 32;
  return pretended_exchange(mask, v, (lane & ~(width - 1)) | (from & (width - 1)));
}
template <class T>
T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32) {
  int lane = pretended_thread() % 32, to = lane + by;
  return pretended_exchange(mask, v, (lane & (width - 1)) + int(by) < width ? to : lane);
}
template <class T>
T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32) {
  int lane = pretended_thread() % 32;
  return pretended_exchange(mask, v, (lane & (width - 1)) >= int(by) ? lane - int(by) : lane);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int by, int width = 32) {
  int lane = pretended_thread() % 32, to = lane ^ by;
  return pretended_exchange(mask, v, (to & ~(width - 1)) == (lane & ~(width - 1)) ? to : lane);
}
inline unsigned __ballot_sync(unsigned mask, int p) {
  unsigned thread = pretended_thread(), warp = thread / 32, votes = 0;
  pretended_slots[warp][thread % 32] = !!p;
  __syncwarp(mask);
  for (int i = 0; i < 32; ++i)
    if (mask >> i & 1) votes |= unsigned(pretended_slots[warp][i] & 1) << i;
  __syncwarp(mask);
  return votes;
}
inline int __any_sync(unsigned mask, int p) {
  return __ballot_sync(mask, p) != 0;
}
inline int __all_sync(unsigned mask, int p) {
  return __ballot_sync(mask, !p) == 0;
}
inline unsigned __activemask() {
  return ~0u;
}

// Atomics: the pretended threads take turns.
template <class T, class U>
T pretended_old(T *p, U next) {
  T old = *p;
  *p = T(next);
  return old;
}
typedef unsigned long long pretended_ull;
#define PRETENDED_ATOMIC(T)                   \
  inline T atomicAdd(T *p, T v) {             \
    return pretended_old(p, T(*p + v));       \
  }                                           \
  inline T atomicExch(T *p, T v) {            \
    return pretended_old(p, v);               \
  }                                           \
  inline T atomicMax(T *p, T v) {             \
    return pretended_old(p, *p < v ? v : *p); \
  }                                           \
  inline T atomicMin(T *p, T v) {             \
    return pretended_old(p, v < *p ? v : *p); \
  }                                           \
  inline T atomicSub(T *p, T v) {             \
    return pretended_old(p, T(*p - v));       \
  }                                           \
  inline T atomicAnd(T *p, T v) {             \
    return pretended_old(p, T(*p & v));       \
  }                                           \
  inline T atomicOr(T *p, T v) {              \
    return pretended_old(p, T(*p | v));       \
  }                                           \
  inline T atomicXor(T *p, T v) {             \
    return pretended_old(p, T(*p ^ v));       \
  }                                           \
  inline T atomicCAS(T *p, T was, T v) {      \
    T old = *p;                               \
    if (old == was) *p = v;                   \
    return old;                               \
  }
PRETENDED_ATOMIC(int)
PRETENDED_ATOMIC(unsigned)
PRETENDED_ATOMIC(pretended_ull)
inline float atomicAdd(float *p, float v) {
  return pretended_old(p, *p + v);
}
inline double atomicAdd(double *p, double v) {
  return pretended_old(p, *p + v);
}
inline float atomicExch(float *p, float v) {
  return pretended_old(p, v);
}
inline long long atomicMax(long long *p, long long v) {
  return pretended_old(p, *p < v ? v : *p);
}
inline long long atomicMin(long long *p, long long v) {
  return pretended_old(p, v < *p ? v : *p);
}
inline unsigned short atomicCAS(unsigned short *p, unsigned short was, unsigned short v) {
  unsigned short old = *p;
  if (old == was) *p = v;
  return old;
}

// Bits
inline int __popc(unsigned x) {
  return __builtin_popcount(x);
}
inline int __popcll(unsigned long long x) {
  return __builtin_popcountll(x);
}
inline int __clz(int x) {
  return x ? __builtin_clz(x) : 32;
}
inline int __clzll(long long x) {
  return x ? __builtin_clzll(x) : 64;
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline int __ffsll(long long x) {
  return __builtin_ffsll(x);
}
template <class To, class From>
To pretended_bits(From x) {
  static_assert(sizeof(To) == sizeof(From), "");
  To out;
  memcpy(&out, &x, sizeof out);
  return out;
}
inline int __float_as_int(float x) {
  return pretended_bits<int>(x);
}
inline unsigned __float_as_uint(float x) {
  return pretended_bits<unsigned>(x);
}
inline float __int_as_float(int x) {
  return pretended_bits<float>(x);
}
inline float __uint_as_float(unsigned x) {
  return pretended_bits<float>(x);
}
inline long long __double_as_longlong(double x) {
  return pretended_bits<long long>(x);
}
inline double __longlong_as_double(long long x) {
  return pretended_bits<double>(x);
}
inline double __hiloint2double(int hi, int lo) {
  return pretended_bits<double>((unsigned long long)unsigned(hi) << 32 | unsigned(lo));
}
inline int __double2hiint(double x) {
  return int(pretended_bits<unsigned long long>(x) >> 32);
}
inline int __double2loint(double x) {
  return int(pretended_bits<unsigned long long>(x));
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return (unsigned long long)a * b >> 32;
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned __int128)a * b >> 64;
}
template <class T>
T __ldg(const T *p) {
  return *p;
}

// Mathematics that C++ lacks
inline float rsqrt(float x) {
  return 1 / sqrtf(x);
}
inline double rsqrt(double x) {
  return 1 / ::sqrt(x);
}
inline float rsqrtf(float x) {
  return 1 / sqrtf(x);
}
inline float __expf(float x) {
  return expf(x);
}
inline float __logf(float x) {
  return logf(x);
}
inline float __powf(float x, float y) {
  return powf(x, y);
}
inline float __fdividef(float x, float y) {
  return x / y;
}
inline float __fsqrt_rn(float x) {
  return sqrtf(x);
}
inline float __frcp_rn(float x) {
  return 1 / x;
}
inline double __dsqrt_rn(double x) {
  return ::sqrt(x);
}
inline long long __float2ll_rn(float x) {
  return llrintf(x);
}
#define PRETENDED_ARITHMETIC(S)                  \
  inline float __fadd_##S(float x, float y) {    \
    return x + y;                                \
  }                                              \
  inline float __fmul_##S(float x, float y) {    \
    return x * y;                                \
  }                                              \
  inline float __fdiv_##S(float x, float y) {    \
    return x / y;                                \
  }                                              \
  inline double __dadd_##S(double x, double y) { \
    return x + y;                                \
  }                                              \
  inline double __dmul_##S(double x, double y) { \
    return x * y;                                \
  }                                              \
  inline double __ddiv_##S(double x, double y) { \
    return x / y;                                \
  }
PRETENDED_ARITHMETIC(rn)
inline float sinpif(float x) {
  return float(::sin(M_PI * double(x)));
}
inline double sinpi(double x) {
  return ::sin(M_PI * x);
}
inline float cospif(float x) {
  return float(::cos(M_PI * double(x)));
}
inline double cospi(double x) {
  return ::cos(M_PI * x);
}
inline double normcdf(double x) {
  return 0.5 * erfc(-x * M_SQRT1_2);
}
inline float normcdff(float x) {
  return float(normcdf(double(x)));
}
inline double cyl_bessel_i0(double x) {
  return std::cyl_bessel_i(0, std::abs(x));
}
inline double erfcx(double x) {
  return ::exp(x * x) * erfc(x);
}
inline double erfinv(double y) {
  if (y <= -1 || y >= 1) return y == 1 ? HUGE_VAL : y == -1 ? -HUGE_VAL : NAN;
  double w = ::log(1 - y * y), a = 0.147, t = 2 / (M_PI * a) + w / 2,
         x = copysign(::sqrt(::sqrt(t * t - w / a) - t), y);
  for (int i = 0; i < 4; ++i)
    x -= (erf(x) - y) / (M_2_SQRTPI * ::exp(-x * x));
  return x;
}
inline double erfcinv(double y) {
  return erfinv(1 - y);
}
inline double normcdfinv(double y) {
  return M_SQRT2 * erfinv(2 * y - 1);
}
template <class A, class B,
          class = std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>>>
inline std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>)
    return std::fmax(T(a), T(b));
  else
    return T(a) < T(b) ? T(b) : T(a);
}
template <class A, class B,
          class = std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>>>
inline std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>)
    return std::fmin(T(a), T(b));
  else
    return T(b) < T(a) ? T(b) : T(a);
}
using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;

// How the engine calls a kernel of any parameters
template <class>
struct PretendedKernel;
template <class... A>
struct PretendedKernel<void (*)(A...)> {
  static constexpr int arguments = sizeof...(A);
  static constexpr size_t sizes[sizeof...(A) + 1] = {sizeof(A)..., 0};
  template <void (*kernel)(A...), size_t... I>
  static void call(void **p, std::index_sequence<I...>) {
    kernel(*(std::remove_reference_t<A> *)p[I]...);
  }
  template <void (*kernel)(A...)>
  static void entry(const PretendedLaunch *launch) {
    call<kernel>(launch->arguments, std::index_sequence_for<A...>());
  }
};
// The address of a kernel, by which the compiler can call it, and a pointer to one of any
// expression.
#define PRETENDED_EXPORT(NAME, KERNEL, FLAT, FIBERS) \
  PRETENDED_ABOUT(NAME, decltype(&KERNEL), &KERNEL, FLAT, FIBERS)
#define PRETENDED_EXPORT_POINTER(NAME, POINTER, FLAT, FIBERS) \
  PRETENDED_ABOUT(NAME, std::remove_const_t<decltype(POINTER)>, POINTER, FLAT, FIBERS)
#define PRETENDED_ABOUT(NAME, TYPE, POINTER, FLAT, FIBERS)                                 \
  extern "C" __attribute__((visibility("default"))) const PretendedAbout                   \
      pretended_about_##NAME = {PretendedKernel<TYPE>::entry<POINTER>,                     \
                                PretendedKernel<TYPE>::arguments,                          \
                                PretendedKernel<TYPE>::sizes, FLAT, FIBERS};
