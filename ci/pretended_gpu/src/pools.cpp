// The memory pools of cudaMallocAsync: a block is free once its stream gets there.
#include "runtime.h"
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>

namespace pretended {

struct MemoryPool {
  int device = 0;
  uint64_t release_threshold = 0;
  uint64_t reserved = 0;
  uint64_t reserved_high = 0;
  uint64_t used = 0;
  uint64_t used_high = 0;
  int reuse[4] = {0, 1, 1, 1};  // by attribute: kept, and without effect
  std::multimap<size_t, void *> unused;
};

namespace {

const size_t GRANULE = 512;

size_t rounded(size_t size) { return (size + GRANULE - 1) / GRANULE * GRANULE; }

MemoryPool *default_pool(int device) {
  static auto *made = new std::map<int, MemoryPool *>;
  MemoryPool *&pool = (*made)[device];
  if (!pool) {
    pool = new MemoryPool;
    pool->device = device;
  }
  return pool;
}

MemoryPool *&current_pool(int device) {
  static auto *chosen = new std::map<int, MemoryPool *>;
  MemoryPool *&pool = (*chosen)[device];
  if (!pool) pool = default_pool(device);
  return pool;
}

MemoryPool *pool_of(cudaMemPool_t handle) { return reinterpret_cast<MemoryPool *>(handle); }

cudaMemPool_t handle_of(MemoryPool *pool) { return reinterpret_cast<cudaMemPool_t>(pool); }

void trim(MemoryPool *pool, uint64_t bytes_to_keep) {
  while (pool->reserved > bytes_to_keep && !pool->unused.empty()) {
    auto last = std::prev(pool->unused.end());
    give_back(last->second, last->first, pool->device, cudaMemoryTypeDevice);
    pool->reserved -= last->first;
    pool->unused.erase(last);
  }
}

void *take_unused(MemoryPool *pool, size_t size) {
  auto at = pool->unused.find(size);
  if (at == pool->unused.end()) return nullptr;
  void *start = at->second;
  pool->unused.erase(at);
  return start;
}

void *grow(MemoryPool *pool, size_t size) {
  void *start = reserve(size, pool->device, cudaMemoryTypeDevice);
  if (!start) {
    trim(pool, 0);
    start = reserve(size, pool->device, cudaMemoryTypeDevice);
  }
  if (!start) return nullptr;
  pool->reserved += size;
  pool->reserved_high = std::max(pool->reserved_high, pool->reserved);
  return start;
}

int allocate(void **out, size_t size, MemoryPool *pool, void *stream) {
  Guard guard(lock);
  *out = nullptr;
  if (is_capturing(stream)) {
    note("cudaMallocAsync in a capture: not pretended");
    return NotSupported;
  }
  if (size == 0) return Success;
  size_t bytes = rounded(size);
  void *start = take_unused(pool, bytes);
  if (!start) start = grow(pool, bytes);
  if (!start) return OutOfMemory;
  pool->used += bytes;
  pool->used_high = std::max(pool->used_high, pool->used);
  Block block;
  block.start = static_cast<char *>(start);
  block.size = size;
  block.device = pool->device;
  block.type = cudaMemoryTypeDevice;
  block.pool = pool;
  add_block(block);
  *out = start;
  return Success;
}

int free_in_stream(void *start, void *stream) {
  if (!start) return Success;
  Guard guard(lock);
  if (is_capturing(stream)) {
    note("cudaFreeAsync in a capture: not pretended");
    return NotSupported;
  }
  Block *block = block_at(start);
  if (!block || block->start != start || !block->pool || block->freed) return InvalidValue;
  Block freed = *block;
  int status = submit(stream, {Kind::Host, "free", [=] { return_to_pool(freed); }});
  // At once, the block is gone by now; late, its stream may still use it but no call may.
  Block *late = block_at(start);
  if (status == Success && late) late->freed = true;
  return status;
}

}  // namespace

void return_to_pool(const Block &block) {
  MemoryPool *pool = block.pool;
  size_t bytes = rounded(block.size);
  remove_block(block.start);
  memset(block.start, FREED, bytes);
  pool->used -= bytes;
  pool->unused.insert({bytes, block.start});
  trim(pool, pool->release_threshold);
}

}  // namespace pretended

using namespace pretended;

CUDA_API cudaError_t cudaMallocAsync(void **out, size_t size, cudaStream_t stream) {
  Guard guard(lock);
  return answer(allocate(out, size, current_pool(current_device()), stream));
}

CUDA_API cudaError_t cudaMallocFromPoolAsync(void **out, size_t size, cudaMemPool_t pool,
                                             cudaStream_t stream) {
  if (!pool) return answer(InvalidValue);
  return answer(allocate(out, size, pool_of(pool), stream));
}

