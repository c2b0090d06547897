// network.cpp: a network: parameters, prediction, evaluation, a look inside, roll-out.
#include "bindings.h"

#include <algorithm>
#include <cmath>

namespace headgate {
namespace {

// Whether the squares of all values have a finite sum; larger values are left to another check.
bool all_finite(const float* x, int64_t size) {
  const int64_t whole = size / kAlignment * kAlignment;
  double total = kernels().sum_of_squares(x, whole);
  for (int64_t i = whole; i < size; ++i) total += static_cast<double>(x[i]) * x[i];
  return std::isfinite(total);
}

}  // namespace

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

}  // namespace headgate
