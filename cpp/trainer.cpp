#include "trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <stdexcept>

#include "crf.h"

namespace headgate {
namespace {

// Lays out the rows of one batch by time; keeps what stands when the shape is the same.
void lay_out(const Samples& s, const int64_t* order, int64_t n, Rows* rows) {
  const int64_t first = s.length[order[0]];
  bool ragged = false;
  for (int64_t i = 1; i < n && !ragged; ++i) ragged = s.length[order[i]] != first;
  if (!ragged && !rows->ragged && rows->sequences == n && rows->steps == first) return;
  rows->sequences = n;
  rows->ragged = ragged;
  rows->order.resize(static_cast<size_t>(n));
  std::iota(rows->order.begin(), rows->order.end(), int64_t{0});
  if (ragged)
    std::stable_sort(rows->order.begin(), rows->order.end(),
                     [&](int64_t a, int64_t b) { return s.length[order[a]] > s.length[order[b]]; });
  rows->length.resize(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) rows->length[i] = s.length[order[rows->order[i]]];
  rows->steps = rows->length[0];
  rows->count.resize(static_cast<size_t>(rows->steps));
  rows->offset.resize(static_cast<size_t>(rows->steps));
  int64_t running = n, total = 0;
  for (int64_t t = 0; t < rows->steps; ++t) {
    while (rows->length[running - 1] <= t) --running;
    rows->count[t] = static_cast<int32_t>(running);
    rows->offset[t] = total;
    total += running;
  }
  rows->total = total;
}

void copy_scaled(const float* from, int64_t size, float shift, float scale, float* to) {
  for (int64_t j = 0; j < size; ++j) to[j] = (from[j] - shift) / scale;
}

// One step whose columns are not all treated alike, row by row; the hidden ones are not read.
void copy_columns(const Samples& s, const float* x, int64_t hidden, float shift, float scale,
                  float* to) {
  const int64_t scaled = s.x_scale ? std::max(s.shifted, hidden) : hidden;
  for (int64_t row = 0; row < s.segment; ++row, x += s.columns, to += s.columns) {
    std::fill(to, to + hidden, 0.0f);
    copy_scaled(x + hidden, scaled - hidden, shift, scale, to + hidden);
    std::copy(x + scaled, x + s.columns, to + scaled);
  }
}

}  // namespace

void gather(const Samples& s, const int64_t* order, int64_t n, bool training, Network* net,
            Rows* rows, AlignedFloats* targets, std::vector<int64_t>* batch_samples) {
  lay_out(s, order, n, rows);
  net->reserve(*rows, training);
  batch_samples->resize(static_cast<size_t>(n));
  const int64_t x_row = net->input_row(), inputs = s.inputs();
  const bool alike = !s.x_scale || s.shifted == s.columns;
  if (targets && targets->size() < net->output_count(*rows) * s.outputs)
    targets->assign(net->output_count(*rows) * s.outputs);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t sample = order[rows->order[i]];
    (*batch_samples)[i] = sample;
    const float shift = s.x_shift ? s.x_shift[sample] : 0.0f;
    const float scale = s.x_scale ? s.x_scale[sample] : 1.0f;
    const float* x = s.x + s.start[sample] * s.columns;
    const int64_t steps = rows->length[i];
    const int64_t open = steps - (s.hidden ? s.known_steps : 0), plain = alike ? open : 0;
    for (int64_t t = 0; t < plain; ++t, x += inputs) {
      float* to = net->input() + (rows->offset[t] + i) * x_row;
      if (s.x_scale)
        copy_scaled(x, inputs, shift, scale, to);
      else if (inputs == 1)
        *to = *x;
      else
        std::copy_n(x, inputs, to);
    }
    for (int64_t t = plain; t < steps; ++t, x += inputs)
      copy_columns(s, x, t < open ? 0 : s.hidden, shift, scale,
                   net->input() + (rows->offset[t] + i) * x_row);
    for (int64_t t = 0; t < steps && s.tokens; ++t)
      std::copy_n(s.tokens + (s.start[sample] + t) * s.token_columns, s.token_columns,
                  net->tokens() + (rows->offset[t] + i) * s.token_columns);
    if (!targets) continue;
    const float* y = s.y + s.y_start[sample];
    const int64_t groups = net->pooled() ? 1 : steps;
    for (int64_t t = 0; t < groups; ++t, y += s.y_stride) {
      float* to = targets->data() + ((net->pooled() ? 0 : rows->offset[t]) + i) * s.outputs;
      if (s.y_scale)
        copy_scaled(y, s.outputs, s.y_shift[sample], s.y_scale[sample], to);
      else
        std::memcpy(to, y, bytes(s.outputs));
    }
  }
}

