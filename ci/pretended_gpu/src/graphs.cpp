// Captures and the graphs they make.
#include "runtime.h"
#include <cstdio>

namespace pretended {

namespace {

using Handle = std::shared_ptr<Graph>;  // what cudaGraph_t and cudaGraphExec_t point to

const char *kind_name(Kind kind) {
  switch (kind) {
    case Kind::Kernel:
    case Kind::Collective:
      return "kernel";
    case Kind::Product:
      return "product";
    case Kind::Memcpy:
      return "memcpy";
    case Kind::Memset:
      return "memset";
    case Kind::Host:
      return "host";
    case Kind::Wait:
      return "wait";
  }
  return "unknown";
}

// Each stream that joined must have been waited for after the last of its work.
bool all_joined(const Capture &capture) {
  for (const auto &[stream, member] : capture.members) {
    if (stream != capture.origin && member.joined < member.captured) return false;
  }
  return true;
}

void end(const std::shared_ptr<Capture> &capture) {
  capture->ended = true;
  for (Stream *stream : streams()) {
    if (stream->capture == capture) stream->capture.reset();
  }
}

int end_capture(Stream *stream, Handle *graph) {
  std::shared_ptr<Capture> capture = stream->capture;
  if (!capture) return IllegalState;
  if (capture->origin != stream) {
    capture->invalid = true;
    return StreamCaptureUnmatched;
  }
  bool here = capture->thread == std::this_thread::get_id();
  if (capture->mode != cudaStreamCaptureModeRelaxed && !here) return StreamCaptureWrongThread;
  end(capture);
  if (capture->invalid) return StreamCaptureInvalidated;
  if (!all_joined(*capture)) return StreamCaptureUnjoined;
  *graph = capture->graph;
  return Success;
}

// Whether the legacy stream would wait for a stream that is being captured.
bool waits_for_a_capture(const Stream *legacy) {
  for (const Stream *other : streams()) {
    if (other->blocking() && other->capture && other->device == legacy->device) return true;
  }
  return false;
}

// A node's label is a string of the DOT language.
std::string quoted(const std::string &text) {
  std::string out = "\"";
  for (char letter : text) {
    if (letter == '"' || letter == '\\') out += '\\';
    out += letter;
  }
  return out + "\"";
}

void print_dot(FILE *file, const Graph &graph) {
  fprintf(file, "digraph graph_1 {\n");
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node &node = graph.nodes[i];
    std::string label = kind_name(node.kind);
    if (node.name != label) label += " " + node.name;
    fprintf(file, "  \"graph_1_node_%zu\"[label=%s];\n", i, quoted(label).c_str());
  }
  fprintf(file, "}\n");
}

}  // namespace

}  // namespace pretended

using namespace pretended;

CUDA_API cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  Guard guard(lock);
  Stream *stream = stream_of(handle);
  if (!is_stream(stream)) return answer(InvalidResourceHandle);
  if (stream->legacy) return answer(StreamCaptureUnsupported);
  if (stream->capture) return answer(IllegalState);
  stream->capture = std::make_shared<Capture>();
  stream->capture->mode = mode;
  stream->capture->origin = stream;
  note("a capture begins");
  return cudaSuccess;
}

CUDA_API cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t *out) {
  Guard guard(lock);
  *out = nullptr;
  Stream *stream = stream_of(handle);
  if (!is_stream(stream)) return answer(InvalidResourceHandle);
  Handle graph;
  if (int status = end_capture(stream, &graph)) return answer(status);
  note("a capture ends with %zu nodes", graph->nodes.size());
  *out = reinterpret_cast<cudaGraph_t>(new Handle(graph));
  return cudaSuccess;
}

CUDA_API cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus *status) {
  Guard guard(lock);
  Stream *stream = stream_of(handle);
  if (!is_stream(stream)) return answer(InvalidResourceHandle);
  if (stream->legacy && waits_for_a_capture(stream)) return answer(StreamCaptureImplicit);
  if (!stream->capture) {
    *status = cudaStreamCaptureStatusNone;
  } else if (stream->capture->invalid) {
    *status = cudaStreamCaptureStatusInvalidated;
  } else {
    *status = cudaStreamCaptureStatusActive;
  }
  return cudaSuccess;
}

CUDA_API cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph,
                                          unsigned long long) {
  Guard guard(lock);
  if (!graph) return answer(InvalidValue);
  *out = reinterpret_cast<cudaGraphExec_t>(new Handle(*reinterpret_cast<Handle *>(graph)));
  return cudaSuccess;
}

CUDA_API cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  Guard guard(lock);
  delete reinterpret_cast<Handle *>(graph);
  return cudaSuccess;
}

CUDA_API cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
  Guard guard(lock);
  delete reinterpret_cast<Handle *>(graph);
  return cudaSuccess;
}

CUDA_API cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { return cudaSuccess; }

CUDA_API cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  Guard guard(lock);
  if (!executable) return answer(InvalidValue);
  Handle graph = *reinterpret_cast<Handle *>(executable);
  note("a graph of %zu nodes is launched", graph->nodes.size());
  for (const Node &node : graph->nodes) {
    if (int status = submit(stream, node)) return answer(status);
  }
  return cudaSuccess;
}

CUDA_API cudaError_t cudaGraphDebugDotPrint(cudaGraph_t graph, const char *path, unsigned) {
  Guard guard(lock);
  FILE *file = fopen(path, "w");
  if (!file) return answer(InvalidValue);
  print_dot(file, **reinterpret_cast<Handle *>(graph));
  fclose(file);
  return cudaSuccess;
}
