// stack.h: a stack of recurrent layers on a caller's memory, for a framework that owns parameters,
// inputs, outputs and gradients, and calls forward and backward when it likes.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "arena.h"
#include "layers/layer.h"

namespace headgate {

struct StackOptions {
  Cell cell;
  int64_t inputs, hidden, layers;
  bool bidirectional, bias, layer_norm;
  double dropout, recurrent_dropout;  // dropout: between layers
};

// Values (t, i, j) of a batch in time and sequence, at data + t * step + i * row + j. With lengths
// of their own sequences lie packed by time, `row` apart throughout.
template <class Float>
struct Strided {
  Float* data;
  int64_t step, row;
};

// The shape of a batch.
struct Shape {
  int64_t steps, sequences, total;
  const int64_t* sizes;  // [steps] sequences at each step, not increasing; null: all at each
  const int64_t* order;  // [sequences] place of each in the caller's states; null: as they come
};

// [layers * directions, sequences, H] each, in the caller's order; c of LSTMs. Null: zeros, or
// nobody asks.
template <class Float>
struct Carry {
  Float *h, *c;
};

// One pass of a batch, with room for what backward() reads.
class Tape;

// The parameters as the kernels read them; not changed while a Tape may still read them.
class PackedStack;

class Stack {
 public:
  explicit Stack(const StackOptions& options);
  ~Stack();

  // Parameters in PyTorch's order; without `bias` none of biases.
  int64_t parameter_count() const { return static_cast<int64_t>(segments_.size()); }
  const StackOptions& options() const { return options_; }
  int64_t output_size() const { return options_.hidden * (options_.bidirectional ? 2 : 1); }
  // Nanoseconds of a pass over so many rows; a cautious guess, to decide on the GIL.
  double cost(int64_t rows) const;

  struct Call {
    Shape shape;
    Strided<const float> x;
    Carry<const float> first;        // states before the first step
    const float* const* parameters;  // [parameter_count]
    float* y;                        // [rows, output_size]
    Carry<float> last;               // states after the last step
    bool drop;                       // dropout, with numbers that follow from the seed
    uint64_t seed;
  };
  // Without keep nothing is left behind, and the result is null.
  std::unique_ptr<Tape> forward(const Call& call, bool keep);
  // Gives back the memory of passes for training that are over.
  void release();

  // Internal, of Tape.
  struct Workspace;
  struct Pool;

 private:
  std::shared_ptr<PackedStack> packed(const float* const* parameters, bool training);

  StackOptions options_;
  std::vector<Segment> segments_;
  std::shared_ptr<Pool> pool_;
  std::mutex mutex_;
  std::shared_ptr<PackedStack> packed_;
};

class Tape {
 public:
  Tape(std::shared_ptr<Stack::Pool> pool, std::unique_ptr<Stack::Workspace> workspace);
  ~Tape();

  struct Call {
    Strided<const float> x;   // as in forward()
    Strided<const float> dy;  // null data: zeros
    Carry<const float> last;  // dLoss/dstate after the last step
    float* dx;                // [rows, I]
    Carry<float> first;       // dLoss/dstate before the first step
    float* const* gradients;  // [parameter_count], null where nobody asks
  };
  // May be called again: then what it overwrote is computed anew. False: it was released.
  bool backward(const Call& call);
  double cost() const { return cost_; }  // nanoseconds of backward(), as Stack::cost
  // Hands the workspace back; backward() may not follow.
  void release();

 private:
  std::shared_ptr<Stack::Pool> pool_;
  std::unique_ptr<Stack::Workspace> workspace_;
  double cost_;
  std::mutex mutex_;
};

}  // namespace headgate
