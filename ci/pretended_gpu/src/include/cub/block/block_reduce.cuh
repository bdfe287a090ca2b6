// The two of CUB's blocks that CuPy's own kernels use, for pretended threads.
#pragma once
namespace cub {
enum BlockLoadAlgorithm { BLOCK_LOAD_DIRECT };
template <class T, int threads, int items, BlockLoadAlgorithm = BLOCK_LOAD_DIRECT>
struct BlockLoad {
  struct TempStorage {};
  BlockLoad(TempStorage &) {}
  template <class From, class Default>
  void Load(const From *from, T (&to)[items], int valid, Default otherwise) {
    for (int i = 0; i < items; ++i) {
      int at = threadIdx.x * items + i;
      to[i] = at < valid ? T(from[at]) : T(otherwise);
    }
  }
};
template <class T, int threads>
struct BlockReduce {
  struct TempStorage {
    alignas(16) char bytes[sizeof(T) * threads];
  };
  T *partial;
  BlockReduce(TempStorage &storage) : partial((T *)storage.bytes) {}
  template <class Op>
  T Reduce(T value, Op op) {  // of meaning for the first thread alone
    partial[threadIdx.x] = value;
    __syncthreads();
    if (!threadIdx.x)
      for (int half = threads / 2; half; half /= 2)
        for (int i = 0; i < half; ++i)
          partial[i] = op(partial[i], partial[i + half]);
    return partial[0];
  }
  template <int items, class Op>
  T Reduce(T (&values)[items], Op op) {
    T value = values[0];
    for (int i = 1; i < items; ++i)
      value = op(value, values[i]);
    return Reduce(value, op);
  }
};
}  // namespace cub
