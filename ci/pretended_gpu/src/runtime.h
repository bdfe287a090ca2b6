// What the files of the runtime's interface share beside device.h.
#pragma once
#include "device.h"
#include <cuda_runtime_api.h>

namespace pretended {

inline cudaError_t answer(int status) { return static_cast<cudaError_t>(told(status)); }

// devices.cpp
bool is_device(int device);

// streams.cpp
bool is_stream(const Stream *stream);

// memory.cpp
const int FREED = 0xDD;  // what freed memory holds

struct MemoryPool;

struct Block {
  char *start = nullptr;
  size_t size = 0;
  int device = 0;
  cudaMemoryType type = cudaMemoryTypeUnregistered;
  bool registered = false;     // the program's own memory, of cudaHostRegister
  MemoryPool *pool = nullptr;  // of cudaMallocAsync
  bool freed = false;          // by a cudaFreeAsync that its stream has not reached
  bool holds(const void *from, size_t bytes) const {
    size_t offset = static_cast<const char *>(from) - start;
    return offset <= size && bytes <= size - offset;
  }
};

Block *block_at(const void *pointer);   // the block that holds this byte, or null
void *reserve(size_t size, int device, cudaMemoryType type);  // fresh memory, or null: too much
void give_back(void *start, size_t size, int device, cudaMemoryType type);
void add_block(const Block &block);
void remove_block(const void *start);

// pools.cpp
void return_to_pool(const Block &block);  // and out of the list of blocks

}  // namespace pretended
