// samples.cpp: tables of values and tokens, and the samples in them.
#include "bindings.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace headgate {
namespace {

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

}  // namespace

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

float* require_state(const Network& net, std::optional<FloatsOut>& state, int64_t rows) {
  if (!state) return nullptr;
  require(static_cast<int64_t>(state->shape(0)) == net.state_size() * rows,
          "state: [per recurrent layer][rows, H]");
  return state->data();
}

void bind_samples(nb::module_& m) {
  nb::class_<SamplesHolder>(m, "Samples")
      .def("__init__", &init_samples, "x"_a.noconvert(), "start"_a.noconvert(),
           "length"_a.noconvert(), "y"_a.none().noconvert(), "y_start"_a.none().noconvert(),
           "y_stride"_a, "outputs"_a, "every"_a, "scaling"_a, "segment"_a, "shifted"_a,
           "known_steps"_a, "hidden"_a, "tokens"_a.none().noconvert() = nb::none());
}

}  // namespace headgate
