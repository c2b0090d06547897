// module.cpp: the engine for Python. Checks sizes, releases the GIL, contains no arithmetic.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>

#include "crf.h"
#include "network.h"
#include "parallel.h"
#include "stream.h"
#include "trainer.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace headgate {
namespace {

template <class T, int Dims>
using Array = nb::ndarray<T, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>;
using Floats = Array<const float, 1>;
using FloatsOut = Array<float, 1>;
using Indices = Array<const int64_t, 1>;

void require(bool condition, const char* message) {
  if (!condition) throw nb::value_error(message);
}

// Signals are handled in the main thread only; the others need not ask.
bool in_main_thread() {
  thread_local const bool main = [] {
    const nb::module_ threading = nb::module_::import_("threading");
    return threading.attr("main_thread")().attr("ident").equal(threading.attr("get_ident")());
  }();
  return main;
}

bool finalizing() {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing() != 0;
#else
  return _Py_IsFinalizing() != 0;
#endif
}

// Releases the GIL. At the end of the process a daemon thread must not ask for it again: before
// 3.14 Python would end the thread within a destructor, which ends the process with an abort.
class WithoutGil {
 public:
  explicit WithoutGil(bool main) : main_(main), state_(PyEval_SaveThread()) {}
  ~WithoutGil() {
    while (!main_ && finalizing()) std::this_thread::sleep_for(std::chrono::seconds(1));
    PyEval_RestoreThread(state_);
  }
  WithoutGil(const WithoutGil&) = delete;

 private:
  bool main_;
  PyThreadState* state_;
};

// The network for this thread alone; `stop` may end the waiting, and then ok() is false.
class Turn {
 public:
  Turn(Network& net, StopFlag* stop) : net_(net), lock_(net.mutex(), std::defer_lock) {
    // A signal handler may come back to the network that its own thread is working with.
    if (net.owner().load() == std::this_thread::get_id())
      throw std::runtime_error(
          "this network is at work in this very thread, so a signal handler cannot use it (except "
          "for state_dict and save); set a flag in the handler and act on it in a callback");
    while (!lock_.try_lock_for(std::chrono::milliseconds(20)))
      if (stop->poll()) return;
    net.owner().store(std::this_thread::get_id());
  }
  ~Turn() {
    if (lock_) net_.owner().store(std::thread::id());
  }
  bool ok() const { return lock_.owns_lock(); }

