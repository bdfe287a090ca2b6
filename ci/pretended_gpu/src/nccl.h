// What the two files of NCCL's interface share: ranks, which may be threads or processes.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace pretended {

// The values of ncclResult_t.
enum NcclResult {
  NcclSuccess = 0,
  NcclUnhandledCudaError = 1,
  NcclSystemError = 2,
  NcclInvalidArgument = 4,
  NcclInvalidUsage = 5,
};

const int MOST_RANKS = 64;

struct UniqueId {
  char name[128];  // of the file that the ranks share
};

// What is known of a rank, in memory that all ranks share.
struct Seat {
  std::atomic<int> device;         // plus 1; 0: it has not come yet
  std::atomic<int> is_seated;      // it has opened the files of the others
  std::atomic<int64_t> operation;  // which it takes part in: how many numbers, and so on, as one
  std::atomic<uint64_t> given;     // how many operations it has given its numbers for
  std::atomic<uint64_t> taken;     // how many it has the result of
};

NcclResult make_table(UniqueId *id);

// One rank's place among all.
class Table {
public:
  static NcclResult join(const UniqueId &id, int ranks, int rank, int device,
                         std::shared_ptr<Table> *out);
  ~Table();
  Table(const Table &) = delete;
  Table &operator=(const Table &) = delete;

  const int ranks, rank, device;

  // Gives this rank's numbers once all have taken the last; true when all have given theirs.
  bool give(int64_t operation, const void *numbers, size_t bytes);
  std::vector<char> given_by(int other, size_t bytes) const;
  void taken();

private:
  Table(int ranks, int rank, int device) : ranks(ranks), rank(rank), device(device) {}
  bool open(const std::string &name);
  bool open_others(const std::string &name);
  void wait_for_all(std::atomic<int> Seat::*sign) const;
  bool all(std::atomic<uint64_t> Seat::*counter, uint64_t least) const;
  bool is_alone_on_its_device() const;

  Seat *seats = nullptr;
  std::vector<int> files;  // what each rank gives
  uint64_t count = 0;      // of operations that are over
  bool has_given = false;
};

}  // namespace pretended
