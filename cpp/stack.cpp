#include "stack.h"

#include <algorithm>
#include <cstring>

namespace headgate {
namespace {

using Layers = std::vector<std::unique_ptr<Layer>>;

int64_t directions(const StackOptions& options) { return options.bidirectional ? 2 : 1; }

// Layers without a workspace, and the parameters they have, one behind the other: those that the
// caller has, and every one.
Layers make_layers(const StackOptions& options, std::vector<Segment>* segments, int64_t* size,
                   std::vector<Segment>* every = nullptr) {
  Layers layers;
  std::vector<Segment> all;
  int64_t offset = 0;
  for (int64_t l = 0; l < options.layers; ++l) {
    const int64_t inputs = l == 0 ? options.inputs : options.hidden * directions(options);
    layers.push_back(make_recurrent(
        inputs, {options.cell, options.hidden, options.bidirectional, options.layer_norm,
                 options.recurrent_dropout, static_cast<uint64_t>(2 * l)}));
    offset = layers.back()->describe(offset, &all);
  }
  for (const Segment& segment : all)
    if (segments && (options.bias || segment.name.compare(0, 4, "bias") != 0))
      segments->push_back(segment);
  if (size) *size = offset;
  if (every) *every = std::move(all);
  return layers;
}

// Of a batch, where it lies as its rows follow each other: how far apart. 0: it does not.
template <class Float>
int64_t row_of(const Strided<Float>& values, const Shape& shape) {
  if (shape.sizes || shape.steps == 1) return values.row;
  if (shape.sequences == 1) return values.step;
  return values.step == shape.sequences * values.row ? values.row : 0;
}

// Rows of `width` values into rows of the workspace.
void gather(const Rows& rows, const Strided<const float>& from, bool packed, int64_t width,
            float* to, int64_t to_row) {
  for_rows(rows, row_cost(width), [&](int64_t i, int64_t row) {
    const int64_t t = packed || rows.sequences == 0 ? 0 : row / rows.sequences;
    const float* at = from.data + (packed ? row * from.row : t * from.step + i * from.row);
    std::memcpy(to + row * to_row, at, bytes(width));
  });
}

void lay_out(const Shape& shape, Rows* rows) {
  const auto steps = static_cast<size_t>(shape.steps), n = static_cast<size_t>(shape.sequences);
  const bool same = !rows->ragged && !shape.sizes && !shape.order &&
                    rows->sequences == shape.sequences && rows->steps == shape.steps;
  if (same) return;
  rows->sequences = shape.sequences;
  rows->steps = shape.steps;
  rows->total = shape.total;
  rows->count.resize(steps);
  rows->offset.resize(steps);
  rows->length.assign(n, 0);
  rows->order.resize(n);
  int64_t offset = 0;
  for (size_t t = 0; t < steps; ++t) {
    const int64_t count = shape.sizes ? shape.sizes[t] : shape.sequences;
    rows->count[t] = static_cast<int32_t>(count);
    rows->offset[t] = offset;
    offset += count;
  }
  size_t t = steps;
  for (size_t i = 0; i < n; ++i) {
    while (rows->count[t - 1] <= static_cast<int64_t>(i)) --t;
    rows->length[i] = static_cast<int64_t>(t);
    rows->order[i] = shape.order ? shape.order[i] : static_cast<int64_t>(i);
  }
  // A caller's order is not that of the next batch, so this layout does not stand for it either.
  rows->ragged = rows->total != shape.steps * shape.sequences || shape.order;
}

}  // namespace

class PackedStack {
 public:
  PackedStack(const StackOptions& options, const Kernels& k, bool trained)
      : kernels(k), training(trained) {
    int64_t size = 0;
    layers = make_layers(options, nullptr, &size);
    parameters.assign(size);
    for (auto& layer : layers) layer->plan_weights(k, &arena, use());
    arena.allocate();
  }

  Use use() const { return {training, training}; }

  // Whether these are the parameters. They may have been changed by anyone who has their memory,
  // so nothing but looking at them tells.
  bool holds(const std::vector<Segment>& segments, const float* const* values) const {
    for (size_t i = 0; i < segments.size(); ++i)
      if (std::memcmp(parameters.data() + segments[i].offset, values[i],
                      bytes(segments[i].size())) != 0)
        return false;
    return packed;
  }

  void pack(const std::vector<Segment>& segments, const float* const* values) {
    for (size_t i = 0; i < segments.size(); ++i)
      std::memcpy(parameters.data() + segments[i].offset, values[i], bytes(segments[i].size()));
    for (auto& layer : layers) layer->pack(kernels, parameters.data(), {training, training, true});
    packed = true;
    back.assign(layers.size(), {});
  }

