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
#include "norm.inl"
#include "recurrence.inl"

const Kernels* table(const char* name) {
  static const Kernels kernels = {
      name,           kLanes,       kRowTile,      pack,          gemm,        cell_forward,
      cell_backward,  norm_forward, norm_backward, column_sums,   column_dots, relu,
      tanh_all,       sigmoid_all,  relu_backward, tanh_backward, scale,       clamp,
      sum_of_squares, row_max,      exp_sum,       adam,          sgd,         rmsprop};
  return &kernels;
}

}  // namespace
}  // namespace headgate
