// table.inl: all kernel bodies and the table of them, for the instruction set that the including
// file has chosen with HEADGATE_VEC_<ISA>. The anonymous namespace keeps each copy to its own file.
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "dispatch.h"

namespace headgate {
namespace {

#include "vec.h"
#include "gemm.inl"
#include "elementwise.inl"
#include "recurrence.inl"

const Kernels* table(const char* name) {
  static const Kernels kernels = {name,           kLanes,        kRowTile,      pack,  gemm,
                                  gru_forward,    gru_backward,  column_sums,   relu,  tanh_all,
                                  sigmoid_all,    relu_backward, tanh_backward, scale, clamp,
                                  sum_of_squares, row_max,       exp_sum,       adam,  sgd,
                                  rmsprop};
  return &kernels;
}

}  // namespace
}  // namespace headgate
