#include "network.h"

#include <algorithm>
#include <cstring>

namespace headgate {
namespace {
constexpr int64_t kMostRows = int64_t{1} << 36;
}  // namespace

void Network::add(const std::string& name, std::unique_ptr<Layer> layer,
                  std::vector<int64_t> inputs, int64_t token) {
  Slot slot;
  const size_t first = segments_.size();
  parameter_count_ = layer->describe(parameter_count_, &segments_);
  for (size_t i = first; i < segments_.size(); ++i) {
    segments_[i].name = name + "." + segments_[i].name;
    slot.learns = slot.learns || segments_[i].trainable;
  }
  state_size_ += layer->state_size();
  for (const int64_t input : inputs) {
    if (input == kInput) continue;
    const Slot& below = slots_[static_cast<size_t>(input)];
    slot.pooled_input = below.pooled;
    slot.learns = slot.learns || below.learns;
  }
  slot.pooled = slot.pooled_input || layer->pools();
  slot.token = token;
  slot.xs.resize(inputs.size());
  slot.dxs.resize(inputs.size());
  slot.spares.resize(inputs.size());
  slot.adds.resize(inputs.size());
  slot.inputs = std::move(inputs);
  slot.layer = std::move(layer);
  slots_.push_back(std::move(slot));
}

void Network::finish() {
  parameters_.assign(parameter_count_);
  gradients_.assign(parameter_count_);
  // Backward runs from the last layer down: the first to reach a value writes its gradient.
  std::vector<bool> written(slots_.size());
  for (size_t i = slots_.size(); i-- > 0;)
    for (size_t k = 0; k < slots_[i].inputs.size(); ++k) {
      const int64_t input = slots_[i].inputs[k];
      if (input == kInput || !slots_[i].learns) continue;
      slots_[i].adds[k] = written[static_cast<size_t>(input)];
      written[static_cast<size_t>(input)] = true;
    }
}

std::vector<TokenTable> Network::tables() const {
  std::vector<TokenTable> tables;
  for (const Slot& slot : slots_) {
    std::optional<TokenTable> table = slot.layer->table();
    if (!table) continue;
    table->token = slot.token;
    tables.push_back(*table);
  }
  return tables;
}

bool Network::input_gradient(const Slot& slot) const {
  return std::any_of(slot.inputs.begin(), slot.inputs.end(), [&](int64_t input) {
    return input != kInput && slots_[static_cast<size_t>(input)].learns;
  });
}

void Network::plan(int64_t rows, int64_t sequences, bool training) {
  arena_.clear();
  arena_.want(&input_, rows * input_row());
  for (Slot& slot : slots_) {
    slot.layer->plan(*kernels_, &arena_, rows, sequences,
                     {training, training && input_gradient(slot)});
    const int64_t width = padded(*kernels_, slot.layer->output_size());
    if (!slot.layer->keeps_output()) arena_.want(&slot.y, rows * width);
    if (training) arena_.want(&slot.dy, rows * width);
    for (size_t k = 0; k < slot.inputs.size(); ++k)
      if (training && slot.adds[k])
        arena_.want(&slot.spares[k],
                    rows * padded(*kernels_, slots_[slot.inputs[k]].layer->output_size()));
  }
  std::vector<int32_t> tokens(static_cast<size_t>(rows * token_columns_));
  arena_.allocate();
  tokens_ = std::move(tokens);
  rows_ = rows;  // only now: when memory ran out, the old workspace and its size stand
  sequences_ = sequences;
  training_ = training;
  packed_ = false;
}

void Network::reserve(const Rows& rows, bool training) {
  // No machine holds so many rows; fewer cannot overflow a product of sizes.
  if (rows.total > kMostRows) throw NoMemory(static_cast<double>(rows.total) * 8);
  if (kernels_ != &kernels()) {
    kernels_ = &kernels();
    rows_ = -1;
  }
  if (rows.total <= rows_ && rows.sequences <= sequences_ && (training_ || !training)) return;
  plan(std::max(rows.total, rows_), std::max(rows.sequences, sequences_), training || training_);
}

Io Network::io(Slot& slot, const Rows& rows) {
  for (size_t k = 0; k < slot.inputs.size(); ++k) {
    const int64_t input = slot.inputs[k];
    slot.xs[k] = input == kInput ? input_ : slots_[static_cast<size_t>(input)].y;
    const bool wanted = input != kInput && slots_[static_cast<size_t>(input)].learns;
    slot.dxs[k] = !wanted        ? nullptr
                  : slot.adds[k] ? slot.spares[k]
                                 : slots_[static_cast<size_t>(input)].dy;
  }
  const bool reads = !slot.inputs.empty();
  return {reads ? slot.xs[0] : nullptr,
          slot.y,
          slot.dy,
          reads ? slot.dxs[0] : nullptr,
          slot.pooled_input ? rows.sequences : rows.total,
          slot.pooled_input,
          slot.xs.data(),
          slot.dxs.data(),
          tokens_.data() + slot.token,
          token_columns_};
}

const float* Network::forward(const Rows& rows, const State<const float>& state, bool training,
                              const RandomKey& random, StopFlag* stop, bool keep) {
  if (!packed_) {
    for (Slot& slot : slots_)
      slot.layer->pack(*kernels_, parameters_.data(),
                       {training_, training_ && input_gradient(slot)});
    packed_ = true;
  }
  const Pass pass{
      *kernels_,        rows, training, random, stop, parameters_.data(), gradients_.data(),
      training || keep, false};
  State<const float> block = state;
  for (Slot& slot : slots_) {
    Layer& layer = *slot.layer;
    if (const int64_t size = layer.state_size()) {
      layer.set_state(*kernels_, rows, block);
      if (block.data) block.data += block.rows * size;
    }
    if (layer.keeps_output()) slot.y = layer.output();
    layer.forward(pass, io(slot, rows));
    if (stop && stop->stopped()) break;  // the caller polls, and throws this pass away
  }
  return slots_.back().y;
}

void Network::get_state(const Rows& rows, const State<float>& state) const {
  State<float> block = state;
  for (const Slot& slot : slots_) {
    const int64_t size = slot.layer->state_size();
    if (size == 0) continue;
    slot.layer->get_state(*kernels_, rows, block);
    block.data += block.rows * size;
  }
}

void Network::to_prediction(const float* y, float* prediction) const {
  const int64_t width = output_size();
  if (output_ == Output::softmax) {
    const double sum = kernels_->exp_sum(y, kernels_->row_max(y, width), prediction, width);
    for (int64_t j = 0; j < width; ++j) prediction[j] = static_cast<float>(prediction[j] / sum);
    return;
  }
  std::memcpy(prediction, y, bytes(width));
  if (output_ == Output::none) return;
  float part[kAlignment];  // the kernel works on whole vectors, a prediction has no padding
  for (int64_t j = 0; j < width; j += kAlignment) {
    const int64_t size = std::min(kAlignment, width - j);
    std::memcpy(part, prediction + j, bytes(size));
    std::fill(part + size, part + kAlignment, 0.0f);
    kernels_->sigmoid(part, kAlignment);
    std::memcpy(prediction + j, part, bytes(size));
  }
}

// A value that several layers read gets the sum of their gradients: the first to come writes in
// place, each later one beside it.
void Network::add_spare_gradients(Slot& slot, int64_t count) {
  for (size_t k = 0; k < slot.inputs.size(); ++k) {
    if (!slot.adds[k]) continue;
    Slot& below = slots_[static_cast<size_t>(slot.inputs[k])];
    const int64_t size = count * padded(*kernels_, below.layer->output_size());
    for (int64_t at = 0; at < size; ++at) below.dy[at] += slot.spares[k][at];
  }
}

void Network::backward(const Rows& rows, const RandomKey& random, StopFlag* stop,
                       bool keep_hidden_gradients, bool clear_tables) {
  const Pass pass{
      *kernels_,         rows, !keep_hidden_gradients, random,      stop, parameters_.data(),
      gradients_.data(), true, keep_hidden_gradients,  clear_tables};
  for (size_t i = slots_.size(); i-- > 0;) {
    Slot& slot = slots_[i];
    if (!slot.learns) continue;
    const Io connections = io(slot, rows);
    if (slot.layer->state_size()) slot.layer->set_state_gradient(rows, {nullptr, 0, 0});
    slot.layer->backward(pass, connections);
    if (stop && stop->stopped()) break;
    add_spare_gradients(slot, connections.count);
  }
}

}  // namespace headgate
