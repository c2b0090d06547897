// crf.h: linear-chain conditional random fields (Lafferty, McCallum and Pereira 2001, "Conditional
// random fields").
//
// The score of the classes y_1 .. y_T of a sequence is start[y_1] + sum of e_t[y_t] + sum of
// transitions[y_(t-1)][y_t] + end[y_T], e the outputs of the layer below; their probability is the
// softmax of the scores over all sequences of classes.
#pragma once
#include <cstdint>

#include "kernels/dispatch.h"
#include "layers/layer.h"
#include "losses.h"

namespace headgate {

template <class Float>
struct CrfWeights {
  int64_t classes;
  const Float *transitions, *start, *end;  // [C, C] from a class to a class, [C], [C]
};

struct CrfLossArgs {
  const float* scores;  // [rows, C], rows `row` floats apart
  int64_t row;
  const float* target;  // [rows] class numbers
  float* gradient;      // laid out as scores, its padding left alone; null when not wanted
  float* weights;       // gradients of the weights [C * C + C + C]; null when not wanted
  bool alone;           // the gradients are those of each sequence's own mean, not of the batch's
};

// -log p of the classes: the sum over the sequences, its weight the number of steps. Any number of
// threads gives the same bits.
LossSum crf_loss(const Kernels& k, const CrfWeights<float>& weights, const Rows& rows,
                 const CrfLossArgs& args);

// Sequences that lie in [rows, C] without gaps: sequence i in rows start[i] .. start[i] + length[i]
// - 1.
struct Chains {
  int64_t count;
  const int64_t *start, *length;
};

// Replaces the scores of every step by the probabilities of its classes, those of the other steps
// being open.
void crf_marginals(const Kernels& k, const CrfWeights<float>& weights, const Chains& chains,
                   float* scores);

// The classes of the greatest score, of several equal ones the one with the lowest numbers from the
// end (Viterbi 1967). path: [rows].
void crf_paths(const CrfWeights<double>& weights, const Chains& chains, const double* scores,
               int64_t* path);

}  // namespace headgate
