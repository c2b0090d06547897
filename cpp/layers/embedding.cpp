// Embedding: y = weight[token], a vector for each of V tokens (Bengio et al. 2003, "A neural
// probabilistic language model"); of several columns of tokens it is the sum of their vectors.
//
// The padding token's vector never learns. A single column reads it like any other, several leave
// it out, as PyTorch's Embedding and EmbeddingBag do. Whoever makes the samples checks that tokens
// lie in [0, V).
#include <algorithm>
#include <cstring>

#include "layer.h"

namespace headgate {
namespace {

class Embedding final : public Layer {
 public:
  Embedding(int64_t vocabulary, int64_t size, int64_t columns, int64_t padding_index,
            bool trainable)
      : Layer(columns, size),
        vocabulary_(vocabulary),
        padding_index_(padding_index),
        trainable_(trainable) {}

  int64_t vocabulary() const override { return vocabulary_; }

  std::optional<TokenTable> table() const override {
    if (shared_ || !trainable_) return std::nullopt;
    return TokenTable{weight_, vocabulary_, outputs_, padding_index_, inputs_};
  }
  std::optional<SharedTable> share_table() override {
    shared_ = true;
    return SharedTable{weight_, padding_index_, trainable_};
  }

  int64_t describe(int64_t offset, std::vector<Segment>* segments) override {
    weight_ = offset;
    segments->push_back(
        {"weight", weight_, {vocabulary_, outputs_}, true, trainable_, padding_index_});
    return weight_ + vocabulary_ * outputs_;
  }

  void forward(const Pass& pass, const Io& io) override {
    const int64_t width = padded(pass.k, outputs_);
    const float* weight = pass.parameters + weight_;
    if (inputs_ > 1) return sum_columns(io, weight, width);
    for (int64_t row = 0; row < io.count; ++row) {
      float* y = io.y + row * width;
      std::memcpy(y, weight + io.tokens[row * io.token_row] * outputs_, bytes(outputs_));
      std::fill(y + outputs_, y + width, 0.0f);
    }
  }

  // Threads split the columns, never the rows: the sums are in order of the rows.
  void backward(const Pass& pass, const Io& io) override {
    if (!trainable_) return;  // the gradient is zero from the beginning
    const int64_t width = padded(pass.k, outputs_);
    float* gradient = pass.gradients + weight_;
    if (!shared_ && !pass.clear_tables) std::memset(gradient, 0, bytes(vocabulary_ * outputs_));
    const double work = static_cast<double>(io.count * inputs_ * outputs_) / 2.0;
    parallel_for(outputs_, kAlignment, work, [&](int64_t begin, int64_t end) {
      for (int64_t row = 0; row < io.count; ++row) {
        const float* dy = io.dy + row * width;
        for (int64_t column = 0; column < inputs_; ++column) {
          const int64_t token = io.tokens[row * io.token_row + column];
          if (token == padding_index_) continue;
          float* g = gradient + token * outputs_;
          for (int64_t j = begin; j < end; ++j) g[j] += dy[j];
        }
      }
    });
  }

 private:
  void sum_columns(const Io& io, const float* weight, int64_t width) const {
    const double work = static_cast<double>(io.count * inputs_ * outputs_) / 2.0;
    parallel_for(io.count, 1, work, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        float* y = io.y + row * width;
        std::fill(y, y + width, 0.0f);
        for (int64_t column = 0; column < inputs_; ++column) {
          const int64_t token = io.tokens[row * io.token_row + column];
          if (token == padding_index_) continue;
          const float* vector = weight + token * outputs_;
          for (int64_t j = 0; j < outputs_; ++j) y[j] += vector[j];
        }
      }
    });
  }

  int64_t vocabulary_, padding_index_, weight_ = 0;
  bool trainable_, shared_ = false;
};

}  // namespace

std::unique_ptr<Layer> make_embedding(int64_t vocabulary, int64_t size, int64_t columns,
                                      int64_t padding_index, bool trainable) {
  return std::make_unique<Embedding>(vocabulary, size, columns, padding_index, trainable);
}

}  // namespace headgate
