// optimizers.h: SGD with momentum, Adam, AdamW and RMSprop over one parameter vector.
#pragma once
#include <cstdint>
#include <utility>
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

// Momentum and decay move every row of a table in every update, those without gradient too. A row
// without gradient goes a way that is known beforehand: so it waits until a batch reads it again,
// or the epoch ends, and goes all the steps that it missed as one. An update then costs what its
// batch reads, whatever the vocabulary.
class Optimizer {
 public:
  Optimizer(const OptimizerOptions& options, std::vector<TokenTable> tables)
      : options_(options), tables_(std::move(tables)) {}

  // Before the updates of an epoch, with these learning rates. True: rows of tables wait. Then
  // every update is read(), a forward pass, clear(), a backward pass that finds the gradients of
  // tables zero, and step(); and behind the last one, settle().
  bool begin(const Kernels& k, const double* rates, int64_t count, float* parameters);
  // Makes the rows ready that these tokens name: [rows, columns].
  void read(const Kernels& k, const int32_t* tokens, int64_t rows, int64_t columns,
            float* parameters);
  void clear(float* gradients);
  // One update of `parameters` from `gradients` (which clipping and decay change).
  void step(const Kernels& k, const std::vector<Segment>& segments, double learning_rate,
            float* parameters, float* gradients, int64_t size);
  // No row waits any longer.
  void settle(const Kernels& k, float* parameters);

 private:
  struct Range {
    int64_t begin, size;
  };
  // A table whose rows wait. last: for each row, the updates of this epoch that it has seen; ~last
  // for those that the batch reads.
  struct Waiting {
    TokenTable table;
    std::vector<int32_t> last, used, dirty;  // dirty: rows whose gradients may not be zero
    bool all_dirty;

    Range row(int64_t index) const { return {table.offset + index * table.size, table.size}; }
  };

  // How far m / sqrt(v) of 1 has moved a parameter since an update, and what decay left of it, as
  // long as m shows; the sum of what its steps have for epsilon, each times its move.
  struct Missed {
    double move = 0.0, kept = 1.0, epsilons = 0.0;
  };

  bool can_wait(const double* rates, int64_t count) const;
  void collect_ranges(int64_t size);
  void clip(const Kernels& k, float* gradients) const;
  void decay(const std::vector<Segment>& segments, double learning_rate, float* parameters,
             float* gradients) const;
  AdamArgs next_step(double learning_rate);
  void add_missed(double learning_rate, double correction1, double correction2);
  AdamArgs missed_steps(int64_t from, double* shrink) const;
  void catch_up(const Kernels& k, const Range& row, int64_t from, float* parameters);
  void apply(const Kernels& k, const AdamArgs& args, float* parameters, const float* gradients,
             const Range& range);

  OptimizerOptions options_;
  std::vector<TokenTable> tables_;
  AlignedFloats first_, second_;
  double power1_ = 1.0, power2_ = 1.0;  // beta^t

  std::vector<Waiting> waiting_;
  std::vector<Range> ranges_;     // what an update changes
  AlignedFloats zeros_;           // as many as a row has
  std::vector<Missed> missed_;    // [updates] by rows that wait since then
  std::vector<double> log_kept_;  // [updates + 1] of what decay leaves of a parameter
};

}  // namespace headgate
