// GRU: one layer over time. Equations and papers: kernels/recurrence.inl and docs/equations.md.
#include <algorithm>
#include <cstring>

#include "layer.h"

namespace headgate {
namespace {

// Nanoseconds for one row of one step, forward; a cautious guess, to decide on threads.
double row_cost(int64_t hidden, int64_t padded) {
  return static_cast<double>(6 * hidden * padded) / 40.0 + static_cast<double>(padded);
}

class Gru final : public Layer {
 public:
  Gru(int64_t inputs, int64_t hidden, bool reset_after)
      : Layer(inputs, hidden), reset_after_(reset_after) {}

  int64_t state_size() const override { return outputs_; }

  int64_t describe(int64_t offset, std::vector<Segment>* segments) override {
    const int64_t h = outputs_, hidden_biases = reset_after_ ? 3 * h : 2 * h;
    weight_ih_ = offset;
    weight_hh_ = weight_ih_ + 3 * h * inputs_;
    bias_ih_ = weight_hh_ + 3 * h * h;
    bias_hh_ = bias_ih_ + 3 * h;
    segments->push_back({"weight_ih", weight_ih_, {3 * h, inputs_}, true});
    segments->push_back({"weight_hh", weight_hh_, {3 * h, h}, true});
    segments->push_back({"bias_ih", bias_ih_, {3 * h}, false});
    segments->push_back({"bias_hh", bias_hh_, {hidden_biases}, false});
    return bias_hh_ + hidden_biases;
  }

  void plan(const Kernels& k, Arena* arena, int64_t rows, int64_t sequences, Use use) override {
    const int64_t h = outputs_, hp = padded(k, h);
    arena->want(&packed_in_, 3 * hp * inputs_);
    arena->want(&bias_in_, 3 * hp);
    arena->want(&packed_, 3 * hp * h);
    arena->want(&bias_hidden_, hp);
    arena->want(&gates_, rows * 3 * hp);
    arena->want(&hidden_part_, rows * hp);
    arena->want(&states_, (sequences + rows) * hp);
    if (!use.training) return;
    arena->want(&packed_back_, 3 * h * hp);
    if (use.input_gradient) arena->want(&packed_in_back_, 3 * hp * padded(k, inputs_));
    arena->want(&grad_state_, sequences * hp);
    arena->want(&inner_, sequences * hp);
    arena->want(&before_, rows * hp);
    arena->want(&scratch_, std::min<int64_t>(k.lanes, std::max(inputs_, h)) * 3 * hp);
  }

  void pack(const Kernels& k, const float* parameters, Use use) override {
    const int64_t h = outputs_, hp = padded(k, h), strip = h * k.lanes;
    const float* w = parameters + weight_ih_;
    const float* u = parameters + weight_hh_;
    for (int64_t gate = 0; gate < 3; ++gate) {
      k.pack(w + gate * h * inputs_, 1, inputs_, inputs_, h, packed_in_ + gate * hp * inputs_,
             k.lanes, inputs_ * k.lanes);
      // The gates of a panel beside each other, row by row; without reset_after n comes apart,
      // after all r and z.
      const bool apart = !reset_after_ && gate == 2;
      const int64_t together = apart ? 1 : reset_after_ ? 3 : 2;
      k.pack(u + gate * h * h, 1, h, h, h, packed_ + (apart ? 2 * hp * h : gate * k.lanes),
             together * k.lanes, together * strip);
      std::memcpy(bias_in_ + gate * hp, parameters + bias_ih_ + gate * h, bytes(h));
    }
    const float* bias_hh = parameters + bias_hh_;
    for (int64_t gate = 0; gate < 2; ++gate)
      for (int64_t j = 0; j < h; ++j) bias_in_[gate * hp + j] += bias_hh[gate * h + j];
    if (reset_after_) std::memcpy(bias_hidden_, bias_hh + 2 * h, bytes(h));
    if (use.training) k.pack(u, h, 1, 3 * h, h, packed_back_, k.lanes, 3 * strip);
    if (!use.input_gradient) return;
    for (int64_t gate = 0; gate < 3; ++gate)
      k.pack(w + gate * h * inputs_, inputs_, 1, h, inputs_, packed_in_back_ + gate * hp * k.lanes,
             k.lanes, 3 * hp * k.lanes);
  }

  void forward(const Pass& pass, const Io& io) override {
    const int64_t hp = padded(pass.k, outputs_);
    affine(pass, io.x, padded(pass.k, inputs_), io.count, inputs_, packed_in_, bias_in_, gates_,
           3 * hp);
    GruArgs args = arguments(pass);
    over_time(pass, args, 1.0, pass.k.gru_forward, false);
  }

