// Devices: how many there are, what they are like, which one is current; errors; settings.
#include "runtime.h"
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <utility>

namespace pretended {

Lock lock;

namespace {

const int CUDA_13 = 13000;
const int MULTIPROCESSORS = 4;
const int SHARED_MEMORY_PER_BLOCK = 48 << 10;
const int SHARED_MEMORY_PER_MULTIPROCESSOR = 227 << 10;
const size_t LIMIT = size_t(1) << 20;

thread_local int device = 0;
thread_local int last_error = Success;

std::set<std::pair<int, int>> &peers() {
  static auto *all = new std::set<std::pair<int, int>>;
  return *all;
}

struct ErrorText {
  int status;
  const char *name;
  const char *text;
};

const ErrorText errors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorNoKernelImageForDevice, "cudaErrorNoKernelImageForDevice",
     "no kernel image is available for execution on the device"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorIllegalState, "cudaErrorIllegalState",
     "the operation cannot be performed in the present state"},
    {cudaErrorSymbolNotFound, "cudaErrorSymbolNotFound", "named symbol not found"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorPeerAccessAlreadyEnabled, "cudaErrorPeerAccessAlreadyEnabled",
     "peer access is already enabled"},
    {cudaErrorPeerAccessNotEnabled, "cudaErrorPeerAccessNotEnabled",
     "peer access has not been enabled"},
    {cudaErrorHostMemoryAlreadyRegistered, "cudaErrorHostMemoryAlreadyRegistered",
     "part or all of the requested memory range is already mapped"},
    {cudaErrorHostMemoryNotRegistered, "cudaErrorHostMemoryNotRegistered",
     "pointer does not correspond to a registered memory region"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureMerge, "cudaErrorStreamCaptureMerge",
     "operation would result in a merge of separate capture sequences"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched",
     "capture was not ended in the same stream as it began"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined",
     "capturing stream has unjoined work"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
     "dependency created on uncaptured work in another stream"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
     "operation not permitted on an event last recorded in a capturing stream"},
    {cudaErrorStreamCaptureWrongThread, "cudaErrorStreamCaptureWrongThread",
     "attempt to terminate a thread-local capture sequence from another thread"},
};

const ErrorText &error_text(int status) {
  static const ErrorText unknown = {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"};
  for (const ErrorText &error : errors) {
    if (error.status == status) return error;
  }
  return unknown;
}

int attribute(int which) {
  switch (which) {
    case cudaDevAttrComputeCapabilityMajor:
      return 9;
    case cudaDevAttrMaxThreadsPerBlock:
    case cudaDevAttrMaxBlockDimX:
    case cudaDevAttrMaxBlockDimY:
      return 1024;
    case cudaDevAttrMaxBlockDimZ:
      return 64;
    case cudaDevAttrMaxGridDimX:
      return 2147483647;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ:
      return 65535;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      return SHARED_MEMORY_PER_BLOCK;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      return SHARED_MEMORY_PER_MULTIPROCESSOR;
    case cudaDevAttrWarpSize:
      return 32;
    case cudaDevAttrMultiProcessorCount:
      return MULTIPROCESSORS;
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrManagedMemory:
    case cudaDevAttrConcurrentManagedAccess:
    case cudaDevAttrMemoryPoolsSupported:
      return 1;
  }
  return 0;
}

void fill_sizes(cudaDeviceProp *properties) {
  properties->warpSize = 32;
  properties->multiProcessorCount = MULTIPROCESSORS;
  properties->maxThreadsPerBlock = 1024;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->regsPerBlock = 65536;
  properties->maxThreadsDim[0] = 1024;
  properties->maxThreadsDim[1] = 1024;
  properties->maxThreadsDim[2] = 64;
  properties->maxGridSize[0] = 2147483647;
  properties->maxGridSize[1] = 65535;
  properties->maxGridSize[2] = 65535;
  properties->totalGlobalMem = memory_bytes();
  properties->totalConstMem = 65536;
  properties->sharedMemPerBlock = SHARED_MEMORY_PER_BLOCK;
  properties->sharedMemPerMultiprocessor = SHARED_MEMORY_PER_MULTIPROCESSOR;
}

}  // namespace

int setting(const char *name, int otherwise) {
  const char *value = getenv(name);
  return value && *value ? atoi(value) : otherwise;
}

void note(const char *format, ...) {
  static const bool wanted = setting("EMU_LOG", 0) != 0;
  if (!wanted) return;
  va_list arguments;
  va_start(arguments, format);
  fputs("pretended: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
}

int told(int status) {
  // "Not ready" is an answer, not an error to remember.
  if (status != Success && status != NotReady) last_error = status;
  return status;
}

int current_device() { return device; }

int device_count() {
  static const int count = std::max(setting("EMU_DEVICES", 1), 0);
  return count;
}

bool is_device(int which) { return which >= 0 && which < device_count(); }

size_t memory_bytes() {
  static const size_t bytes = size_t(setting("EMU_MEMORY_MB", 8192)) << 20;
  return bytes;
}

}  // namespace pretended

