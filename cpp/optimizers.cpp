#include "optimizers.h"

#include <cmath>

namespace headgate {

void Optimizer::clip(const Kernels& k, float* gradients, int64_t size) const {
  if (options_.clip_value > 0) k.clamp(gradients, static_cast<float>(options_.clip_value), size);
  if (options_.clip_norm > 0) {
    const double norm = std::sqrt(k.sum_of_squares(gradients, size));
    const double factor = options_.clip_norm / (norm + 1e-6);
    if (factor < 1.0) k.scale(gradients, static_cast<float>(factor), size);
  }
}

void Optimizer::decay(const std::vector<Segment>& segments, double learning_rate, float* parameters,
                      float* gradients) const {
  const bool decoupled = options_.rule == Rule::adamw;
  const auto keep = static_cast<float>(1.0 - learning_rate * options_.weight_decay);
  const auto pull = static_cast<float>(options_.weight_decay);
  const auto shrink = [&](int64_t begin, int64_t end) {
    if (decoupled)
      for (int64_t i = begin; i < end; ++i) parameters[i] *= keep;
    else
      for (int64_t i = begin; i < end; ++i) gradients[i] += pull * parameters[i];
  };
  for (const Segment& segment : segments) {
    // Decay alone would move frozen parameters: every rule leaves those without gradient as they
    // are.
    if (!segment.decay || !segment.trainable) continue;
    const int64_t begin = segment.offset, end = begin + segment.size();
    const int64_t row = segment.size() / segment.shape[0];
    const int64_t still = segment.still_row < 0 ? end : begin + segment.still_row * row;
    shrink(begin, still);
    if (still < end) shrink(still + row, end);
  }
}

void Optimizer::step(const Kernels& k, const std::vector<Segment>& segments, double learning_rate,
                     float* parameters, float* gradients, int64_t size) {
  const bool adaptive = options_.rule == Rule::adam || options_.rule == Rule::adamw;
  if (first_.size() == 0) {
    first_.assign(size);
    if (adaptive) second_.assign(size);
  }
  clip(k, gradients, size);
  if (options_.weight_decay > 0) decay(segments, learning_rate, parameters, gradients);
  const auto rate = static_cast<float>(learning_rate);
  if (adaptive) {
    power1_ *= options_.beta1;
    power2_ *= options_.beta2;
    const AdamArgs args{rate,
                        static_cast<float>(options_.beta1),
                        static_cast<float>(options_.beta2),
                        static_cast<float>(options_.epsilon),
                        static_cast<float>(1.0 - options_.beta1),
                        static_cast<float>(1.0 - options_.beta2),
                        static_cast<float>(1.0 / (1.0 - power1_)),
                        static_cast<float>(1.0 / std::sqrt(1.0 - power2_))};
    k.adam(args, parameters, gradients, first_.data(), second_.data(), size);
  } else if (options_.rule == Rule::sgd) {
    k.sgd(rate, static_cast<float>(options_.momentum), parameters, gradients, first_.data(), size);
  } else {
    k.rmsprop(rate, static_cast<float>(options_.alpha), static_cast<float>(1.0 - options_.alpha),
              static_cast<float>(options_.epsilon), parameters, gradients, first_.data(), size);
  }
}

}  // namespace headgate