  // What a backward pass of layer l reads, packed when the first one comes.
  void pack_back(size_t l, bool input_gradient, bool through_time) {
    const std::lock_guard<std::mutex> lock(mutex);
    const Use missing{through_time && !back[l].training, input_gradient && !back[l].input_gradient};
    if (!missing.training && !missing.input_gradient) return;
    layers[l]->pack_back(kernels, parameters.data(), missing);
    back[l].training = back[l].training || missing.training;
    back[l].input_gradient = back[l].input_gradient || missing.input_gradient;
  }

  const Kernels& kernels;
  const bool training;
  bool packed = false;
  Layers layers;
  std::vector<Use> back;  // of each layer, what is packed
  std::mutex mutex;
  AlignedFloats parameters;
  Arena arena;
};

// What one pass works in: copies of the layers, and memory for a number of rows.
struct Stack::Workspace {
  Workspace(const StackOptions& o, const std::vector<Segment>& s, const Kernels& k, bool trains)
      : options(o), segments(s), kernels(k), training(trains) {
    layers = make_layers(options, nullptr, &gradient_size, &all);
    outputs.resize(layers.size());
    dropped.resize(layers.size());
    for (size_t l = 0; l + 1 < layers.size() && training && options.dropout > 0; ++l)
      dropouts.push_back(make_dropout(layers[l]->output_size(), options.dropout, false, 2 * l + 1));
  }

  bool holds(const Shape& shape) const {
    return shape.total <= most_rows && shape.sequences <= most_sequences;
  }

  void reserve(const Shape& shape) {
    if (holds(shape)) return;
    const int64_t n = std::max(shape.total, most_rows);
    const int64_t sequences = std::max(shape.sequences, most_sequences);
    const int64_t width = padded(kernels, layers[0]->output_size());
    arena.clear();
    arena.want(&x_copy, n * padded(kernels, options.inputs));
    for (size_t l = 0; l < layers.size(); ++l) {
      layers[l]->plan(kernels, &arena, n, sequences, {training, true, true});
      if (!layers[l]->keeps_output() && l + 1 < layers.size()) arena.want(&outputs[l], n * width);
      if (l < dropouts.size()) {
        dropouts[l]->plan(kernels, &arena, n, sequences, {training, true});
        arena.want(&dropped[l], n * width);
      }
    }
    if (training) {
      arena.want(&dy_copy, n * width);
      if (layers.size() > 1) arena.want(&dx_below, n * width);
      arena.want(&gradients, gradient_size);
    }
    arena.allocate();
    most_rows = n;
    most_sequences = sequences;
  }

  Pass pass(bool keep, const float* parameters) const {
    return {kernels,   rows, drop, {seed, 0, rows.order.data()}, nullptr, parameters,
            gradients, keep, false};
  }

  // Where the kernels read x: in place, if they can.
  void find_x(const Strided<const float>& from) {
    const int64_t width = options.inputs, row = row_of(from, shape);
    // Gradients of weights read whole vectors of a row unless it is shorter than one.
    const bool whole = width < kernels.lanes || width % kernels.lanes == 0;
    if (row && (whole || !training)) {
      x = from.data;
      x_row = row;
      return;
    }
    x = x_copy;
    x_row = padded(kernels, width);
    gather(rows, from, shape.sizes != nullptr, width, x_copy, x_row);
  }

  Io io(size_t l) {
    Io io{};
    io.x = l == 0 ? x : l <= dropouts.size() && drop ? dropped[l - 1] : outputs[l - 1];
    io.x_row = l == 0 ? x_row : 0;
    io.count = rows.total;
    io.y = outputs[l];
    return io;
  }

  // y: [rows, output_size], or null when its rows were given already.
  void forward(bool keep, float* y) {
    const Pass run = pass(keep, packed->parameters.data());
    for (size_t l = 0; l < layers.size(); ++l) {
      Layer& layer = *layers[l];
      if (layer.keeps_output()) outputs[l] = layer.output();
      Io at = io(l);
      if (l + 1 == layers.size() && (y || !layer.keeps_output())) {
        at.y = y ? y : dy_copy;
        at.y_row = y ? layer.output_size() : 0;
      }
      layer.forward(run, at);
      if (l >= dropouts.size() || !drop) continue;
      Io between{};
      between.x = outputs[l];
      between.y = dropped[l];
      between.count = rows.total;
      dropouts[l]->forward(run, between);
    }
  }

  int64_t states() const { return directions(options) * rows.sequences * options.hidden; }

