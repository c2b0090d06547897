#include "losses.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "parallel.h"

namespace headgate {
namespace {

template <class Value, class Slope>
LossSum over_targets(const LossArgs& a, Value value, Slope slope) {
  const float weight = 1.0f / static_cast<float>(a.count * a.width);
  double total = 0.0;
  for (int64_t i = 0; i < a.count; ++i) {
    for (int64_t j = 0; j < a.width; ++j) {
      const float error = a.y[i * a.row + j] - a.target[i * a.target_row + j];
      total += static_cast<double>(value(error));
      if (a.gradient) a.gradient[i * a.row + j] = weight * slope(error);
    }
  }
  return {total, static_cast<double>(a.count * a.width)};
}

// The pinball loss, Koenker and Bassett 1978: q above the output, 1 - q below it.
LossSum over_quantiles(const std::vector<double>& quantiles, const LossArgs& a) {
  const auto per_target = static_cast<int64_t>(quantiles.size());
  const double weight = static_cast<double>(a.count * a.width), share = 1.0 / weight;
  double total = 0.0;
  for (int64_t i = 0; i < a.count; ++i) {
    const float* y = a.y + i * a.row;
    const float* target = a.target + i * a.target_row;
    for (int64_t j = 0; j < a.width; ++j) {
      const double q = quantiles[static_cast<size_t>(j % per_target)];
      const double above = static_cast<double>(target[j / per_target]) - y[j];
      total += (above > 0 ? q : q - 1.0) * above;
      const double slope = above > 0 ? -q : above < 0 ? 1.0 - q : 0.0;
      if (a.gradient) a.gradient[i * a.row + j] = static_cast<float>(share * slope);
    }
  }
  return {total, weight};
}

float sign(float x) { return static_cast<float>((x > 0.0f) - (x < 0.0f)); }

// The sum of row_loss(i) over all rows, for losses that cost enough to share: rows in parallel,
// then their losses in order, so that the sum does not depend on the threads.
template <class RowLoss>
double sum_of_rows(const LossArgs& a, double nanoseconds, RowLoss row_loss) {
  std::vector<double> losses(static_cast<size_t>(a.count));
  const double work = nanoseconds * static_cast<double>(a.count * a.width);
  parallel_for(a.count, 4, work, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) losses[static_cast<size_t>(i)] = row_loss(i);
  });
  double total = 0.0;
  for (const double loss : losses) total += loss;
  return total;
}

// With p = softmax(z): (1 - s) w_y (-log p_y) + s / C sum over c of w_c (-log p_c), where s is the
// label smoothing (Szegedy et al. 2016), over the sum of w_y; PyTorch's cross_entropy to the
// letter.
class CrossEntropy {
 public:
  CrossEntropy(const Kernels& k, const LossOptions& loss, const LossArgs& args)
      : k_(k), loss_(loss), a_(args), each_(loss.label_smoothing / static_cast<double>(a_.width)) {
    for (int64_t j = 0; j < a_.width; ++j) all_weights_ += weight_of(j);
    for (int64_t i = 0; i < a_.count; ++i) {
      const int64_t label = label_of(i);
      weight_ += label == kIgnored   ? 0.0
                 : label == kUnknown ? std::numeric_limits<double>::quiet_NaN()
                                     : weight_of(label);
    }
  }

  LossSum operator()() const {
    if (weight_ == 0) return {};
    return {sum_of_rows(a_, 0.5, [&](int64_t i) { return row(i); }), weight_};
  }

 private:
  static constexpr int64_t kIgnored = -1, kUnknown = -2;

  double weight_of(int64_t label) const {
    return loss_.class_weights.empty() ? 1.0 : loss_.class_weights[static_cast<size_t>(label)];
  }

  int64_t label_of(int64_t i) const {
    const float target = a_.target[i * a_.target_row];
    if (loss_.ignored && target == *loss_.ignored) return kIgnored;
    const bool known = target >= 0.0f && target < static_cast<float>(a_.width);
    return known ? static_cast<int64_t>(target) : kUnknown;
  }