using namespace pretended;

// Errors
CUDA_API cudaError_t cudaPeekAtLastError() { return static_cast<cudaError_t>(last_error); }

CUDA_API cudaError_t cudaGetLastError() {
  int status = last_error;
  last_error = Success;
  return static_cast<cudaError_t>(status);
}

CUDA_API const char *cudaGetErrorName(cudaError_t error) { return error_text(error).name; }

CUDA_API const char *cudaGetErrorString(cudaError_t error) { return error_text(error).text; }

// Versions
CUDA_API cudaError_t cudaDriverGetVersion(int *version) {
  *version = CUDA_13;
  return cudaSuccess;
}

CUDA_API cudaError_t cudaRuntimeGetVersion(int *version) {
  *version = CUDA_13;
  return cudaSuccess;
}

// Devices
CUDA_API cudaError_t cudaGetDeviceCount(int *count) {
  *count = device_count();
  return answer(*count > 0 ? Success : NoDevice);
}

CUDA_API cudaError_t cudaGetDevice(int *which) {
  *which = device;
  return answer(device_count() > 0 ? Success : NoDevice);
}

CUDA_API cudaError_t cudaSetDevice(int which) {
  if (!is_device(which)) return answer(InvalidDevice);
  device = which;
  return cudaSuccess;
}

CUDA_API cudaError_t cudaDeviceSynchronize() { return answer(synchronize_all()); }

CUDA_API cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr which, int of) {
  if (!is_device(of)) return answer(InvalidDevice);
  *value = attribute(which);
  return cudaSuccess;
}

CUDA_API cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int of) {
  if (!is_device(of)) return answer(InvalidDevice);
  memset(properties, 0, sizeof *properties);
  snprintf(properties->name, sizeof properties->name, "Pretended GPU (on a CPU) %d", of);
  fill_sizes(properties);
  properties->major = attribute(cudaDevAttrComputeCapabilityMajor);
  properties->minor = attribute(cudaDevAttrComputeCapabilityMinor);
  properties->pciBusID = of;
  properties->unifiedAddressing = 1;
  properties->managedMemory = 1;
  properties->concurrentKernels = 1;
  properties->asyncEngineCount = 1;
  properties->canMapHostMemory = 1;
  return cudaSuccess;
}

CUDA_API cudaError_t cudaDeviceGetPCIBusId(char *id, int length, int of) {
  if (!is_device(of)) return answer(InvalidDevice);
  snprintf(id, length, "0000:%02x:00.0", unsigned(of));
  return cudaSuccess;
}

CUDA_API cudaError_t cudaDeviceGetByPCIBusId(int *which, const char *id) {
  unsigned domain = 0;
  unsigned bus = 0;
  if (sscanf(id, "%x:%x", &domain, &bus) != 2) return answer(InvalidValue);
  if (!is_device(int(bus))) return answer(InvalidDevice);
  *which = int(bus);
  return cudaSuccess;
}

CUDA_API cudaError_t cudaDeviceGetLimit(size_t *value, cudaLimit) {
  *value = LIMIT;
  return cudaSuccess;
}

CUDA_API cudaError_t cudaDeviceSetLimit(cudaLimit, size_t) { return cudaSuccess; }

// Peer access: asked for and counted, though all memory can be reached without it.
CUDA_API cudaError_t cudaDeviceCanAccessPeer(int *can, int of, int peer) {
  if (!is_device(of) || !is_device(peer)) return answer(InvalidDevice);
  *can = of != peer;
  return cudaSuccess;
}

CUDA_API cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned) {
  Guard guard(lock);
  if (!is_device(peer) || peer == device) return answer(InvalidDevice);
  bool added = peers().insert({device, peer}).second;
  return answer(added ? cudaSuccess : cudaErrorPeerAccessAlreadyEnabled);
}

CUDA_API cudaError_t cudaDeviceDisablePeerAccess(int peer) {
  Guard guard(lock);
  if (!is_device(peer)) return answer(InvalidDevice);
  bool removed = peers().erase({device, peer}) > 0;
  return answer(removed ? cudaSuccess : cudaErrorPeerAccessNotEnabled);
}

// A profiler has nothing to see.
CUDA_API cudaError_t cudaProfilerStart() { return cudaSuccess; }
CUDA_API cudaError_t cudaProfilerStop() { return cudaSuccess; }