  // Calls body(layer, State) for the states of each layer.
  template <class Float, class Body>
  void each_state(const Carry<Float>& carry, Body body) {
    for (size_t l = 0; l < layers.size(); ++l) {
      const auto at = static_cast<int64_t>(l) * states();
      body(*layers[l], State<Float>{carry.h ? carry.h + at : nullptr, rows.sequences, 0, true,
                                    carry.c ? carry.c + at : nullptr});
    }
  }

  void backward(const Tape::Call& call);
  std::vector<float*> pieces(size_t l, float* const* to) const;
  bool asks(size_t l, float* const* gradients) const;

  const StackOptions options;
  const std::vector<Segment>& segments;
  std::vector<Segment> all;  // those of biases that the caller has not, too
  const Kernels& kernels;
  const bool training;
  int64_t gradient_size = 0, most_rows = 0, most_sequences = 0;
  Layers layers, dropouts;
  Arena arena;
  std::vector<float*> outputs, dropped;  // of each layer
  float *x_copy = nullptr, *dy_copy = nullptr, *dx_below = nullptr, *gradients = nullptr;
  // Of the pass that it is used for.
  std::shared_ptr<PackedStack> packed;
  Shape shape{};
  Rows rows;
  const float* x = nullptr;
  int64_t x_row = 0;
  bool drop = false, spent = false;
  uint64_t seed = 0;
};

// Workspaces that nobody uses at the moment. It outlives the Stack while there are Tapes.
struct Stack::Pool {
  static constexpr size_t kMostIdle = 2;  // while one pass's graph still stands, the next begins
  static constexpr int64_t kMostKept = int64_t{1} << 24;  // bytes, of a prediction's

  explicit Pool(const StackOptions& options) { make_layers(options, &segments, nullptr); }

  std::unique_ptr<Workspace> take(const Shape& shape, const Kernels& k, bool training) {
    const std::lock_guard<std::mutex> lock(mutex);
    auto& list = idle[training];
    size_t best = list.size();
    for (size_t i = 0; i < list.size(); ++i)
      if (&list[i]->kernels == &k && (best == list.size() || list[i]->holds(shape))) best = i;
    if (best == list.size()) return nullptr;
    std::unique_ptr<Workspace> found = std::move(list[best]);
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(best));
    return found;
  }

  void give_back(std::unique_ptr<Workspace> workspace) {
    workspace->packed.reset();
    if (!workspace->training && workspace->arena.size() * 4 > kMostKept) return;
    const std::lock_guard<std::mutex> lock(mutex);
    auto& list = idle[workspace->training];
    list.push_back(std::move(workspace));
    if (list.size() > kMostIdle) list.erase(list.begin());
  }

  std::vector<Segment> segments;
  std::mutex mutex;
  std::vector<std::unique_ptr<Workspace>> idle[2];
};

bool Stack::Workspace::asks(size_t l, float* const* wanted) const {
  const size_t each = segments.size() / layers.size();
  return std::any_of(wanted + l * each, wanted + (l + 1) * each, [](float* g) { return g; });
}

// Where the gradients of all parameters of layer l go; those that nobody asks for, into scratch.
std::vector<float*> Stack::Workspace::pieces(size_t l, float* const* to) const {
  std::vector<float*> found;
  const size_t each = all.size() / layers.size(), asked = segments.size() / layers.size();
  for (size_t i = l * each, k = l * asked; i < (l + 1) * each; ++i) {
    const bool known = k < segments.size() && segments[k].offset == all[i].offset;
    float* wanted = known ? to[k++] : nullptr;
    found.push_back(wanted ? wanted : gradients + all[i].offset);
  }
  return found;
}

