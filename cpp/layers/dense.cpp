// Dense: y = activation(x W^T + b) on every row. W may be the table of an embedding: tied weights
// (Press and Wolf 2017, arXiv 1608.05859).
#include <algorithm>
#include <cstring>

#include "layer.h"

namespace headgate {
namespace {

constexpr double kFlopsPerNanosecond = 20.0;  // a cautious guess, to decide on threads

constexpr double kPieceWork = 2e7;  // nanoseconds between two looks at the stop flag

// parallel_for in pieces short enough that the owner can stop long work between them.
template <class F>
void stoppable_for(const Pass& pass, int64_t size, int64_t grain, double work, F&& f) {
  if (work <= kPieceWork) return parallel_for(size, grain, work, f);
  const double each = work / static_cast<double>(size);
  const int64_t piece =
      std::max<int64_t>(1, static_cast<int64_t>(kPieceWork / each) / grain) * grain;
  for (int64_t begin = 0; begin < size; begin += piece) {
    if (pass.stop && pass.stop->poll()) return;
    const int64_t count = std::min(piece, size - begin);
    parallel_for(count, grain, each * static_cast<double>(count),
                 [&](int64_t from, int64_t to) { f(begin + from, begin + to); });
  }
}

enum class Activation { linear, relu, tanh };

class Dense final : public Layer {
 public:
  Dense(int64_t inputs, int64_t outputs, Activation activation, std::optional<SharedTable> table)
      : Layer(inputs, outputs), activation_(activation), table_(table) {}

  int64_t describe(int64_t offset, std::vector<Segment>* segments) override {
    weight_ = table_ ? table_->offset : offset;
    bias_ = offset + (table_ ? 0 : outputs_ * inputs_);
    if (!table_) segments->push_back({"weight", weight_, {outputs_, inputs_}, true});
    segments->push_back({"bias", bias_, {outputs_}, false});
    return bias_ + outputs_;
  }

  void plan(const Kernels& k, Arena* arena, int64_t, int64_t, Use use) override {
    arena->want(&packed_, inputs_ * padded(k, outputs_));
    arena->want(&bias_padded_, padded(k, outputs_));
    if (!use.training) return;
    if (use.input_gradient) arena->want(&packed_back_, outputs_ * padded(k, inputs_));
    arena->want(&scratch_, inputs_ < k.lanes ? inputs_ * padded(k, outputs_) : 0);
  }

  void pack(const Kernels& k, const float* parameters, Use use) override {
    const float* weight = parameters + weight_;
    k.pack(weight, 1, inputs_, inputs_, outputs_, packed_, k.lanes, inputs_ * k.lanes);
    std::memcpy(bias_padded_, parameters + bias_, bytes(outputs_));
    if (use.input_gradient)
      k.pack(weight, inputs_, 1, outputs_, inputs_, packed_back_, k.lanes, outputs_ * k.lanes);
  }

  void forward(const Pass& pass, const Io& io) override {
    const int64_t width = padded(pass.k, outputs_);
    affine(pass, io.x, padded(pass.k, inputs_), io.count, inputs_, packed_, bias_padded_, io.y,
           width);
    if (activation_ == Activation::relu) pass.k.relu(io.y, io.count * width);
    if (activation_ == Activation::tanh) pass.k.tanh(io.y, io.count * width);
  }

  void backward(const Pass& pass, const Io& io) override {
    const Kernels& k = pass.k;
    const int64_t width = padded(k, outputs_), x_row = padded(k, inputs_);
    if (activation_ == Activation::relu) k.relu_backward(io.y, io.dy, io.count * width);
    if (activation_ == Activation::tanh) k.tanh_backward(io.y, io.dy, io.count * width);
    if (!table_ || table_->trainable)  // a frozen table's gradient is zero from the beginning
      weight_gradient(pass, {io.dy, width, 1, outputs_, width, io.x, x_row, inputs_, io.count,
                             pass.gradients + weight_, scratch_});
    if (table_ && table_->padding_index >= 0)
      std::memset(pass.gradients + weight_ + table_->padding_index * inputs_, 0, bytes(inputs_));
    k.column_sums(io.dy, io.count, outputs_, width, pass.gradients + bias_);
    if (io.dx) affine(pass, io.dy, width, io.count, outputs_, packed_back_, nullptr, io.dx, x_row);
  }

