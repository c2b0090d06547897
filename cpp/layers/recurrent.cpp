// Recurrent: one layer of any cell over time, in one direction or both. Equations and papers:
// kernels/recurrence.inl and docs/equations.md.
#include <algorithm>
#include <cstring>

#include "layer.h"
#include "random.h"

namespace headgate {
namespace {

// Nanoseconds for one row of one step, forward; a cautious guess, to decide on threads.
double row_cost(int64_t gates, int64_t hidden, int64_t padded) {
  return static_cast<double>(2 * gates * hidden * padded) / 40.0 + static_cast<double>(padded);
}

// Floats of input projections that a prediction works on at a time: they stay in the cache.
constexpr int64_t kNearFloats = 1 << 18;
constexpr double kBlockCost = 2e7;  // nanoseconds between two looks at the stop flag
constexpr double kNormCost = 0.5;   // nanoseconds for one value that is normalised
constexpr double kSumCost = 0.15;   // and for one that is added up

// What a cell carries through time: values before the first step of every sequence, and after every
// step.
struct Track {
  float *initial, *out;
};

struct Carried {
  float *values, *gradient;
};

// Rows of `width` floats that stay near, at least those of one step.
int64_t near_rows(int64_t sequences, int64_t width) {
  return std::max(kNearFloats / width / sequences, int64_t{1}) * sequences;
}

// Where the gradients of one direction's parameters go.
struct Gradients {
  float *weight_ih, *weight_hh, *bias_ih, *bias_hh, *norm_ih, *norm_hh;
};

// One direction: where its parameters begin, and its part of the workspace.
struct Direction {
  int64_t weight_ih, weight_hh, bias_ih, bias_hh, norm_ih, norm_hh;
  float *packed_in, *bias_in, *packed, *bias_hidden;
  float *gates, *inner, *states, *memories, *seen;  // seen: apart under recurrent dropout only
  float *packed_back, *packed_in_back, *grad_out, *grad_state, *grad_memory;
  float *grad_seen, *scratch, *before, *transposed, *mask;
  float *gain_in, *normed_in, *scale_in, *gain, *normed, *scale, *raw;
};

class Recurrent final : public Layer {
 public:
  Recurrent(int64_t inputs, const RecurrentOptions& options)
      : Layer(inputs, options.hidden * (options.bidirectional ? 2 : 1)),
        options_(options),
        cell_(options.cell),
        hidden_(options.hidden),
        gates_(gate_count(options.cell)),
        directions_(options.bidirectional ? 2 : 1) {}

  int64_t state_size() const override { return hidden_ * blocks(); }
  bool keeps_output() const override { return directions_.size() == 1; }
  float* output() override { return track(directions_[0].states, false).out; }

  int64_t describe(int64_t offset, std::vector<Segment>* segments) override {
    const int64_t h = hidden_, all = gates_ * h;
    const auto next = [&](const char* name, bool reverse, std::vector<int64_t> shape) {
      const bool weight = shape.size() > 1;
      segments->push_back({reverse ? std::string(name) + "_reverse" : name, offset, shape, weight});
      const int64_t begin = offset;
      offset += segments->back().size();
      return begin;
    };
    for (Direction& d : directions_) {
      const bool reverse = &d != directions_.data();
      d.weight_ih = next("weight_ih", reverse, {all, inputs_});
      d.weight_hh = next("weight_hh", reverse, {all, h});
      d.bias_ih = next("bias_ih", reverse, {all});
      d.bias_hh = next("bias_hh", reverse, {cell_ == Cell::gru_before ? 2 * h : all});
      if (!options_.layer_norm) continue;
      d.norm_ih = next("norm_ih", reverse, {all});
      d.norm_hh = next("norm_hh", reverse, {all});
    }
    return offset;
  }

