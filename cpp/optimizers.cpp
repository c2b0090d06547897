#include "optimizers.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "parallel.h"

namespace headgate {
namespace {

// To move as many at every update costs no more than the book-keeping.
constexpr int64_t kFewParameters = 200000;
// Steps whose share of a row's way is smaller do not show in a float.
constexpr double kNoStep = 1e-10;
// What is left of a row's moments after many steps, at least: less would be a denormal number.
constexpr double kLeastPower = 1e-20;

// Calls f(offset, pointer, size) for whole vectors of [begin, begin + size) and for the rest of
// them, which f gets beside zeros: behind it lie parameters that are others'.
template <class F>
void over(float* x, int64_t begin, int64_t size, F&& f) {
  const int64_t whole = size / kAlignment * kAlignment, rest = size - whole;
  if (whole > 0) f(x + begin, whole);
  if (rest == 0) return;
  float part[kAlignment] = {};
  std::memcpy(part, x + begin + whole, bytes(rest));
  f(part, kAlignment);
  std::memcpy(x + begin + whole, part, bytes(rest));
}

}  // namespace

// -- rows that wait ---------------------------------------------------------------------------

bool Optimizer::can_wait(const double* rates, int64_t count) const {
  // L2 in the gradient: then no row is without.
  if (options_.weight_decay > 0 && options_.rule != Rule::adamw) return false;
  int64_t size = 0;
  for (const TokenTable& table : tables_) size += table.rows * table.size;
  // Decay is undone by division when missed steps are added up: it must leave something.
  return size > kFewParameters && std::all_of(rates, rates + count, [&](double rate) {
           return rate * options_.weight_decay < 0.5;
         });
}

bool Optimizer::begin(const Kernels& k, const double* rates, int64_t count, float* parameters) {
  settle(k, parameters);  // of an epoch that did not come to its end
  waiting_.clear();
  ranges_.clear();
  if (!can_wait(rates, count)) return false;
  int64_t widest = 0;
  for (const TokenTable& table : tables_) {
    waiting_.push_back({table, {}, {}, {}, true});
    waiting_.back().last.resize(static_cast<size_t>(table.rows));
    widest = std::max(widest, table.size);
  }
  if (zeros_.size() < widest) zeros_.assign(widest);
  log_kept_.assign(1, 0.0);
  return true;
}

void Optimizer::read(const Kernels& k, const int32_t* tokens, int64_t rows, int64_t columns,
                     float* parameters) {
  const auto now = static_cast<int32_t>(missed_.size());
  for (Waiting& w : waiting_) {
    for (const int32_t row : w.used)
      if (w.last[row] < 0) w.last[row] = ~w.last[row];  // a batch without an update
    w.used.clear();
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t c = w.table.token; c < w.table.token + w.table.columns; ++c) {
        const int32_t row = tokens[i * columns + c];
        if (row == w.table.still_row || w.last[row] < 0) continue;
        w.last[row] = ~w.last[row];
        w.used.push_back(row);
      }
    const auto count = static_cast<int64_t>(w.used.size());
    const double work = static_cast<double>(count * (200 + w.table.size));
    parallel_for(count, 16, work, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int32_t& last = w.last[w.used[i]];
        catch_up(k, w.row(w.used[i]), ~last, parameters);
        last = ~now;
      }
    });
  }
}

void Optimizer::clear(float* gradients) {
  for (Waiting& w : waiting_) {
    if (w.all_dirty) std::memset(gradients + w.table.offset, 0, bytes(w.table.rows * w.table.size));
    for (const int32_t row : w.dirty)
      std::memset(gradients + w.row(row).begin, 0, bytes(w.table.size));
    w.all_dirty = false;
    w.dirty = w.used;
  }
}

void Optimizer::settle(const Kernels& k, float* parameters) {
  const auto now = static_cast<int32_t>(missed_.size());
  for (Waiting& w : waiting_) {
    const double work = static_cast<double>(w.table.rows * w.table.size);
    parallel_for(w.table.rows, 16, work, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        int32_t& last = w.last[row];
        if (last < 0) last = ~last;
        if (row != w.table.still_row) catch_up(k, w.row(row), last, parameters);
        last = now;
      }
    });
  }
  waiting_.clear();
  missed_.clear();
}

