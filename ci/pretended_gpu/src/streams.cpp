// Streams: work that is queued, or becomes nodes of the graph that a capture makes.
#include "runtime.h"
#include <algorithm>
#include <map>
#include <utility>

namespace pretended {

namespace {

std::vector<Stream *> &all_streams() {
  static auto *all = new std::vector<Stream *>;
  return *all;
}

Stream *new_stream(int device) {
  Stream *stream = new Stream;
  stream->device = device;
  all_streams().push_back(stream);
  return stream;
}

Stream *legacy_stream(int device) {
  static auto *made = new std::map<int, Stream *>;
  Stream *&stream = (*made)[device];
  if (!stream) {
    stream = new_stream(device);
    stream->legacy = true;
  }
  return stream;
}

Stream *per_thread_stream(int device) {
  static thread_local std::map<int, Stream *> made;
  Stream *&stream = made[device];
  if (!stream) stream = new_stream(device);
  return stream;
}

// The streams which wait for the legacy stream of this device, and it for them.
std::vector<Stream *> blocking_streams(int device) {
  std::vector<Stream *> found;
  for (Stream *stream : all_streams()) {
    if (stream->blocking() && stream->device == device) found.push_back(stream);
  }
  return found;
}

// Work of the legacy stream would wait for a blocking stream, whose captured work never runs.
bool breaks_a_capture(const Stream *stream) {
  bool found = false;
  if (!stream->legacy) return false;
  for (Stream *other : blocking_streams(stream->device)) {
    if (!other->capture) continue;
    other->capture->invalid = true;
    found = true;
  }
  return found;
}

int capture_node(Stream *stream, Node node) {
  if (stream->capture->invalid) return StreamCaptureInvalidated;
  stream->capture->graph->nodes.push_back(std::move(node));
  ++stream->capture->members[stream].captured;
  return Success;
}

}  // namespace

const std::vector<Stream *> &streams() { return all_streams(); }

bool is_stream(const Stream *stream) {
  const auto &all = all_streams();
  return std::find(all.begin(), all.end(), stream) != all.end();
}

Stream *stream_of(void *handle) {
  Guard guard(lock);
  if (handle == nullptr || handle == cudaStreamLegacy) return legacy_stream(current_device());
  if (handle == cudaStreamPerThread) return per_thread_stream(current_device());
  return static_cast<Stream *>(handle);
}

bool is_capturing(void *handle) {
  Guard guard(lock);
  Stream *stream = stream_of(handle);
  return is_stream(stream) && stream->capture;
}

std::vector<Stream *> implicitly_before(const Stream *stream) {
  if (stream->legacy) return blocking_streams(stream->device);
  if (stream->blocking()) return {legacy_stream(stream->device)};
  return {};
}

int submit(void *handle, Node node) {
  Guard guard(lock);
  Stream *stream = stream_of(handle);
  if (!is_stream(stream)) return InvalidResourceHandle;
  // A kernel runs on the current device; its stream must be one of that device.
  if (node.kind == Kind::Kernel && stream->device != current_device()) return InvalidResourceHandle;
  if (stream->capture) return capture_node(stream, std::move(node));
  if (breaks_a_capture(stream)) return StreamCaptureImplicit;
  enqueue(stream, std::move(node));
  return Success;
}

int synchronize(void *handle) {
  Guard guard(lock);
  Stream *stream = stream_of(handle);
  if (!is_stream(stream)) return InvalidResourceHandle;
  if (stream->capture) {
    stream->capture->invalid = true;
    return StreamCaptureUnsupported;
  }
  if (breaks_a_capture(stream)) return StreamCaptureImplicit;
  if (stream->legacy) {
    for (Stream *other : implicitly_before(stream)) flush(other);
  }
  flush(stream);
  return Success;
}

int synchronize_all() {
  Guard guard(lock);
  int status = Success;
  for (Stream *stream : std::vector<Stream *>(all_streams())) {
    if (stream->device != current_device()) continue;
    if (stream->capture) {
      stream->capture->invalid = true;
      status = StreamCaptureUnsupported;
    }
    flush(stream);
  }
  return status;
}

bool invalidates_a_capture() {
  Guard guard(lock);
  bool found = false;
  for (Stream *stream : all_streams()) {
    if (!stream->capture || stream->capture->mode == cudaStreamCaptureModeRelaxed) continue;
    bool ours = stream->capture->thread == std::this_thread::get_id();
    if (stream->capture->mode == cudaStreamCaptureModeThreadLocal && !ours) continue;
    stream->capture->invalid = true;
    found = true;
  }
  return found;
}

}  // namespace pretended

using namespace pretended;

CUDA_API cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned flags, int priority) {
  Guard guard(lock);
  Stream *stream = new_stream(current_device());
  stream->flags = flags;
  stream->priority = priority;
  *out = reinterpret_cast<cudaStream_t>(stream);
  return cudaSuccess;
}

CUDA_API cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags) {
  return cudaStreamCreateWithPriority(out, flags, 0);
}

CUDA_API cudaError_t cudaStreamCreate(cudaStream_t *out) {
  return cudaStreamCreateWithPriority(out, cudaStreamDefault, 0);
}

CUDA_API cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  Guard guard(lock);
  Stream *stream = reinterpret_cast<Stream *>(handle);
  if (!is_stream(stream)) return answer(InvalidResourceHandle);
  flush(stream);
  if (stream->capture) stream->capture->invalid = true;
  // The object stays: events may still name it.
  auto &all = all_streams();
  all.erase(std::find(all.begin(), all.end(), stream));
  return cudaSuccess;
}

CUDA_API cudaError_t cudaStreamGetFlags(cudaStream_t handle, unsigned *flags) {
  Guard guard(lock);
  Stream *stream = stream_of(handle);
  if (!is_stream(stream)) return answer(InvalidResourceHandle);
  *flags = stream->flags;
  return cudaSuccess;
}

CUDA_API cudaError_t cudaStreamGetPriority(cudaStream_t handle, int *priority) {
  Guard guard(lock);
  Stream *stream = stream_of(handle);
  if (!is_stream(stream)) return answer(InvalidResourceHandle);
  *priority = stream->priority;
  return cudaSuccess;
}

CUDA_API cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  return answer(synchronize(handle));
}

CUDA_API cudaError_t cudaStreamQuery(cudaStream_t handle) {
  Guard guard(lock);
  Stream *stream = stream_of(handle);
  if (!is_stream(stream)) return answer(InvalidResourceHandle);
  if (stream->capture) {
    stream->capture->invalid = true;
    return answer(StreamCaptureUnsupported);
  }
  if (breaks_a_capture(stream)) return answer(StreamCaptureImplicit);
  return answer(query(stream, ALL));
}

CUDA_API cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void *data) {
  auto run = [=] { function(data); };
  return answer(submit(handle, {Kind::Host, "host", run}));
}

CUDA_API cudaError_t cudaStreamAddCallback(cudaStream_t handle, cudaStreamCallback_t callback,
                                           void *data, unsigned) {
  Guard guard(lock);
  if (is_capturing(handle)) {
    stream_of(handle)->capture->invalid = true;
    return answer(StreamCaptureUnsupported);
  }
  auto run = [=] { callback(handle, cudaSuccess, data); };
  return answer(submit(handle, {Kind::Host, "host", run}));
}