namespace {

CrfWeights<float> crf_of(Network* net) {
  const int64_t c = net->output_size();
  const float* first = net->parameters() + *net->crf_weights();
  return {c, first, first + c * c, first + c * c + c};
}

// The loss of the batch whose outputs are `y`, in rows as gather() left them.
LossSum loss_of(const LossOptions& loss, Network& net, const Rows& rows, const float* y,
                const AlignedFloats& targets, const Samples& samples, float* gradient) {
  if (loss.kind == Loss::crf)
    return crf_loss(net.k(), crf_of(&net), rows,
                    {y, net.output_row(), targets.data(), gradient,
                     gradient ? net.crf_gradients() : nullptr, false});
  return loss_and_gradient(net.k(), loss,
                           {y, targets.data(), net.output_count(rows), net.output_size(),
                            net.output_row(), samples.outputs, gradient});
}

}  // namespace

void Trainer::remember(const State<float>& state) {
  const float* p = net_->parameters();
  good_parameters_.assign(p, p + round_up(net_->parameter_count(), kAlignment));
  if (state.data) good_state_.assign(state.data, state.data + state.rows * net_->state_size());
}

void Trainer::restore(float* state) {
  // Padding too: a learning rate of infinity turns even its zeros into NaN.
  if (!good_parameters_.empty())
    std::copy(good_parameters_.begin(), good_parameters_.end(), net_->parameters());
  if (state && !good_state_.empty()) std::copy(good_state_.begin(), good_state_.end(), state);
  net_->changed();
}

bool Trainer::update(double learning_rate, const RandomKey& random, StopFlag* stop) {
  if (rows_wait_) optimizer_.clear(net_->gradients());
  net_->backward(rows_, random, stop, false, rows_wait_);
  if (stop && stop->poll()) return false;
  optimizer_.step(net_->k(), net_->segments(), learning_rate, net_->parameters(), net_->gradients(),
                  net_->parameter_count());
  net_->changed();
  return true;
}

EpochResult Trainer::epoch(const Samples& samples, const Batches& batches,
                           const State<float>& state, double limit, StopFlag* stop) {
  EpochResult result;
  LossSum total;
  const State<const float> start{state.data, state.rows, state.first};
  rows_wait_ = optimizer_.begin(kernels(), batches.rates, batches.count, net_->parameters());
  for (int64_t b = 0; b < batches.count; ++b) {
    const int64_t first = batches.bounds[b], size = batches.bounds[b + 1] - first;
    if (state.data && batches.resets && batches.resets[b])
      std::fill_n(state.data, state.rows * net_->state_size(), 0.0f);
    gather(samples, batches.order + first, size, true, net_, &rows_, &targets_, &batch_samples_);
    if (rows_wait_)
      optimizer_.read(net_->k(), net_->tokens(), rows_.total, net_->token_columns(),
                      net_->parameters());
    const RandomKey random{seed_, updates_, batch_samples_.data()};
    const float* y = net_->forward(rows_, start, true, random, stop);
    if (stop && stop->poll()) {
      result.status = Status::stopped;
      break;
    }
    const LossSum loss =
        loss_of(loss_, *net_, rows_, y, targets_, samples, net_->output_gradient());
    if (loss.weight != 0) {
      result.last_loss = loss.mean();
      if (!(result.last_loss <= limit)) {  // NaN fails too
        result.status = Status::diverged;
        break;
      }
      if (total.weight == 0) remember(state);
      if (!update(batches.rates[b], random, stop)) {
        result.status = Status::stopped;
        break;
      }
      total += loss;
    }
    if (state.data) net_->get_state(rows_, state);
    ++updates_;
    ++result.updates;
  }
  result.loss = total.mean();
  result.weight = total.weight;
  if (rows_wait_) {
    optimizer_.settle(kernels(), net_->parameters());
    net_->changed();
  }
  if (result.status == Status::done &&
      !std::isfinite(net_->k().sum_of_squares(net_->parameters(), net_->parameter_count())))
    result.status = Status::diverged;
  if (result.status == Status::diverged) restore(state.data);
  return result;
}

