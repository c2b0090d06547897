#include "crf.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "arena.h"
#include "parallel.h"

namespace headgate {
namespace {

constexpr float kNever = -1e30f;  // what padding scores: far below any class, far from overflow
constexpr int64_t kBlocks = 16;   // of sequences, whose sums are kept apart: threads change no bits

// The weights, padded to whole vectors.
struct Tables {
  Tables(const Kernels& k, const CrfWeights<float>& w)
      : kernels(k), classes(w.classes), padded(round_up(w.classes, kAlignment)) {
    to.assign(static_cast<size_t>(classes * padded), kNever);
    from = to;
    start.assign(static_cast<size_t>(padded), kNever);
    end = start;
    for (int64_t i = 0; i < classes; ++i) {
      start[i] = w.start[i];
      end[i] = w.end[i];
      for (int64_t j = 0; j < classes; ++j) {
        to[i * padded + j] = w.transitions[i * classes + j];
        from[j * padded + i] = w.transitions[i * classes + j];
      }
    }
  }

  // Nanoseconds that a step of one sequence takes, forward and backward.
  double cost() const { return static_cast<double>(classes * (padded + 40)); }

  const Kernels& kernels;
  int64_t classes, padded;
  std::vector<float> to, from;    // [C, padded] scores from class i to all, and to class j from all
  std::vector<float> start, end;  // [padded]
};

// Expected counts minus those of the targets: the weights' gradients but for a factor.
struct Counts {
  float *transitions, *start, *end;  // [C, padded], [padded], [padded]
};

// Forward and backward over one sequence, in logarithms that are shifted at every step so that the
// largest is zero.
class Chain {
 public:
  static int64_t scratch_size(const Tables& t, int64_t steps) {
    return 2 * steps * t.padded + t.classes * t.padded + 4 * t.padded;
  }

  Chain(const Tables& tables, int64_t steps, float* scratch)
      : t_(tables),
        k_(tables.kernels),
        steps_(steps),
        scores_(scratch),
        alpha_(scores_ + steps * t_.padded),
        given_(alpha_ + steps * t_.padded),
        sums_(given_ + t_.classes * t_.padded),
        beta_(sums_ + t_.padded),
        sum_(beta_ + t_.padded),
        next_(sum_ + t_.padded) {}

  float* scores(int64_t t) { return scores_ + t * t_.padded; }
  // After backward(): the probabilities of the classes at step t.
  const float* marginals(int64_t t) const { return alpha_ + t * t_.padded; }

  void set_scores(int64_t t, const float* from) {
    std::copy_n(from, t_.classes, scores(t));
    std::fill(scores(t) + t_.classes, scores(t) + t_.padded, kNever);
  }

  // The logarithm of the sum over all sequences of classes of exp(score).
  double forward() {
    add(t_.start.data(), scores(0), alpha_);
    double total = shift(alpha_);
    for (int64_t t = 1; t < steps_; ++t) {
      const float *before = alpha_ + (t - 1) * t_.padded, *score = scores(t);
      float* now = alpha_ + t * t_.padded;
      std::fill(now + t_.classes, now + t_.padded, kNever);
      for (int64_t j = 0; j < t_.classes; ++j) {
        add(before, t_.from.data() + j * t_.padded, sum_);
        now[j] = score[j] + log_sum(sum_, nullptr, nullptr);
      }
      total += shift(now);
    }
    add(alpha_ + (steps_ - 1) * t_.padded, t_.end.data(), sum_);
    return total + log_sum(sum_, nullptr, nullptr);
  }

  // counts: null when not wanted.
  void backward(const Counts* counts) {
    std::copy(t_.end.begin(), t_.end.end(), beta_);
    to_marginals(steps_ - 1);
    for (int64_t t = steps_ - 2; t >= 0; --t) {
      add(scores(t + 1), beta_, next_);
      for (int64_t i = 0; i < t_.classes; ++i) {
        add(t_.to.data() + i * t_.padded, next_, sum_);
        beta_[i] = log_sum(sum_, given_ + i * t_.padded, sums_ + i);
      }
      shift(beta_);
      to_marginals(t);
      if (!counts) continue;
      // p(i, j) = p(i) p(j given i)
      for (int64_t i = 0; i < t_.classes; ++i)
        add_scaled(given_ + i * t_.padded, marginals(t)[i] / sums_[i],
                   counts->transitions + i * t_.padded);
    }
    if (!counts) return;
    add_scaled(marginals(0), 1.0f, counts->start);
    add_scaled(marginals(steps_ - 1), 1.0f, counts->end);
  }

