// CuPy's reductions, scans and histograms, by CUB on a GPU: what its module cupy.cuda.cub calls.
#include "numbers.h"
#include "submit.h"
#include <algorithm>
#include <cstddef>
#include <functional>
#include <type_traits>
#include "cupy_cub.h"

namespace pretended {

namespace {

// By halves, which rounds as little as the tree of a GPU.
template <class T, class Combine>
T reduce_halves(const T *x, size_t size, T empty, Combine combine) {
  if (size == 0) return empty;
  if (size == 1) return x[0];
  size_t half = size / 2;
  T first = reduce_halves(x, half, empty, combine);
  T second = reduce_halves(x + half, size - half, empty, combine);
  return combine(first, second);
}

// A nan comes before every number, to a minimum and to a maximum; the first nan stays.
template <class T> bool is_before(const T &a, const T &b, bool greatest) {
  if (is_nan(a) || is_nan(b)) return !is_nan(b);
  return greatest ? less(b, a) : less(a, b);
}

template <class T> T reduce(const T *x, size_t size, int op) {
  if (op == CUPY_CUB_SUM) {
    return reduce_halves(x, size, T(0), [](const T &a, const T &b) { return T(a + b); });
  }
  if (op == CUPY_CUB_PROD) {
    return reduce_halves(x, size, T(1), [](const T &a, const T &b) { return T(a * b); });
  }
  bool greatest = op == CUPY_CUB_MAX;
  auto select = [=](const T &a, const T &b) { return is_before(b, a, greatest) ? b : a; };
  return reduce_halves(x, size, T(0), select);
}

template <class T> int index_of_extreme(const T *x, int size, bool greatest) {
  int found = 0;
  for (int i = 1; i < size; ++i) {
    if (is_before(x[i], x[found], greatest)) found = i;
  }
  return found;
}

template <class T> void reduce_all(const T *x, void *out, int size, int op) {
  if (op == CUPY_CUB_ARGMIN || op == CUPY_CUB_ARGMAX) {
    // CUB gives the pair of index and value, of which CuPy reads the index.
    *static_cast<int *>(out) = index_of_extreme(x, size, op == CUPY_CUB_ARGMAX);
  } else {
    *static_cast<T *>(out) = reduce(x, size, op);
  }
}

template <class T> void reduce_segments(const T *x, T *out, int count, int size, int op) {
  for (int i = 0; i < count; ++i) out[i] = reduce(x + size_t(i) * size, size, op);
}

template <class T> void scan(const T *x, T *out, int size, int op) {
  T total(op == CUPY_CUB_CUMSUM ? 0 : 1);
  for (int i = 0; i < size; ++i) {
    total = op == CUPY_CUB_CUMSUM ? T(total + x[i]) : T(total * x[i]);
    out[i] = total;
  }
}

// CuPy gives integers edges in float64.
template <class T> using Edge = std::conditional_t<std::is_integral_v<T>, double, T>;

// Each bin holds its lower edge and not its upper one.
template <class T>
void count_between(const T *x, size_t size, const Edge<T> *edges, int edge_count,
                   long long *counts) {
  std::fill(counts, counts + edge_count - 1, 0);
  auto is_less = [](const Edge<T> &a, const Edge<T> &b) { return less(a, b); };
  for (size_t i = 0; i < size; ++i) {
    const Edge<T> *after = std::upper_bound(edges, edges + edge_count, Edge<T>(x[i]), is_less);
    if (after == edges || after == edges + edge_count) continue;
    ++counts[after - edges - 1];
  }
}

template <class T>
void count_evenly(const T *x, size_t size, int edge_count, int lower, int upper,
                  long long *counts) {
  std::fill(counts, counts + edge_count - 1, 0);
  for (size_t i = 0; i < size; ++i) {
    long long value = x[i];
    if (value < lower || value >= upper) continue;
    ++counts[(value - lower) * (edge_count - 1) / (upper - lower)];
  }
}

// CUB needs no room here, but a size of 0 would have CuPy pass no pointer, which asks for the size.
const size_t WORKSPACE = 1;

}  // namespace

}  // namespace pretended

using namespace pretended;

void cub_device_reduce(void *, size_t &, void *x, void *out, int size, cudaStream_t stream, int op,
                       int type) {
  dispatch(type, [=](auto number) {
    auto *typed = static_cast<decltype(number) *>(x);
    submit_kernel(stream, "cub_device_reduce", [=] { reduce_all(typed, out, size, op); });
  });
}

void cub_device_segmented_reduce(void *, size_t &, void *x, void *out, int count, int size,
                                 cudaStream_t stream, int op, int type) {
  dispatch(type, [=](auto number) {
    using T = decltype(number);
    submit_kernel(stream, "cub_device_segmented_reduce", [=] {
      reduce_segments(static_cast<T *>(x), static_cast<T *>(out), count, size, op);
    });
  });
}

void cub_device_scan(void *, size_t &, void *x, void *out, int size, cudaStream_t stream, int op,
                     int type) {
  dispatch(type, [=](auto number) {
    using T = decltype(number);
    auto work = [=] { scan(static_cast<T *>(x), static_cast<T *>(out), size, op); };
    submit_kernel(stream, "cub_device_scan", work);
  });
}

void cub_device_histogram_range(void *, size_t &, void *x, void *out, int edge_count, void *edges,
                                size_t size, cudaStream_t stream, int type) {
  auto *counts = static_cast<long long *>(out);
  dispatch(type, [=](auto number) {
    using T = decltype(number);
    submit_kernel(stream, "cub_device_histogram_range", [=] {
      count_between(static_cast<T *>(x), size, static_cast<Edge<T> *>(edges), edge_count, counts);
    });
  });
}

void cub_device_histogram_even(void *, size_t &, void *x, void *out, int edge_count, int lower,
                               int upper, size_t size, cudaStream_t stream, int type) {
  auto *counts = static_cast<long long *>(out);
  dispatch(type, [=](auto number) {
    using T = decltype(number);
    // CuPy asks it of integers only.
    if constexpr (std::is_integral_v<T>) {
      submit_kernel(stream, "cub_device_histogram_even", [=] {
        count_evenly(static_cast<T *>(x), size, edge_count, lower, upper, counts);
      });
    }
  });
}

size_t cub_device_reduce_get_workspace_size(void *, void *, int, cudaStream_t, int, int) {
  return WORKSPACE;
}

size_t cub_device_segmented_reduce_get_workspace_size(void *, void *, int, int, cudaStream_t, int,
                                                      int) {
  return WORKSPACE;
}

size_t cub_device_scan_get_workspace_size(void *, void *, int, cudaStream_t, int, int) {
  return WORKSPACE;
}

size_t cub_device_histogram_range_get_workspace_size(void *, void *, int, void *, size_t,
                                                     cudaStream_t, int) {
  return WORKSPACE;
}

size_t cub_device_histogram_even_get_workspace_size(void *, void *, int, int, int, size_t,
                                                    cudaStream_t, int) {
  return WORKSPACE;
}
