// attention.h: attention read-outs (Bahdanau et al. 2015; Yang et al. 2016), but for their scores.
//
//   a = softmax over the valid steps of a score e_t,   y = sum over t of a_t h_t
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>

#include "layer.h"

namespace headgate {

// Eight sums side by side: padded rows have no tail, and the order is fixed.
inline float dot(const float* a, const float* b, int64_t padded_size) {
  float sums[8] = {};
  for (int64_t j = 0; j < padded_size; j += 8)
    for (int64_t i = 0; i < 8; ++i) sums[i] += a[j + i] * b[j + i];
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

inline void add_scaled(float factor, const float* x, float* y, int64_t size) {
  for (int64_t j = 0; j < size; ++j) y[j] += factor * x[j];
}

class Attention : public Layer {
 public:
  explicit Attention(int64_t size) : Layer(size, size) {}

  bool pools() const override { return true; }

  void plan(const Kernels&, Arena* arena, int64_t rows, int64_t sequences, Use use) override {
    arena->want(&weights_, rows);
    arena->want(&peaks_, sequences);
    arena->want(&sums_, sequences);
    if (use.training) arena->want(&errors_, rows);
  }

  void forward(const Pass& pass, const Io& io) override {
    const Rows& rows = pass.rows;
    const int64_t width = padded(pass.k, inputs_);
    score(pass, io);
    // Step 0 has every sequence in place: its rows are the first of the packed ones.
    std::memcpy(peaks_, weights_, bytes(rows.sequences));
    for_rows(rows, 1.0,
             [&](int64_t i, int64_t row) { peaks_[i] = std::max(peaks_[i], weights_[row]); });
    std::memset(sums_, 0, bytes(rows.sequences));
    for_rows(rows, 10.0, [&](int64_t i, int64_t row) {
      sums_[i] += weights_[row] = std::exp(weights_[row] - peaks_[i]);
    });
    std::memset(io.y, 0, bytes(rows.sequences * width));
    for_rows(rows, row_cost(width), [&](int64_t i, int64_t row) {
      weights_[row] /= sums_[i];
      add_scaled(weights_[row], io.x + row * width, io.y + i * width, width);
    });
  }

  void backward(const Pass& pass, const Io& io) override {
    const int64_t width = padded(pass.k, inputs_);
    // Of the softmax: de_t = a_t (dy . h_t - mean), mean = sum over t of a_t dy . h_t = dy . y.
    float* mean = sums_;
    for (int64_t i = 0; i < pass.rows.sequences; ++i)
      mean[i] = dot(io.dy + i * width, io.y + i * width, width);
    for_rows(pass.rows, row_cost(width), [&](int64_t i, int64_t row) {
      errors_[row] = weights_[row] * (dot(io.dy + i * width, io.x + row * width, width) - mean[i]);
    });
    if (io.dx)
      for_rows(pass.rows, row_cost(width), [&](int64_t i, int64_t row) {
        const float* dy = io.dy + i * width;
        float* dx = io.dx + row * width;
        for (int64_t j = 0; j < width; ++j) dx[j] = weights_[row] * dy[j];
      });
    score_backward(pass, io);
  }

  View view(const Kernels&, const Rows&, int which) const override {
    return {which == 0 ? weights_ : nullptr, 1, 1};
  }

 protected:
  virtual void score(const Pass& pass, const Io& io) = 0;           // fills weights_
  virtual void score_backward(const Pass& pass, const Io& io) = 0;  // from errors_; adds to dx

  float *weights_ = nullptr, *errors_ = nullptr;  // [rows]

 private:
  float *peaks_ = nullptr, *sums_ = nullptr;  // [sequences]
};

}  // namespace headgate