 private:
  void add(const float* a, const float* b, float* sum) const {
    for (int64_t j = 0; j < t_.padded; ++j) sum[j] = a[j] + b[j];
  }
  void add_scaled(const float* a, float factor, float* sum) const {
    for (int64_t j = 0; j < t_.padded; ++j) sum[j] += factor * a[j];
  }
  // Takes the largest from all; returns it.
  float shift(float* x) const {
    const float top = k_.row_max(x, t_.padded);
    for (int64_t j = 0; j < t_.padded; ++j) x[j] -= top;
    return top;
  }
  // e, sum: exp(x - the largest), and their sum; or null.
  float log_sum(const float* x, float* e, float* sum) const {
    const float top = k_.row_max(x, t_.padded);
    const double total = k_.exp_sum(x, top, e, t_.padded);
    if (sum) *sum = static_cast<float>(total);
    return top + static_cast<float>(std::log(total));
  }
  // From alpha and beta of step t.
  void to_marginals(int64_t t) {
    float* row = alpha_ + t * t_.padded;
    add(row, beta_, sum_);
    const double total = k_.exp_sum(sum_, k_.row_max(sum_, t_.padded), row, t_.padded);
    k_.scale(row, static_cast<float>(1.0 / total), t_.padded);
  }

  const Tables& t_;
  const Kernels& k_;
  int64_t steps_;
  float *scores_, *alpha_;  // [T, padded]
  float *given_, *sums_;    // [C, padded] exp of the scores that go on from each class, their sums
  float *beta_, *sum_, *next_;
};

// -log p of the targets of sequence i, NaN where one is no class; and its gradients.
double sequence_loss(const Tables& tables, const Rows& rows, const CrfLossArgs& a, int64_t i,
                     const CrfWeights<float>& w, const Counts* counts, float* scratch) {
  const int64_t steps = rows.length[i];
  Chain chain(tables, steps, scratch);
  const auto row_of = [&](int64_t t) { return rows.offset[t] + i; };
  double score = 0.0;
  int64_t before = -1;
  for (int64_t t = 0; t < steps; ++t) {
    const float* from = a.scores + row_of(t) * a.row;
    const float target = a.target[row_of(t)];
    if (!(target >= 0.0f && target < static_cast<float>(w.classes)))
      return std::numeric_limits<double>::quiet_NaN();
    const auto label = static_cast<int64_t>(target);
    chain.set_scores(t, from);
    score += static_cast<double>(from[label]) +
             (t == 0 ? w.start[label] : w.transitions[before * w.classes + label]);
    before = label;
  }
  const double value = chain.forward() - (score + w.end[before]);
  if (!a.gradient) return value;
  chain.backward(counts);
  const auto share = static_cast<float>(1.0 / static_cast<double>(a.alone ? steps : rows.total));
  for (int64_t t = 0; t < steps; ++t) {
    const auto label = static_cast<int64_t>(a.target[row_of(t)]);
    const float* p = chain.marginals(t);
    float* gradient = a.gradient + row_of(t) * a.row;
    for (int64_t j = 0; j < w.classes; ++j) gradient[j] = share * p[j];
    gradient[label] -= share;
    if (!counts) continue;
    if (t == 0) counts->start[label] -= 1.0f;
    if (t > 0) counts->transitions[before * tables.padded + label] -= 1.0f;
    if (t == steps - 1) counts->end[label] -= 1.0f;
    before = label;
  }
  return value;
}

// Calls body(block, scratch) for blocks 0 .. blocks - 1 on all threads. Scratch is had beforehand:
// nothing may throw in there.
template <class Body>
void for_blocks(int64_t blocks, int64_t scratch_size, double work, Body&& body) {
  AlignedFloats scratch;
  scratch.assign(blocks * scratch_size);
  parallel_for(blocks, 1, work, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) body(b, scratch.data() + b * scratch_size);
  });
}

}  // namespace

