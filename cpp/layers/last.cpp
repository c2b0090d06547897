// Last: the output of each sequence's last valid step.
#include <cstring>

#include "layer.h"

namespace headgate {
namespace {

class Last final : public Layer {
 public:
  explicit Last(int64_t size) : Layer(size, size) {}

  bool pools() const override { return true; }

  void forward(const Pass& pass, const Io& io) override {
    const int64_t width = padded(pass.k, inputs_);
    for (int64_t i = 0; i < pass.rows.sequences; ++i)
      std::memcpy(io.y + i * width, io.x + pass.rows.last_row(i) * width, bytes(width));
  }

  void backward(const Pass& pass, const Io& io) override {
    if (!io.dx) return;
    const int64_t width = padded(pass.k, inputs_);
    std::memset(io.dx, 0, bytes(pass.rows.total * width));
    for (int64_t i = 0; i < pass.rows.sequences; ++i)
      std::memcpy(io.dx + pass.rows.last_row(i) * width, io.dy + i * width, bytes(width));
  }
};

}  // namespace

std::unique_ptr<Layer> make_last(int64_t size) { return std::make_unique<Last>(size); }

}  // namespace headgate