  void plan_weights(const Kernels& k, Arena* arena, Use use) override {
    const int64_t h = hidden_, hp = padded(k, h), all = gates_ * hp;
    for (Direction& d : directions_) {
      arena->want(&d.packed_in, all * inputs_);
      arena->want(&d.bias_in, all);
      arena->want(&d.packed, all * h);
      arena->want(&d.bias_hidden, hp);
      if (options_.layer_norm) {
        arena->want(&d.gain_in, all);
        arena->want(&d.gain, all);
      }
      if (use.training) arena->want(&d.packed_back, gates_ * h * hp);
      if (use.training && use.input_gradient)
        arena->want(&d.packed_in_back, all * padded(k, inputs_));
    }
  }

  void share_weights(const Layer& owner) override {
    const auto& others = static_cast<const Recurrent&>(owner).directions_;
    for (size_t i = 0; i < directions_.size(); ++i) {
      Direction& d = directions_[i];
      d.packed_in = others[i].packed_in;
      d.bias_in = others[i].bias_in;
      d.packed = others[i].packed;
      d.bias_hidden = others[i].bias_hidden;
      d.gain_in = others[i].gain_in;
      d.gain = others[i].gain;
      d.packed_back = others[i].packed_back;
      d.packed_in_back = others[i].packed_in_back;
    }
  }

  void plan(const Kernels& k, Arena* arena, int64_t rows, int64_t sequences, Use use) override {
    if (!use.shared) plan_weights(k, arena, use);
    const int64_t h = hidden_, hp = padded(k, h), all = gates_ * hp;
    for (Direction& d : directions_) {
      // A prediction needs them for a block of steps at a time; see forward().
      const int64_t kept =
          use.training ? rows : std::min(rows, std::max(kNearFloats / all, sequences));
      arena->want(&d.gates, kept * all);
      arena->want(&d.inner, kept * hp);
      arena->want(&d.states, (sequences + rows) * hp);
      if (cell_ == Cell::lstm) arena->want(&d.memories, (sequences + rows) * hp);
      if (options_.layer_norm) {
        arena->want(&d.normed_in, kept * all);
        arena->want(&d.normed, kept * all);
        arena->want(&d.scale_in, kept * 4);
        arena->want(&d.scale, kept * 4);
      }
      if (!use.training) continue;
      if (directions_.size() > 1) arena->want(&d.grad_out, rows * hp);
      arena->want(&d.grad_state, sequences * hp);
      if (cell_ == Cell::lstm) arena->want(&d.grad_memory, sequences * hp);
      if (cell_ == Cell::gru_before) arena->want(&d.scratch, sequences * hp);
      if (options_.recurrent_dropout > 0) {
        arena->want(&d.mask, sequences * hp);
        arena->want(&d.seen, (sequences + rows) * hp);
        arena->want(&d.grad_seen, sequences * hp);
      }
      if (options_.layer_norm) arena->want(&d.raw, rows * all);
      arena->want(&d.before, rows * hp);
      arena->want(&d.transposed, std::min<int64_t>(k.lanes, std::max(inputs_, h)) * all);
    }
  }

  void pack(const Kernels& k, const float* parameters, Use use) override {
    for (Direction& d : directions_) pack_direction(k, parameters, &d);
    if (!use.shared) pack_back(k, parameters, use);
  }

  void pack_back(const Kernels& k, const float* parameters, Use use) override {
    for (Direction& d : directions_) pack_direction_back(k, parameters, use, &d);
  }

  void set_state(const Kernels& k, const Rows& rows, const State<const float>& state) override {
    hp_ = padded(k, hidden_);
    sequences_ = rows.sequences;
    total_ = rows.total;
    each_block(state, [&](const Carried& carried, bool reverse, const float* from) {
      take_rows(rows, from, track(carried.values, reverse).initial);
    });
  }

