// The threads of a block, as fibers that take turns: each runs until it has to wait for others.
#pragma once
#include "include/launch.h"

namespace pretended {

// Run a kernel for all threads of a block that may wait for each other.
void run_threads(const PretendedLaunch &launch, const PretendedContext &context, int threads);

// What a kernel calls in __syncthreads and in __syncwarp.
extern const PretendedCalls waits;

PretendedIndex index_of(unsigned thread, const PretendedIndex &dim);

}  // namespace pretended
