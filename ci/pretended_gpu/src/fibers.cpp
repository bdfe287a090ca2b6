#include "fibers.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace pretended {

namespace {

const int MOST_THREADS = 1024;
const int WARP = 32;
const size_t STACK_BYTES = 256 << 10;

enum State { Ready, WaitsForBlock, WaitsForWarp, Done };

#ifdef __x86_64__
using Place = void *;
#else
using Place = ucontext_t;
#endif

struct Fiber {
  Place place;
  State state;
  unsigned mask;  // the threads of its warp that it waits for
};

Fiber fibers[MOST_THREADS];
Place scheduler;
int current;
int count = 0;  // of the threads of the block that runs; 0 where none can wait
const PretendedLaunch *launched;

char *stack_of(int thread) {
  static char *stacks = nullptr;
  if (!stacks) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *p = mmap(nullptr, STACK_BYTES * MOST_THREADS, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (p == MAP_FAILED) abort();
    stacks = static_cast<char *>(p);
  }
  return stacks + STACK_BYTES * thread;
}

void begin();

#ifdef __x86_64__

// swapcontext asks the system for its signal mask each time, which takes longer than most turns.
extern "C" void pretended_switch(Place *from, Place to);
asm(R"(
.text
.globl pretended_switch
.hidden pretended_switch
.type pretended_switch,@function
pretended_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");

void change(Place &from, Place &to) { pretended_switch(&from, to); }

void start(Place &place, int thread) {
  const int registers = 6;
  void **top = reinterpret_cast<void **>(stack_of(thread + 1)) - 1;
  *top = nullptr;                            // where `begin` would return to
  *--top = reinterpret_cast<void *>(begin);  // where the first switch returns to
  top -= registers;
  memset(top, 0, registers * sizeof *top);
  place = top;
}

#else

void change(Place &from, Place &to) { swapcontext(&from, &to); }

// A context may point into itself, so it is made where it stays.
void start(Place &place, int thread) {
  getcontext(&place);
  place.uc_stack.ss_sp = stack_of(thread);
  place.uc_stack.ss_size = STACK_BYTES;
  place.uc_link = nullptr;
  makecontext(&place, begin, 0);
}

#endif

void begin() {
  launched->entry(launched);
  fibers[current].state = Done;
  change(fibers[current].place, scheduler);
  abort();
}

void wait(State state, unsigned mask) {
  if (!count) return;
  fibers[current].state = state;
  fibers[current].mask = mask;
  change(fibers[current].place, scheduler);
}

void wait_for_block() { wait(WaitsForBlock, 0); }

void wait_for_warp(unsigned mask) { wait(WaitsForWarp, mask); }

bool is(int thread, State state) { return fibers[thread].state == state; }

// Give each thread that can go on its turn; whether there was one.
bool take_turns(const PretendedContext &context) {
  bool moved = false;
  for (current = 0; current < count; ++current) {
    if (!is(current, Ready)) continue;
    moved = true;
    *context.thread = index_of(current, *context.block_dim);
    change(scheduler, fibers[current].place);
  }
  return moved;
}

bool release(int from, int to, State waiting) {
  bool any = false;
  for (int i = from; i < to; ++i) {
    if (!is(i, waiting)) continue;
    fibers[i].state = Ready;
    any = true;
  }
  return any;
}

// Threads that are done are not waited for.
bool release_block() {
  for (int i = 0; i < count; ++i) {
    if (!is(i, WaitsForBlock) && !is(i, Done)) return false;
  }
  return release(0, count, WaitsForBlock);
}

bool release_warp(int from) {
  int to = std::min(from + WARP, count);
  unsigned awaited = 0;
  for (int i = from; i < to; ++i) {
    if (is(i, WaitsForWarp)) awaited |= fibers[i].mask;
  }
  for (int i = from; i < to; ++i) {
    bool arrived = is(i, WaitsForWarp) || is(i, Done);
    if ((awaited >> (i - from) & 1) && !arrived) return false;
  }
  return release(from, to, WaitsForWarp);
}

bool release_any() {
  if (release_block()) return true;
  bool any = false;
  for (int warp = 0; warp < count; warp += WARP) any = release_warp(warp) || any;
  return any;
}

bool all_done() {
  auto is_done = [](const Fiber &fiber) { return fiber.state == Done; };
  return std::all_of(fibers, fibers + count, is_done);
}

}  // namespace

const PretendedCalls waits = {wait_for_block, wait_for_warp};

PretendedIndex index_of(unsigned thread, const PretendedIndex &dim) {
  return {thread % dim.x, thread / dim.x % dim.y, thread / (dim.x * dim.y)};
}

void run_threads(const PretendedLaunch &launch, const PretendedContext &context, int threads) {
  launched = &launch;
  count = threads;
  for (int i = 0; i < count; ++i) {
    start(fibers[i].place, i);
    fibers[i].state = Ready;
    fibers[i].mask = 0;
  }
  while (!all_done()) {
    bool moved = take_turns(context);
    moved = release_any() || moved;
    if (moved) continue;
    fprintf(stderr, "pretended GPU: the threads of a block wait for each other for ever\n");
    abort();
  }
  count = 0;
}

}  // namespace pretended
