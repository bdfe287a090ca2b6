// Events: a place in the work of a stream, which others can wait for.
#include "runtime.h"
#include <algorithm>
#include <chrono>

namespace pretended {

namespace {

Event *event_of(cudaEvent_t handle) { return reinterpret_cast<Event *>(handle); }

double milliseconds_now() {
  auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::milli>(now).count();
}

bool is_complete(const Event *event) { return !event->stream || event->stream->done >= event->at; }

// An event recorded in a capture has no moment at which it is complete.
int refuse_captured(const Event *event) {
  if (!event->capture) return Success;
  if (!event->capture->ended) event->capture->invalid = true;
  return CapturedEvent;
}

int record_in_capture(Event *event, Stream *stream) {
  if (stream->capture->invalid) return StreamCaptureInvalidated;
  event->capture = stream->capture;
  event->stream = stream;
  event->at = stream->capture->members[stream].captured;
  return Success;
}

int record(Event *event, Stream *stream) {
  if (stream->device != event->device) return InvalidResourceHandle;
  if (stream->capture) return record_in_capture(event, stream);
  void *handle = stream;
  int status = submit(handle, {Kind::Wait, "event", [] {}});
  if (status != Success) return status;
  event->capture.reset();
  event->stream = stream;
  event->at = stream->submitted;
  event->milliseconds = milliseconds_now();
  return Success;
}

// A stream that waits for an event of a capture joins it.
int join_capture(Stream *stream, const Event *event) {
  if (event->capture->ended) return CapturedEvent;
  if (stream->legacy) return StreamCaptureImplicit;
  if (stream->capture && stream->capture != event->capture) {
    stream->capture->invalid = true;
    event->capture->invalid = true;
    return StreamCaptureMerge;
  }
  stream->capture = event->capture;
  auto &members = stream->capture->members;
  members[event->stream].joined = std::max(members[event->stream].joined, event->at);
  ++members[stream].captured;  // the wait: so a stream that joined must be joined in its turn
  return Success;
}

int wait(Stream *stream, const Event *event) {
  if (event->capture) return join_capture(stream, event);
  if (!event->stream) return Success;
  if (stream->capture) {
    stream->capture->invalid = true;
    return StreamCaptureIsolation;
  }
  return submit(stream, wait_for(event->stream, event->at));
}

bool is_timed(const Event *event) {
  return event->stream && !event->capture && !(event->flags & cudaEventDisableTiming);
}

}  // namespace

}  // namespace pretended

using namespace pretended;

CUDA_API cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags) {
  Event *event = new Event;
  event->device = current_device();
  event->flags = flags;
  *out = reinterpret_cast<cudaEvent_t>(event);
  return cudaSuccess;
}

CUDA_API cudaError_t cudaEventCreate(cudaEvent_t *out) {
  return cudaEventCreateWithFlags(out, cudaEventDefault);
}

CUDA_API cudaError_t cudaEventDestroy(cudaEvent_t handle) {
  Guard guard(lock);
  delete event_of(handle);
  return cudaSuccess;
}

CUDA_API cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream_handle) {
  Guard guard(lock);
  Stream *stream = stream_of(stream_handle);
  if (!is_stream(stream)) return answer(InvalidResourceHandle);
  return answer(record(event_of(handle), stream));
}

CUDA_API cudaError_t cudaEventQuery(cudaEvent_t handle) {
  Guard guard(lock);
  Event *event = event_of(handle);
  if (int status = refuse_captured(event)) return answer(status);
  if (is_complete(event)) return cudaSuccess;
  return answer(query(event->stream, event->at));
}

CUDA_API cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  Guard guard(lock);
  Event *event = event_of(handle);
  if (int status = refuse_captured(event)) return answer(status);
  if (event->stream) flush(event->stream, event->at);
  return cudaSuccess;
}

CUDA_API cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
  Guard guard(lock);
  const Event *first = event_of(start);
  const Event *last = event_of(end);
  if (!is_timed(first) || !is_timed(last)) return answer(InvalidResourceHandle);
  if (!is_complete(first) || !is_complete(last)) return answer(NotReady);
  *milliseconds = float(last->milliseconds - first->milliseconds);
  return cudaSuccess;
}

CUDA_API cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  Guard guard(lock);
  Stream *stream = stream_of(handle);
  if (!is_stream(stream)) return answer(InvalidResourceHandle);
  return answer(wait(stream, event_of(event)));
}
