// losses.h: losses over the valid targets of an update, and their gradients.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/dispatch.h"

namespace headgate {

// huber: delta 1, as PyTorch's default. The last three take logits; crf is crf.h's, of whole
// sequences.
enum class Loss { mse, mae, huber, quantile, cross_entropy, binary_cross_entropy, crf };

struct LossOptions {
  Loss kind = Loss::mse;
  std::vector<double> quantiles;  // of each target, for Loss::quantile alone
  // cross_entropy: of every class; binary_cross_entropy: of every output's positive targets; or
  // empty for ones.
  std::vector<double> class_weights;
  double label_smoothing = 0.0;    // of the two cross-entropies
  std::optional<float> ignored{};  // cross_entropy: the class number that is no target

  // How many of a row's `outputs` belong to one target.
  int64_t outputs_per_target(int64_t outputs) const {
    if (kind == Loss::cross_entropy || kind == Loss::crf) return outputs;
    return kind == Loss::quantile ? static_cast<int64_t>(quantiles.size()) : 1;
  }
};

// The mean loss is sum / weight. The weight is the number of targets or, where classes have
// weights, the sum of those of the targets; zero when no target counts.
struct LossSum {
  double sum = 0.0, weight = 0.0;

  double mean() const { return weight > 0 || weight != weight ? sum / weight : 0.0; }
  void operator+=(const LossSum& other) {
    sum += other.sum;
    weight += other.weight;
  }
};

struct LossArgs {
  const float*
      y;  // [count, width], rows of `row` floats; output h * Q + q is quantile q of target h
  const float* target;  // [count, width / outputs per target], rows of `target_row` floats
  int64_t count, width, row, target_row;
  float* gradient;  // d(mean loss)/dy, laid out as y, its padding left alone; null when not wanted
};

// Row by row: any loss but crf. The gradient is not written when no target counts.
LossSum loss_and_gradient(const Kernels& k, const LossOptions& loss, const LossArgs& args);

}  // namespace headgate