  void backward(const Pass& pass, const Io& io) override {
    const Kernels& k = pass.k;
    const int64_t h = outputs_, hp = padded(k, h);
    GruArgs args = arguments(pass);
    args.grad_out = io.dy;
    std::memset(grad_state_, 0, bytes(pass.rows.sequences * hp));
    over_time(pass, args, 1.5, k.gru_backward, true);
    if (pass.stop && pass.stop->stopped()) return;

    float* g = pass.gradients;
    weight_gradient(pass, {gates_, 3 * hp, 3, h, hp, io.x, padded(k, inputs_), inputs_, io.count,
                           g + weight_ih_, scratch_});
    const float* before = states_before(pass.rows, hp);
    weight_gradient(pass,
                    {gates_, 3 * hp, 2, h, hp, before, hp, h, io.count, g + weight_hh_, scratch_});
    // The candidate's hidden part: d(U_n h + b_hn) against h, or dn against r * h.
    if (reset_after_)
      weight_gradient(pass, {hidden_part_, hp, 1, h, hp, before, hp, h, io.count,
                             g + weight_hh_ + 2 * h * h, scratch_});
    else
      weight_gradient(pass, {gates_ + 2 * hp, 3 * hp, 1, h, hp, hidden_part_, hp, h, io.count,
                             g + weight_hh_ + 2 * h * h, scratch_});
    for (int64_t gate = 0; gate < 3; ++gate)
      k.column_sums(gates_ + gate * hp, io.count, h, 3 * hp, g + bias_ih_ + gate * h);
    std::memcpy(g + bias_hh_, g + bias_ih_, bytes(2 * h));
    if (reset_after_) k.column_sums(hidden_part_, io.count, h, hp, g + bias_hh_ + 2 * h);
    if (io.dx)
      affine(pass, gates_, 3 * hp, io.count, 3 * hp, packed_in_back_, nullptr, io.dx,
             padded(k, inputs_));
  }

  float* output(const Rows& rows) override { return states_ + rows.sequences * state_row_; }

  void set_state(const Kernels& k, const Rows& rows, const float* state) override {
    const int64_t h = outputs_, hp = padded(k, h);
    state_row_ = hp;
    for (int64_t i = 0; i < rows.sequences; ++i) {
      if (state)
        std::memcpy(states_ + i * hp, state + rows.order[i] * h, bytes(h));
      else
        std::memset(states_ + i * hp, 0, bytes(h));
      // The row may have held an output of a batch of another shape.
      std::memset(states_ + i * hp + h, 0, bytes(hp - h));
    }
  }

  void get_state(const Kernels& k, const Rows& rows, float* state) const override {
    const int64_t h = outputs_, hp = padded(k, h);
    for (int64_t i = 0; i < rows.sequences; ++i)
      std::memcpy(state + rows.order[i] * h, states_ + (rows.sequences + rows.last_row(i)) * hp,
                  bytes(h));
  }

 private:
  GruArgs arguments(const Pass& pass) const {
    return {outputs_,
            padded(pass.k, outputs_),
            pass.rows.steps,
            pass.rows.count.data(),
            pass.rows.offset.data(),
            reset_after_,
            gates_,
            hidden_part_,
            states_,
            pass.rows.sequences,
            packed_,
            bias_hidden_,
            packed_back_,
            nullptr,
            grad_state_,
            inner_};
  }

  // Rows are independent through time, so threads split the sequences and meet once. Long work is
  // cut into blocks of steps, between which the owner may stop it.
  void over_time(const Pass& pass, GruArgs args, double factor,
                 void (*kernel)(const GruArgs&, int64_t, int64_t), bool backward) {
    const double step =
        factor * row_cost(args.hidden, args.padded) * static_cast<double>(args.sequences);
    const int64_t block = std::max<int64_t>(1, static_cast<int64_t>(2e7 / step));
    const int64_t steps = args.steps;
    for (int64_t done = 0; done < steps; done += block) {
      if (pass.stop && pass.stop->poll()) return;
      const int64_t size = std::min(block, steps - done);
      args.first = backward ? steps - done - size : done;
      args.steps = args.first + size;
      parallel_for(args.sequences, pass.k.row_tile, step * static_cast<double>(size),
                   [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
    }
  }

  // The state before every row: the outputs one step earlier, h0 first. With equal lengths they lie
  // in order already.
  const float* states_before(const Rows& rows, int64_t hp) {
    if (!rows.ragged) return states_;
    for (int64_t t = 0; t < rows.steps; ++t) {
      const int64_t from = t == 0 ? 0 : rows.sequences + rows.offset[t - 1];
      std::memcpy(before_ + rows.offset[t] * hp, states_ + from * hp, bytes(rows.count[t] * hp));
    }
    return before_;
  }

  bool reset_after_;
  int64_t weight_ih_ = 0, weight_hh_ = 0, bias_ih_ = 0, bias_hh_ = 0, state_row_ = 0;
  float *packed_in_ = nullptr, *bias_in_ = nullptr, *packed_ = nullptr, *bias_hidden_ = nullptr;
  float *gates_ = nullptr, *hidden_part_ = nullptr, *states_ = nullptr;
  float *packed_back_ = nullptr, *packed_in_back_ = nullptr, *grad_state_ = nullptr;
  float *inner_ = nullptr, *before_ = nullptr, *scratch_ = nullptr;
};

}  // namespace

std::unique_ptr<Layer> make_gru(int64_t inputs, int64_t hidden, bool reset_after) {
  return std::make_unique<Gru>(inputs, hidden, reset_after);
}

}  // namespace headgate
