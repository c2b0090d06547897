#include "losses.h"

#include <cmath>

namespace headgate {
namespace {

template <class Value, class Slope>
double over_targets(const float* y, const float* target, int64_t count, int64_t width, int64_t row,
                    float* gradient, Value value, Slope slope) {
  const float weight = 1.0f / static_cast<float>(count * width);
  double total = 0.0;
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t j = 0; j < width; ++j) {
      const float error = y[i * row + j] - target[i * row + j];
      total += static_cast<double>(value(error));
      if (gradient) gradient[i * row + j] = weight * slope(error);
    }
  }
  return total;
}

// The pinball loss, Koenker and Bassett 1978: q above the output, 1 - q below it.
double over_quantiles(const std::vector<double>& quantiles, const float* y, const float* target,
                      int64_t count, int64_t width, int64_t row, float* gradient) {
  const auto per_target = static_cast<int64_t>(quantiles.size());
  const double weight = 1.0 / static_cast<double>(count * width);
  double total = 0.0;
  for (int64_t i = 0; i < count; ++i, y += row, target += row) {
    for (int64_t j = 0; j < width; ++j) {
      const double q = quantiles[static_cast<size_t>(j % per_target)];
      const double above = static_cast<double>(target[j / per_target]) - y[j];
      total += (above > 0 ? q : q - 1.0) * above;
      const double slope = above > 0 ? -q : above < 0 ? 1.0 - q : 0.0;
      if (gradient) gradient[i * row + j] = static_cast<float>(weight * slope);
    }
  }
  return total;
}

float sign(float x) { return static_cast<float>((x > 0.0f) - (x < 0.0f)); }

}  // namespace

double loss_and_gradient(const LossOptions& loss, const float* y, const float* target,
                         int64_t count, int64_t width, int64_t row, float* gradient) {
  switch (loss.kind) {
    case Loss::mse:
      return over_targets(
          y, target, count, width, row, gradient, [](float e) { return e * e; },
          [](float e) { return 2.0f * e; });
    case Loss::mae:
      return over_targets(
          y, target, count, width, row, gradient, [](float e) { return std::fabs(e); }, sign);
    case Loss::huber:
      return over_targets(
          y, target, count, width, row, gradient,
          [](float e) {
            const float a = std::fabs(e);
            return a <= 1.0f ? 0.5f * e * e : a - 0.5f;
          },
          [](float e) { return std::fabs(e) <= 1.0f ? e : sign(e); });
    case Loss::quantile:
      return over_quantiles(loss.quantiles, y, target, count, width, row, gradient);
  }
  return 0.0;
}

}  // namespace headgate
