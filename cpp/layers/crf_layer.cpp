// Crf: holds the weights of a linear-chain conditional random field (crf.h) and hands on the scores
// below it as they are. The loss works with both, and leaves the weights' gradients where they
// belong.
#include <cstring>

#include "layer.h"

namespace headgate {
namespace {

class Crf final : public Layer {
 public:
  explicit Crf(int64_t classes) : Layer(classes, classes) {}

  int64_t describe(int64_t offset, std::vector<Segment>* segments) override {
    first_ = offset;
    const int64_t c = outputs_;
    segments->push_back({"transitions", offset, {c, c}, false});
    segments->push_back({"start", offset + c * c, {c}, false});
    segments->push_back({"end", offset + c * c + c, {c}, false});
    return offset + c * c + 2 * c;
  }

  std::optional<int64_t> crf_weights() const override { return first_; }

  void forward(const Pass& pass, const Io& io) override {
    std::memcpy(io.y, io.x, bytes(io.count * padded(pass.k, outputs_)));
  }

  void backward(const Pass& pass, const Io& io) override {
    if (io.dx) std::memcpy(io.dx, io.dy, bytes(io.count * padded(pass.k, outputs_)));
  }

 private:
  int64_t first_ = 0;
};

}  // namespace

std::unique_ptr<Layer> make_crf(int64_t classes) { return std::make_unique<Crf>(classes); }

}  // namespace headgate
