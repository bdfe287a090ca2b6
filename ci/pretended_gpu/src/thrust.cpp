// CuPy's sorts, by Thrust on a GPU: what its compiled module cupy.cuda.thrust calls.
#include "numbers.h"
#include "submit.h"
#include <algorithm>
#include <cstddef>
#include <functional>
#include <numeric>
#include <string>
#include <vector>
#include "cupy_thrust.h"

namespace pretended {

namespace {

using Shape = std::vector<ptrdiff_t>;

// Rows along the last axis
struct Rows {
  size_t size;
  size_t length;
  explicit Rows(const Shape &shape) : length(shape.back()) {
    size = std::accumulate(shape.begin(), shape.end(), size_t(1), std::multiplies<size_t>());
  }
};

void launch(intptr_t stream, const char *name, std::function<void()> work) {
  int status = submit_kernel(reinterpret_cast<void *>(stream), name, std::move(work));
  if (status) throw std::runtime_error(std::string(name) + ": failed on launch");
}

template <class T> void sort(T *data, Rows rows) {
  for (size_t row = 0; row < rows.size; row += rows.length) {
    std::stable_sort(data + row, data + row + rows.length,
                     [](const T &a, const T &b) { return less(a, b); });
  }
}

template <class T> void sort_indices(size_t *indices, size_t length, const T *keys) {
  std::stable_sort(indices, indices + length,
                   [keys](size_t a, size_t b) { return less(keys[a], keys[b]); });
}

template <class T> void argsort(size_t *indices, const T *data, Rows rows) {
  for (size_t row = 0; row < rows.size; row += rows.length) {
    std::iota(indices + row, indices + row + rows.length, size_t(0));
    sort_indices(indices + row, rows.length, data + row);
  }
}

// By the least key first: the stable sorts after it leave its order among equals.
template <class T> void lexsort(size_t *indices, const T *keys, size_t count, size_t length) {
  std::iota(indices, indices + length, size_t(0));
  for (size_t key = 0; key < count; ++key) sort_indices(indices, length, keys + key * length);
}

}  // namespace

}  // namespace pretended

using namespace pretended;

void thrust_sort(int type, void *data, size_t *, const std::vector<ptrdiff_t> &shape,
                 intptr_t stream, void *) {
  Rows rows(shape);
  dispatch(type, [=](auto number) {
    auto *typed = static_cast<decltype(number) *>(data);
    launch(stream, "thrust_sort", [=] { sort(typed, rows); });
  });
}

void thrust_argsort(int type, size_t *indices, void *data, void *,
                    const std::vector<ptrdiff_t> &shape, intptr_t stream, void *) {
  Rows rows(shape);
  dispatch(type, [=](auto number) {
    auto *typed = static_cast<decltype(number) *>(data);
    launch(stream, "thrust_argsort", [=] { argsort(indices, typed, rows); });
  });
}

void thrust_lexsort(int type, size_t *indices, void *keys, size_t count, size_t length,
                    intptr_t stream, void *) {
  dispatch(type, [=](auto number) {
    auto *typed = static_cast<decltype(number) *>(keys);
    launch(stream, "thrust_lexsort", [=] { lexsort(indices, typed, count, length); });
  });
}
