#include "network.h"

#include <algorithm>
#include <cstring>

namespace headgate {
namespace {
constexpr int64_t kMostRows = int64_t{1} << 36;
}  // namespace

void Network::add(const std::string& name, std::unique_ptr<Layer> layer) {
  const size_t first = segments_.size();
  const bool parameters_below = parameter_count_ > 0;
  parameter_count_ = layer->describe(parameter_count_, &segments_);
  for (size_t i = first; i < segments_.size(); ++i)
    segments_[i].name = name + "." + segments_[i].name;
  state_size_ += layer->state_size();
  Slot slot;
  slot.pooled_input = pooled_;
  slot.wants_dx = parameters_below;
  pooled_ = pooled_ || layer->pools();
  slot.layer = std::move(layer);
  slots_.push_back(std::move(slot));
}

void Network::finish() {
  parameters_.assign(parameter_count_);
  gradients_.assign(parameter_count_);
}

void Network::plan(int64_t rows, int64_t sequences, bool training) {
  arena_.clear();
  arena_.want(&input_, rows * input_row());
  for (Slot& slot : slots_) {
    slot.layer->plan(*kernels_, &arena_, rows, sequences, {training, training && slot.wants_dx});
    const int64_t width = padded(*kernels_, slot.layer->output_size());
    if (slot.layer->state_size() == 0) arena_.want(&slot.y, rows * width);
    if (training) arena_.want(&slot.dy, rows * width);
  }
  arena_.allocate();
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

Io Network::io(size_t index, const Rows& rows) {
  Slot& slot = slots_[index];
  const float* x = index == 0 ? input_ : slots_[index - 1].y;
  float* dx = index > 0 && slot.wants_dx ? slots_[index - 1].dy : nullptr;
  return {
      x, slot.y, slot.dy, dx, slot.pooled_input ? rows.sequences : rows.total, slot.pooled_input};
}

const float* Network::forward(const Rows& rows, const State<const float>& state, bool training,
                              const RandomKey& random, StopFlag* stop) {
  if (!packed_) {
    for (Slot& slot : slots_)
      slot.layer->pack(*kernels_, parameters_.data(), {training_, training_ && slot.wants_dx});
    packed_ = true;
  }
  const Pass pass{*kernels_, rows, training, random, stop, parameters_.data(), gradients_.data()};
  const float* block = state.data;
  for (size_t i = 0; i < slots_.size(); ++i) {
    Layer& layer = *slots_[i].layer;
    if (const int64_t h = layer.state_size()) {
      layer.set_state(*kernels_, rows, block ? block + state.first * h : nullptr);
      if (block) block += state.rows * h;
      slots_[i].y = layer.output(rows);
    }
    layer.forward(pass, io(i, rows));
    if (stop && stop->stopped()) break;  // the caller polls, and throws this pass away
  }
  return slots_.back().y;
}

void Network::get_state(const Rows& rows, const State<float>& state) const {
  float* block = state.data;
  for (const Slot& slot : slots_) {
    const int64_t h = slot.layer->state_size();
    if (h == 0) continue;
    slot.layer->get_state(*kernels_, rows, block + state.first * h);
    block += state.rows * h;
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

void Network::backward(const Rows& rows, const RandomKey& random, StopFlag* stop) {
  const Pass pass{*kernels_, rows, true, random, stop, parameters_.data(), gradients_.data()};
  for (size_t i = slots_.size(); i-- > 0;) {
    slots_[i].layer->backward(pass, io(i, rows));
    if (!slots_[i].wants_dx || (stop && stop->stopped())) break;  // or nothing below learns
  }
}

}  // namespace headgate
