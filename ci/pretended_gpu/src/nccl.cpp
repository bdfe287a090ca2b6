// NCCL: communicators of ranks, and their sums, which are work of a stream.
#include "nccl.h"
#include "runtime.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace pretended;

namespace {

const int VERSION = 22707;

struct Communicator {
  std::shared_ptr<Table> table;
};

// The values of ncclRedOp_t.
enum Reduction { Sum = 0, Product = 1, Max = 2, Min = 3 };

const char *const REDUCTIONS[] = {"Sum", "Prod", "Max", "Min"};
const char *const TYPES[] = {"i8", "u8", "i32", "u32", "i64", "u64", "f16", "f32", "f64"};

// Calls `function` with a number of a type of ncclDataType_t; false: not pretended.
template <class Function> bool dispatch(int type, Function function) {
  switch (type) {
    case 0: return function(int8_t()), true;
    case 1: return function(uint8_t()), true;
    case 2: return function(int32_t()), true;
    case 3: return function(uint32_t()), true;
    case 4: return function(int64_t()), true;
    case 5: return function(uint64_t()), true;
    case 7: return function(float()), true;
    case 8: return function(double()), true;
  }
  return false;
}

template <class T> T reduced(int op, T a, T b) {
  switch (op) {
    case Sum: return T(a + b);
    case Product: return T(a * b);
    case Max: return std::max(a, b);
    default: return std::min(a, b);
  }
}

// In the order of ranks, so that all have the same bits.
template <class T> void reduce(const Table &table, int op, size_t count, T *out) {
  std::vector<char> result = table.given_by(0, count * sizeof(T));
  T *sum = reinterpret_cast<T *>(result.data());
  for (int other = 1; other < table.ranks; ++other) {
    std::vector<char> given = table.given_by(other, count * sizeof(T));
    const T *numbers = reinterpret_cast<const T *>(given.data());
    for (size_t i = 0; i < count; ++i) sum[i] = reduced(op, sum[i], numbers[i]);
  }
  memcpy(out, sum, count * sizeof(T));
}

template <class T>
Node reduction(const std::shared_ptr<Table> &table, const void *from, void *to, size_t count,
               int type, int op) {
  std::string name = std::string("ncclDevKernel_AllReduce_") + REDUCTIONS[op] + "_" + TYPES[type];
  int64_t operation = int64_t(count) * 256 + type * 16 + op;
  auto is_ready = [=] { return table->give(operation, from, count * sizeof(T)); };
  auto run = [=] {
    reduce(*table, op, count, static_cast<T *>(to));
    table->taken();
  };
  return {Kind::Collective, name, run, is_ready};
}

bool is_on_device(const void *start, size_t bytes, int device) {
  const Block *block = block_at(start);
  if (!block || block->type == cudaMemoryTypeHost) return false;
  return block->device == device && block->holds(start, bytes);
}

// A communicator goes after the last graph that holds its work: NCCL waits for that.
void check_for_graphs(const Communicator &communicator) {
  if (communicator.table.use_count() == 1) return;
  fprintf(stderr, "pretended GPU: a communicator is destroyed, and its graphs are not\n");
  abort();
}

int refuse(const char *name) {
  note("%s: not pretended", name);
  return NcclInvalidUsage;
}

}  // namespace

CUDA_API int ncclGetVersion(int *version) {
  *version = VERSION;
  return NcclSuccess;
}

CUDA_API const char *ncclGetErrorString(int result) {
  switch (result) {
    case NcclSuccess: return "no error";
    case NcclUnhandledCudaError: return "unhandled cuda error";
    case NcclSystemError: return "unhandled system error";
    case NcclInvalidArgument: return "invalid argument";
    case NcclInvalidUsage: return "invalid usage";
  }
  return "unknown result code";
}

CUDA_API int ncclGetUniqueId(UniqueId *id) { return make_table(id); }

CUDA_API int ncclCommInitRank(Communicator **out, int ranks, UniqueId id, int rank) {
  // Without the lock, since ranks that are threads must all come.
  std::shared_ptr<Table> table;
  NcclResult result = Table::join(id, ranks, rank, current_device(), &table);
  *out = result == NcclSuccess ? new Communicator{table} : nullptr;
  return result;
}

CUDA_API int ncclCommInitRankConfig(Communicator **out, int ranks, UniqueId id, int rank, void *) {
  return ncclCommInitRank(out, ranks, id, rank);
}

CUDA_API int ncclCommDestroy(Communicator *communicator) {
  Guard guard(lock);
  flush_device(communicator->table->device);
  check_for_graphs(*communicator);
  delete communicator;
  return NcclSuccess;
}

CUDA_API int ncclCommAbort(Communicator *communicator) {
  Guard guard(lock);
  delete communicator;
  return NcclSuccess;
}

CUDA_API int ncclCommCount(const Communicator *communicator, int *ranks) {
  *ranks = communicator->table->ranks;
  return NcclSuccess;
}

CUDA_API int ncclCommUserRank(const Communicator *communicator, int *rank) {
  *rank = communicator->table->rank;
  return NcclSuccess;
}

CUDA_API int ncclCommCuDevice(const Communicator *communicator, int *device) {
  *device = communicator->table->device;
  return NcclSuccess;
}

CUDA_API int ncclCommGetAsyncError(Communicator *, int *result) {
  *result = NcclSuccess;
  return NcclSuccess;
}

CUDA_API int ncclAllReduce(const void *from, void *to, size_t count, int type, int op,
                           Communicator *communicator, void *stream) {
  Guard guard(lock);
  if (!communicator || op < Sum || op > Min) return NcclInvalidArgument;
  if (count == 0) return NcclSuccess;
  const std::shared_ptr<Table> &table = communicator->table;
  int result = NcclSuccess;
  bool known = dispatch(type, [&](auto number) {
    using T = decltype(number);
    size_t bytes = count * sizeof(T);
    if (!is_on_device(from, bytes, table->device) || !is_on_device(to, bytes, table->device)) {
      result = NcclInvalidArgument;
    } else if (stream_of(stream)->device != table->device) {
      result = NcclInvalidUsage;
    } else if (submit(stream, reduction<T>(table, from, to, count, type, op))) {
      result = NcclUnhandledCudaError;
    }
  });
  return known ? result : NcclInvalidArgument;
}

#define UNSUPPORTED(name) \
  CUDA_API int name() { return refuse(#name); }

UNSUPPORTED(ncclAllGather)
UNSUPPORTED(ncclBcast)
UNSUPPORTED(ncclBroadcast)
UNSUPPORTED(ncclCommInitAll)
UNSUPPORTED(ncclCommSplit)
UNSUPPORTED(ncclGroupEnd)
UNSUPPORTED(ncclGroupStart)
UNSUPPORTED(ncclRecv)
UNSUPPORTED(ncclReduce)
UNSUPPORTED(ncclReduceScatter)
UNSUPPORTED(ncclSend)