  void get_state(const Kernels&, const Rows& rows, const State<float>& state) const override {
    each_block(state, [&](const Carried& carried, bool reverse, float* to) {
      const float* out = track(carried.values, reverse).out;
      for (int64_t i = 0; i < rows.sequences; ++i)
        std::memcpy(to + rows.order[i] * hidden_, out + (reverse ? i : rows.last_row(i)) * hp_,
                    bytes(hidden_));
    });
  }

  void set_state_gradient(const Rows& rows, const State<const float>& state) override {
    each_block(state, [&](const Carried& carried, bool, const float* from) {
      take_rows(rows, from, carried.gradient);
    });
  }

  void get_state_gradient(const Rows& rows, const State<float>& state) const override {
    each_block(state, [&](const Carried& carried, bool, float* to) {
      for (int64_t i = 0; to && i < rows.sequences; ++i)
        std::memcpy(to + rows.order[i] * hidden_, carried.gradient + i * hp_, bytes(hidden_));
    });
  }

  void forward(const Pass& pass, const Io& io) override {
    const Kernels& k = pass.k;
    for (Direction& d : directions_)
      if (pass.training && d.mask) draw_mask(pass, &d);
    // A prediction projects a few steps at a time, and keeps no more.
    const int64_t most =
        pass.keep ? pass.rows.steps : near_rows(sequences_, gates_ * hp_) / sequences_;
    over_time(pass, io, 1.0, most, k.cell_forward, [&](CellArgs* args, const Direction& d) {
      const int64_t from = args->reverse ? args->steps - args->last : args->first;
      const int64_t to = args->reverse ? args->steps - args->first : args->last;
      const int64_t first = args->offset[from];
      if (!pass.keep) args->origin = first;
      project(pass, io, d, first, args->offset[to - 1] + args->count[to - 1] - first,
              first - args->origin);
    });
    if (io.y == output()) return;
    const int64_t width = io.y_row ? io.y_row : padded(k, outputs_);
    for (const Direction& d : directions_) {
      const bool reverse = &d != directions_.data();
      copy_rows(track(d.states, reverse).out, hp_, io.count, io.y + (reverse ? hidden_ : 0), width);
    }
  }

  void backward(const Pass& pass, const Io& io) override {
    const int64_t width = io.dy_row ? io.dy_row : padded(pass.k, outputs_);
    for (Direction& d : directions_) {
      if (directions_.size() == 1) break;
      const int64_t first = &d == directions_.data() ? 0 : hidden_;
      copy_rows(io.dy + first, width, io.count, d.grad_out, hp_);
    }
    over_time(pass, io, 1.5, pass.rows.steps, pass.k.cell_backward,
              [](CellArgs*, const Direction&) {});
    if (pass.stop && pass.stop->stopped()) return;
    for (Direction& d : directions_) {
      if (pass.gradients) bias_gradients(pass, io, d);
      if (options_.layer_norm) normed_gradients(pass, io, d);
      if (pass.gradients) weight_gradients(pass, io, d);
      if (io.dx)
        affine(pass, d.gates, gates_ * hp_, io.count, gates_ * hp_, d.packed_in_back, nullptr,
               io.dx, io.dx_row ? inputs_ : padded(pass.k, inputs_), &d != directions_.data(),
               io.dx_row);
    }
  }

  // `which`: the gates in their order (gru: reset, update, candidate; lstm: input, forget,
  // candidate, output, then c), then the state; 15: dLoss/dh. The reverse direction from 16 on.
  View view(const Kernels&, const Rows&, int which) const override {
    const size_t direction = which >= 16 ? 1 : 0;
    const int quantity = which % 16;
    if (direction >= directions_.size()) return {nullptr, 0, 0};
    const Direction& d = directions_[direction];
    const int shown = cell_ == Cell::rnn_tanh || cell_ == Cell::rnn_relu ? 0 : gates_;
    if (quantity < shown) return {d.gates + quantity * hp_, gates_ * hp_, hidden_};
    if (quantity == 15) return {directions_.size() == 1 ? grad_out_ : d.grad_out, hp_, hidden_};
    if (cell_ == Cell::lstm && quantity == shown)
      return {track(d.memories, direction == 1).out, hp_, hidden_};
    if (quantity == shown + (cell_ == Cell::lstm))
      return {track(d.states, direction == 1).out, hp_, hidden_};
    return {nullptr, 0, 0};
  }