 private:
  Network& net_;
  std::unique_lock<std::timed_mutex> lock_;
};

bool ask(void*) {
  nb::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

// Runs `work(stop)` without the GIL, one caller per network. Ctrl-C sets the flag; the error it
// raised is thrown once the engine is at rest.
template <class Work>
auto run(Network& net, Work work) {
  const bool main = in_main_thread();
  StopFlag stop = main ? StopFlag(&ask, nullptr) : StopFlag();
  using Result = decltype(work(&stop));
  std::optional<Result> result;
  {
    WithoutGil release(main);
    Turn turn(net, &stop);
    if (turn.ok()) result = work(&stop);
  }
  if (!result) throw nb::python_error();
  return *result;
}

void raise_if_stopped(Status status) {
  if (status == Status::stopped && PyErr_Occurred()) throw nb::python_error();
}

// Keeps the arrays alive that a Samples points into.
struct SamplesHolder {
  Samples samples;
  std::vector<int32_t> lowest, highest;  // token of each column
  std::vector<nb::object> keep;
};

// Looks at every token once, so that a network's use of them is checked by column.
void hold_tokens(SamplesHolder* holder, const Array<const int32_t, 2>& tokens) {
  Samples& s = holder->samples;
  s.tokens = tokens.data();
  s.token_columns = static_cast<int64_t>(tokens.shape(1));
  const auto columns = static_cast<size_t>(s.token_columns);
  holder->lowest.assign(columns, std::numeric_limits<int32_t>::max());
  holder->highest.assign(columns, std::numeric_limits<int32_t>::min());
  const int32_t* token = s.tokens;
  for (size_t row = 0; row < tokens.shape(0); ++row)
    for (size_t c = 0; c < columns; ++c, ++token) {
      holder->lowest[c] = std::min(holder->lowest[c], *token);
      holder->highest[c] = std::max(holder->highest[c], *token);
    }
  holder->keep.push_back(nb::cast(tokens));
}

void init_samples(SamplesHolder* self, Array<const float, 2> x, Indices start, Indices length,
                  std::optional<Floats> y, std::optional<Indices> y_start, int64_t y_stride,
                  int64_t outputs, bool every, std::vector<std::optional<Floats>> scaling,
                  int64_t segment, int64_t shifted, int64_t known_steps, int64_t hidden,
                  std::optional<Array<const int32_t, 2>> tokens) {
  SamplesHolder holder;
  Samples& s = holder.samples;
  s.count = static_cast<int64_t>(start.shape(0));
  s.x = x.data();
  s.columns = static_cast<int64_t>(x.shape(1));
  s.segment = segment;
  s.shifted = shifted;
  s.known_steps = known_steps;
  s.hidden = hidden;
  s.start = start.data();
  s.length = length.data();
  s.outputs = outputs;
  s.y_stride = y_stride;
  require(static_cast<int64_t>(length.shape(0)) == s.count, "length: one for each start");
  require(outputs >= 1 && y_stride >= 0, "outputs must be at least 1, y_stride at least 0");
  require(segment >= 1 && segment <= (int64_t{1} << 20) && s.columns <= (int64_t{1} << 40),
          "segment is out of range");
  require(segment == 1 || !tokens, "segments have no tokens");
  require(!tokens || tokens->shape(0) == x.shape(0), "tokens: a row for each row of x");
  require(segment == 1 || !every, "segments have no targets at every step");
  require(shifted >= 0 && shifted <= s.columns && hidden >= 0 && hidden <= s.columns,
          "there are not so many columns");
  require(known_steps >= 0, "known_steps must be at least 0");
  const auto table = static_cast<int64_t>(x.shape(0));
  for (int64_t i = 0; i < s.count; ++i) {
    require(s.start[i] >= 0 && s.length[i] >= 1 && s.length[i] <= table / segment &&
                s.start[i] <= table - s.length[i] * segment,
            "a sample reaches past the table of values");
    require(s.length[i] > known_steps, "a sample is not longer than known_steps");
  }
  if (y) {
    require(y_start && static_cast<int64_t>(y_start->shape(0)) == s.count,
            "y_start: one for each sample");
    s.y = y->data();
    s.y_start = y_start->data();
    const auto size = static_cast<int64_t>(y->shape(0));
    require(y_stride <= size, "y_stride reaches past the targets");
    for (int64_t i = 0; i < s.count; ++i) {
      const int64_t last = every ? s.length[i] - 1 : 0;
      require(outputs <= size && (y_stride == 0 || last <= size / y_stride) && s.y_start[i] >= 0 &&
                  s.y_start[i] <= size - outputs - last * y_stride,
              "a sample reaches past the targets");
    }
  }
  if (tokens) hold_tokens(&holder, *tokens);
  require(scaling.size() == 4, "scaling: x_shift, x_scale, y_shift, y_scale");
  const float** pointers[4] = {&s.x_shift, &s.x_scale, &s.y_shift, &s.y_scale};
  for (size_t i = 0; i < 4; ++i) {
    if (!scaling[i]) continue;
    require(static_cast<int64_t>(scaling[i]->shape(0)) == s.count, "scaling: one for each sample");
    *pointers[i] = scaling[i]->data();
    holder.keep.push_back(nb::cast(*scaling[i]));
  }
  holder.keep.push_back(nb::cast(x));
  holder.keep.push_back(nb::cast(start));
  holder.keep.push_back(nb::cast(length));
  if (y) {
    holder.keep.push_back(nb::cast(*y));
    holder.keep.push_back(nb::cast(*y_start));
  }
  new (self) SamplesHolder(std::move(holder));
}

// loss: null when no targets are needed.
void require_samples(const Network& net, const SamplesHolder& holder, const LossOptions* loss) {
  const Samples& s = holder.samples;
  require(s.token_columns == net.token_columns(), "the network reads another number of tokens");
  for (int64_t i = 0; i < net.layer_count(); ++i)
    if (const int64_t vocabulary = net.layer(i).vocabulary()) {
      const auto first = static_cast<size_t>(net.token(i));
      for (size_t c = first; c < first + static_cast<size_t>(net.layer(i).input_size()); ++c)
        require(holder.lowest[c] >= 0 && holder.highest[c] < vocabulary,
                "a token is not in the vocabulary");
    }
  require(s.inputs() == net.input_size(), "the table's width is not the network's input size");
  require(s.count >= 1, "there are no samples");
  if (!loss) return;
  require(s.y != nullptr, "there are no targets");
  const int64_t outputs = net.output_size(), per_target = loss->outputs_per_target(outputs);
  require(outputs % per_target == 0 && s.outputs == outputs / per_target,
          "the targets' width is not the network's output size");
}

// Whether the squares of all values have a finite sum; larger values are left to another check.
bool all_finite(const float* x, int64_t size) {
  const int64_t whole = size / kAlignment * kAlignment;
  double total = kernels().sum_of_squares(x, whole);
  for (int64_t i = whole; i < size; ++i) total += static_cast<double>(x[i]) * x[i];
  return std::isfinite(total);
}

float* require_state(const Network& net, std::optional<FloatsOut>& state, int64_t rows) {
  if (!state) return nullptr;
  require(static_cast<int64_t>(state->shape(0)) == net.state_size() * rows,
          "state: [per recurrent layer][rows, H]");
  return state->data();
}

// One layer as Python describes it: {"kind", "name", "inputs", ...} (kernels.lower).
class LayerRow {
 public:
  explicit LayerRow(const nb::dict& row) : row_(row) {}

  template <class T>
  T get(const char* key) const {
    return nb::cast<T>(row_[key]);
  }
  bool has(const char* key) const { return row_.contains(key); }
  int64_t size(const char* key) const {
    const auto value = get<int64_t>(key);
    require(value >= 1 && value <= (int64_t{1} << 24), "a layer's size is out of range");
    return value;
  }

 private:
  nb::dict row_;
};

Cell cell_named(const std::string& name) {
  if (name == "gru") return Cell::gru;
  if (name == "gru_before") return Cell::gru_before;
  if (name == "lstm") return Cell::lstm;
  if (name == "rnn_tanh") return Cell::rnn_tanh;
  require(name == "rnn_relu", "unknown cell");
  return Cell::rnn_relu;
}

// The table that a dense layer shares with the row "tied" before it, if it has one.
std::optional<SharedTable> table_of(const LayerRow& row, int64_t width, Network* net) {
  if (!row.has("tied")) return std::nullopt;
  const auto tied = row.get<int64_t>("tied");
  require(tied >= 0 && tied < net->layer_count(), "no such layer to be tied to");
  Layer& below = net->layer(tied);
  require(below.vocabulary() == row.size("size") && below.output_size() == width,
          "tied weights: not the shape of the embedding's table");
  return below.share_table();
}

// widths: of the inputs. net: the layers so far.
std::unique_ptr<Layer> make_layer(const LayerRow& row, const std::vector<int64_t>& widths,
                                  Network* net) {
  const auto stream = static_cast<uint64_t>(net->layer_count()) + 1;
  const int64_t width = widths.empty() ? 0 : widths[0];
  const auto kind = row.get<std::string>("kind");
  if (kind == "recurrent")
    return make_recurrent(width, {cell_named(row.get<std::string>("cell")), row.size("size"),
                                  row.get<bool>("bidirectional"), row.get<bool>("layer_norm"),
                                  row.get<double>("recurrent_dropout"), stream});
  if (kind == "dense")
    return make_dense(width, row.size("size"), row.get<std::string>("activation"),
                      table_of(row, width, net));
  if (kind == "dropout")
    return make_dropout(width, row.get<double>("rate"), row.get<bool>("per_sequence"), stream);
  if (kind == "embedding") {
    const auto padding_index = row.get<int64_t>("padding_index");
    require(padding_index >= -1 && padding_index < row.size("vocabulary"),
            "padding_index is not in the vocabulary");
    return make_embedding(row.size("vocabulary"), row.size("size"), row.size("columns"),
                          padding_index, row.get<bool>("trainable"));
  }
  if (kind == "concat") return make_concat(widths);
  if (kind == "add") {
    require(std::all_of(widths.begin(), widths.end(), [&](int64_t w) { return w == width; }),
            "only equal widths can be added");
    return make_add(width, static_cast<int64_t>(widths.size()));
  }
  if (kind == "mean") return make_mean(width);
  if (kind == "crf") return make_crf(width);
  if (kind == "max") return make_max(width);
  if (kind == "attention" && row.get<std::string>("score") == "additive")
    return make_additive_attention(width, row.size("size"));
  require(kind == "last" || kind == "attention", "unknown layer kind");
  const auto split = row.get<int64_t>("split");
  require(split >= 0 && split <= width, "split is not within the width");
  return kind == "last" ? make_last(width, split) : make_dot_attention(width, split);
}

Output output_named(const std::string& name) {
  if (name == "none") return Output::none;
  if (name == "softmax") return Output::softmax;
  require(name == "sigmoid", "unknown output function");
  return Output::sigmoid;
}

void init_network(Network* self, int64_t inputs, int64_t token_columns,
                  const std::vector<nb::dict>& layers, const std::string& output) {
  require(inputs >= 0 && token_columns >= 0 && inputs + token_columns >= 1 && !layers.empty(),
          "a network needs inputs and layers");
  new (self) Network(inputs, token_columns, output_named(output));
  for (const nb::dict& layer : layers) {
    const LayerRow row(layer);
    const auto sources = row.get<std::vector<int64_t>>("inputs");
    std::vector<int64_t> widths;
    const bool reads_tokens = layer.contains("token");
    require(sources.empty() == reads_tokens, "embeddings read tokens, all others read layers");
    for (const int64_t source : sources) {
      require(source >= Network::kInput && source < self->layer_count(), "no such layer to read");
      require(self->pooled(source) == self->pooled(sources[0]), "one input is pooled, one is not");
      widths.push_back(source == Network::kInput ? inputs : self->layer(source).output_size());
    }
    const int64_t token = reads_tokens ? row.get<int64_t>("token") : 0;
    require(!reads_tokens || (token >= 0 && token + row.size("columns") <= token_columns),
            "no such token column");
    self->add(row.get<std::string>("name"), make_layer(row, widths, self), sources, token);
  }
  self->finish();
}

struct TrainerHolder {
  nb::object owner;  // the network stays alive
  LossOptions loss;
  Trainer trainer;
};

Loss loss_named(const std::string& name) {
  if (name == "mse") return Loss::mse;
  if (name == "mae") return Loss::mae;
  if (name == "huber") return Loss::huber;
  if (name == "quantile") return Loss::quantile;
  if (name == "cross_entropy") return Loss::cross_entropy;
  if (name == "crf") return Loss::crf;
  require(name == "binary_cross_entropy", "unknown loss");
  return Loss::binary_cross_entropy;
}

// (name, quantiles, class_weights, label_smoothing, ignore_index)
using LossRow = std::tuple<std::string, std::vector<double>, std::vector<double>, double,
                           std::optional<double>>;

LossOptions loss_options(const Network& net, const LossRow& row) {
  const auto& [name, quantiles, class_weights, label_smoothing, ignore_index] = row;
  LossOptions loss{loss_named(name), quantiles, class_weights, label_smoothing, {}};
  require((loss.kind == Loss::crf) == net.crf_weights().has_value(),
          "the loss 'crf' goes with a CRF as the last layer");
  require((loss.kind == Loss::quantile) == !quantiles.empty(),
          "quantiles go with the loss 'quantile'");
  for (const double q : quantiles) require(q > 0 && q < 1, "quantiles lie between 0 and 1");
  require(class_weights.empty() || static_cast<int64_t>(class_weights.size()) == net.output_size(),
          "class_weights: one for each output");
  for (const double w : class_weights) require(w >= 0, "class_weights are at least 0");
  require(label_smoothing >= 0 && label_smoothing <= 1, "label_smoothing lies between 0 and 1");
  if (ignore_index) loss.ignored = static_cast<float>(*ignore_index);
  return loss;
}

Rule rule_named(const std::string& name) {
  if (name == "sgd") return Rule::sgd;
  if (name == "adam") return Rule::adam;
  if (name == "adamw") return Rule::adamw;
  require(name == "rmsprop", "unknown optimizer");
  return Rule::rmsprop;
}

const char* status_name(Status status) {
  return status == Status::done ? "done" : status == Status::stopped ? "stopped" : "diverged";
}

// What an epoch runs over, checked. carried: the state with rows for the largest batch, or no data.
Batches checked_batches(const Network& net, const Samples& s, const Indices& order,
                        const Indices& bounds, const std::optional<Array<const uint8_t, 1>>& resets,
                        std::optional<FloatsOut>& state, State<float>* carried) {
  const auto n = static_cast<int64_t>(order.shape(0));
  for (int64_t i = 0; i < n; ++i)
    require(order.data()[i] >= 0 && order.data()[i] < s.count, "order names no sample");
  require(bounds.shape(0) >= 1, "bounds: one more than batches");
  const auto count = static_cast<int64_t>(bounds.shape(0)) - 1;
  require(!resets || static_cast<int64_t>(resets->shape(0)) == count, "resets: one for each batch");
  const int64_t* bound = bounds.data();
  require(bound[0] >= 0 && bound[count] <= n, "bounds reach past order");
  int64_t largest = 0;
  for (int64_t b = 0; b < count; ++b) {
    require(bound[b] < bound[b + 1], "bounds must increase");
    largest = std::max(largest, bound[b + 1] - bound[b]);
  }
  *carried = {nullptr, 0, 0};
  if (state && net.state_size() > 0) {
    const auto size = static_cast<int64_t>(state->shape(0));
    *carried = {state->data(), size / net.state_size(), 0};
    require(size % net.state_size() == 0 && largest <= carried->rows,
            "state: [per recurrent layer][rows, H], with rows for every batch");
  }
  return {order.data(), bound, resets ? resets->data() : nullptr, nullptr, count};
}

nb::tuple epoch(TrainerHolder& self, const SamplesHolder& holder, Indices order, Indices bounds,
                std::optional<Array<const uint8_t, 1>> resets, std::optional<FloatsOut> state,
                Array<const double, 1> rates, double limit) {
  Network& net = nb::cast<Network&>(self.owner);
  const Samples& s = holder.samples;
  require_samples(net, holder, &self.loss);
  State<float> carried{};
  Batches batches = checked_batches(net, s, order, bounds, resets, state, &carried);
  require(static_cast<int64_t>(rates.shape(0)) == batches.count, "rates: one for each batch");
  batches.rates = rates.data();
  const EpochResult r = run(
      net, [&](StopFlag* stop) { return self.trainer.epoch(s, batches, carried, limit, stop); });
  raise_if_stopped(r.status);
  return nb::make_tuple(status_name(r.status), r.loss, r.updates, r.last_loss, r.weight);
}

void bind_network(nb::module_& m) {
  nb::class_<Network>(m, "Network")
      .def("__init__", &init_network, "inputs"_a, "token_columns"_a, "layers"_a,
           "output"_a = "none")
      .def("segments",
           [](const Network& net) {
             nb::list result;
             for (const Segment& s : net.segments())
               result.append(nb::make_tuple(s.name, s.offset, nb::cast(s.shape)));
             return result;
           })
      .def_prop_ro("parameter_count", &Network::parameter_count)
      .def_prop_ro("state_size", &Network::state_size)
      .def(
          "get_parameters",
          [](Network& net, FloatsOut out) {
            require(static_cast<int64_t>(out.shape(0)) == net.parameter_count(), "size");
            const auto copy = [&](StopFlag*) {
              std::copy_n(net.parameters(), net.parameter_count(), out.data());
              return true;
            };
            // A signal handler may ask while its thread trains: no update is under way then.
            if (net.owner().load() == std::this_thread::get_id())
              copy(nullptr);
            else
              run(net, copy);
          },
          "out"_a.noconvert())
      .def(
          "set_parameters",
          [](Network& net, Floats values) {
            require(static_cast<int64_t>(values.shape(0)) == net.parameter_count(), "size");
            run(net, [&](StopFlag*) {
              std::copy_n(values.data(), net.parameter_count(), net.parameters());
              net.changed();
              return true;
            });
          },
          "values"_a.noconvert())
      .def(
          "get_gradients",
          [](Network& net, FloatsOut out) {
            require(static_cast<int64_t>(out.shape(0)) == net.parameter_count(), "size");
            std::copy_n(net.gradients(), net.parameter_count(), out.data());
          },
          "out"_a.noconvert())
      .def(
          "predict",
          [](Network& net, const SamplesHolder& holder, int64_t batch_size,
             std::optional<FloatsOut> state_in, std::optional<FloatsOut> state_out,
             Indices out_start, Array<float, 2> out) {
            const Samples& s = holder.samples;
            require_samples(net, holder, nullptr);
            require(batch_size >= 1, "batch_size must be at least 1");
            require(static_cast<int64_t>(out_start.shape(0)) == s.count &&
                        static_cast<int64_t>(out.shape(1)) == net.output_size(),
                    "out: [rows, outputs]");
            const auto rows = static_cast<int64_t>(out.shape(0));
            for (int64_t i = 0; i < s.count; ++i) {
              const int64_t steps = net.pooled() ? 1 : s.length[i];
              require(out_start.data()[i] >= 0 && out_start.data()[i] <= rows - steps,
                      "out is too short");
            }
            const float* in = require_state(net, state_in, s.count);
            float* after = require_state(net, state_out, s.count);
            raise_if_stopped(run(net, [&](StopFlag* stop) {
              return predict(&net, s, batch_size, in, after, out_start.data(), out.data(), stop);
            }));
          },
          "samples"_a, "batch_size"_a, "state_in"_a.none().noconvert(),
          "state_out"_a.none().noconvert(), "out_start"_a.noconvert(), "out"_a.noconvert())
      // What most callers have, without the way over samples; false when x is not finite.
      .def(
          "predict_dense",
          [](Network& net, Array<const float, 3> x, int64_t batch_size, Array<float, 3> out) {
            const auto count = static_cast<int64_t>(x.shape(0));
            const auto steps = static_cast<int64_t>(x.shape(1));
            require(net.token_columns() == 0 && count >= 1 && steps >= 1 && batch_size >= 1 &&
                        static_cast<int64_t>(x.shape(2)) == net.input_size(),
                    "x: [samples, steps, inputs]");
            require(out.shape(0) == x.shape(0) && (net.pooled() || out.shape(1) == x.shape(1)) &&
                        static_cast<int64_t>(out.shape(2)) == net.output_size(),
                    "out: [samples, steps or 1, outputs]");
            if (!all_finite(x.data(), static_cast<int64_t>(x.size()))) return false;
            raise_if_stopped(run(net, [&](StopFlag* stop) {
              return predict_dense(&net, x.data(), count, steps, batch_size, out.data(), stop);
            }));
            return true;
          },
          "x"_a.noconvert(), "batch_size"_a, "out"_a.noconvert())
      .def(
          "evaluate",
          [](Network& net, const SamplesHolder& holder, int64_t batch_size, const LossRow& loss,
             std::optional<FloatsOut> state) {
            const LossOptions options = loss_options(net, loss);
            require_samples(net, holder, &options);
            require(batch_size >= 1, "batch_size must be at least 1");
            const float* in = require_state(net, state, holder.samples.count);
            const EpochResult r = run(net, [&](StopFlag* stop) {
              return evaluate(&net, holder.samples, batch_size, options, in, stop);
            });
            raise_if_stopped(r.status);
            return r.loss;
          },
          "samples"_a, "batch_size"_a, "loss"_a, "state"_a.none().noconvert())
      .def(
          "evaluate_batches",
          [](Network& net, const SamplesHolder& holder, Indices order, Indices bounds,
             std::optional<Array<const uint8_t, 1>> resets, std::optional<FloatsOut> state,
             const LossRow& loss) {
            const LossOptions options = loss_options(net, loss);
            require_samples(net, holder, &options);
            State<float> carried{};
            const Batches batches =
                checked_batches(net, holder.samples, order, bounds, resets, state, &carried);
            const EpochResult r = run(net, [&](StopFlag* stop) {
              return evaluate(&net, holder.samples, batches, options, carried, stop);
            });
            raise_if_stopped(r.status);
            return r.loss;
          },
          "samples"_a, "order"_a.noconvert(), "bounds"_a.noconvert(), "resets"_a.none().noconvert(),
          "state"_a.none().noconvert(), "loss"_a)
      .def(
          "observe",
          [](Network& net, const SamplesHolder& holder, int64_t batch_size,
             std::optional<FloatsOut> state, std::optional<LossRow> loss, Indices out_start,
             const std::vector<std::tuple<int64_t, int, Array<float, 2>>>& looks) {
            const Samples& s = holder.samples;
            LossOptions options;
            if (loss) options = loss_options(net, *loss);
            require_samples(net, holder, loss ? &options : nullptr);
            require(batch_size >= 1, "batch_size must be at least 1");
            require(static_cast<int64_t>(out_start.shape(0)) == s.count, "out_start");
            std::vector<Look> wanted;
            for (const auto& [layer, which, out] : looks) {
              require(layer >= 0 && layer < net.layer_count(), "no such layer");
              const auto rows = static_cast<int64_t>(out.shape(0));
              for (int64_t i = 0; i < s.count; ++i)
                require(out_start.data()[i] >= 0 && out_start.data()[i] <= rows - s.length[i],
                        "out is too short");
              wanted.push_back({layer, which, out.data(), static_cast<int64_t>(out.shape(1))});
            }
            const float* in = require_state(net, state, s.count);
            raise_if_stopped(run(net, [&](StopFlag* stop) {
              return observe(&net, s, batch_size, in, loss ? &options : nullptr, out_start.data(),
                             wanted, stop);
            }));
          },
          "samples"_a, "batch_size"_a, "state"_a.none().noconvert(), "loss"_a.none(),
          "out_start"_a.noconvert(), "looks"_a)
      .def(
          "rollout",
          [](Network& net, Array<const float, 2> x, std::optional<FloatsOut> state,
             Array<float, 2> out) {
            require(net.token_columns() == 0, "a roll-out feeds values back, not tokens");
            require(static_cast<int64_t>(x.shape(1)) == net.input_size() && x.shape(0) >= 1,
                    "x: [steps, inputs]");
            require(static_cast<int64_t>(out.shape(1)) == net.output_size(),
                    "out: [steps, outputs]");
            require(net.input_size() == net.output_size() || out.shape(0) <= 1,
                    "outputs cannot be fed back");
            float* carried = require_state(net, state, 1);
            raise_if_stopped(run(net, [&](StopFlag* stop) {
              return rollout(&net, x.data(), static_cast<int64_t>(x.shape(0)),
                             static_cast<int64_t>(out.shape(0)), carried, out.data(), stop);
            }));
          },
          "x"_a.noconvert(), "state"_a.none().noconvert(), "out"_a.noconvert());
}

// The arrays that a stream reads from and writes to are given once: a step then costs no checks.
struct StreamHolder {
  nb::object source, own;  // both networks stay alive
  Array<const float, 1> x;
  Array<const int32_t, 1> tokens;
  FloatsOut out;
  Stream stream;
};

// The next step; false when x is not finite, and then nothing has happened.
bool stream_step(StreamHolder& self) {
  const float* x = self.x.data();
  float sum = 0.0f;  // times zero: NaN as soon as one is not finite
  for (size_t i = 0; i < self.x.shape(0); ++i) sum += 0.0f * x[i];
  if (sum != 0.0f) return false;
  Network& source = *nb::inst_ptr<Network>(self.source);
  if (self.stream.version() != source.version())
    run(source, [&](StopFlag*) {
      self.stream.refresh(&source);
      return true;
    });
  self.stream.step(x, self.tokens.data(), self.out.data());
  return true;
}

void bind_stream(nb::module_& m) {
  nb::class_<StreamHolder>(m, "Stream")
      .def(
          "__init__",
          [](StreamHolder* self, nb::object source, nb::object own, Array<const float, 1> x,
             Array<const int32_t, 1> tokens, FloatsOut out) {
            const Network& net = nb::cast<Network&>(source);
            Network& copy = nb::cast<Network&>(own);
            require(copy.parameter_count() == net.parameter_count() &&
                        copy.state_size() == net.state_size(),
                    "own: built like source");
            require(static_cast<int64_t>(x.shape(0)) == copy.input_size() &&
                        static_cast<int64_t>(tokens.shape(0)) == copy.token_columns() &&
                        static_cast<int64_t>(out.shape(0)) == copy.output_size(),
                    "x: [I], tokens: [columns], out: [O]");
            new (self) StreamHolder{source, own, x, tokens, out, Stream(&copy)};
          },
          "source"_a, "own"_a, "x"_a.noconvert(), "tokens"_a.noconvert(), "out"_a.noconvert())
      .def("step", &stream_step)
      .def(
          "get_state",
          [](StreamHolder& self, FloatsOut out) {
            require(out.shape(0) == self.stream.state().size(), "size");
            std::copy(self.stream.state().begin(), self.stream.state().end(), out.data());
          },
          "out"_a.noconvert())
      .def(
          "set_state",
          [](StreamHolder& self, Floats values) {
            require(values.shape(0) == self.stream.state().size(), "size");
            std::copy_n(values.data(), values.shape(0), self.stream.state().begin());
          },
          "values"_a.noconvert());
}

void bind_training(nb::module_& m) {
  nb::class_<SamplesHolder>(m, "Samples")
      .def("__init__", &init_samples, "x"_a.noconvert(), "start"_a.noconvert(),
           "length"_a.noconvert(), "y"_a.none().noconvert(), "y_start"_a.none().noconvert(),
           "y_stride"_a, "outputs"_a, "every"_a, "scaling"_a, "segment"_a, "shifted"_a,
           "known_steps"_a, "hidden"_a, "tokens"_a.none().noconvert() = nb::none());
  nb::class_<TrainerHolder>(m, "Trainer")
      .def(
          "__init__",
          [](TrainerHolder* self, nb::object network, const std::string& optimizer, double momentum,
             double weight_decay, double clip_norm, double clip_value, const LossRow& loss,
             uint64_t seed) {
            Network& net = nb::cast<Network&>(network);
            OptimizerOptions options;
            options.rule = rule_named(optimizer);
            options.momentum = momentum;
            options.weight_decay = weight_decay;
            options.clip_norm = clip_norm;
            options.clip_value = clip_value;
            const LossOptions kind = loss_options(net, loss);
            new (self) TrainerHolder{network, kind, Trainer(&net, options, kind, seed)};
          },
          "network"_a, "optimizer"_a, "momentum"_a, "weight_decay"_a, "clip_norm"_a, "clip_value"_a,
          "loss"_a, "seed"_a)
      .def("epoch", &epoch, "samples"_a, "order"_a.noconvert(), "bounds"_a.noconvert(),
           "resets"_a.none().noconvert(), "state"_a.none().noconvert(), "rates"_a.noconvert(),
           "limit"_a)
      .def(
          "restore",
          [](TrainerHolder& self, std::optional<FloatsOut> state) {
            run(self.trainer.network(), [&](StopFlag*) {
              self.trainer.restore(state ? state->data() : nullptr);
              return true;
            });
          },
          "state"_a.none().noconvert());
}

// Sequences within [rows, C], and the weights of a CRF over C classes: transitions, start, end.
template <class Float>
using ChainWeights =
    std::tuple<Array<const Float, 2>, Array<const Float, 1>, Array<const Float, 1>>;

template <class Float>
CrfWeights<Float> chain_weights(const ChainWeights<Float>& weights, int64_t classes) {
  const auto& [transitions, start, end] = weights;
  const auto c = static_cast<size_t>(classes);
  require(classes >= 1 && transitions.shape(0) == c && transitions.shape(1) == c &&
              start.shape(0) == c && end.shape(0) == c,
          "weights: [C, C], [C], [C]");
  return {classes, transitions.data(), start.data(), end.data()};
}

Chains chains_of(const Indices& start, const Indices& length, int64_t rows) {
  const Chains chains{static_cast<int64_t>(start.shape(0)), start.data(), length.data()};
  require(length.shape(0) == start.shape(0), "length: one for each start");
  for (int64_t i = 0; i < chains.count; ++i)
    require(chains.start[i] >= 0 && chains.length[i] >= 1 && chains.length[i] <= rows &&
                chains.start[i] <= rows - chains.length[i],
            "a sequence reaches past the scores");
  return chains;
}

void bind_chains(nb::module_& m) {
  m.def(
      "crf_marginals",
      [](Array<float, 2> scores, Indices start, Indices length,
         const ChainWeights<float>& weights) {
        const auto w = chain_weights(weights, static_cast<int64_t>(scores.shape(1)));
        const Chains chains = chains_of(start, length, static_cast<int64_t>(scores.shape(0)));
        nb::gil_scoped_release release;
        crf_marginals(kernels(), w, chains, scores.data());
      },
      "scores"_a.noconvert(), "start"_a.noconvert(), "length"_a.noconvert(), "weights"_a);
  m.def(
      "crf_paths",
      [](Array<const double, 2> scores, Indices start, Indices length,
         const ChainWeights<double>& weights, Array<int64_t, 1> path) {
        const auto w = chain_weights(weights, static_cast<int64_t>(scores.shape(1)));
        const Chains chains = chains_of(start, length, static_cast<int64_t>(scores.shape(0)));
        require(path.shape(0) == scores.shape(0), "path: one for each row");
        nb::gil_scoped_release release;
        crf_paths(w, chains, scores.data(), path.data());
      },
      "scores"_a.noconvert(), "start"_a.noconvert(), "length"_a.noconvert(), "weights"_a,
      "path"_a.noconvert());
}

}  // namespace
}  // namespace headgate

NB_MODULE(_engine, m) {
  using namespace headgate;
  nb::set_leak_warnings(false);
  m.def("isa", [] { return kernels().name; });
  m.def("set_isa", [](const std::string& name) { return set_isa(name.c_str()); });
  m.def("isa_request_failed", &isa_request_failed);
  m.def("available_isas", [] {
    const Kernels* tables[4];
    const int count = available_kernels(tables, 4);
    std::vector<std::string> names;
    for (int i = 0; i < count; ++i) names.emplace_back(tables[i]->name);
    return names;
  });
  m.def("set_num_threads", &set_num_threads);
  m.def("get_num_threads", &get_num_threads);
  // In place; what the accuracy tests measure.
  m.def(
      "activate",
      [](const std::string& name, FloatsOut x) {
        const auto size = static_cast<int64_t>(x.shape(0));
        require(size % kAlignment == 0, "size must be a multiple of 16");
        if (name == "sigmoid") return kernels().sigmoid(x.data(), size);
        require(name == "tanh", "sigmoid or tanh");
        kernels().tanh(x.data(), size);
      },
      "name"_a, "x"_a.noconvert());
  bind_network(m);
  bind_stream(m);
  bind_training(m);
  bind_chains(m);
}