CUDA_API cudaError_t cudaFreeAsync(void *start, cudaStream_t stream) {
  return answer(free_in_stream(start, stream));
}

CUDA_API cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *out, int device) {
  Guard guard(lock);
  if (!is_device(device)) return answer(InvalidDevice);
  *out = handle_of(default_pool(device));
  return cudaSuccess;
}

CUDA_API cudaError_t cudaDeviceGetMemPool(cudaMemPool_t *out, int device) {
  Guard guard(lock);
  if (!is_device(device)) return answer(InvalidDevice);
  *out = handle_of(current_pool(device));
  return cudaSuccess;
}

CUDA_API cudaError_t cudaDeviceSetMemPool(int device, cudaMemPool_t pool) {
  Guard guard(lock);
  if (!is_device(device)) return answer(InvalidDevice);
  if (!pool || pool_of(pool)->device != device) return answer(InvalidValue);
  current_pool(device) = pool_of(pool);
  return cudaSuccess;
}

CUDA_API cudaError_t cudaMemPoolCreate(cudaMemPool_t *out, const cudaMemPoolProps *properties) {
  const cudaMemLocation &location = properties->location;
  if (location.type != cudaMemLocationTypeDevice) return answer(NotSupported);
  if (!is_device(location.id)) return answer(InvalidDevice);
  MemoryPool *pool = new MemoryPool;
  pool->device = location.id;
  *out = handle_of(pool);
  return cudaSuccess;
}

CUDA_API cudaError_t cudaMemPoolDestroy(cudaMemPool_t handle) {
  Guard guard(lock);
  MemoryPool *pool = pool_of(handle);
  if (!pool || pool == default_pool(pool->device)) return answer(InvalidValue);
  if (current_pool(pool->device) == pool) current_pool(pool->device) = nullptr;
  // The object stays: its blocks in use return to it, and it then keeps none.
  pool->release_threshold = 0;
  trim(pool, 0);
  return cudaSuccess;
}

CUDA_API cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t bytes_to_keep) {
  Guard guard(lock);
  if (!pool) return answer(InvalidValue);
  trim(pool_of(pool), bytes_to_keep);
  return cudaSuccess;
}

CUDA_API cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t handle, cudaMemPoolAttr which,
                                             void *value) {
  Guard guard(lock);
  const MemoryPool *pool = pool_of(handle);
  if (!pool) return answer(InvalidValue);
  uint64_t *bytes = static_cast<uint64_t *>(value);
  switch (int(which)) {
    case cudaMemPoolReuseFollowEventDependencies:
    case cudaMemPoolReuseAllowOpportunistic:
    case cudaMemPoolReuseAllowInternalDependencies:
      *static_cast<int *>(value) = pool->reuse[which];
      return cudaSuccess;
    case cudaMemPoolAttrReleaseThreshold:
      *bytes = pool->release_threshold;
      return cudaSuccess;
    case cudaMemPoolAttrReservedMemCurrent:
      *bytes = pool->reserved;
      return cudaSuccess;
    case cudaMemPoolAttrReservedMemHigh:
      *bytes = pool->reserved_high;
      return cudaSuccess;
    case cudaMemPoolAttrUsedMemCurrent:
      *bytes = pool->used;
      return cudaSuccess;
    case cudaMemPoolAttrUsedMemHigh:
      *bytes = pool->used_high;
      return cudaSuccess;
  }
  return answer(InvalidValue);
}

CUDA_API cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t handle, cudaMemPoolAttr which,
                                             void *value) {
  Guard guard(lock);
  MemoryPool *pool = pool_of(handle);
  if (!pool) return answer(InvalidValue);
  uint64_t bytes = which <= 3 ? 0 : *static_cast<uint64_t *>(value);
  switch (int(which)) {
    case cudaMemPoolReuseFollowEventDependencies:
    case cudaMemPoolReuseAllowOpportunistic:
    case cudaMemPoolReuseAllowInternalDependencies:
      pool->reuse[which] = *static_cast<int *>(value);
      return cudaSuccess;
    case cudaMemPoolAttrReleaseThreshold:
      pool->release_threshold = bytes;
      return cudaSuccess;
    case cudaMemPoolAttrReservedMemHigh:  // both may only be set to zero: the mark begins anew
      if (bytes != 0) return answer(InvalidValue);
      pool->reserved_high = pool->reserved;
      return cudaSuccess;
    case cudaMemPoolAttrUsedMemHigh:
      if (bytes != 0) return answer(InvalidValue);
      pool->used_high = pool->used;
      return cudaSuccess;
  }
  return answer(InvalidValue);
}
