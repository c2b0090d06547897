// training.cpp: losses, batches and the trainer.
#include "bindings.h"

#include <algorithm>

namespace headgate {
namespace {

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

}  // namespace

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

namespace {

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

}  // namespace

void bind_training(nb::module_& m) {
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

}  // namespace headgate