 private:
  int64_t blocks() const {
    return static_cast<int64_t>(directions_.size()) * (cell_ == Cell::lstm ? 2 : 1);
  }

  // What is carried, in the order in which states are given and taken: calls body(carried,
  // reverse, its rows in `state` or null).
  template <class Float, class Body>
  void each_block(const State<Float>& state, Body body) const {
    Float* places[] = {state.data, state.memory};
    const auto next = [&](bool apart) -> Float* {
      Float*& place = places[apart];
      if (!place) return nullptr;
      Float* block = place + state.first * hidden_;
      place += state.rows * hidden_;
      return block;
    };
    for (const Direction& d : directions_) {
      const bool reverse = &d != directions_.data();
      body(Carried{d.states, d.grad_state}, reverse, next(false));
      if (cell_ == Cell::lstm) body(Carried{d.memories, d.grad_memory}, reverse, next(state.apart));
    }
  }

  // Rows [sequences, H] in the caller's order, or zeros, into rows of the workspace: what they held
  // may be another batch's.
  void take_rows(const Rows& rows, const float* from, float* to) const {
    for (int64_t i = 0; i < rows.sequences; ++i, to += hp_) {
      std::memset(to, 0, bytes(hp_));
      if (from) std::memcpy(to, from + rows.order[i] * hidden_, bytes(hidden_));
    }
  }

  // H values of every row.
  void copy_rows(const float* from, int64_t from_row, int64_t count, float* to,
                 int64_t to_row) const {
    parallel_for(count, 64, headgate::row_cost(hidden_) * static_cast<double>(count),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t row = begin; row < end; ++row)
                     std::memcpy(to + row * to_row, from + row * from_row, bytes(hidden_));
                 });
  }

  // The initial values lie before the first step: in front of all rows, or in reverse behind them.
  Track track(float* block, bool reverse) const {
    return reverse ? Track{block + total_ * hp_, block} : Track{block, block + sequences_ * hp_};
  }

  void pack_direction(const Kernels& k, const float* parameters, Direction* d) {
    const int64_t h = hidden_, hp = padded(k, h), strip = h * k.lanes;
    const float* w = parameters + d->weight_ih;
    const float* u = parameters + d->weight_hh;
    for (int64_t gate = 0; gate < gates_; ++gate) {
      k.pack(w + gate * h * inputs_, 1, inputs_, inputs_, h, d->packed_in + gate * hp * inputs_,
             k.lanes, inputs_ * k.lanes);
      // The gates of a panel beside each other, row by row; reset_before takes n after all r and z.
      const bool apart = cell_ == Cell::gru_before && gate == 2;
      const int64_t together = apart ? 1 : cell_ == Cell::gru_before ? 2 : gates_;
      k.pack(u + gate * h * h, 1, h, h, h, d->packed + (apart ? 2 * hp * h : gate * k.lanes),
             together * k.lanes, together * strip);
      std::memcpy(d->bias_in + gate * hp, parameters + d->bias_ih + gate * h, bytes(h));
      if (!options_.layer_norm) continue;
      std::memcpy(d->gain_in + gate * hp, parameters + d->norm_ih + gate * h, bytes(h));
      std::memcpy(d->gain + gate * hp, parameters + d->norm_hh + gate * h, bytes(h));
    }
    // The candidate's hidden bias stands apart with reset_after, where r meets it; and is absent
    // without.
    const bool gru = cell_ == Cell::gru || cell_ == Cell::gru_before;
    const float* bias_hh = parameters + d->bias_hh;
    for (int64_t gate = 0; gate < (gru ? 2 : gates_); ++gate)
      for (int64_t j = 0; j < h; ++j) d->bias_in[gate * hp + j] += bias_hh[gate * h + j];
    if (cell_ == Cell::gru) std::memcpy(d->bias_hidden, bias_hh + 2 * h, bytes(h));
  }

