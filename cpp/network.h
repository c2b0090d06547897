// network.h: layers in order over one parameter vector, with one workspace.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "arena.h"
#include "layers/layer.h"

namespace headgate {

// Recurrent states in the caller's order: [per recurrent layer][rows, H], of which a batch's begin
// at row `first`. Null data stands for zeros.
template <class Float>
struct State {
  Float* data;
  int64_t rows, first;
};

// What a prediction makes of a row of outputs. Losses see the row as it is.
enum class Output { none, softmax, sigmoid };

class Network {
 public:
  explicit Network(int64_t input_size, Output output = Output::none)
      : input_size_(input_size), output_(output) {}

  // Appends a layer that reads the one before it; `name` prefixes its segments.
  void add(const std::string& name, std::unique_ptr<Layer> layer);
  // To be called once, after the last add().
  void finish();

  int64_t input_size() const { return input_size_; }
  int64_t output_size() const { return slots_.back().layer->output_size(); }
  // True when there is one output row for each sequence instead of one for each step.
  bool pooled() const { return pooled_; }
  // Sum of H over the recurrent layers.
  int64_t state_size() const { return state_size_; }

  const std::vector<Segment>& segments() const { return segments_; }
  int64_t parameter_count() const { return parameter_count_; }
  float* parameters() { return parameters_.data(); }
  const float* gradients() const { return gradients_.data(); }
  // To be called whenever parameters() were written to.
  void changed() { packed_ = false; }

  // Makes room; cheap when there is room already. Pointers into the workspace change.
  void reserve(const Rows& rows, bool training);
  const Kernels& k() const { return *kernels_; }
  // [rows, padded I] of the batch to come; row stride input_row().
  float* input() { return input_; }
  int64_t input_row() const { return padded(*kernels_, input_size_); }
  int64_t output_row() const { return padded(*kernels_, output_size()); }

  // Rows of output: sequences when pooled, else all rows.
  int64_t output_count(const Rows& rows) const { return pooled_ ? rows.sequences : rows.total; }

  const float* forward(const Rows& rows, const State<const float>& state, bool training,
                       const RandomKey& random, StopFlag* stop);
  void get_state(const Rows& rows, const State<float>& state) const;
  // One row as forward() left it, as a prediction [O].
  void to_prediction(const float* y, float* prediction) const;
  // Where the loss puts its gradient before backward(): [output_count, padded O].
  float* output_gradient() { return slots_.back().dy; }
  // Fills gradients(); after forward() with training.
  void backward(const Rows& rows, const RandomKey& random, StopFlag* stop);

  // One caller at a time; `owner` is the thread that works with the network, if any.
  std::timed_mutex& mutex() { return mutex_; }
  std::atomic<std::thread::id>& owner() { return owner_; }

 private:
  struct Slot {
    std::unique_ptr<Layer> layer;
    float* y = nullptr;
    float* dy = nullptr;
    bool pooled_input = false;
    bool wants_dx = false;  // something below has parameters
  };

  void plan(int64_t rows, int64_t sequences, bool training);
  Io io(size_t index, const Rows& rows);

  int64_t input_size_, state_size_ = 0, parameter_count_ = 0;
  Output output_;
  bool pooled_ = false, packed_ = false, training_ = false;
  std::vector<Slot> slots_;
  std::vector<Segment> segments_;
  AlignedFloats parameters_, gradients_;
  Arena arena_;
  const Kernels* kernels_ = nullptr;
  int64_t rows_ = 0, sequences_ = 0;
  float* input_ = nullptr;
  std::timed_mutex mutex_;
  std::atomic<std::thread::id> owner_{};
};

}  // namespace headgate
