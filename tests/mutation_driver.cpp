// A C door into the engine for tests/test_mutations.py: one prediction and one update of a network.
#include <cstdint>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "network.h"
#include "trainer.h"

using namespace headgate;

namespace {

// As the rows of `layers` below. `options` of a recurrent layer: 1 bidirectional, 2 layer norm, 4
// recurrent dropout of one half; of `last`: how many columns come from the last step.
enum Kind { recurrent = 0, linear = 5, relu, tanh, last, crf };  // 0 to 4: the cells in order

std::unique_ptr<Layer> make(int64_t kind, int64_t width, int64_t size, int64_t options,
                            uint64_t stream) {
  if (kind < linear)
    return make_recurrent(width, {static_cast<Cell>(kind), size, (options & 1) != 0,
                                  (options & 2) != 0, options & 4 ? 0.5 : 0.0, stream});
  if (kind == last) return make_last(width, options);
  if (kind == crf) return make_crf(width);
  return make_dense(width, size, kind == linear ? "linear" : kind == relu ? "relu" : "tanh");
}

}  // namespace

// layers: [count, 3] kind, size and options. x: [n, t, inputs]. out: [n, t, O], or [n, O] with a
// last layer. state: [per recurrent layer, direction, h and c][n, H] in and out. y: as out, or
// without O for class numbers. loss: its number in the enum; the mean loss comes back, and
// gradients: [parameters].
extern "C" __attribute__((visibility("default"))) double headgate_run(
    int64_t inputs, int64_t count, const int64_t* layers, const float* parameters, int64_t n,
    int64_t t, const float* x, const int64_t* lengths, const float* y, float* state, float* out,
    int64_t loss, float* gradients) {
  set_isa("generic");
  Network net(inputs, 0);
  int64_t width = inputs;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t* row = layers + 3 * i;
    std::unique_ptr<Layer> layer =
        make(row[0], width, row[1], row[2], static_cast<uint64_t>(i + 1));
    width = layer->output_size();
    net.add("layer", std::move(layer), {i - 1});
  }
  net.finish();
  for (int64_t i = 0; i < net.parameter_count(); ++i) net.parameters()[i] = parameters[i];
  net.changed();

  std::vector<int64_t> start, target, order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  const int64_t rows = net.pooled() ? 1 : t;
  LossOptions kind;
  kind.kind = static_cast<Loss>(loss);
  kind.label_smoothing = kind.kind >= Loss::cross_entropy ? 0.25 : 0.0;
  const int64_t targets = width / kind.outputs_per_target(width);
  for (int64_t i = 0; i < n; ++i) {
    start.push_back(i * t);
    target.push_back(i * rows * targets);
  }
  Samples samples;
  samples.count = n;
  samples.x = x;
  samples.columns = inputs;
  samples.start = start.data();
  samples.length = lengths;
  samples.y = y;
  samples.y_start = target.data();
  samples.y_stride = targets;
  samples.outputs = targets;
  std::vector<int64_t> out_start;
  for (int64_t i = 0; i < n; ++i) out_start.push_back(i * rows);

  std::vector<float> carried(state, state + n * net.state_size());
  predict(&net, samples, n, carried.data(), state, out_start.data(), out, nullptr);
  OptimizerOptions options;
  options.rule = Rule::sgd;
  Trainer trainer(&net, options, kind, 0);
  const int64_t bounds[2] = {0, n};
  const double rate = 1e-30;
  const EpochResult result = trainer.epoch(samples, {order.data(), bounds, nullptr, &rate, 1},
                                           {carried.data(), n, 0}, 1e30, nullptr);
  for (int64_t i = 0; i < net.parameter_count(); ++i) gradients[i] = net.gradients()[i];
  return result.loss;
}