// Adds an update to the ways of rows that have waited since update 0, 1, ... For Adam, with m and v
// as such a row has them, its step j is
//   m_j = b1^j m,  v_j = b2^j v,  p_j = kept_j p_(j-1) - move_j m_j / (sqrt(v_j) + eps_j),
// so that p moves by -m / (sqrt(v) + eps) times a number that is no row's own, if eps stands for
// the mean of the eps_j / sqrt(b2^j), weighted by their moves: where it matters, it hardly varies.
void Optimizer::add_missed(double learning_rate, double correction1, double correction2) {
  const bool sgd = options_.rule == Rule::sgd, rmsprop = options_.rule == Rule::rmsprop;
  const double keep = 1.0 - learning_rate * options_.weight_decay;
  const double root = sgd ? 1.0 : std::sqrt(options_.beta2);
  const double ratio = rmsprop ? 0.0 : (sgd ? options_.momentum : options_.beta1) / root;
  const double move = sgd ? learning_rate : learning_rate * correction1 / correction2;
  log_kept_.push_back(log_kept_.back() + std::log(keep));
  missed_.push_back({});
  double power = 1.0, roots = 1.0;
  for (size_t j = missed_.size(); j-- > 0;) {
    power *= ratio;
    roots *= root;
    if (power < kNoStep) break;
    Missed& missed = missed_[j];
    missed.kept *= keep;
    const double part = move * power / missed.kept;
    missed.move += part;
    missed.epsilons += part / (roots * correction2);
  }
}

// The steps that a row has missed since update `from`, as one. shrink: what decay leaves of it
// before.
AdamArgs Optimizer::missed_steps(int64_t from, double* shrink) const {
  const Missed& missed = missed_[static_cast<size_t>(from)];
  const bool sgd = options_.rule == Rule::sgd, rmsprop = options_.rule == Rule::rmsprop;
  const auto steps = static_cast<double>(missed_.size()) - static_cast<double>(from);
  const double decay1 = sgd ? options_.momentum : options_.beta1;
  const double decay2 = rmsprop ? options_.alpha : options_.beta2;
  const double first = std::max(std::pow(decay1, steps), kLeastPower);
  const double second = std::max(std::pow(decay2, steps), kLeastPower);
  const double epsilon = missed.move > 0 ? missed.epsilons / missed.move : 1.0;
  if (options_.weight_decay > 0)
    *shrink = std::exp(log_kept_.back() - log_kept_[static_cast<size_t>(from)]);
  return {static_cast<float>(*shrink * missed.move / first),
          static_cast<float>(first),
          static_cast<float>(second),
          static_cast<float>(options_.epsilon * epsilon),
          0.0f,
          0.0f,
          1.0f,
          static_cast<float>(1.0 / std::sqrt(second))};
}

void Optimizer::catch_up(const Kernels& k, const Range& row, int64_t from, float* parameters) {
  if (from == static_cast<int64_t>(missed_.size())) return;
  double shrink = 1.0;
  const AdamArgs args = missed_steps(from, &shrink);
  if (shrink != 1.0) {
    const auto factor = static_cast<float>(shrink);
    for (int64_t i = row.begin; i < row.begin + row.size; ++i) parameters[i] *= factor;
  }
  apply(k, args, parameters, nullptr, row);
}

// -- an update --------------------------------------------------------------------------------

void Optimizer::collect_ranges(int64_t size) {
  ranges_.clear();
  int64_t end = 0;
  for (const Waiting& w : waiting_) {  // in the order of the parameters
    if (w.table.offset > end) ranges_.push_back({end, w.table.offset - end});
    end = w.table.offset + w.table.rows * w.table.size;
    for (const int32_t row : w.used) ranges_.push_back(w.row(row));
  }
  if (size > end) ranges_.push_back({end, size - end});
}

void Optimizer::clip(const Kernels& k, float* gradients) const {
  const auto each = [&](auto&& f) {
    for (const Range& range : ranges_) over(gradients, range.begin, range.size, f);
  };
  if (options_.clip_value > 0)
    each([&](float* g, int64_t n) { k.clamp(g, static_cast<float>(options_.clip_value), n); });
  if (options_.clip_norm > 0) {
    double squares = 0.0;
    each([&](float* g, int64_t n) { squares += k.sum_of_squares(g, n); });
    const double factor = options_.clip_norm / (std::sqrt(squares) + 1e-6);
    if (factor < 1.0) each([&](float* g, int64_t n) { k.scale(g, static_cast<float>(factor), n); });
  }
}