 private:
  Activation activation_;
  std::optional<SharedTable> table_;
  int64_t weight_ = 0, bias_ = 0;
  float *packed_ = nullptr, *bias_padded_ = nullptr, *packed_back_ = nullptr, *scratch_ = nullptr;
};

}  // namespace

void affine(const Pass& pass, const float* x, int64_t x_row, int64_t count, int64_t k,
            const float* packed, const float* bias, float* y, int64_t n, bool accumulate,
            int64_t y_row) {
  const GemmArgs args{count,
                      n,
                      k,
                      x,
                      x_row,
                      1,
                      packed,
                      pass.k.lanes,
                      k * pass.k.lanes,
                      y,
                      y_row ? y_row : n,
                      bias,
                      accumulate,
                      y_row == 0};
  const double work = 2.0 * static_cast<double>(count * k * n) / kFlopsPerNanosecond;
  stoppable_for(pass, count, 8 * pass.k.row_tile, work,
                [&](int64_t begin, int64_t end) { pass.k.gemm(args, begin, end); });
}

void weight_gradient(const Pass& pass, const WeightGradient& g) {
  const Kernels& k = pass.k;
  const double work =
      2.0 * static_cast<double>(g.count * g.inputs * g.blocks * g.size) / kFlopsPerNanosecond;
  if (g.inputs < k.lanes) {
    // Few inputs would leave most lanes idle: compute the transpose, lanes along the outputs.
    const int64_t n = (g.blocks - 1) * g.stride + g.size, row = g.blocks * g.stride;
    stoppable_for(pass, n, 6 * k.lanes, work, [&](int64_t begin, int64_t end) {
      k.gemm({g.inputs, end - begin, g.count, g.x, 1, g.x_row, g.dy + begin, g.dy_row, k.lanes,
              g.scratch + begin, row, nullptr, false, true},
             0, g.inputs);
    });
    for (int64_t block = 0; block < g.blocks && g.inputs == 1; ++block)
      std::memcpy(g.gradient + block * g.size, g.scratch + block * g.stride, bytes(g.size));
    for (int64_t block = 0; block < g.blocks && g.inputs > 1; ++block)
      for (int64_t j = 0; j < g.size; ++j)
        for (int64_t i = 0; i < g.inputs; ++i)
          g.gradient[(block * g.size + j) * g.inputs + i] =
              g.scratch[i * row + block * g.stride + j];
    return;
  }
  stoppable_for(pass, g.blocks * g.size, 2 * k.row_tile, work, [&](int64_t begin, int64_t end) {
    for (int64_t block = 0; block < g.blocks; ++block) {
      const GemmArgs args{g.size,   g.inputs,
                          g.count,  g.dy + block * g.stride,
                          1,        g.dy_row,
                          g.x,      g.x_row,
                          k.lanes,  g.gradient + block * g.size * g.inputs,
                          g.inputs, nullptr,
                          false,    false};
      const int64_t from = std::max(begin - block * g.size, int64_t{0});
      const int64_t to = std::min(end - block * g.size, g.size);
      if (from < to) k.gemm(args, from, to);
    }
  });
}

std::unique_ptr<Layer> make_dense(int64_t inputs, int64_t outputs, const std::string& activation,
                                  std::optional<SharedTable> table) {
  const auto kind = activation == "relu"   ? Activation::relu
                    : activation == "tanh" ? Activation::tanh
                                           : Activation::linear;
  return std::make_unique<Dense>(inputs, outputs, kind, table);
}

}  // namespace headgate
