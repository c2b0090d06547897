// arena.h: one aligned block of floats that layers lay their workspace out in.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace headgate {

constexpr int64_t kAlignment = 16;  // floats: one cache line, and the widest vector

inline int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// The system refused memory; says how much was asked for and what to do.
class NoMemory : public std::bad_alloc {
 public:
  explicit NoMemory(double floats) {
    std::snprintf(text_, sizeof text_,
                  "the engine needs %.3g GiB at once, which this machine does not give; use a "
                  "smaller batch_size, shorter sequences or a smaller network",
                  floats * sizeof(float) / (1 << 30));
  }
  const char* what() const noexcept override { return text_; }

 private:
  char text_[160];
};

inline size_t bytes(int64_t floats) { return static_cast<size_t>(floats) * sizeof(float); }

constexpr int64_t kMostFloats = int64_t{1} << 60;  // far above any memory, far below overflow

// Zero-filled floats that begin on a cache line.
class AlignedFloats {
 public:
  // Throws NoMemory, and is then as it was.
  void assign(int64_t size) {
    const int64_t rounded = round_up(size, kAlignment);
    // Pages that nobody touches take no memory.
    auto* block = static_cast<float*>(std::calloc(static_cast<size_t>(rounded + kAlignment), 4));
    if (!block) throw NoMemory(static_cast<double>(size));
    block_.reset(block);
    size_ = rounded;
    const auto address = reinterpret_cast<uintptr_t>(block_.get());
    data_ = block_.get() + (64 - address % 64) % 64 / sizeof(float);
  }
  float* data() { return data_; }
  const float* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  struct Free {
    void operator()(float* block) const { std::free(block); }
  };
  std::unique_ptr<float, Free> block_;
  float* data_ = nullptr;
  int64_t size_ = 0;
};

// Layers ask for their buffers one by one; allocate() then places them all in one zeroed block. The
// address sanitizer, to which that is one buffer, is shown where each ends.
class Arena {
 public:
  void clear() {
    requests_.clear();
    total_ = 0;
  }
  void want(float** pointer, int64_t size) {
    requests_.push_back({pointer, round_up(size, kAlignment)});
    total_ += requests_.back().size + kGap;
    if (total_ > kMostFloats) throw NoMemory(static_cast<double>(total_));
  }
  int64_t size() const { return block_.size(); }  // floats
  // Throws NoMemory, and then every pointer is as it was.
  void allocate() {
    block_.assign(total_);
    float* at = block_.data();
    for (const auto& request : requests_) {
      *request.pointer = at;
      at += request.size;
#if defined(__SANITIZE_ADDRESS__)
      __asan_poison_memory_region(at, bytes(kGap));
#endif
      at += kGap;
    }
  }

 private:
#if defined(__SANITIZE_ADDRESS__)
  static constexpr int64_t kGap = kAlignment;
#else
  static constexpr int64_t kGap = 0;
#endif

  struct Request {
    float** pointer;
    int64_t size;
  };
  std::vector<Request> requests_;
  int64_t total_ = 0;
  AlignedFloats block_;
};

}  // namespace headgate
