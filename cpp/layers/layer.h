// layer.h: what every layer is. A layer owns no memory: it says what parameters and workspace it
// needs, and is handed pointers.
//
// Activations are [rows, width padded to lanes], rows packed by time (see Rows). Padding is zero.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "arena.h"
#include "kernels/dispatch.h"
#include "parallel.h"

namespace headgate {

// The rows of one batch. Sequences stand in order of decreasing length; step t owns rows
// offset[t] .. offset[t] + count[t] - 1, so nothing is computed on padding.
struct Rows {
  int64_t sequences = 0, steps = 0, total = 0;
  std::vector<int32_t> count;   // [steps] sequences still running
  std::vector<int64_t> offset;  // [steps] first row
  std::vector<int64_t> length;  // [sequences]
  std::vector<int64_t> order;   // [sequences] place in the caller's batch
  bool ragged = false;

  int64_t last_row(int64_t i) const { return offset[static_cast<size_t>(length[i] - 1)] + i; }
};

// A named piece of the parameter vector.
struct Segment {
  std::string name;  // PyTorch's, such as weight_ih
  int64_t offset;
  std::vector<int64_t> shape;
  bool decay;  // whether weight decay applies: weights yes, biases no

  int64_t size() const {
    int64_t product = 1;
    for (int64_t n : shape) product *= n;
    return product;
  }
};

// What identifies the random numbers of an update: no dependence on batches or threads.
struct RandomKey {
  uint64_t seed = 0, update = 0;
  const int64_t* sample = nullptr;  // [sequences] index of each sequence in the data, sorted order
};

// One pass of one batch through the network.
struct Pass {
  const Kernels& k;
  const Rows& rows;
  bool training;
  RandomKey random;
  StopFlag* stop;  // may be null
  const float* parameters;
  float* gradients;  // training: every layer writes its own segments whole
};

// What a layer reads and writes: [count, width padded to lanes] each.
struct Io {
  const float* x;
  float* y;
  float* dy;  // backward only; may be overwritten
  float* dx;  // backward only; null when nobody wants it
  int64_t count;
  bool pooled;  // one row for each sequence instead of one for each step
};

// What the workspace and the packed weights are for.
struct Use {
  bool training;
  bool input_gradient;  // while training: something below learns, so dx is wanted
};

class Layer {
 public:
  Layer(int64_t input_size, int64_t output_size) : inputs_(input_size), outputs_(output_size) {}
  virtual ~Layer() = default;

  int64_t input_size() const { return inputs_; }
  int64_t output_size() const { return outputs_; }
  // True when the output has one row for each sequence instead of one for each step.
  virtual bool pools() const { return false; }
  // H of a recurrent layer, whose state is [sequences, H]; 0 for the others.
  virtual int64_t state_size() const { return 0; }

  // Appends this layer's parameters, beginning at `offset`; returns the offset behind them.
  virtual int64_t describe(int64_t offset, std::vector<Segment>*) { return offset; }
  // Asks for workspace for at most `rows` rows of `sequences` sequences.
  virtual void plan(const Kernels&, Arena*, int64_t /*rows*/, int64_t /*sequences*/, Use) {}
  // Repacks weights after they changed.
  virtual void pack(const Kernels&, const float* /*parameters*/, Use) {}
  virtual void forward(const Pass& pass, const Io& io) = 0;
  virtual void backward(const Pass& pass, const Io& io) = 0;
  // A layer that keeps its output in its own workspace gives the buffer here; null otherwise.
  virtual float* output(const Rows&) { return nullptr; }
  // Recurrent layers: the state before the first step, [sequences, H] in the caller's order, or
  // null for zeros; and the state after the last step of each sequence.
  virtual void set_state(const Kernels&, const Rows&, const float*) {}
  virtual void get_state(const Kernels&, const Rows&, float*) const {}

 protected:
  int64_t inputs_, outputs_;
};

// y[count, n] = x[count, k] B + bias, B packed in strips, n padded.
void affine(const Pass& pass, const float* x, int64_t x_row, int64_t count, int64_t k,
            const float* packed, const float* bias, float* y, int64_t n_padded);

// dW = dy^T x for `blocks` blocks of `size` outputs that lie `stride` apart in a row of dy (the
// gates of a cell; one block otherwise). gradient: dense [blocks * size, inputs]. scratch:
// [inputs, blocks * stride], used when there are fewer inputs than lanes.
struct WeightGradient {
  const float* dy;
  int64_t dy_row, blocks, size, stride;
  const float* x;
  int64_t x_row, inputs, count;
  float* gradient;
  float* scratch;
};
void weight_gradient(const Pass& pass, const WeightGradient& args);

// Padded width of an activation.
inline int64_t padded(const Kernels& k, int64_t width) { return round_up(width, k.lanes); }

std::unique_ptr<Layer> make_gru(int64_t inputs, int64_t hidden, bool reset_after);
std::unique_ptr<Layer> make_dense(int64_t inputs, int64_t outputs, const std::string& activation);
std::unique_ptr<Layer> make_dropout(int64_t size, double rate, uint64_t stream);
std::unique_ptr<Layer> make_last(int64_t size);

}  // namespace headgate
