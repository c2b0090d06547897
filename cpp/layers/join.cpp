// Concat: the columns of several inputs side by side. Add: their sum.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "layer.h"

namespace headgate {
namespace {

class Concat final : public Layer {
 public:
  explicit Concat(std::vector<int64_t> widths)
      : Layer(widths[0], std::accumulate(widths.begin(), widths.end(), int64_t{0})),
        widths_(std::move(widths)) {}

  void forward(const Pass& pass, const Io& io) override {
    const int64_t y_row = padded(pass.k, outputs_);
    float* y = io.y;
    for (size_t input = 0; input < widths_.size(); y += widths_[input++])
      copy(io.xs[input], padded(pass.k, widths_[input]), y, y_row, io.count, widths_[input]);
    zero(y, io.y + y_row, y_row, io.count);
  }

  void backward(const Pass& pass, const Io& io) override {
    const int64_t y_row = padded(pass.k, outputs_);
    const float* dy = io.dy;
    for (size_t input = 0; input < widths_.size(); dy += widths_[input++]) {
      float* dx = io.dxs[input];
      if (!dx) continue;
      const int64_t width = widths_[input], dx_row = padded(pass.k, width);
      copy(dy, y_row, dx, dx_row, io.count, width);
      zero(dx + width, dx + dx_row, dx_row, io.count);
    }
  }

 private:
  static void copy(const float* from, int64_t from_row, float* to, int64_t to_row, int64_t count,
                   int64_t width) {
    for (int64_t i = 0; i < count; ++i)
      std::memcpy(to + i * to_row, from + i * from_row, bytes(width));
  }
  // Of every row, the columns from `begin` to `end` as they lie in the first.
  static void zero(float* begin, float* end, int64_t row, int64_t count) {
    if (begin == end) return;
    for (int64_t i = 0; i < count; ++i) std::fill(begin + i * row, end + i * row, 0.0f);
  }

  std::vector<int64_t> widths_;
};

class Add final : public Layer {
 public:
  Add(int64_t size, int64_t count) : Layer(size, size), inputs_count_(count) {}

  void forward(const Pass& pass, const Io& io) override {
    const int64_t size = io.count * padded(pass.k, inputs_);
    std::memcpy(io.y, io.x, bytes(size));
    for (int64_t input = 1; input < inputs_count_; ++input)
      for (int64_t i = 0; i < size; ++i) io.y[i] += io.xs[input][i];
  }

  void backward(const Pass& pass, const Io& io) override {
    const int64_t size = io.count * padded(pass.k, inputs_);
    for (int64_t input = 0; input < inputs_count_; ++input)
      if (io.dxs[input]) std::memcpy(io.dxs[input], io.dy, bytes(size));
  }

 private:
  int64_t inputs_count_;
};

}  // namespace

std::unique_ptr<Layer> make_concat(std::vector<int64_t> widths) {
  return std::make_unique<Concat>(std::move(widths));
}
std::unique_ptr<Layer> make_add(int64_t size, int64_t count) {
  return std::make_unique<Add>(size, count);
}

}  // namespace headgate
