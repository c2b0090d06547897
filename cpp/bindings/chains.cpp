// chains.cpp: probabilities and best paths of linear-chain CRFs.
#include "bindings.h"
#include "crf.h"

namespace headgate {
namespace {

// Sequences within [rows, C], and the weights of a CRF over C classes: transitions, start, end.
template <class Float>
using ChainWeights =
    std::tuple<Array<const Float, 2>, Array<const Float, 1>, Array<const Float, 1>>;

template <class Float>
CrfWeights<Float> chain_weights(const ChainWeights<Float>& weights, int64_t classes) {
  const auto& [transitions, start, end] = weights;
  const auto c = static_cast<size_t>(classes);
  require(classes >= 1 && transitions.shape(0) == c && transitions.shape(1) == c &&
              start.shape(0) == c && end.shape(0) == c,
          "weights: [C, C], [C], [C]");
  return {classes, transitions.data(), start.data(), end.data()};
}

Chains chains_of(const Indices& start, const Indices& length, int64_t rows) {
  const Chains chains{static_cast<int64_t>(start.shape(0)), start.data(), length.data()};
  require(length.shape(0) == start.shape(0), "length: one for each start");
  for (int64_t i = 0; i < chains.count; ++i)
    require(chains.start[i] >= 0 && chains.length[i] >= 1 && chains.length[i] <= rows &&
                chains.start[i] <= rows - chains.length[i],
            "a sequence reaches past the scores");
  return chains;
}

}  // namespace

void bind_chains(nb::module_& m) {
  m.def(
      "crf_marginals",
      [](Array<float, 2> scores, Indices start, Indices length,
         const ChainWeights<float>& weights) {
        const auto w = chain_weights(weights, static_cast<int64_t>(scores.shape(1)));
        const Chains chains = chains_of(start, length, static_cast<int64_t>(scores.shape(0)));
        nb::gil_scoped_release release;
        crf_marginals(kernels(), w, chains, scores.data());
      },
      "scores"_a.noconvert(), "start"_a.noconvert(), "length"_a.noconvert(), "weights"_a);
  m.def(
      "crf_paths",
      [](Array<const double, 2> scores, Indices start, Indices length,
         const ChainWeights<double>& weights, Array<int64_t, 1> path) {
        const auto w = chain_weights(weights, static_cast<int64_t>(scores.shape(1)));
        const Chains chains = chains_of(start, length, static_cast<int64_t>(scores.shape(0)));
        require(path.shape(0) == scores.shape(0), "path: one for each row");
        nb::gil_scoped_release release;
        crf_paths(w, chains, scores.data(), path.data());
      },
      "scores"_a.noconvert(), "start"_a.noconvert(), "length"_a.noconvert(), "weights"_a,
      "path"_a.noconvert());
}

}  // namespace headgate
