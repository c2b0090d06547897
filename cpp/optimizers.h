// optimizers.h: SGD with momentum, Adam, AdamW and RMSprop over one parameter vector.
#pragma once
#include <cstdint>
#include <vector>

#include "arena.h"
#include "kernels/dispatch.h"
#include "layers/layer.h"

namespace headgate {

enum class Rule { sgd, adam, adamw, rmsprop };

struct OptimizerOptions {
  Rule rule = Rule::adam;
  double momentum = 0.0;      // sgd
  double weight_decay = 0.0;  // on weights, never on biases; decoupled for adamw
  double beta1 = 0.9, beta2 = 0.999;
  double alpha = 0.99;  // rmsprop
  double epsilon = 1e-8;
  double clip_norm = 0.0;   // 0: no clipping
  double clip_value = 0.0;  // 0: no clipping
};

class Optimizer {
 public:
  explicit Optimizer(const OptimizerOptions& options) : options_(options) {}

  // One update of `parameters` from `gradients` (which clipping and decay change).
  void step(const Kernels& k, const std::vector<Segment>& segments, double learning_rate,
            float* parameters, float* gradients, int64_t size);

 private:
  void clip(const Kernels& k, float* gradients, int64_t size) const;
  void decay(const std::vector<Segment>& segments, double learning_rate, float* parameters,
             float* gradients) const;

  OptimizerOptions options_;
  AlignedFloats first_, second_;
  double power1_ = 1.0, power2_ = 1.0;  // beta^t
};

}  // namespace headgate
