// arena.h: one aligned block of floats that layers lay their workspace out in.
#pragma once
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

namespace headgate {

constexpr int64_t kAlignment = 16;  // floats: one cache line, and the widest vector

inline int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Zero-filled floats that begin on a cache line.
class AlignedFloats {
 public:
  void assign(int64_t size) {
    size_ = round_up(size, kAlignment);
    block_.reset(new float[static_cast<size_t>(size_ + kAlignment)]());
    const auto address = reinterpret_cast<uintptr_t>(block_.get());
    data_ = block_.get() + (64 - address % 64) % 64 / sizeof(float);
  }
  float* data() { return data_; }
  const float* data() const { return data_; }
  int64_t size() const { return size_; }
  void zero() {
    if (size_) std::memset(data_, 0, static_cast<size_t>(size_) * sizeof(float));
  }

 private:
  std::unique_ptr<float[]> block_;
  float* data_ = nullptr;
  int64_t size_ = 0;
};

// Layers ask for their buffers one by one; allocate() then places them all in one zeroed block.
class Arena {
 public:
  void clear() { requests_.clear(); }
  void want(float** pointer, int64_t size) {
    requests_.push_back({pointer, round_up(size, kAlignment)});
  }
  void allocate() {
    int64_t total = 0;
    for (const auto& request : requests_) total += request.size;
    block_.assign(total);
    float* at = block_.data();
    for (const auto& request : requests_) {
      *request.pointer = at;
      at += request.size;
    }
  }

 private:
  struct Request {
    float** pointer;
    int64_t size;
  };
  std::vector<Request> requests_;
  AlignedFloats block_;
};

}  // namespace headgate
