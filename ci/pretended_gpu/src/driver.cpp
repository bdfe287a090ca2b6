// The driver: modules are shared objects for the host, and a launch runs its blocks one by one.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "device.h"
#include "fibers.h"
#include "include/launch.h"

using namespace pretended;

namespace {

const size_t MOST_ARGUMENTS = 256;
const unsigned MOST_THREADS = 1024;
const char RUBBISH = char(0xCB);
// There is one context, and nobody looks into it.
void *const THE_CONTEXT = reinterpret_cast<void *>(16);

struct Module {
  void *library;
  PretendedContext *context;
  bool is_loaded = true;
};

struct Function {
  std::string name;
  Module *module;
  PretendedAbout about;
};

struct Shape {
  PretendedIndex grid, block;
  size_t shared_bytes;
  unsigned threads() const { return block.x * block.y * block.z; }
  bool is_valid() const { return grid.x && grid.y && grid.z && threads() - 1 < MOST_THREADS; }
};

// A launch's arguments, which are the caller's only until it returns.
class Arguments {
 public:
  Arguments(const PretendedAbout &about, void **given) {
    for (int i = 0; i < about.arguments; ++i) {
      copies_.emplace_back(about.sizes[i] / sizeof(long double) + 1);
      memcpy(copies_.back().data(), given[i], about.sizes[i]);
    }
  }
  std::vector<void *> pointers() {
    std::vector<void *> all;
    for (auto &copy : copies_) all.push_back(copy.data());
    return all;
  }

 private:
  // Of the type that lies on the widest addresses.
  std::vector<std::vector<long double>> copies_;
};

void run_block(const Function &function, const Shape &shape, const PretendedLaunch &launch) {
  const PretendedContext &context = *function.module->context;
  if (function.about.fibers) {
    run_threads(launch, context, shape.threads());
    return;
  }
  for (unsigned i = 0; i < shape.threads(); ++i) {
    *context.thread = index_of(i, shape.block);
    launch.entry(&launch);
  }
}

void run(const Function &function, Shape shape, Arguments &arguments) {
  if (!function.module->is_loaded) {
    fprintf(stderr, "pretended GPU: %s is launched, and its module unloaded\n", function.name.c_str());
    abort();
  }
  // A kernel that is a loop over all elements does as much with one thread.
  if (function.about.flat) shape.grid = shape.block = {1, 1, 1};
  std::vector<char> shared(shape.shared_bytes + 64, RUBBISH);
  const PretendedContext &context = *function.module->context;
  *context.dynamic_shared = shared.data();
  *context.grid_dim = shape.grid;
  *context.block_dim = shape.block;
  std::vector<void *> pointers = arguments.pointers();
  PretendedLaunch launch{function.about.entry, pointers.data()};
  unsigned blocks = shape.grid.x * shape.grid.y * shape.grid.z;
  for (unsigned i = 0; i < blocks; ++i) {
    *context.block = index_of(i, shape.grid);
    run_block(function, shape, launch);
  }
}

const char *name_of(int error) {
  switch (error) {
    case Success: return "CUDA_SUCCESS";
    case InvalidValue: return "CUDA_ERROR_INVALID_VALUE";
    case NoBinaryForGpu: return "CUDA_ERROR_NO_BINARY_FOR_GPU";
    case InvalidResourceHandle: return "CUDA_ERROR_INVALID_HANDLE";
    case SymbolNotFound: return "CUDA_ERROR_NOT_FOUND";
    case NotSupported: return "CUDA_ERROR_NOT_SUPPORTED";
    case StreamCaptureInvalidated: return "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED";
    case StreamCaptureImplicit: return "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT";
  }
  return "CUDA_ERROR_UNKNOWN";
}

// The section headers, which the linker writes last, tell where a shared object ends.
size_t elf_size(const char *image) {
  unsigned long long headers;
  unsigned short size, count;
  memcpy(&headers, image + 0x28, sizeof headers);
  memcpy(&size, image + 0x3A, sizeof size);
  memcpy(&count, image + 0x3C, sizeof count);
  return headers + size_t(size) * count;
}

}  // namespace

CUDA_API int cudaGetDevice(int *device);
CUDA_API const char *cudaGetErrorString(int error);

CUDA_API int cuGetErrorName(int error, const char **name) {
  *name = name_of(error);
  return Success;
}

CUDA_API int cuGetErrorString(int error, const char **text) {
  *text = cudaGetErrorString(error);
  return Success;
}

CUDA_API int cuInit(unsigned) { return Success; }

CUDA_API int cuDriverGetVersion(int *version) {
  *version = 13000;
  return Success;
}

CUDA_API int cuDevicePrimaryCtxRelease_v2(int) { return Success; }

CUDA_API int cuCtxGetCurrent(void **context) {
  *context = THE_CONTEXT;
  return Success;
}