  double row(int64_t i) const {
    const float* z = a_.y + i * a_.row;
    float* gradient = a_.gradient ? a_.gradient + i * a_.row : nullptr;
    const int64_t label = label_of(i);
    if (label < 0) {
      if (gradient) std::fill(gradient, gradient + a_.width, 0.0f);
      return 0.0;
    }
    const float top = k_.row_max(z, a_.width);
    const double sum = k_.exp_sum(z, top, gradient, a_.width), log_sum = std::log(sum);
    const double hard = (1.0 - loss_.label_smoothing) * weight_of(label);
    const double smooth = each_ * all_weights_;
    double value = hard * (log_sum - (static_cast<double>(z[label]) - top));
    if (each_ > 0) value += smooth * log_sum - each_ * weighted_sum(z, top);
    if (!gradient) return value;
    k_.scale(gradient, static_cast<float>((hard + smooth) / sum / weight_), a_.width);
    if (each_ > 0)
      for (int64_t j = 0; j < a_.width; ++j)
        gradient[j] -= static_cast<float>(each_ / weight_ * weight_of(j));
    gradient[label] -= static_cast<float>(hard / weight_);
    return value;
  }

  // Sum over c of w_c (z_c - top), in eight chains.
  double weighted_sum(const float* z, float top) const {
    double chains[8] = {};
    for (int64_t j = 0; j < a_.width; ++j)
      chains[j % 8] += weight_of(j) * (static_cast<double>(z[j]) - top);
    double total = 0.0;
    for (const double chain : chains) total += chain;
    return total;
  }

  const Kernels& k_;
  const LossOptions& loss_;
  const LossArgs& a_;
  double each_;  // what smoothing gives to every class
  double all_weights_ = 0.0, weight_ = 0.0;
};

// -(w y log s(x) + (1 - y) log(1 - s(x))) in PyTorch's stable form, w the weight of positives.
LossSum binary_cross_entropy(const LossOptions& loss, const LossArgs& a) {
  const double weight = static_cast<double>(a.count * a.width), smoothing = loss.label_smoothing;
  const auto row = [&](int64_t i) {
    double total = 0.0;
    for (int64_t j = 0; j < a.width; ++j) {
      const double x = a.y[i * a.row + j];
      const double y = a.target[i * a.target_row + j] * (1.0 - smoothing) + smoothing / 2.0;
      const double w =
          loss.class_weights.empty() ? 1.0 : loss.class_weights[static_cast<size_t>(j)];
      const double factor = 1.0 + (w - 1.0) * y, e = std::exp(-std::fabs(x));
      total += (1.0 - y) * x + factor * (std::log1p(e) + std::max(-x, 0.0));
      const double slope = (1.0 - y) - factor * (x < 0 ? 1.0 : e) / (1.0 + e);
      if (a.gradient) a.gradient[i * a.row + j] = static_cast<float>(slope / weight);
    }
    return total;
  };
  return {sum_of_rows(a, 50.0, row), weight};
}

}  // namespace

LossSum loss_and_gradient(const Kernels& k, const LossOptions& loss, const LossArgs& args) {
  switch (loss.kind) {
    case Loss::mse:
      return over_targets(args, [](float e) { return e * e; }, [](float e) { return 2.0f * e; });
    case Loss::mae:
      return over_targets(args, [](float e) { return std::fabs(e); }, sign);
    case Loss::huber:
      return over_targets(
          args,
          [](float e) {
            const float a = std::fabs(e);
            return a <= 1.0f ? 0.5f * e * e : a - 0.5f;
          },
          [](float e) { return std::fabs(e) <= 1.0f ? e : sign(e); });
    case Loss::quantile:
      return over_quantiles(loss.quantiles, args);
    case Loss::cross_entropy:
      return CrossEntropy(k, loss, args)();
    case Loss::binary_cross_entropy:
      return binary_cross_entropy(loss, args);
    case Loss::crf:
      break;
  }
  return {};
}

}  // namespace headgate
