// The pretended device: work of streams, run late or at once, or noted down as the nodes of a graph.
#pragma once
#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace pretended {

// The values of cudaError_t and, where they are the same, of CUresult.
enum Status {
  Success = 0,
  InvalidValue = 1,
  OutOfMemory = 2,
  NoDevice = 100,
  InvalidDevice = 101,
  NoBinaryForGpu = 209,
  InvalidResourceHandle = 400,
  IllegalState = 401,
  SymbolNotFound = 500,
  NotReady = 600,
  NotSupported = 801,
  StreamCaptureUnsupported = 900,
  StreamCaptureInvalidated = 901,
  StreamCaptureMerge = 902,
  StreamCaptureUnmatched = 903,
  StreamCaptureUnjoined = 904,
  StreamCaptureIsolation = 905,
  StreamCaptureImplicit = 906,
  CapturedEvent = 907,
  StreamCaptureWrongThread = 908,
};

enum class Kind { Kernel, Product, Memcpy, Memset, Host, Wait, Collective };

// One piece of work of a stream, or one node of a graph.
struct Node {
  Kind kind;
  std::string name;
  std::function<void()> run;
  std::function<bool()> is_ready = nullptr;  // asked when it is its turn; null: always
};

struct Graph {
  std::vector<Node> nodes;
};

struct Stream;

// One capture: the stream it began in and those that joined it by waiting for its events.
struct Capture {
  struct Member {
    size_t captured = 0;  // nodes of this stream, and its waits for others
    size_t joined = 0;    // how many of them others have waited for
  };
  std::shared_ptr<Graph> graph = std::make_shared<Graph>();
  int mode = 0;
  bool invalid = false;
  bool ended = false;
  std::thread::id thread = std::this_thread::get_id();  // the one that began it
  Stream *origin = nullptr;
  std::map<Stream *, Member> members;
};

struct Stream {
  unsigned flags = 0;
  int priority = 0;
  int device = 0;
  bool legacy = false;
  std::deque<Node> queue;
  size_t submitted = 0;
  size_t done = 0;
  std::shared_ptr<Capture> capture;
  // "Blocking" streams synchronize with the legacy default stream.
  bool blocking() const { return !legacy && !(flags & 1); }
};

struct Event {
  Stream *stream = nullptr;
  size_t at = 0;  // the count of work in its stream that it stands for
  int device = 0;
  unsigned flags = 0;
  double milliseconds = 0;  // when it was recorded
  std::shared_ptr<Capture> capture;
};

// A recursive lock that its thread can leave to others while it waits for them.
class Lock {
public:
  void lock() {
    mutex.lock();
    ++depth;
  }
  void unlock() {
    --depth;
    mutex.unlock();
  }
  void leave_for(std::chrono::microseconds time) {
    int held = depth;
    for (int i = 0; i < held; ++i) unlock();
    std::this_thread::sleep_for(time);
    for (int i = 0; i < held; ++i) lock();
  }

private:
  std::recursive_mutex mutex;
  int depth = 0;
};

extern Lock lock;
using Guard = std::lock_guard<Lock>;

// queues.cpp: `upto` is a count of a stream's work
const size_t ALL = ~size_t(0);
void enqueue(Stream *stream, Node node);
bool advance(Stream *stream, size_t upto = ALL);  // false: it would have to wait for another rank
void flush(Stream *stream, size_t upto = ALL);    // waits for other ranks
void flush_device(int device);
Node wait_for(Stream *stream, size_t upto);
int query(Stream *stream, size_t upto);

// streams.cpp
Stream *stream_of(void *handle);  // null or 1: the legacy default stream; 2: the thread's own
std::vector<Stream *> implicitly_before(const Stream *stream);  // whose work comes before its own
int submit(void *stream, Node node);  // runs, queues or captures it
int synchronize(void *stream);
int synchronize_all();
bool is_capturing(void *stream);
bool invalidates_a_capture();  // of a call that only a relaxed capture lets pass
const std::vector<Stream *> &streams();

// devices.cpp
int current_device();
int device_count();
size_t memory_bytes();             // EMU_MEMORY_MB
int setting(const char *name, int otherwise);  // an environment variable, read once by its caller
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));  // with EMU_LOG=1, on stderr
int told(int status);              // kept for cudaGetLastError, and given back

}  // namespace pretended

#define CUDA_API extern "C" __attribute__((visibility("default")))
