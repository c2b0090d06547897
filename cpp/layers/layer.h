// layer.h: what every layer is. A layer owns no memory: it says what parameters and workspace it
// needs, and is handed pointers.
//
// Activations are [rows, width padded to lanes], rows packed by time (see Rows). Padding is zero.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arena.h"
#include "kernels/dispatch.h"
#include "parallel.h"
#include "random.h"

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
  bool decay;              // whether weight decay applies: weights yes, biases no
  bool trainable = true;   // false: the gradient is zero and no update changes it
  int64_t still_row = -1;  // of shape[0], one that no update changes either; or none

  int64_t size() const {
    int64_t product = 1;
    for (int64_t n : shape) product *= n;
    return product;
  }
};

// One pass of one batch through the network.
struct Pass {
  const Kernels& k;
  const Rows& rows;
  bool training;
  RandomKey random;
  StopFlag* stop;  // may be null
  const float* parameters;
  float* gradients;  // training: every layer writes its own segments whole; null: nobody asks
  bool keep;  // values within layers stay after forward(), for backward() or view(): needs room
  bool keep_hidden_gradients;      // recurrent layers leave dLoss/dh of every step in dy
  bool clear_tables = false;       // backward finds the gradients of tables (Layer::table) zero
  bool to_first = false;           // backward leaves get_state_gradient() something to give
  float* const* pieces = nullptr;  // of a layer in a Stack: where each of its segments' gradients
                                   // goes, whatever `gradients` says
};

// What a layer reads and writes: [count, width padded to lanes] each.
struct Io {
  const float* x;  // the first input
  float* y;
  float* dy;  // backward only; may be overwritten
  float* dx;  // backward only; null when nobody wants it
  int64_t count;
  bool pooled;             // the inputs have one row for each sequence instead of one for each step
  const float* const* xs;  // all inputs, in order
  float* const* dxs;       // likewise; null where nobody wants it
  const int32_t* tokens;   // the first that the layer reads; those of other rows, token_row apart
  int64_t token_row;
  // How far apart rows are where they lie in a caller's memory, without padding; 0: padded.
  int64_t x_row = 0, y_row = 0, dy_row = 0, dx_row = 0;
};

// A quantity that a layer can show after a pass, row by row: [rows, width], rows `row` apart.
struct View {
  const float* data;
  int64_t row, width;
};

// Recurrent states in the caller's order. A layer's are blocks of [rows, H], one behind the other
// (for each direction h, and c where the cell has one), of which a batch's begin at row `first`.
// Null data stands for zeros. apart: the blocks of c lie one behind the other in `memory`.
template <class Float>
struct State {
  Float* data;
  int64_t rows, first;
  bool apart = false;
  Float* memory = nullptr;
};

// What the workspace and the packed weights are for.
struct Use {
  bool training;
  bool input_gradient;  // while training: something below learns, so dx is wanted
  bool shared = false;  // the packed weights are another layer's: see share_weights
};

// The vectors of an embedding, [V, size] parameters, that a dense layer shares: tied weights.
struct SharedTable {
  int64_t offset;         // in the parameters
  int64_t padding_index;  // the row that does not learn, or -1
  bool trainable;
};

// A table of which a batch's gradient reaches only the rows that its tokens name.
struct TokenTable {
  int64_t offset, rows, size;  // [rows, size] parameters
  int64_t still_row;           // the one that does not learn, or -1
  int64_t columns;             // of tokens that name rows
  int64_t token = 0;           // the first of them
};

class Layer {
 public:
  Layer(int64_t input_size, int64_t output_size) : inputs_(input_size), outputs_(output_size) {}
  virtual ~Layer() = default;

  int64_t input_size() const { return inputs_; }
  int64_t output_size() const { return outputs_; }
  // True when the output has one row for each sequence instead of one for each step.
  virtual bool pools() const { return false; }
  // Floats of state that a recurrent layer carries for each sequence; 0 for the others.
  virtual int64_t state_size() const { return 0; }

