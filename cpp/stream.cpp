#include "stream.h"

#include <algorithm>
#include <cstring>

namespace headgate {

Stream::Stream(Network* own) : own_(own), state_(static_cast<size_t>(own->state_size())) {
  rows_.sequences = rows_.steps = rows_.total = 1;
  rows_.count = {1};
  rows_.offset = {0};
  rows_.length = {1};
  rows_.order = {0};
}

void Stream::refresh(Network* source) {
  std::copy_n(source->parameters(), source->parameter_count(), own_->parameters());
  own_->changed();
  version_ = source->version();
}

void Stream::step(const float* x, const int32_t* tokens, float* prediction) {
  own_->reserve(rows_, false);
  std::memcpy(own_->input(), x, bytes(own_->input_size()));
  if (own_->token_columns()) std::copy_n(tokens, own_->token_columns(), own_->tokens());
  const float* y = own_->forward(rows_, {state_.data(), 1, 0}, false, {}, nullptr);
  own_->get_state(rows_, {state_.data(), 1, 0});
  own_->to_prediction(y, prediction);
}

}  // namespace headgate
