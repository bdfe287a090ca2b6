// Memory: which blocks there are, and what they hold before and after their use.
#include "runtime.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

namespace pretended {

namespace {

const int FRESH = 0xCB;  // what was never written reads as large negative numbers
const size_t ALIGNMENT = 512;

std::map<char *, Block> &blocks() {
  static auto *all = new std::map<char *, Block>;
  return *all;
}

size_t &used_bytes(int device) {
  static auto *all = new std::map<int, size_t>;
  return (*all)[device];
}

int allocate(void **out, size_t size, cudaMemoryType type) {
  Guard guard(lock);
  if (invalidates_a_capture()) return StreamCaptureUnsupported;
  *out = nullptr;
  if (size == 0) return Success;
  *out = reserve(size, current_device(), type);
  if (!*out) return OutOfMemory;
  Block block;
  block.start = static_cast<char *>(*out);
  block.size = size;
  block.device = current_device();
  block.type = type;
  add_block(block);
  return Success;
}

// The block that begins here, if these calls are those that free it.
Block *freeable(void *start, bool host) {
  auto at = blocks().find(static_cast<char *>(start));
  if (at == blocks().end()) return nullptr;
  Block &block = at->second;
  bool of_host = block.type == cudaMemoryTypeHost;
  return block.registered || block.freed || of_host != host ? nullptr : &block;
}

int release(void *start, bool host) {
  if (!start) return Success;
  Guard guard(lock);
  if (invalidates_a_capture()) return StreamCaptureUnsupported;
  Block *found = freeable(start, host);
  if (!found) return InvalidValue;
  flush_device(found->device);  // to free waits for the device
  Block block = *found;
  if (block.pool) {
    return_to_pool(block);
  } else {
    remove_block(start);
    give_back(start, block.size, block.device, block.type);
  }
  return Success;
}

bool overlaps(const char *start, size_t size) {
  auto after = blocks().lower_bound(const_cast<char *>(start) + size);
  if (after == blocks().begin()) return false;
  const Block &before = std::prev(after)->second;
  return before.start + before.size > start;
}

void describe(cudaPointerAttributes *attributes, void *pointer, const Block *block) {
  memset(attributes, 0, sizeof *attributes);
  attributes->type = block ? block->type : cudaMemoryTypeUnregistered;
  attributes->device = block ? block->device : cudaInvalidDeviceId;
  if (block) attributes->devicePointer = pointer;
  if (attributes->type != cudaMemoryTypeDevice) attributes->hostPointer = pointer;
}

}  // namespace

void *reserve(size_t size, int device, cudaMemoryType type) {
  bool counted = type != cudaMemoryTypeHost;
  size_t left = memory_bytes() - used_bytes(device);
  if (counted && size > left) return nullptr;
  void *start = nullptr;
  if (posix_memalign(&start, ALIGNMENT, size) != 0) return nullptr;
  memset(start, FRESH, size);
  if (counted) used_bytes(device) += size;
  return start;
}

void give_back(void *start, size_t size, int device, cudaMemoryType type) {
  memset(start, FREED, size);
  if (type != cudaMemoryTypeHost) used_bytes(device) -= size;
  free(start);
}

Block *block_at(const void *pointer) {
  char *at = static_cast<char *>(const_cast<void *>(pointer));
  auto after = blocks().upper_bound(at);
  if (after == blocks().begin()) return nullptr;
  Block &block = std::prev(after)->second;
  return at < block.start + block.size ? &block : nullptr;
}

void add_block(const Block &block) { blocks()[block.start] = block; }

void remove_block(const void *start) {
  blocks().erase(static_cast<char *>(const_cast<void *>(start)));
}

}  // namespace pretended

using namespace pretended;

CUDA_API cudaError_t cudaMalloc(void **out, size_t size) {
  return answer(allocate(out, size, cudaMemoryTypeDevice));
}

CUDA_API cudaError_t cudaMallocManaged(void **out, size_t size, unsigned) {
  return answer(allocate(out, size, cudaMemoryTypeManaged));
}

CUDA_API cudaError_t cudaHostAlloc(void **out, size_t size, unsigned) {
  return answer(allocate(out, size, cudaMemoryTypeHost));
}

CUDA_API cudaError_t cudaFree(void *start) { return answer(release(start, false)); }

CUDA_API cudaError_t cudaFreeHost(void *start) { return answer(release(start, true)); }

CUDA_API cudaError_t cudaHostRegister(void *start, size_t size, unsigned) {
  Guard guard(lock);
  if (!start || size == 0) return answer(InvalidValue);
  if (overlaps(static_cast<char *>(start), size)) {
    return answer(cudaErrorHostMemoryAlreadyRegistered);
  }
  Block block;
  block.start = static_cast<char *>(start);
  block.size = size;
  block.device = current_device();
  block.type = cudaMemoryTypeHost;
  block.registered = true;
  add_block(block);
  return cudaSuccess;
}

CUDA_API cudaError_t cudaHostUnregister(void *start) {
  Guard guard(lock);
  Block *block = block_at(start);
  if (!block || block->start != start || !block->registered) {
    return answer(cudaErrorHostMemoryNotRegistered);
  }
  remove_block(start);
  return cudaSuccess;
}

CUDA_API cudaError_t cudaMemGetInfo(size_t *unused, size_t *total) {
  Guard guard(lock);
  *total = memory_bytes();
  *unused = memory_bytes() - used_bytes(current_device());
  return cudaSuccess;
}

CUDA_API cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes,
                                              const void *pointer) {
  Guard guard(lock);
  describe(attributes, const_cast<void *>(pointer), block_at(pointer));
  return cudaSuccess;
}

// Managed memory lies where all can reach it: there is nothing to move.
CUDA_API cudaError_t cudaMemPrefetchAsync(const void *, size_t, cudaMemLocation to, unsigned,
                                          cudaStream_t) {
  bool known = to.type != cudaMemLocationTypeDevice || is_device(to.id);
  return answer(known ? Success : InvalidDevice);
}

CUDA_API cudaError_t cudaMemAdvise(const void *, size_t, cudaMemoryAdvise, cudaMemLocation) {
  return cudaSuccess;
}
