// network.h: a graph of layers in order over one parameter vector, with one workspace.
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

// What a prediction makes of a row of outputs. Losses see the row as it is.
enum class Output { none, softmax, sigmoid };

class Network {
 public:
  Network(int64_t input_size, int64_t token_columns, Output output = Output::none)
      : input_size_(input_size), token_columns_(token_columns), output_(output) {}

  // Appends a layer that reads `inputs`: indices of layers before it, or kInput for the values.
  // `name` prefixes its segments. `token`: the first column of tokens that it reads, or 0.
  void add(const std::string& name, std::unique_ptr<Layer> layer, std::vector<int64_t> inputs,
           int64_t token = 0);
  // To be called once, after the last add().
  void finish();

  static constexpr int64_t kInput = -1;
  int64_t input_size() const { return input_size_; }
  int64_t token_columns() const { return token_columns_; }
  int64_t output_size() const { return slots_.back().layer->output_size(); }
  // True when there is one output row for each sequence instead of one for each step.
  bool pooled() const { return slots_.back().pooled; }
  // Floats of state that the recurrent layers carry for each sequence.
  int64_t state_size() const { return state_size_; }
  int64_t layer_count() const { return static_cast<int64_t>(slots_.size()); }
  const Layer& layer(int64_t index) const { return *slots_[static_cast<size_t>(index)].layer; }
  Layer& layer(int64_t index) { return *slots_[static_cast<size_t>(index)].layer; }
  int64_t token(int64_t index) const { return slots_[static_cast<size_t>(index)].token; }
  bool pooled(int64_t index) const {
    return index != kInput && slots_[static_cast<size_t>(index)].pooled;
  }

  const std::vector<Segment>& segments() const { return segments_; }
  int64_t parameter_count() const { return parameter_count_; }
  float* parameters() { return parameters_.data(); }
  const float* gradients() const { return gradients_.data(); }
  // Where the weights of the last layer begin, if that is a CRF; and their gradients, which the
  // loss writes.
  std::optional<int64_t> crf_weights() const { return slots_.back().layer->crf_weights(); }
  float* crf_gradients() { return gradients_.data() + *crf_weights(); }
  float* gradients() { return gradients_.data(); }
  // Those of which a batch changes only the rows that its tokens name, in order.
  std::vector<TokenTable> tables() const;
  // To be called whenever parameters() were written to.
  void changed() {
    packed_ = false;
    version_.fetch_add(1, std::memory_order_release);
  }
  // Another number after every change.
  uint64_t version() const { return version_.load(std::memory_order_acquire); }

  // Makes room; cheap when there is room already. Pointers into the workspace change.
  void reserve(const Rows& rows, bool training);
  const Kernels& k() const { return *kernels_; }
  // [rows, padded I] of the batch to come; row stride input_row().
  float* input() { return input_; }
  int64_t input_row() const { return padded(*kernels_, input_size_); }
  // [rows, token_columns] of the batch to come.
  int32_t* tokens() { return tokens_.data(); }
  int64_t output_row() const { return padded(*kernels_, output_size()); }

  // Rows of output: sequences when pooled, else all rows.
  int64_t output_count(const Rows& rows) const { return pooled() ? rows.sequences : rows.total; }

  // keep: layers can show what they did, and backward() may follow, without dropout. It needs a
  // workspace for training.
  const float* forward(const Rows& rows, const State<const float>& state, bool training,
                       const RandomKey& random, StopFlag* stop, bool keep = false);
  void get_state(const Rows& rows, const State<float>& state) const;
  // One row as forward() left it, as a prediction [O].
  void to_prediction(const float* y, float* prediction) const;
  // Where the loss puts its gradient before backward(): [output_count, padded O].
  float* output_gradient() { return slots_.back().dy; }
  // Fills gradients(); after forward() with training. With keep_hidden_gradients (see Pass) it
  // follows a forward() without training, in a workspace for training: nothing is dropped then.
  // clear_tables: the gradients of tables() are zero before.
  void backward(const Rows& rows, const RandomKey& random, StopFlag* stop,
                bool keep_hidden_gradients = false, bool clear_tables = false);

  // One caller at a time; `owner` is the thread that works with the network, if any.
  std::timed_mutex& mutex() { return mutex_; }
  std::atomic<std::thread::id>& owner() { return owner_; }

 private:
  struct Slot {
    std::unique_ptr<Layer> layer;
    std::vector<int64_t> inputs;
    int64_t token = 0;
    bool pooled_input = false, pooled = false;
    bool learns = false;     // it, or something below, has parameters that are trained
    std::vector<bool> adds;  // for each input: another layer has written its gradient already
    float* y = nullptr;
    float* dy = nullptr;
    std::vector<const float*> xs;     // where the inputs lie
    std::vector<float*> dxs, spares;  // spares: gradients that are added to others
  };

  void plan(int64_t rows, int64_t sequences, bool training);
  bool input_gradient(const Slot& slot) const;
  Io io(Slot& slot, const Rows& rows);
  void add_spare_gradients(Slot& slot, int64_t count);

  int64_t input_size_, token_columns_, state_size_ = 0, parameter_count_ = 0;
  Output output_;
  bool packed_ = false, training_ = false;
  std::atomic<uint64_t> version_{1};
  std::vector<Slot> slots_;
  std::vector<Segment> segments_;
  AlignedFloats parameters_, gradients_;
  Arena arena_;
  const Kernels* kernels_ = nullptr;
  int64_t rows_ = 0, sequences_ = 0;
  float* input_ = nullptr;
  std::vector<int32_t> tokens_;
  std::timed_mutex mutex_;
  std::atomic<std::thread::id> owner_{};
};

}  // namespace headgate
