// Dropout (Srivastava et al. 2014), inverted: kept values are divided by the share that is kept.
//
// The mask is a function of (seed, update, layer, sample, time, unit) through Philox4x32-10 (Salmon
// et al. 2011), so it depends on no batch, no order and no thread.
#include <cmath>
#include <cstring>

#include "layer.h"
#include "random.h"

namespace headgate {
namespace {

class Dropout final : public Layer {
 public:
  Dropout(int64_t size, double rate, uint64_t stream)
      : Layer(size, size),
        keep_(static_cast<float>(1.0 / (1.0 - rate))),
        stream_(stream),
        threshold_(static_cast<uint32_t>(rate * 4294967296.0)) {}

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
    for (int64_t i = 0; i < size; ++i) io.dx[i] = io.dy[i] * mask_[i];
  }

 private:
  void draw(const Pass& pass, int64_t width, bool pooled) {
    const uint64_t key = mix(pass.random.seed ^ mix(pass.random.update * 0x10001 + stream_));
    const Rows& rows = pass.rows;
    const int64_t steps = pooled ? 1 : rows.steps;
    for (int64_t t = 0; t < steps; ++t) {
      const int64_t count = pooled ? rows.sequences : rows.count[t];
      const int64_t first = pooled ? 0 : rows.offset[t];
      for (int64_t i = 0; i < count; ++i) {
        float* mask = mask_ + (first + i) * width;
        const auto sample = static_cast<uint64_t>(pass.random.sample[i]);
        for (int64_t u = 0; u < inputs_; u += 4) {
          const Four bits =
              philox(key, sample, static_cast<uint64_t>(t) << 32 | static_cast<uint64_t>(u / 4));
          for (int64_t j = 0; j < 4 && u + j < inputs_; ++j)
            mask[u + j] = bits.v[j] < threshold_ ? 0.0f : keep_;
        }
      }
    }
  }

  float keep_;
  uint64_t stream_;
  uint32_t threshold_;
  float* mask_ = nullptr;
};

}  // namespace

std::unique_ptr<Layer> make_dropout(int64_t size, double rate, uint64_t stream) {
  return std::make_unique<Dropout>(size, rate, stream);
}

}  // namespace headgate