CUDA_API int cuCtxSetCurrent(void *) { return Success; }

CUDA_API int cuCtxCreate_v2(void **context, unsigned, int) { return cuCtxGetCurrent(context); }

CUDA_API int cuCtxDestroy_v2(void *) { return Success; }

CUDA_API int cuCtxGetDevice(int *device) { return cudaGetDevice(device); }

CUDA_API int cuStreamGetCtx(void *, void **context) { return cuCtxGetCurrent(context); }

CUDA_API int cuLinkCreate_v2() { return NotSupported; }

CUDA_API int cuLinkAddData_v2() { return NotSupported; }

CUDA_API int cuLinkAddFile_v2() { return NotSupported; }

CUDA_API int cuLinkComplete() { return NotSupported; }

CUDA_API int cuLinkDestroy() { return Success; }

CUDA_API int cuModuleLoad(void **module, char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    note("%s", dlerror());
    return NoBinaryForGpu;
  }
  using Bind = PretendedContext *(const PretendedCalls *);
  auto *bind = reinterpret_cast<Bind *>(dlsym(library, "pretended_bind"));
  if (!bind) return NoBinaryForGpu;
  *module = new Module{library, bind(&waits)};
  return Success;
}

CUDA_API int cuModuleLoadData(void **module, void *image) {
  auto *bytes = static_cast<char *>(image);
  if (memcmp(bytes, "\177ELF", 4) != 0) {
    note("a module of machine code for a GPU cannot be loaded");
    return NoBinaryForGpu;
  }
  // The loader takes what has a known name for what it knows, so each has a name of its own.
  char path[] = "/tmp/pretended-kernel-XXXXXX";
  int file = mkstemp(path);
  if (file < 0) return NoBinaryForGpu;
  ssize_t size = elf_size(bytes);
  bool written = write(file, bytes, size) == size;
  close(file);
  int status = written ? cuModuleLoad(module, path) : NoBinaryForGpu;
  unlink(path);
  return status;
}

// It stays in memory, so that a later launch, of a graph, can be told.
CUDA_API int cuModuleUnload(void *module) {
  Guard guard(lock);
  flush_device(current_device());
  static_cast<Module *>(module)->is_loaded = false;
  return Success;
}

CUDA_API int cuModuleGetFunction(void **function, void *handle, char *name) {
  auto *module = static_cast<Module *>(handle);
  std::string symbol = std::string("pretended_about_") + name;
  auto *about = static_cast<PretendedAbout *>(dlsym(module->library, symbol.c_str()));
  if (!about || size_t(about->arguments) > MOST_ARGUMENTS) return SymbolNotFound;
  *function = new Function{name, module, *about};
  return Success;
}

CUDA_API int cuModuleGetGlobal_v2(void **address, size_t *bytes, void *module, char *name) {
  *address = dlsym(static_cast<Module *>(module)->library, name);
  if (bytes) *bytes = 0;
  return *address ? Success : SymbolNotFound;
}

CUDA_API int cuLaunchKernel(void *handle, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                            unsigned block_x, unsigned block_y, unsigned block_z,
                            unsigned shared_bytes, void *stream, void **given, void **extra) {
  auto *function = static_cast<Function *>(handle);
  Shape shape{{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes};
  if (extra || !shape.is_valid()) return InvalidValue;
  auto arguments = std::make_shared<Arguments>(function->about, given);
  auto work = [=] { run(*function, shape, *arguments); };
  return submit(stream, Node{Kind::Kernel, function->name, work});
}

// Blocks that wait for each other would have to run beside each other.
CUDA_API int cuLaunchCooperativeKernel(void *function, unsigned grid_x, unsigned grid_y,
                                       unsigned grid_z, unsigned block_x, unsigned block_y,
                                       unsigned block_z, unsigned shared_bytes, void *stream,
                                       void **arguments) {
  if (grid_x * grid_y * grid_z != 1) return NotSupported;
  return cuLaunchKernel(function, 1, 1, 1, block_x, block_y, block_z, shared_bytes, stream,
                        arguments, nullptr);
}

CUDA_API int cuFuncGetAttribute(int *value, int attribute, void *) {
  enum { MaxThreadsPerBlock = 0, NumRegs = 4 };
  *value = attribute == MaxThreadsPerBlock ? int(MOST_THREADS) : attribute == NumRegs ? 32 : 0;
  return Success;
}

CUDA_API int cuFuncSetAttribute(void *, int, int) { return Success; }

CUDA_API int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *, int, size_t) {
  *blocks = 1;
  return Success;
}

CUDA_API int cuOccupancyMaxPotentialBlockSize(int *grid, int *block, void *, void *, size_t, int) {
  *grid = 4;
  *block = 128;
  return Success;
}
