// Dot attention (Luong et al. 2015, "general"; scaled as in Vaswani et al. 2017):
//
//   q = W s / sqrt(F),   e_t = q . h_t;   s: what the read-out `last` gives, F: its width
#include "attention.h"

namespace headgate {
namespace {

class Dot final : public Attention {
 public:
  Dot(int64_t size, int64_t split) : Attention(size), split_(split) {}

  int64_t describe(int64_t offset, std::vector<Segment>* segments) override {
    weight_ = offset;
    segments->push_back({"weight", weight_, {inputs_, inputs_}, true});
    return weight_ + inputs_ * inputs_;
  }

  void plan(const Kernels& k, Arena* arena, int64_t rows, int64_t sequences, Use use) override {
    Attention::plan(k, arena, rows, sequences, use);
    const int64_t width = padded(k, inputs_);
    arena->want(&packed_, inputs_ * width);
    arena->want(&last_, sequences * width);
    arena->want(&query_, sequences * width);
    if (!use.training) return;
    arena->want(&grad_query_, sequences * width);
    if (use.input_gradient) arena->want(&packed_back_, inputs_ * width);
    arena->want(&scratch_, inputs_ < k.lanes ? inputs_ * width : 0);
  }

  void pack(const Kernels& k, const float* parameters, Use use) override {
    const float* weight = parameters + weight_;
    const int64_t strip = inputs_ * k.lanes;
    k.pack(weight, 1, inputs_, inputs_, inputs_, packed_, k.lanes, strip);
    if (use.input_gradient)
      k.pack(weight, inputs_, 1, inputs_, inputs_, packed_back_, k.lanes, strip);
  }

 protected:
  void score(const Pass& pass, const Io& io) override {
    const int64_t n = pass.rows.sequences, width = padded(pass.k, inputs_);
    read_last(pass.rows, io.x, width, split_, last_);
    affine(pass, last_, width, n, inputs_, packed_, nullptr, query_, width);
    pass.k.scale(query_, scale(), n * width);
    for_rows(pass.rows, row_cost(width), [&](int64_t i, int64_t row) {
      weights_[row] = dot(query_ + i * width, io.x + row * width, width);
    });
  }

  void score_backward(const Pass& pass, const Io& io) override {
    const Rows& rows = pass.rows;
    const int64_t n = rows.sequences, width = padded(pass.k, inputs_);
    std::memset(grad_query_, 0, bytes(n * width));
    for_rows(rows, row_cost(width), [&](int64_t i, int64_t row) {
      add_scaled(errors_[row], io.x + row * width, grad_query_ + i * width, width);
    });
    pass.k.scale(grad_query_, scale(), n * width);
    weight_gradient(pass, {grad_query_, width, 1, inputs_, width, last_, width, inputs_, n,
                           pass.gradients + weight_, scratch_});
    if (!io.dx) return;
    for_rows(rows, row_cost(width), [&](int64_t i, int64_t row) {
      add_scaled(errors_[row], query_ + i * width, io.dx + row * width, width);
    });
    affine(pass, grad_query_, width, n, inputs_, packed_back_, nullptr, last_, width);
    for (int64_t i = 0; i < n; ++i) {  // last_ is now the gradient of s
      const float* ds = last_ + i * width;
      add_scaled(1.0f, ds, io.dx + rows.last_row(i) * width, split_);
      add_scaled(1.0f, ds + split_, io.dx + i * width + split_, inputs_ - split_);
    }
  }

 private:
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(inputs_)); }

  int64_t split_, weight_ = 0;
  float *packed_ = nullptr, *packed_back_ = nullptr, *scratch_ = nullptr;
  float *last_ = nullptr, *query_ = nullptr, *grad_query_ = nullptr;  // [sequences]
};

}  // namespace

std::unique_ptr<Layer> make_dot_attention(int64_t size, int64_t split) {
  return std::make_unique<Dot>(size, split);
}

}  // namespace headgate
