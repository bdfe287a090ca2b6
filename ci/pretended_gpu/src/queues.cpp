// The queues of streams: when their work runs, and what happens while it waits for another rank.
#include "device.h"
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace pretended {

namespace {

using Clock = std::chrono::steady_clock;

const std::chrono::microseconds NAP(200);
const std::chrono::minutes PATIENCE(5);

// EMU_ASYNC: when the work of streams runs.
enum Lateness {
  AtOnce = 0,
  Late = 1,       // all work as late as can be
  EarlyLate = 2,  // that of non-blocking streams as early as can be, all other as late as can be
};

Lateness lateness() {
  static const Lateness chosen = Lateness(setting("EMU_ASYNC", AtOnce));
  return chosen;
}

// The other devices work on while this one waits, whatever their threads do.
void advance_others(int device) {
  for (Stream *stream : std::vector<Stream *>(streams())) {
    if (stream->device != device) advance(stream);
  }
}

void give_up() {
  fprintf(stderr, "pretended GPU: a rank has waited for another for five minutes\n");
  abort();
}

void push(Stream *stream, Node node) {
  stream->queue.push_back(std::move(node));
  ++stream->submitted;
}

}  // namespace

void enqueue(Stream *stream, Node node) {
  for (Stream *other : implicitly_before(stream)) {
    if (!advance(other)) push(stream, wait_for(other, other->submitted));
  }
  push(stream, std::move(node));
  bool early = lateness() == EarlyLate && !stream->legacy && !stream->blocking();
  if (early || lateness() == AtOnce) advance(stream);
}

bool advance(Stream *stream, size_t upto) {
  while (!stream->queue.empty() && stream->done < upto) {
    Node &next = stream->queue.front();
    if (next.is_ready && !next.is_ready()) return false;
    Node node = std::move(next);
    stream->queue.pop_front();
    node.run();
    ++stream->done;
  }
  return true;
}

void flush(Stream *stream, size_t upto) {
  auto start = Clock::now();
  while (!advance(stream, upto)) {
    advance_others(stream->device);
    lock.leave_for(NAP);
    if (Clock::now() - start > PATIENCE) give_up();
  }
}

void flush_device(int device) {
  for (Stream *stream : std::vector<Stream *>(streams())) {
    if (stream->device == device) flush(stream);
  }
  advance_others(device);
}

Node wait_for(Stream *stream, size_t upto) {
  return {Kind::Wait, "wait", [] {}, [=] { return advance(stream, upto); }};
}

// Who asks again and again gets there: each time one piece of work is done.
int query(Stream *stream, size_t upto) {
  if (stream->queue.empty() || stream->done >= upto) return Success;
  if (!advance(stream, stream->done + 1)) advance_others(stream->device);
  return NotReady;
}

}  // namespace pretended
