// NCCL's ranks: each has a seat at a table in shared memory, and a file of the numbers it gives.
#include "nccl.h"
#include "device.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <random>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace pretended {

namespace {

const std::chrono::milliseconds NAP(1);
const size_t TABLE_BYTES = MOST_RANKS * sizeof(Seat);

std::string file_of(const std::string &table, int rank) {
  return table + "." + std::to_string(rank);
}

int opened(const std::string &name, int flags) {
  return shm_open(name.c_str(), flags | O_RDWR, 0600);
}

void check(bool holds, const char *problem) {
  if (holds) return;
  fprintf(stderr, "pretended GPU: %s\n", problem);
  abort();
}

}  // namespace

NcclResult make_table(UniqueId *id) {
  std::random_device random;
  memset(id, 0, sizeof *id);
  snprintf(id->name, sizeof id->name, "/pretended-nccl-%08x%08x", random(), random());
  int file = opened(id->name, O_CREAT | O_EXCL);
  if (file < 0) return NcclSystemError;
  bool sized = ftruncate(file, TABLE_BYTES) == 0;
  close(file);
  return sized ? NcclSuccess : NcclSystemError;
}

NcclResult Table::join(const UniqueId &id, int ranks, int rank, int device,
                       std::shared_ptr<Table> *out) {
  if (ranks < 1 || ranks > MOST_RANKS || rank < 0 || rank >= ranks) return NcclInvalidArgument;
  std::string name(id.name, strnlen(id.name, sizeof id.name));
  std::shared_ptr<Table> table(new Table(ranks, rank, device));
  if (!table->open(name)) return NcclSystemError;
  table->seats[rank].device = device + 1;
  table->wait_for_all(&Seat::device);
  bool found = table->open_others(name);
  table->seats[rank].is_seated = 1;
  table->wait_for_all(&Seat::is_seated);
  // All have opened them: the names may go, and nothing stays behind after a crash.
  shm_unlink(file_of(name, rank).c_str());
  if (rank == 0) shm_unlink(name.c_str());
  if (!found) return NcclSystemError;
  if (!table->is_alone_on_its_device()) return NcclInvalidUsage;
  *out = table;
  return NcclSuccess;
}

bool Table::open(const std::string &name) {
  int own = opened(file_of(name, rank), O_CREAT | O_EXCL);
  if (own < 0) return false;
  close(own);
  int file = opened(name, 0);
  if (file < 0) return false;
  void *start = mmap(nullptr, TABLE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (start == MAP_FAILED) return false;
  seats = static_cast<Seat *>(start);
  return true;
}

bool Table::open_others(const std::string &name) {
  bool found = true;
  for (int other = 0; other < ranks; ++other) {
    files.push_back(opened(file_of(name, other), 0));
    found = found && files.back() >= 0;
  }
  return found;
}

Table::~Table() {
  for (int file : files) close(file);
  if (seats) munmap(seats, TABLE_BYTES);
}

void Table::wait_for_all(std::atomic<int> Seat::*sign) const {
  for (int other = 0; other < ranks; ++other) {
    while (!(seats[other].*sign)) std::this_thread::sleep_for(NAP);
  }
}

bool Table::all(std::atomic<uint64_t> Seat::*counter, uint64_t least) const {
  for (int other = 0; other < ranks; ++other) {
    if (seats[other].*counter < least) return false;
  }
  return true;
}

bool Table::is_alone_on_its_device() const {
  for (int other = 0; other < ranks; ++other) {
    if (other != rank && seats[other].device == device + 1) return false;
  }
  return true;
}

bool Table::give(int64_t operation, const void *numbers, size_t bytes) {
  Seat &own = seats[rank];
  if (!has_given) {
    if (!all(&Seat::taken, count)) return false;
    ssize_t written = pwrite(files[rank], numbers, bytes, 0);
    check(written == ssize_t(bytes), "shared memory has no room for what a rank gives");
    own.operation = operation;
    own.given = count + 1;
    has_given = true;
  }
  check(own.operation == operation, "a rank's operations run on two streams at once");
  if (!all(&Seat::given, count + 1)) return false;
  for (int other = 0; other < ranks; ++other) {
    check(seats[other].operation == operation, "ranks do not sum the same numbers");
  }
  return true;
}

std::vector<char> Table::given_by(int other, size_t bytes) const {
  std::vector<char> numbers(bytes);
  ssize_t read = pread(files[other], numbers.data(), bytes, 0);
  check(read == ssize_t(bytes), "a rank gives less than it should");
  return numbers;
}

void Table::taken() {
  seats[rank].taken = ++count;
  has_given = false;
}

}  // namespace pretended
