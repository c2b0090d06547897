// losses.h: mean squared, mean absolute, Huber and quantile loss over the valid targets of an
// update.
#pragma once
#include <cstdint>
#include <vector>

namespace headgate {

enum class Loss { mse, mae, huber, quantile };  // huber: delta 1, as PyTorch's default

struct LossOptions {
  Loss kind = Loss::mse;
  std::vector<double> quantiles;  // of each target, for Loss::quantile alone

  int64_t outputs_per_target() const {
    return kind == Loss::quantile ? static_cast<int64_t>(quantiles.size()) : 1;
  }
};

// Sum of the losses of y [count, width] against target [count, width / outputs per target], both in
// rows of `row` floats; output h * Q + q is quantile q of target h. With `gradient`, also
// d(mean loss)/dy there; its padding is left alone.
double loss_and_gradient(const LossOptions& loss, const float* y, const float* target,
                         int64_t count, int64_t width, int64_t row, float* gradient);

}  // namespace headgate
