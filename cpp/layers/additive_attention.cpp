// Additive attention (Bahdanau et al. 2015; with a learned query, Yang et al. 2016):
//
//   u_t = tanh(W h_t + b),   e_t = v . u_t;   W: weight, b: bias, v: query
#include "attention.h"

namespace headgate {
namespace {

class Additive final : public Attention {
 public:
  Additive(int64_t inputs, int64_t size) : Attention(inputs), size_(size) {}

  int64_t describe(int64_t offset, std::vector<Segment>* segments) override {
    weight_ = offset;
    bias_ = weight_ + size_ * inputs_;
    query_ = bias_ + size_;
    segments->push_back({"weight", weight_, {size_, inputs_}, true});
    segments->push_back({"bias", bias_, {size_}, false});
    segments->push_back({"query", query_, {size_}, true});
    return query_ + size_;
  }

  void plan(const Kernels& k, Arena* arena, int64_t rows, int64_t sequences, Use use) override {
    Attention::plan(k, arena, rows, sequences, use);
    const int64_t row = padded(k, size_);
    arena->want(&packed_, inputs_ * row);
    arena->want(&bias_padded_, row);
    arena->want(&query_padded_, row);
    arena->want(&inner_, rows * row);
    if (!use.training) return;
    if (use.input_gradient) arena->want(&packed_back_, size_ * padded(k, inputs_));
    arena->want(&scratch_, inputs_ < k.lanes ? inputs_ * row : 0);
  }

  void pack(const Kernels& k, const float* parameters, Use use) override {
    const float* weight = parameters + weight_;
    k.pack(weight, 1, inputs_, inputs_, size_, packed_, k.lanes, inputs_ * k.lanes);
    std::memcpy(bias_padded_, parameters + bias_, bytes(size_));
    std::memcpy(query_padded_, parameters + query_, bytes(size_));
    if (use.input_gradient)
      k.pack(weight, inputs_, 1, size_, inputs_, packed_back_, k.lanes, size_ * k.lanes);
  }

 protected:
  void score(const Pass& pass, const Io& io) override {
    const int64_t row_size = padded(pass.k, size_);
    affine(pass, io.x, padded(pass.k, inputs_), io.count, inputs_, packed_, bias_padded_, inner_,
           row_size);
    pass.k.tanh(inner_, io.count * row_size);
    for_rows(pass.rows, row_cost(row_size), [&](int64_t, int64_t row) {
      weights_[row] = dot(query_padded_, inner_ + row * row_size, row_size);
    });
  }

  void score_backward(const Pass& pass, const Io& io) override {
    const Kernels& k = pass.k;
    const int64_t row_size = padded(k, size_), x_row = padded(k, inputs_);
    k.gemm({1, size_, io.count, errors_, 1, 1, inner_, row_size, k.lanes, pass.gradients + query_,
            size_, nullptr, false, false},
           0, 1);
    for_rows(pass.rows, row_cost(row_size), [&](int64_t, int64_t row) {
      float* u = inner_ + row * row_size;  // becomes the gradient of what tanh was taken of
      for (int64_t j = 0; j < row_size; ++j)
        u[j] = errors_[row] * query_padded_[j] * (1.0f - u[j] * u[j]);
    });
    weight_gradient(pass, {inner_, row_size, 1, size_, row_size, io.x, x_row, inputs_, io.count,
                           pass.gradients + weight_, scratch_});
    k.column_sums(inner_, io.count, size_, row_size, pass.gradients + bias_);
    if (io.dx)
      affine(pass, inner_, row_size, io.count, size_, packed_back_, nullptr, io.dx, x_row, true);
  }

 private:
  int64_t size_, weight_ = 0, bias_ = 0, query_ = 0;
  float *packed_ = nullptr, *bias_padded_ = nullptr, *query_padded_ = nullptr, *inner_ = nullptr,
        *packed_back_ = nullptr, *scratch_ = nullptr;
};

}  // namespace

std::unique_ptr<Layer> make_additive_attention(int64_t inputs, int64_t size) {
  return std::make_unique<Additive>(inputs, size);
}

}  // namespace headgate