void Stack::Workspace::backward(const Tape::Call& call) {
  if (x != x_copy) find_x(call.x);
  if (spent) forward(true, nullptr);
  spent = true;
  each_state(call.last, [&](Layer& layer, const State<const float>& state) {
    layer.set_state_gradient(rows, state);
  });
  const size_t top = layers.size() - 1;
  const int64_t width = layers[top]->output_size(), wide = padded(kernels, width);
  const float* dy = dy_copy;
  int64_t dy_row = 0;
  const int64_t row = call.dy.data ? row_of(call.dy, shape) : 0;
  if (!call.dy.data) {
    std::memset(dy_copy, 0, bytes(rows.total * wide));
  } else if (row && (options.bidirectional || row == wide)) {
    dy = call.dy.data;
    dy_row = row;
  } else {
    gather(rows, call.dy, shape.sizes != nullptr, width, dy_copy, wide);
  }
  // The lowest layer of which, or of something below which, a gradient is asked for.
  size_t lowest = top;
  for (size_t l = 0; l <= top; ++l)
    if (asks(l, call.gradients) || (l == 0 && call.dx) || call.first.h || call.first.c) {
      lowest = l;
      break;
    }
  for (size_t l = top + 1; l-- > lowest;) {
    Pass run = pass(true, packed->parameters.data());
    const std::vector<float*> to = pieces(l, call.gradients);
    run.pieces = to.data();
    if (!asks(l, call.gradients)) run.gradients = nullptr;
    run.to_first = call.first.h || call.first.c;
    Io at = io(l);
    at.dy = const_cast<float*>(dy);  // read only: see Pass::keep_hidden_gradients
    at.dy_row = dy_row;
    at.dx = l == 0 ? call.dx : l == lowest ? nullptr : dy == dx_below ? dy_copy : dx_below;
    at.dx_row = l == 0 ? options.inputs : 0;
    const bool once = rows.steps == 1 && !options.layer_norm && options.cell != Cell::gru_before;
    packed->pack_back(l, at.dx != nullptr, !once || run.to_first);
    layers[l]->backward(run, at);
    if (l == lowest) break;
    if (drop && l - 1 < dropouts.size()) {
      Io between{};
      between.dy = between.dx = at.dx;
      between.count = rows.total;
      dropouts[l - 1]->backward(run, between);
    }
    dy = at.dx;
    dy_row = 0;
  }
  each_state(call.first, [&](Layer& layer, const State<float>& state) {
    layer.get_state_gradient(rows, state);
  });
}

Stack::Stack(const StackOptions& options) : options_(options) {
  pool_ = std::make_shared<Pool>(options);
  segments_ = pool_->segments;
}

Stack::~Stack() = default;

double Stack::cost(int64_t rows) const {
  double weights = 0;
  for (const Segment& segment : segments_) weights += static_cast<double>(segment.size());
  return weights * static_cast<double>(rows) / 10.0;
}

std::shared_ptr<PackedStack> Stack::packed(const float* const* parameters, bool training) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const bool fits = packed_ && &packed_->kernels == &kernels() && (packed_->training || !training);
  if (fits && packed_->holds(segments_, parameters)) return packed_;
  if (!fits || packed_.use_count() > 1)
    packed_ = std::make_shared<PackedStack>(options_, kernels(),
                                            training || (packed_ && packed_->training));
  packed_->pack(segments_, parameters);
  return packed_;
}

std::unique_ptr<Tape> Stack::forward(const Call& call, bool keep) {
  const std::shared_ptr<PackedStack> weights = packed(call.parameters, keep);
  const bool masks = call.drop && (options_.dropout > 0 || options_.recurrent_dropout > 0);
  const bool training = keep || masks;  // masks need room
  std::unique_ptr<Workspace> w = pool_->take(call.shape, weights->kernels, training);
  if (!w) w = std::make_unique<Workspace>(options_, pool_->segments, weights->kernels, training);
  w->reserve(call.shape);
  w->packed = weights;
  w->shape = call.shape;
  lay_out(call.shape, &w->rows);
  w->shape.order = nullptr;  // the caller's, as are the sizes; what matters is in rows
  w->drop = masks;
  w->seed = call.seed;
  w->spent = false;
  for (size_t l = 0; l < w->layers.size(); ++l) w->layers[l]->share_weights(*weights->layers[l]);
  w->each_state(call.first, [&](Layer& layer, const State<const float>& state) {
    layer.set_state(w->kernels, w->rows, state);
  });
  w->find_x(call.x);
  w->forward(keep, call.y);
  w->each_state(call.last, [&](Layer& layer, const State<float>& state) {
    layer.get_state(w->kernels, w->rows, state);
  });
  if (!keep) {
    pool_->give_back(std::move(w));
    return nullptr;
  }
  return std::make_unique<Tape>(pool_, std::move(w));
}

void Stack::release() {
  std::vector<std::unique_ptr<Workspace>> over;  // freed without the lock
  const std::lock_guard<std::mutex> lock(pool_->mutex);
  over.swap(pool_->idle[true]);
}

Tape::Tape(std::shared_ptr<Stack::Pool> pool, std::unique_ptr<Stack::Workspace> workspace)
    : pool_(std::move(pool)), workspace_(std::move(workspace)) {
  cost_ = static_cast<double>(workspace_->rows.total * workspace_->gradient_size) / 5.0;
}

Tape::~Tape() { release(); }

bool Tape::backward(const Call& call) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (workspace_) workspace_->backward(call);
  return workspace_ != nullptr;
}

void Tape::release() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (workspace_) pool_->give_back(std::move(workspace_));
}

}  // namespace headgate
