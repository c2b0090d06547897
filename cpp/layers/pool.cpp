// Last, Mean, Max: one row for each sequence out of its valid steps.
//
//   last  y = x_T        (a bidirectional layer's reverse half: x_0, where that direction ends)
//   mean  y = (x_1 + ... + x_T) / T
//   max   y = max over t of x_t, unit by unit; the gradient goes to the first of equal maxima
#include <cstring>

#include "layer.h"

namespace headgate {
namespace {

class Pool : public Layer {
 public:
  explicit Pool(int64_t size) : Layer(size, size) {}

  bool pools() const override { return true; }
};

class Last final : public Pool {
 public:
  Last(int64_t size, int64_t split) : Pool(size), split_(split) {}

  void forward(const Pass& pass, const Io& io) override {
    read_last(pass.rows, io.x, padded(pass.k, inputs_), split_, io.y);
  }

  void backward(const Pass& pass, const Io& io) override {
    if (!io.dx) return;
    const int64_t width = padded(pass.k, inputs_);
    std::memset(io.dx, 0, bytes(pass.rows.total * width));
    for (int64_t i = 0; i < pass.rows.sequences; ++i) {
      const float* dy = io.dy + i * width;
      std::memcpy(io.dx + pass.rows.last_row(i) * width, dy, bytes(split_));
      std::memcpy(io.dx + i * width + split_, dy + split_, bytes(inputs_ - split_));
    }
  }

 private:
  int64_t split_;
};

class Mean final : public Pool {
 public:
  using Pool::Pool;

  void forward(const Pass& pass, const Io& io) override {
    const int64_t width = padded(pass.k, inputs_);
    std::memset(io.y, 0, bytes(pass.rows.sequences * width));
    for_rows(pass.rows, row_cost(width), [&](int64_t i, int64_t row) {
      const float* x = io.x + row * width;
      float* y = io.y + i * width;
      for (int64_t j = 0; j < width; ++j) y[j] += x[j];
    });
    divide(pass.rows, io.y, width);
  }

  void backward(const Pass& pass, const Io& io) override {
    if (!io.dx) return;
    const int64_t width = padded(pass.k, inputs_);
    divide(pass.rows, io.dy, width);
    for_rows(pass.rows, row_cost(width), [&](int64_t i, int64_t row) {
      std::memcpy(io.dx + row * width, io.dy + i * width, bytes(width));
    });
  }

 private:
  static void divide(const Rows& rows, float* y, int64_t width) {
    for (int64_t i = 0; i < rows.sequences; ++i)
      for (int64_t j = 0; j < width; ++j) y[i * width + j] /= static_cast<float>(rows.length[i]);
  }
};

class Max final : public Pool {
 public:
  using Pool::Pool;

  void forward(const Pass& pass, const Io& io) override {
    const int64_t width = padded(pass.k, inputs_);
    std::memcpy(io.y, io.x, bytes(pass.rows.sequences * width));
    for_rows(pass.rows, row_cost(width), [&](int64_t i, int64_t row) {
      const float* x = io.x + row * width;
      float* y = io.y + i * width;
      for (int64_t j = 0; j < width; ++j) y[j] = x[j] > y[j] || x[j] != x[j] ? x[j] : y[j];
    });
  }

  // Finds the maxima again instead of remembering them; what has been handed on is taken out of dy.
  void backward(const Pass& pass, const Io& io) override {
    if (!io.dx) return;
    const int64_t width = padded(pass.k, inputs_);
    for_rows(pass.rows, row_cost(width), [&](int64_t i, int64_t row) {
      const float* x = io.x + row * width;
      const float* y = io.y + i * width;
      float* dx = io.dx + row * width;
      float* dy = io.dy + i * width;
      for (int64_t j = 0; j < width; ++j) {
        const bool here = x[j] == y[j];
        dx[j] = here ? dy[j] : 0.0f;
        dy[j] = here ? 0.0f : dy[j];
      }
    });
  }
};

}  // namespace

void read_last(const Rows& rows, const float* x, int64_t width, int64_t split, float* y) {
  std::memcpy(y, x, bytes(rows.sequences * width));
  for (int64_t i = 0; i < rows.sequences; ++i)
    std::memcpy(y + i * width, x + rows.last_row(i) * width, bytes(split));
}

std::unique_ptr<Layer> make_last(int64_t size, int64_t split) {
  return std::make_unique<Last>(size, split);
}
std::unique_ptr<Layer> make_mean(int64_t size) { return std::make_unique<Mean>(size); }
std::unique_ptr<Layer> make_max(int64_t size) { return std::make_unique<Max>(size); }

}  // namespace headgate