  void pack_direction_back(const Kernels& k, const float* parameters, Use use, Direction* d) {
    const int64_t h = hidden_, hp = padded(k, h), strip = h * k.lanes;
    const float* w = parameters + d->weight_ih;
    const float* u = parameters + d->weight_hh;
    if (use.training) k.pack(u, h, 1, gates_ * h, h, d->packed_back, k.lanes, gates_ * strip);
    if (!use.input_gradient) return;
    for (int64_t gate = 0; gate < gates_; ++gate)
      k.pack(w + gate * h * inputs_, inputs_, 1, h, inputs_,
             d->packed_in_back + gate * hp * k.lanes, k.lanes, gates_ * hp * k.lanes);
  }

  // One mask for each sequence, shared over time and gates.
  void draw_mask(const Pass& pass, Direction* d) {
    const DropoutMask mask(pass.random, options_.recurrent_dropout, options_.stream);
    const bool reverse = d != directions_.data();
    const float* from = track(d->states, reverse).initial;
    float* to = track(d->seen, reverse).initial;
    for (int64_t i = 0; i < sequences_; ++i)
      mask.draw(pass.random.sample[i], reverse ? 1 : 0, hidden_, d->mask + i * hp_);
    for (int64_t at = 0; at < sequences_ * hp_; ++at) to[at] = from[at] * d->mask[at];
  }

  void arguments(const Pass& pass, const Io& io, const Direction& d, CellArgs* args) const {
    const bool reverse = &d != directions_.data(), masked = pass.training && d.mask;
    args->cell = cell_;
    args->reverse = reverse;
    args->hidden = hidden_;
    args->padded = hp_;
    args->gate_row = gates_ * hp_;
    args->steps = pass.rows.steps;
    args->count = pass.rows.count.data();
    args->offset = pass.rows.offset.data();
    args->keep = pass.keep;
    args->origin = 0;
    args->gates = d.gates;
    args->inner = d.inner;
    args->initial = reverse ? total_ : 0;
    args->lead = reverse ? 0 : sequences_;
    args->state = d.states;
    args->seen = masked ? d.seen : d.states;
    args->memory = d.memories;
    args->mask = masked ? d.mask : nullptr;
    args->packed = d.packed;
    args->bias_hidden = d.bias_hidden;
    args->packed_back = d.packed_back;
    args->grad_out = directions_.size() == 1 ? io.dy : d.grad_out;
    args->keep_total = pass.keep_hidden_gradients;
    args->to_first = pass.to_first;
    args->grad_state = d.grad_state;
    args->grad_memory = d.grad_memory;
    args->grad_seen = d.grad_seen;
    args->scratch = d.scratch;
    args->gain = d.gain;
    args->normed = d.normed;
    args->scale = d.scale;
    args->raw = d.raw;
  }

  // The input projections of rows [first, first + count), into rows `to` and following.
  void project(const Pass& pass, const Io& io, const Direction& d, int64_t first, int64_t count,
               int64_t to) {
    const int64_t all = gates_ * hp_, x_row = row_of_x(pass.k, io);
    const bool norm = options_.layer_norm;
    affine(pass, io.x + first * x_row, x_row, count, inputs_, d.packed_in,
           norm ? nullptr : d.bias_in, (norm ? d.normed_in : d.gates) + to * all, all);
    if (!norm) return;
    const NormArgs args{gates_, hidden_, hp_, d.gain_in, d.normed_in, d.scale_in};
    parallel_for(count, 8, kNormCost * static_cast<double>(count * all),
                 [&](int64_t begin, int64_t end) {
                   pass.k.norm_forward(args, d.bias_in, d.gates, to + begin, to + end);
                 });
  }