namespace {

// Calls body(rows, first, output) for every batch of samples in order, without learning.
// `keep`: whether the body looks into layers, or goes on with a backward pass.
template <class Body>
Status for_batches(Network* net, const Samples& samples, int64_t batch_size, const float* state,
                   AlignedFloats* targets, bool keep, StopFlag* stop, Body body) {
  Rows rows;
  std::vector<int64_t> batch_samples, order(static_cast<size_t>(samples.count));
  std::iota(order.begin(), order.end(), int64_t{0});
  for (int64_t first = 0; first < samples.count; first += batch_size) {
    const int64_t size = std::min(batch_size, samples.count - first);
    gather(samples, order.data() + first, size, keep, net, &rows, targets, &batch_samples);
    const float* y = net->forward(rows, {state, samples.count, first}, false,
                                  {0, 0, batch_samples.data()}, stop, keep);
    if (stop && stop->poll()) return Status::stopped;
    body(rows, first, y);
  }
  return Status::done;
}

}  // namespace

EpochResult evaluate(Network* net, const Samples& samples, int64_t batch_size,
                     const LossOptions& loss, const float* state, StopFlag* stop) {
  EpochResult result;
  AlignedFloats targets;
  LossSum total;
  result.status = for_batches(net, samples, batch_size, state, &targets, false, stop,
                              [&](const Rows& rows, int64_t, const float* y) {
                                total += loss_of(loss, *net, rows, y, targets, samples, nullptr);
                              });
  result.loss = result.last_loss = total.mean();
  return result;
}

EpochResult evaluate(Network* net, const Samples& samples, const Batches& batches,
                     const LossOptions& loss, const State<float>& state, StopFlag* stop) {
  EpochResult result;
  Rows rows;
  AlignedFloats targets;
  std::vector<int64_t> batch_samples;
  LossSum total;
  for (int64_t b = 0; b < batches.count; ++b) {
    const int64_t first = batches.bounds[b], size = batches.bounds[b + 1] - first;
    if (state.data && batches.resets && batches.resets[b])
      std::fill_n(state.data, state.rows * net->state_size(), 0.0f);
    gather(samples, batches.order + first, size, false, net, &rows, &targets, &batch_samples);
    const float* y = net->forward(rows, {state.data, state.rows, state.first}, false,
                                  {0, 0, batch_samples.data()}, stop);
    if (stop && stop->poll()) {
      result.status = Status::stopped;
      return result;
    }
    total += loss_of(loss, *net, rows, y, targets, samples, nullptr);
    if (state.data) net->get_state(rows, state);
  }
  result.loss = result.last_loss = total.mean();
  return result;
}

Status predict(Network* net, const Samples& samples, int64_t batch_size, const float* state_in,
               float* state_out, const int64_t* out_start, float* out, StopFlag* stop) {
  const int64_t width = net->output_size();
  return for_batches(
      net, samples, batch_size, state_in, nullptr, false, stop,
      [&](const Rows& rows, int64_t first, const float* y) {
        const int64_t row = net->output_row();
        const auto one = [&](int64_t i) {
          const int64_t sample = first + rows.order[i];
          float* to = out + out_start[sample] * width;
          const int64_t steps = net->pooled() ? 1 : rows.length[i];
          for (int64_t t = 0; t < steps; ++t, to += width) {
            net->to_prediction(y + ((net->pooled() ? 0 : rows.offset[t]) + i) * row, to);
            if (!samples.y_scale) continue;
            const float shift = samples.y_shift[sample], scale = samples.y_scale[sample];
            for (int64_t j = 0; j < width; ++j) to[j] = to[j] * scale + shift;
          }
        };
        const double work = 0.5 * static_cast<double>(net->output_count(rows) * width);
        parallel_for(rows.sequences, 1, work, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) one(i);
        });
        if (state_out) net->get_state(rows, {state_out, samples.count, first});
      });
}

Status predict_dense(Network* net, const float* x, int64_t count, int64_t steps, int64_t batch_size,
                     float* out, StopFlag* stop) {
  std::vector<int64_t> start(static_cast<size_t>(count)), length(start.size(), steps);
  for (int64_t i = 0; i < count; ++i) start[i] = i * steps;
  std::vector<int64_t> out_start(start.size());
  for (int64_t i = 0; i < count; ++i) out_start[i] = net->pooled() ? i : start[i];
  Samples samples;
  samples.count = count;
  samples.x = x;
  samples.columns = net->input_size();
  samples.start = start.data();
  samples.length = length.data();
  return predict(net, samples, batch_size, nullptr, nullptr, out_start.data(), out, stop);
}