  // Appends this layer's parameters, beginning at `offset`; returns the offset behind them.
  virtual int64_t describe(int64_t offset, std::vector<Segment>*) { return offset; }
  // Asks for workspace for at most `rows` rows of `sequences` sequences.
  virtual void plan(const Kernels&, Arena*, int64_t /*rows*/, int64_t /*sequences*/, Use) {}
  // Repacks weights after they changed.
  virtual void pack(const Kernels&, const float* /*parameters*/, Use) {}
  virtual void forward(const Pass& pass, const Io& io) = 0;
  virtual void backward(const Pass& pass, const Io& io) = 0;
  // Recurrent layers in a stack: weights that several copies of the layer read, each with a
  // workspace of its own. The owner plans and packs them; `owner` was built alike.
  virtual void plan_weights(const Kernels&, Arena*, Use) {}
  virtual void share_weights(const Layer& /*owner*/) {}
  // What only backward() reads, of which pack() leaves out what is shared.
  virtual void pack_back(const Kernels&, const float* /*parameters*/, Use) {}
  // Whether the output lies in the layer's own workspace, and where.
  virtual bool keeps_output() const { return false; }
  virtual float* output() { return nullptr; }
  // Recurrent layers: the state before the first step, and after the last step of each sequence.
  virtual void set_state(const Kernels&, const Rows&, const State<const float>&) {}
  virtual void get_state(const Kernels&, const Rows&, const State<float>&) const {}
  // Before backward(): dLoss/dstate after the last step; after it: before the first.
  virtual void set_state_gradient(const Rows&, const State<const float>&) {}
  virtual void get_state_gradient(const Rows&, const State<float>&) const {}
  // Of a layer that reads tokens, input_size() columns of them: they must lie in [0, vocabulary()).
  virtual int64_t vocabulary() const { return 0; }
  // Of an embedding that learns, and shares its table with no other layer. The column is not known
  // here.
  virtual std::optional<TokenTable> table() const { return std::nullopt; }
  // Of an embedding: its table, for one other layer. That layer stands behind this one, so its
  // backward pass comes first: it writes the table's gradient whole, and this layer adds to it.
  virtual std::optional<SharedTable> share_table() { return std::nullopt; }
  // Of a CRF: where its weights begin in the parameters, transitions [C, C], start [C], end [C].
  virtual std::optional<int64_t> crf_weights() const { return std::nullopt; }
  // What the layer did in the last pass that kept it; `which` counts its quantities. Null data: no
  // such thing.
  virtual View view(const Kernels&, const Rows&, int /*which*/) const { return {nullptr, 0, 0}; }

 protected:
  int64_t inputs_, outputs_;  // inputs_: the width of the first input, or columns of tokens
};

// y[count, n] = x[count, k] B + bias, B packed in strips; added to y with `accumulate` (then
// without bias). y_row: how far apart rows of y are, which end with n; 0: n is padded, and so are
// they.
void affine(const Pass& pass, const float* x, int64_t x_row, int64_t count, int64_t k,
            const float* packed, const float* bias, float* y, int64_t n, bool accumulate = false,
            int64_t y_row = 0);

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

// Calls f(sequence, row) for every row, the rows of a sequence in order of time, so that what is
// summed over time has the same bits in any batch. Threads split the sequences, so f writes to its
// own sequence or row alone. cost: nanoseconds of one call, to decide on threads.
template <class F>
void for_rows(const Rows& rows, double cost, F&& f) {
  const double work = cost * static_cast<double>(rows.total);
  parallel_for(rows.sequences, 8, work, [&](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < rows.steps && rows.count[t] > begin; ++t)
      for (int64_t i = begin; i < end && i < rows.count[t]; ++i) f(i, rows.offset[t] + i);
  });
}

// Nanoseconds in which a row of an activation goes through memory once.
inline double row_cost(int64_t width) { return static_cast<double>(width) / 4.0; }

// What the read-out `last` gives: the first `split` columns of each sequence's last step, the
// others of its step 0 (rows of step 0 are the first of the packed ones).
void read_last(const Rows& rows, const float* x, int64_t width, int64_t split, float* y);

// Padded width of an activation. Lanes are a power of two: a division would be felt in every step
// of a stream.
inline int64_t padded(const Kernels& k, int64_t width) {
  const int64_t lanes = k.lanes;
  return (width + lanes - 1) & -lanes;
}

struct RecurrentOptions {
  Cell cell;
  int64_t hidden;
  bool bidirectional;
  bool layer_norm;
  double recurrent_dropout;
  uint64_t stream;  // of the dropout's random numbers
};
std::unique_ptr<Layer> make_recurrent(int64_t inputs, const RecurrentOptions& options);
// table: of an embedding of `outputs` tokens and size `inputs`, instead of weights of its own.
std::unique_ptr<Layer> make_dense(int64_t inputs, int64_t outputs, const std::string& activation,
                                  std::optional<SharedTable> table = std::nullopt);
std::unique_ptr<Layer> make_dropout(int64_t size, double rate, bool per_sequence, uint64_t stream);
// columns: of tokens, side by side. padding_index: the token whose vector does not learn, or -1.
std::unique_ptr<Layer> make_embedding(int64_t vocabulary, int64_t size, int64_t columns,
                                      int64_t padding_index, bool trainable);
std::unique_ptr<Layer> make_concat(std::vector<int64_t> widths);
std::unique_ptr<Layer> make_add(int64_t size, int64_t count);
std::unique_ptr<Layer> make_crf(int64_t classes);
std::unique_ptr<Layer> make_last(int64_t size, int64_t split);  // split: see read_last
std::unique_ptr<Layer> make_mean(int64_t size);
std::unique_ptr<Layer> make_max(int64_t size);
std::unique_ptr<Layer> make_additive_attention(int64_t inputs, int64_t size);
std::unique_ptr<Layer> make_dot_attention(int64_t size, int64_t split);

}  // namespace headgate
