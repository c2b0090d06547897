// trainer.h: how data reach the network, and one epoch of training.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "losses.h"
#include "network.h"
#include "optimizers.h"

namespace headgate {

// A table of values, and per sample where it begins: dense arrays, ragged lists, sliding windows
// and chunks of a long text are all this. Nothing is materialised.
struct Samples {
  int64_t count = 0;
  const float* x = nullptr;  // [S, columns]
  int64_t columns = 0;
  const int32_t* tokens = nullptr;   // [S, token_columns] beside x, or null
  int64_t token_columns = 0;         // then x may have no columns
  int64_t segment = 1;               // rows of x that make one step; 1 where there are tokens
  const int64_t* start = nullptr;    // [count] first row of x
  const int64_t* length = nullptr;   // [count] steps, at least 1 and more than known_steps
  const float* y = nullptr;          // flat targets; null when there are none
  const int64_t* y_start = nullptr;  // [count] index of the first target in y
  int64_t y_stride = 0;              // from one target step to the next
  int64_t outputs = 0;
  // Per sample, or null: the network sees (x - x_shift) / x_scale, and is asked for
  // (y - y_shift) / y_scale.
  const float *x_shift = nullptr, *x_scale = nullptr, *y_shift = nullptr, *y_scale = nullptr;
  int64_t shifted = 0;  // x_shift and x_scale are for that many leading columns
  // In the last known_steps steps the first `hidden` columns are zero, whatever x holds there.
  int64_t known_steps = 0, hidden = 0;

  int64_t inputs() const { return segment * columns; }
};

// Fills `rows`, the network's input and tokens, and `targets` (when not null; rows of
// samples.outputs) with samples order[0..n). batch_samples: [n] the sample of each sequence, in the
// order of the rows.
void gather(const Samples& samples, const int64_t* order, int64_t n, bool training, Network* net,
            Rows* rows, AlignedFloats* targets, std::vector<int64_t>* batch_samples);

// The updates of an epoch: number b learns from samples order[bounds[b]] .. order[bounds[b + 1] -
// 1].
struct Batches {
  const int64_t* order;
  const int64_t* bounds;  // [count + 1] increasing
  const uint8_t* resets;  // [count] whether the carried state is zeroed before; null: never
  const double* rates;    // [count] learning rates
  int64_t count;
};

enum class Status { done, stopped, diverged };

struct EpochResult {
  Status status = Status::done;
  double loss = 0.0;    // mean over all targets, each measured before its update
  int64_t updates = 0;  // completed
  double last_loss = 0.0;
  double weight = 0.0;  // of the targets that counted, by which `loss` is a mean
};

// Training that can be continued epoch by epoch; owns the optimiser's state.
class Trainer {
 public:
  Trainer(Network* net, const OptimizerOptions& options, LossOptions loss, uint64_t seed)
      : net_(net), optimizer_(options, net->tables()), loss_(std::move(loss)), seed_(seed) {}

  // One pass over the batches. state: carried from batch to batch and back to the caller, with rows
  // for the largest batch; or no data, to begin every batch with zeros. A batch of which no target
  // counts moves the state alone. A loss that is not finite or above `limit` ends the epoch with
  // the last weights that gave a good one.
  EpochResult epoch(const Samples& samples, const Batches& batches, const State<float>& state,
                    double limit, StopFlag* stop);
  // Brings back the weights, and the state, that gave the last good loss.
  void restore(float* state);
  Network& network() { return *net_; }

 private:
  bool update(double learning_rate, const RandomKey& random, StopFlag* stop);
  void remember(const State<float>& state);

  Network* net_;
  Optimizer optimizer_;
  LossOptions loss_;
  uint64_t seed_, updates_ = 0;
  bool rows_wait_ = false;  // those of tables, see Optimizer
  Rows rows_;
  AlignedFloats targets_;
  std::vector<int64_t> batch_samples_;
  std::vector<float> good_parameters_, good_state_;
};

// Mean loss over the samples, 0 when no target counts, without learning. state: [per recurrent
// layer][count, H] or null. Or over batches, whose rates mean nothing, with a state that is carried
// as Trainer::epoch() does.
EpochResult evaluate(Network* net, const Samples& samples, int64_t batch_size,
                     const LossOptions& loss, const float* state, StopFlag* stop);
EpochResult evaluate(Network* net, const Samples& samples, const Batches& batches,
                     const LossOptions& loss, const State<float>& state, StopFlag* stop);

// Predictions of every sample, through the network's output function and scaled back. out_start:
// [count] row of `out` ([rows, O]) where a sample's predictions begin. state_in, state_out: [per
// recurrent layer][count, H] or null.
Status predict(Network* net, const Samples& samples, int64_t batch_size, const float* state_in,
               float* state_out, const int64_t* out_start, float* out, StopFlag* stop);

// A quantity that a layer shows (Layer::view), and where it goes: what sample s does at step t to
// row out_start[s] + t of `out` [rows, width].
struct Look {
  int64_t layer;
  int which;
  float* out;
  int64_t width;
};

// Fills every look with what the layers do while predicting, nothing dropped. With a loss the
// backward pass follows, for dLoss/dh; Loss is each sample's own mean, so that no other sample has
// a say. Throws std::invalid_argument where a layer has no such quantity.
Status observe(Network* net, const Samples& samples, int64_t batch_size, const float* state,
               const LossOptions* loss, const int64_t* out_start, const std::vector<Look>& looks,
               StopFlag* stop);

// The same for samples of equal lengths that lie one behind the other: x [count, steps, I],
// beginning with zero states; out [count, steps, O], or [count, O].
Status predict_dense(Network* net, const float* x, int64_t count, int64_t steps, int64_t batch_size,
                     float* out, StopFlag* stop);

// Runs x [steps0, I] from `state` ([per recurrent layer][1, H], updated; null when the network has
// none), then feeds the last prediction back until `steps` predictions lie in out [steps, O].
Status rollout(Network* net, const float* x, int64_t steps0, int64_t steps, float* state,
               float* out, StopFlag* stop);

}  // namespace headgate