namespace {

// The gradient of each sample's own mean loss, row by row.
void own_loss_gradients(const LossOptions& loss, const Samples& samples, const Rows& rows,
                        const float* y, const AlignedFloats& targets, Network* net) {
  const int64_t row = net->output_row(), width = net->output_size();
  if (loss.kind == Loss::crf) {
    crf_loss(net->k(), crf_of(net), rows,
             {y, row, targets.data(), net->output_gradient(), nullptr, true});
    return;
  }
  for (int64_t i = 0; i < rows.sequences; ++i) {
    const int64_t steps = net->pooled() ? 1 : rows.length[i];
    double weight = 0.0;
    const auto gradient_at = [&](int64_t t) {
      return net->output_gradient() + ((net->pooled() ? 0 : rows.offset[t]) + i) * row;
    };
    for (int64_t t = 0; t < steps; ++t) {
      float* gradient = gradient_at(t);
      const int64_t at = (gradient - net->output_gradient()) / row;
      std::memset(gradient, 0, bytes(width));
      const LossSum one = loss_and_gradient(net->k(), loss,
                                            {y + at * row, targets.data() + at * samples.outputs, 1,
                                             width, row, samples.outputs, gradient});
      weight += one.weight;
      for (int64_t j = 0; j < width; ++j) gradient[j] *= static_cast<float>(one.weight);
    }
    for (int64_t t = 0; t < steps && weight > 0; ++t)
      for (int64_t j = 0; j < width; ++j) gradient_at(t)[j] /= static_cast<float>(weight);
  }
}

void copy_out(const Network& net, const Rows& rows, int64_t first, const int64_t* out_start,
              const Look& look) {
  const View view = net.layer(look.layer).view(net.k(), rows, look.which);
  if (!view.data || view.width != look.width)
    throw std::invalid_argument("the layer has no such quantity");
  for (int64_t i = 0; i < rows.sequences; ++i) {
    float* to = look.out + out_start[first + rows.order[i]] * look.width;
    for (int64_t t = 0; t < rows.length[i]; ++t, to += look.width)
      std::memcpy(to, view.data + (rows.offset[t] + i) * view.row, bytes(look.width));
  }
}

}  // namespace

Status observe(Network* net, const Samples& samples, int64_t batch_size, const float* state,
               const LossOptions* loss, const int64_t* out_start, const std::vector<Look>& looks,
               StopFlag* stop) {
  AlignedFloats targets;
  bool stopped = false;
  const Status status =
      for_batches(net, samples, batch_size, state, loss ? &targets : nullptr, true, stop,
                  [&](const Rows& rows, int64_t first, const float* y) {
                    if (loss) {
                      own_loss_gradients(*loss, samples, rows, y, targets, net);
                      net->backward(rows, {}, stop, true);
                      if (stop && (stopped = stop->stopped())) return;
                    }
                    for (const Look& look : looks) copy_out(*net, rows, first, out_start, look);
                  });
  return stopped ? Status::stopped : status;
}

Status rollout(Network* net, const float* x, int64_t steps0, int64_t steps, float* state,
               float* out, StopFlag* stop) {
  const int64_t width = net->output_size(), start = 0, zero = 0;
  int64_t length = steps0;
  Samples samples;
  samples.count = 1;
  samples.columns = net->input_size();
  samples.start = &start;
  samples.length = &length;
  samples.x = x;
  Rows rows;
  std::vector<int64_t> batch_samples;
  for (int64_t step = 0; step < steps; ++step) {
    gather(samples, &zero, 1, false, net, &rows, nullptr, &batch_samples);
    const float* y = net->forward(rows, {state, 1, 0}, false, {0, 0, batch_samples.data()}, stop);
    if (stop && stop->poll()) return Status::stopped;
    if (state) net->get_state(rows, {state, 1, 0});
    const float* last = y + (net->output_count(rows) - 1) * net->output_row();
    net->to_prediction(last, out + step * width);
    samples.x = out + step * width;
    length = 1;
  }
  return Status::done;
}

}  // namespace headgate