LossSum crf_loss(const Kernels& k, const CrfWeights<float>& w, const Rows& rows,
                 const CrfLossArgs& args) {
  const Tables tables(k, w);
  const int64_t c = w.classes, cp = tables.padded, size = (c + 2) * cp;
  const int64_t blocks = std::min(kBlocks, rows.sequences);
  std::vector<double> losses(static_cast<size_t>(blocks));
  std::vector<float> counts(static_cast<size_t>(args.weights ? blocks * size : 0));
  for_blocks(blocks, Chain::scratch_size(tables, rows.steps),
             tables.cost() * static_cast<double>(rows.total), [&](int64_t b, float* scratch) {
               float* sums = counts.data() + b * size;
               const Counts own{sums, sums + c * cp, sums + (c + 1) * cp};
               for (int64_t i = b; i < rows.sequences; i += blocks)
                 losses[b] += sequence_loss(tables, rows, args, i, w, args.weights ? &own : nullptr,
                                            scratch);
             });
  LossSum result{0.0, static_cast<double>(rows.total)};
  for (const double loss : losses) result.sum += loss;
  for (int64_t i = 0; i < c + 2 && args.weights; ++i)
    for (int64_t j = 0; j < c; ++j) {
      double total = 0.0;
      for (int64_t b = 0; b < blocks; ++b) total += counts[b * size + i * cp + j];
      args.weights[i * c + j] = static_cast<float>(total / result.weight);
    }
  return result;
}

void crf_marginals(const Kernels& k, const CrfWeights<float>& w, const Chains& chains,
                   float* scores) {
  if (chains.count == 0) return;
  const Tables tables(k, w);
  int64_t longest = 0, rows = 0;
  for (int64_t i = 0; i < chains.count; ++i) {
    longest = std::max(longest, chains.length[i]);
    rows += chains.length[i];
  }
  const int64_t blocks = std::min(kBlocks, chains.count);
  for_blocks(blocks, Chain::scratch_size(tables, longest),
             tables.cost() * static_cast<double>(rows), [&](int64_t b, float* scratch) {
               for (int64_t i = b; i < chains.count; i += blocks) {
                 float* first = scores + chains.start[i] * w.classes;
                 Chain chain(tables, chains.length[i], scratch);
                 for (int64_t t = 0; t < chains.length[i]; ++t)
                   chain.set_scores(t, first + t * w.classes);
                 chain.forward();
                 chain.backward(nullptr);
                 for (int64_t t = 0; t < chains.length[i]; ++t)
                   std::copy_n(chain.marginals(t), w.classes, first + t * w.classes);
               }
             });
}

void crf_paths(const CrfWeights<double>& w, const Chains& chains, const double* scores,
               int64_t* path) {
  const int64_t c = w.classes;
  int64_t longest = 0;
  for (int64_t i = 0; i < chains.count; ++i) longest = std::max(longest, chains.length[i]);
  std::vector<int32_t> came_from(static_cast<size_t>(longest * c));
  std::vector<double> best(static_cast<size_t>(c)), before(best.size());
  const auto largest = [&] { return std::max_element(best.begin(), best.end()) - best.begin(); };
  for (int64_t s = 0; s < chains.count; ++s) {
    const double* score = scores + chains.start[s] * c;
    const int64_t steps = chains.length[s];
    for (int64_t j = 0; j < c; ++j) best[j] = w.start[j] + score[j];
    for (int64_t t = 1; t < steps; ++t) {
      before.swap(best);
      score += c;
      int32_t* from = came_from.data() + t * c;
      std::fill(from, from + c, 0);
      for (int64_t j = 0; j < c; ++j) best[j] = before[0] + w.transitions[j];
      for (int64_t i = 1; i < c; ++i)
        for (int64_t j = 0; j < c; ++j) {
          const double value = before[i] + w.transitions[i * c + j];
          from[j] = value > best[j] ? static_cast<int32_t>(i) : from[j];
          best[j] = value > best[j] ? value : best[j];
        }
      for (int64_t j = 0; j < c; ++j) best[j] += score[j];
    }
    for (int64_t j = 0; j < c; ++j) best[j] += w.end[j];
    int64_t* at = path + chains.start[s];
    at[steps - 1] = largest();
    for (int64_t t = steps - 1; t > 0; --t) at[t - 1] = came_from[t * c + at[t]];
  }
}

}  // namespace headgate
