// Copies and memset, checked against the blocks they read and write.
#include "runtime.h"
#include <cstring>

namespace pretended {

namespace {

// Rows of so many bytes; a plain copy has one.
struct Copy {
  char *to;
  size_t to_pitch;
  const char *from;
  size_t from_pitch;
  size_t width;
  size_t height;
  size_t to_extent() const { return (height - 1) * to_pitch + width; }
  size_t from_extent() const { return (height - 1) * from_pitch + width; }
  void run() const {
    for (size_t row = 0; row < height; ++row) {
      memmove(to + row * to_pitch, from + row * from_pitch, width);
    }
  }
};

Copy plain(void *to, const void *from, size_t size) {
  return {static_cast<char *>(to), size, static_cast<const char *>(from), size, size, 1};
}

bool is_host(const Block *block) { return !block || block->type == cudaMemoryTypeHost; }

std::string direction(const Block *to, const Block *from) {
  return std::string(is_host(from) ? "H" : "D") + "to" + (is_host(to) ? "H" : "D");
}

bool fits(const Block *block, const void *start, size_t size) {
  if (!block) return true;  // the program's own memory, of which nothing is known
  if (block->holds(start, size) && !block->freed) return true;
  note("%zu bytes at %p leave their block, or it was freed", size, start);
  return false;
}

// What the caller calls the device's memory must be known here.
bool agrees(cudaMemcpyKind kind, const Block *to, const Block *from) {
  bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  return (from || !from_device) && (to || !to_device);
}

int submit_copy(void *stream, const std::string &name, const Copy &copy) {
  return submit(stream, {Kind::Memcpy, name, [=] { copy.run(); }});
}

// Pageable memory is read before the call returns: the program may then change it.
int submit_staged(void *stream, const std::string &name, Copy copy) {
  auto staged = std::make_shared<std::vector<char>>(copy.width * copy.height);
  Copy stage = {staged->data(), copy.width, copy.from, copy.from_pitch, copy.width, copy.height};
  stage.run();
  copy.from = staged->data();
  copy.from_pitch = copy.width;
  return submit(stream, {Kind::Memcpy, name, [copy, staged] { copy.run(); }});
}

enum class Call { Blocking, Async };

int copy_memory(const Copy &copy, cudaMemcpyKind kind, void *stream, Call call) {
  Guard guard(lock);
  if (copy.width == 0 || copy.height == 0) return Success;
  if (copy.width > copy.to_pitch || copy.width > copy.from_pitch) return InvalidValue;
  const Block *from = block_at(copy.from);
  const Block *to = block_at(copy.to);
  if (!agrees(kind, to, from)) return InvalidValue;
  if (!fits(from, copy.from, copy.from_extent())) return InvalidValue;
  if (!fits(to, copy.to, copy.to_extent())) return InvalidValue;
  if (call == Call::Blocking && invalidates_a_capture()) return StreamCaptureUnsupported;

  std::string name = direction(to, from);
  // A graph reads the memory, pageable too, each time it is launched.
  if (is_capturing(stream)) return submit_copy(stream, name, copy);
  int status = from ? submit_copy(stream, name, copy) : submit_staged(stream, name, copy);
  if (status != Success) return status;
  // Between blocks of the device no call waits; into pageable memory each does.
  bool waits = call == Call::Blocking && name != "DtoD";
  return waits || !to ? synchronize(stream) : Success;
}

int fill(void *start, int value, size_t size, void *stream) {
  Guard guard(lock);
  if (size == 0) return Success;
  const Block *block = block_at(start);
  if (!block || !fits(block, start, size)) return InvalidValue;
  return submit(stream, {Kind::Memset, "memset", [=] { memset(start, value, size); }});
}

}  // namespace

}  // namespace pretended

using namespace pretended;

CUDA_API cudaError_t cudaMemcpy(void *to, const void *from, size_t size, cudaMemcpyKind kind) {
  return answer(copy_memory(plain(to, from, size), kind, nullptr, Call::Blocking));
}

CUDA_API cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size, cudaMemcpyKind kind,
                                     cudaStream_t stream) {
  return answer(copy_memory(plain(to, from, size), kind, stream, Call::Async));
}

CUDA_API cudaError_t cudaMemcpyPeer(void *to, int to_device, const void *from, int from_device,
                                    size_t size) {
  if (!is_device(to_device) || !is_device(from_device)) return answer(InvalidDevice);
  return cudaMemcpy(to, from, size, cudaMemcpyDeviceToDevice);
}

CUDA_API cudaError_t cudaMemcpyPeerAsync(void *to, int to_device, const void *from, int from_device,
                                         size_t size, cudaStream_t stream) {
  if (!is_device(to_device) || !is_device(from_device)) return answer(InvalidDevice);
  return cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToDevice, stream);
}

CUDA_API cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                                  size_t width, size_t height, cudaMemcpyKind kind) {
  Copy copy = plain(to, from, width);
  copy.to_pitch = to_pitch;
  copy.from_pitch = from_pitch;
  copy.height = height;
  return answer(copy_memory(copy, kind, nullptr, Call::Blocking));
}

CUDA_API cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from,
                                       size_t from_pitch, size_t width, size_t height,
                                       cudaMemcpyKind kind, cudaStream_t stream) {
  Copy copy = plain(to, from, width);
  copy.to_pitch = to_pitch;
  copy.from_pitch = from_pitch;
  copy.height = height;
  return answer(copy_memory(copy, kind, stream, Call::Async));
}

CUDA_API cudaError_t cudaMemset(void *start, int value, size_t size) {
  return answer(fill(start, value, size, nullptr));
}

CUDA_API cudaError_t cudaMemsetAsync(void *start, int value, size_t size, cudaStream_t stream) {
  return answer(fill(start, value, size, stream));
}
