// Dropout: random.h has the masks. per_sequence: one mask for all steps of a sequence (Gal and
// Ghahramani 2016), else one for every step.
#include <cstring>

#include "layer.h"

namespace headgate {
namespace {

class Dropout final : public Layer {
 public:
  Dropout(int64_t size, double rate, bool per_sequence, uint64_t stream)
      : Layer(size, size), rate_(rate), per_sequence_(per_sequence), stream_(stream) {}

  void plan(const Kernels& k, Arena* arena, int64_t rows, int64_t, Use use) override {
    if (use.training) arena->want(&mask_, rows * padded(k, inputs_));
  }

  void forward(const Pass& pass, const Io& io) override {
    const int64_t width = padded(pass.k, inputs_), size = io.count * width;
    if (!pass.training) {
      std::memcpy(io.y, io.x, bytes(size));
      return;
    }
    draw(pass, width, io.pooled);
    for (int64_t i = 0; i < size; ++i) io.y[i] = io.x[i] * mask_[i];
  }

  void backward(const Pass& pass, const Io& io) override {
    if (!io.dx) return;
    const int64_t size = io.count * padded(pass.k, inputs_);
    if (!pass.training) {
      std::memcpy(io.dx, io.dy, bytes(size));
      return;
    }
    for (int64_t i = 0; i < size; ++i) io.dx[i] = io.dy[i] * mask_[i];
  }

 private:
  void draw(const Pass& pass, int64_t width, bool pooled) {
    const DropoutMask mask(pass.random, rate_, stream_);
    const Rows& rows = pass.rows;
    const int64_t steps = pooled ? 1 : rows.steps;
    for (int64_t t = 0; t < steps; ++t) {
      const int64_t count = pooled ? rows.sequences : rows.count[t];
      float* to = mask_ + (pooled ? 0 : rows.offset[t]) * width;
      if (t > 0 && per_sequence_)
        std::memcpy(to, mask_, bytes(count * width));
      else
        for (int64_t i = 0; i < count; ++i)
          mask.draw(pass.random.sample[i], t, inputs_, to + i * width);
    }
  }

  double rate_;
  bool per_sequence_;
  uint64_t stream_;
  float* mask_ = nullptr;
};

}  // namespace

std::unique_ptr<Layer> make_dropout(int64_t size, double rate, bool per_sequence, uint64_t stream) {
  return std::make_unique<Dropout>(size, rate, per_sequence, stream);
}

}  // namespace headgate
