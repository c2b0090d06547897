// parallel.h: a small fork-safe thread pool, and the flag that stops long work.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>

namespace headgate {

// Threads used from now on; at least 1. Work is cut the same way for any number of them.
void set_num_threads(int count);
int get_num_threads();

// While it lives, this thread's work uses `count` threads instead; 0: no other number.
class ThreadCount {
 public:
  explicit ThreadCount(int count);
  ~ThreadCount();
  ThreadCount(const ThreadCount&) = delete;

 private:
  int before_;
};

// Calls body(context, begin, end) over [0, size), cut at multiples of `grain`, on up to
// get_num_threads() threads, this one included. Runs here alone when `work` (an estimate in
// nanoseconds) would not pay for waking others. body must not throw.
using RangeBody = void (*)(void* context, int64_t begin, int64_t end);
void parallel_ranges(int64_t size, int64_t grain, double work, RangeBody body, void* context);

// The same for a callable.
template <class F>
void parallel_for(int64_t size, int64_t grain, double work, F&& f) {
  parallel_ranges(
      size, grain, work,
      [](void* context, int64_t begin, int64_t end) {
        (*static_cast<decltype(&f)>(context))(begin, end);
      },
      &f);
}

// Asks its owner now and then whether to stop. Only the thread that owns the work polls.
class StopFlag {
 public:
  using Ask = bool (*)(void* context);
  StopFlag() = default;
  StopFlag(Ask ask, void* context) : ask_(ask), context_(context), last_(Clock::now()) {}

  // True once the owner has asked to stop; asks at most every 20 ms.
  bool poll() {
    if (stopped_ || !ask_) return stopped_;
    const auto now = Clock::now();
    if (now - last_ < std::chrono::milliseconds(20)) return false;
    last_ = now;
    return stopped_ = ask_(context_);
  }
  // What the last poll said.
  bool stopped() const { return stopped_; }

 private:
  using Clock = std::chrono::steady_clock;
  Ask ask_ = nullptr;
  void* context_ = nullptr;
  Clock::time_point last_;
  bool stopped_ = false;
};

}  // namespace headgate
