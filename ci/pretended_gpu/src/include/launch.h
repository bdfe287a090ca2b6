// What the device and a compiled kernel know of each other.
#pragma once
#include <cstddef>

struct PretendedIndex {
  unsigned x, y, z;
};

// Where a kernel keeps its threadIdx, blockIdx and so on.
struct PretendedContext {
  PretendedIndex *thread, *block, *block_dim, *grid_dim;
  void **dynamic_shared;
};

struct PretendedLaunch;
typedef void (*PretendedEntry)(const PretendedLaunch *);
struct PretendedLaunch {
  PretendedEntry entry;
  void **arguments;
};

struct PretendedAbout {
  PretendedEntry entry;
  int arguments;
  const size_t *sizes;
  int flat;    // a loop over all elements, which one thread can run
  int fibers;  // threads of a block wait for each other
};

// What a kernel calls in __syncthreads and __syncwarp.
struct PretendedCalls {
  void (*wait_block)();
  void (*wait_warp)(unsigned mask);
};