void Optimizer::decay(const std::vector<Segment>& segments, double learning_rate, float* parameters,
                      float* gradients) const {
  const bool decoupled = options_.rule == Rule::adamw;
  const auto keep = static_cast<float>(1.0 - learning_rate * options_.weight_decay);
  const auto pull = static_cast<float>(options_.weight_decay);
  const auto shrink = [&](int64_t begin, int64_t end) {
    if (decoupled)
      for (int64_t i = begin; i < end; ++i) parameters[i] *= keep;
    else
      for (int64_t i = begin; i < end; ++i) gradients[i] += pull * parameters[i];
  };
  for (const Segment& segment : segments) {
    // Decay alone would move frozen parameters: every rule leaves those without gradient as they
    // are.
    if (!segment.decay || !segment.trainable) continue;
    const auto same = [&](const Waiting& w) { return w.table.offset == segment.offset; };
    const auto waits = std::find_if(waiting_.begin(), waiting_.end(), same);
    if (waits != waiting_.end()) {
      for (const int32_t row : waits->used) {
        const Range range = waits->row(row);
        shrink(range.begin, range.begin + range.size);
      }
      continue;
    }
    const int64_t begin = segment.offset, end = begin + segment.size();
    const int64_t row = segment.size() / segment.shape[0];
    const int64_t still = segment.still_row < 0 ? end : begin + segment.still_row * row;
    shrink(begin, still);
    if (still < end) shrink(still + row, end);
  }
}

AdamArgs Optimizer::next_step(double learning_rate) {
  const bool sgd = options_.rule == Rule::sgd, rmsprop = options_.rule == Rule::rmsprop;
  power1_ *= options_.beta1;
  power2_ *= options_.beta2;
  const double first = sgd ? options_.momentum : options_.beta1;
  const double second = rmsprop ? options_.alpha : options_.beta2;
  const double correction1 = 1.0 / (1.0 - power1_), correction2 = 1.0 / std::sqrt(1.0 - power2_);
  if (!waiting_.empty()) add_missed(learning_rate, correction1, correction2);
  return {static_cast<float>(learning_rate), static_cast<float>(first),
          static_cast<float>(second),        static_cast<float>(options_.epsilon),
          static_cast<float>(1.0 - first),   static_cast<float>(1.0 - second),
          static_cast<float>(correction1),   static_cast<float>(correction2)};
}

// gradients: null for zeros.
void Optimizer::apply(const Kernels& k, const AdamArgs& args, float* parameters,
                      const float* gradients, const Range& range) {
  float* const seconds = second_.size() ? second_.data() : nullptr;
  const auto rule = [&](float* p, const float* g, float* m, float* v, int64_t size) {
    if (options_.rule == Rule::sgd)
      k.sgd(args.learning_rate, args.beta1, p, g, m, size);
    else if (options_.rule == Rule::rmsprop)
      k.rmsprop(args.learning_rate, args.beta2, args.rest2, args.epsilon, p, g, m, size);
    else
      k.adam(args, p, g, m, v, size);
  };
  float *p = parameters + range.begin, *m = first_.data() + range.begin;
  float* v = seconds ? seconds + range.begin : nullptr;
  const float* g = gradients ? gradients + range.begin : zeros_.data();
  const int64_t whole = range.size / kAlignment * kAlignment, rest = range.size - whole;
  if (whole > 0) rule(p, g, m, v, whole);
  if (rest == 0) return;
  // Behind the last whole vector lie parameters that are others'.
  float parts[4][kAlignment] = {};
  const size_t size = bytes(rest);
  std::memcpy(parts[0], p + whole, size);
  std::memcpy(parts[1], g + whole, size);
  std::memcpy(parts[2], m + whole, size);
  if (v) std::memcpy(parts[3], v + whole, size);
  rule(parts[0], parts[1], parts[2], parts[3], kAlignment);
  std::memcpy(p + whole, parts[0], size);
  std::memcpy(m + whole, parts[2], size);
  if (v) std::memcpy(v + whole, parts[3], size);
}

void Optimizer::step(const Kernels& k, const std::vector<Segment>& segments, double learning_rate,
                     float* parameters, float* gradients, int64_t size) {
  if (first_.size() == 0) {
    first_.assign(size);
    if (options_.rule == Rule::adam || options_.rule == Rule::adamw) second_.assign(size);
  }
  collect_ranges(round_up(size, kAlignment));
  clip(k, gradients);
  if (options_.weight_decay > 0) decay(segments, learning_rate, parameters, gradients);
  const AdamArgs args = next_step(learning_rate);
  for (const Range& range : ranges_) apply(k, args, parameters, gradients, range);
  const auto now = static_cast<int32_t>(missed_.size());
  for (Waiting& w : waiting_)
    for (const int32_t row : w.used) w.last[row] = now;
}

}  // namespace headgate