  // Rows are independent through time, so threads split the sequences (and the directions) and meet
  // once for every block of steps: of at most `most`, and short enough that the owner may stop the
  // work between them. prepare(args, direction) comes before each.
  template <class Prepare>
  void over_time(const Pass& pass, const Io& io, double factor, int64_t most,
                 void (*kernel)(const CellArgs&, int64_t, int64_t), Prepare prepare) {
    const int64_t steps = pass.rows.steps;
    const int64_t rows = round_up(sequences_, pass.k.row_tile);
    const auto ways = static_cast<int64_t>(directions_.size());
    const double step =
        factor * row_cost(gates_, hidden_, hp_) * static_cast<double>(sequences_ * ways);
    const int64_t block =
        std::max<int64_t>(1, std::min(most, static_cast<int64_t>(kBlockCost / step)));
    CellArgs args[2];  // of which a layer in one direction fills one
    for (int64_t way = 0; way < ways; ++way) arguments(pass, io, directions_[way], &args[way]);
    grad_out_ = args[0].grad_out;
    const bool backward = kernel == pass.k.cell_backward;
    for (int64_t done = 0; done < steps; done += block) {
      if (pass.stop && pass.stop->poll()) return;
      const int64_t size = std::min(block, steps - done);
      for (int64_t way = 0; way < ways; ++way) {
        args[way].first = backward ? steps - done - size : done;
        args[way].last = args[way].first + size;
        prepare(&args[way], directions_[way]);
      }
      parallel_for(ways * rows, pass.k.row_tile, step * static_cast<double>(size),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t way = 0; way < ways; ++way) {
                       const int64_t from = std::max(begin - way * rows, int64_t{0});
                       const int64_t to = std::min(end - way * rows, sequences_);
                       if (from < to) kernel(args[way], from, to);
                     }
                   });
    }
  }

  int64_t row_of_x(const Kernels& k, const Io& io) const {
    return io.x_row ? io.x_row : padded(k, inputs_);
  }

  Gradients gradients_of(const Pass& pass, const Direction& d) const {
    float* g = pass.gradients;
    if (!pass.pieces)
      return {g + d.weight_ih, g + d.weight_hh, g + d.bias_ih,
              g + d.bias_hh,   g + d.norm_ih,   g + d.norm_hh};
    const int64_t each = options_.layer_norm ? 6 : 4;  // in the order of describe()
    float* const* piece = pass.pieces + (&d == directions_.data() ? 0 : each);
    const bool norm = options_.layer_norm;
    return {piece[0],
            piece[1],
            piece[2],
            piece[3],
            norm ? piece[4] : nullptr,
            norm ? piece[5] : nullptr};
  }

  void bias_gradients(const Pass& pass, const Io& io, const Direction& d) {
    const Kernels& k = pass.k;
    const int64_t h = hidden_, all = gates_ * hp_;
    const Gradients g = gradients_of(pass, d);
    parallel_for(h, 4 * k.lanes, kSumCost * static_cast<double>(io.count * all),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t gate = 0; gate < gates_; ++gate)
                     k.column_sums(d.gates + gate * hp_ + begin, io.count, end - begin, all,
                                   g.bias_ih + gate * h + begin);
                 });
    // The candidate's part of reset_after meets r, so it has a gradient of its own, in `inner`.
    const bool apart = cell_ == Cell::gru, before = cell_ == Cell::gru_before;
    std::memcpy(g.bias_hh, g.bias_ih, bytes((apart || before ? 2 : gates_) * h));
    if (apart) k.column_sums(d.inner, io.count, h, hp_, g.bias_hh + 2 * h);
  }

  // Gains, and then in place of what the input projections got the gradients of the raw ones.
  void normed_gradients(const Pass& pass, const Io& io, const Direction& d) {
    const Kernels& k = pass.k;
    const int64_t h = hidden_, all = gates_ * hp_;
    const bool wanted = pass.gradients != nullptr;
    const Gradients g = wanted ? gradients_of(pass, d) : Gradients{};
    for (int64_t gate = 0; gate < gates_ && wanted; ++gate) {
      const bool inner = cell_ == Cell::gru && gate == 2;
      k.column_dots(inner ? d.inner : d.gates + gate * hp_, inner ? hp_ : all,
                    d.normed + gate * hp_, all, io.count, h, g.norm_hh + gate * h);
      k.column_dots(d.gates + gate * hp_, all, d.normed_in + gate * hp_, all, io.count, h,
                    g.norm_ih + gate * h);
    }
    const NormArgs args{gates_, h, hp_, d.gain_in, d.normed_in, d.scale_in};
    parallel_for(
        io.count, 8, kNormCost * static_cast<double>(io.count * all),
        [&](int64_t begin, int64_t end) { k.norm_backward(args, d.gates, d.gates, begin, end); });
  }

  void weight_gradients(const Pass& pass, const Io& io, const Direction& d) {
    const Kernels& k = pass.k;
    const int64_t h = hidden_, all = gates_ * hp_, x_row = row_of_x(k, io);
    const bool apart = cell_ == Cell::gru, before = cell_ == Cell::gru_before;
    const Gradients g = gradients_of(pass, d);
    // d(U seen): [rows, G, padded], the candidate's maybe in `inner`
    const float* hidden = options_.layer_norm ? d.raw : d.gates;
    weight_gradient(pass, {d.gates, all, gates_, h, hp_, io.x, x_row, inputs_, io.count,
                           g.weight_ih, d.transposed});
    const float* seen = seen_before(pass, d);
    const bool candidate = before || (apart && !options_.layer_norm);
    weight_gradient(pass, {hidden, all, gates_ - candidate, h, hp_, seen, hp_, h, io.count,
                           g.weight_hh, d.transposed});
    float* last = g.weight_hh + 2 * h * h;
    if (before)  // against r * h
      weight_gradient(
          pass, {hidden + 2 * hp_, all, 1, h, hp_, d.inner, hp_, h, io.count, last, d.transposed});
    else if (candidate)
      weight_gradient(pass, {d.inner, hp_, 1, h, hp_, seen, hp_, h, io.count, last, d.transposed});
  }

  // What the products of every row saw: the states one step earlier, initial ones first. With equal
  // lengths they lie in order already.
  const float* seen_before(const Pass& pass, const Direction& d) const {
    const Rows& rows = pass.rows;
    const bool reverse = &d != directions_.data();
    float* block = pass.training && d.mask ? d.seen : d.states;
    if (!rows.ragged) return reverse ? block + sequences_ * hp_ : block;
    const Track seen = track(block, reverse);
    for (int64_t t = 0; t < rows.steps; ++t) {
      const int64_t other = reverse ? t + 1 : t - 1;
      const int64_t running = other < 0 || other == rows.steps ? 0 : rows.count[other];
      const int64_t carried = std::min<int64_t>(running, rows.count[t]);
      float* to = d.before + rows.offset[t] * hp_;
      if (carried > 0) std::memcpy(to, seen.out + rows.offset[other] * hp_, bytes(carried * hp_));
      std::memcpy(to + carried * hp_, seen.initial + carried * hp_,
                  bytes((rows.count[t] - carried) * hp_));
    }
    return d.before;
  }

  RecurrentOptions options_;
  Cell cell_;
  int64_t hidden_, gates_;
  std::vector<Direction> directions_;
  int64_t hp_ = 0, sequences_ = 0, total_ = 0;
  float* grad_out_ = nullptr;
};

}  // namespace

std::unique_ptr<Layer> make_recurrent(int64_t inputs, const RecurrentOptions& options) {
  return std::make_unique<Recurrent>(inputs, options);
}

}  // namespace headgate
