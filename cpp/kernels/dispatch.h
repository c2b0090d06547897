// dispatch.h: one table of kernels per instruction set, and which one is in use.
//
// Kernels know nothing of layers, threads or ownership: they take pointers and sizes. Rows of every
// activation are padded to a multiple of `lanes` floats, and the padding may be read but means
// nothing.
#pragma once
#include <cstddef>
#include <cstdint>

namespace headgate {

// C[m, n] = sum over k of A[m, k] * B[k, n]. B comes in strips of `lanes` columns: strip s begins
// at b + s * b_strip, and its rows are b_k apart. Packed B: b_k = lanes, b_strip = K * lanes.
// A row-major activation matrix read as B: b_k = its row stride, b_strip = lanes.
struct GemmArgs {
  int64_t m, n, k;
  const float* a;  // element (m, k) at a + m * a_row + k * a_k; one of the two strides is 1
  int64_t a_row, a_k;
  const float* b;
  int64_t b_k, b_strip;
  float* c;  // row stride ldc
  int64_t ldc;
  const float* bias;  // [n padded to lanes] added to every row, or null
  bool accumulate;    // add to what c holds (then bias is null)
  bool whole_strips;  // rows of c may be written up to the padded n
};

enum class Cell { gru, gru_before, lstm, rnn_tanh, rnn_relu };  // gru_before: reset_after=False

// Gates whose weights a cell has: 3, 3, 4, 1, 1.
constexpr int gate_count(Cell cell) {
  return cell == Cell::lstm ? 4 : cell == Cell::gru || cell == Cell::gru_before ? 3 : 1;
}

// One direction of one recurrent layer over time. Rows are packed by time: step t owns rows
// offset[t] .. offset[t] + count[t] - 1, sequences in order of decreasing length, so that row i of
// step t continues row i of step t - 1 (in reverse: t + 1).
struct CellArgs {
  Cell cell;
  bool reverse;                      // from the last step of each sequence to its first
  int64_t hidden, padded, gate_row;  // H, H rounded up to lanes, G times that
  int64_t steps;                     // T
  const int32_t* count;              // [T] sequences still running at each step
  const int64_t* offset;             // [T] first row of each step
  bool keep;       // forward leaves in gates, inner, normed and scale what backward will read
  int64_t origin;  // the row with which those four begin
  float* gates;  // [rows, G, padded] in: input projections with their biases, and the hidden biases
                 // of all gates but the n of reset_after. forward leaves the gates' values;
                 // backward leaves d(pre-activations)
  float* inner;  // [rows, padded] gru: U_n h + b_hn, or r * h (reset_before); lstm: tanh(c).
                 // backward leaves d(U_n h + b_hn), or keeps r * h
  // What is carried through time, [n + rows, padded]: initial values from row `initial` on, those
  // after every step from row `lead` on.
  int64_t initial, lead;
  float* state;              // h
  float* seen;               // what the recurrent products see: h times the mask, or h itself
  float* memory;             // c (lstm)
  const float* mask;         // [n, padded] recurrent dropout, or null
  const float* packed;       // forward: panels [H, G, lanes] of all gates; reset_before: panels of
                             // r, z and then those of n
  const float* bias_hidden;  // [padded] b_hn (gru)
  const float* packed_back;  // backward: strips of U as [G * H, H]
  float* grad_out;           // [rows, padded] dLoss/dh from above
  bool keep_total;           // backward leaves in grad_out the whole dLoss/dh, later steps included
  bool to_first;             // backward leaves dLoss/dh0 in grad_state; else that may be anything
  float* grad_state;         // [n, padded] in: dLoss/dh_n (or zeros); out: dLoss/dh0
  float* grad_memory;        // [n, padded] likewise for c (lstm)
  float* grad_seen;          // [n, padded] scratch, with a mask
  float* scratch;            // [n, padded] (reset_before)
  // Layer normalisation of the recurrent products; null without.
  const float* gain;    // [G, padded]
  float* normed;        // [rows, G, padded] forward leaves (U h - mean) / deviation
  float* scale;         // [rows, 4] and 1 / deviation
  float* raw;           // [rows, G, padded] backward leaves d(U h)
  int64_t first, last;  // of the T steps, in the order of the direction, [first, last) are run
};

// Layer normalisation of `gates` blocks of `hidden` values, each by itself: Ba, Kiros and Hinton
// 2016.
struct NormArgs {
  int64_t gates, hidden, padded;
  const float* gain;  // [gates, padded]
  float* normed;      // [rows, gates, padded] forward: raw values in, normalised ones out
  float* scale;       // [rows, 4] 1 / deviation of each gate
};

struct AdamArgs {
  float learning_rate, beta1, beta2, epsilon;
  float rest1, rest2;  // 1 - beta1, 1 - beta2, rounded once: 1 - 0.999 in float is 1e-5 off
  float correction1, correction2;  // 1 / (1 - beta1^t), 1 / sqrt(1 - beta2^t)
};

struct Kernels {
  const char* name;
  int lanes;
  int row_tile;  // rows split at multiples of this fall into the same tiles for any thread count

  // dst strips [k, lanes], rows dst_k apart, of B[k, n] = src[k * k_stride + n * n_stride]; zeros
  // past n.
  void (*pack)(const float* src, int64_t k_stride, int64_t n_stride, int64_t k, int64_t n,
               float* dst, int64_t dst_k, int64_t dst_strip);
  // Rows [m0, m1) of the product.
  void (*gemm)(const GemmArgs& args, int64_t m0, int64_t m1);
  // Sequences [r0, r1), steps [args.first, args.last).
  void (*cell_forward)(const CellArgs& args, int64_t r0, int64_t r1);
  void (*cell_backward)(const CellArgs& args, int64_t r0, int64_t r1);
  // Rows [r0, r1): normalises args.normed; y = gain * normed + bias, [rows, gates, padded].
  void (*norm_forward)(const NormArgs& args, const float* bias, float* y, int64_t r0, int64_t r1);
  // Rows [r0, r1): from dy [rows, gates, padded] the gradient of the raw values. dx may be dy.
  void (*norm_backward)(const NormArgs& args, const float* dy, float* dx, int64_t r0, int64_t r1);
  // y[n] = sum over rows of x[row, n], or of x[row, n] * factor[row, n].
  void (*column_sums)(const float* x, int64_t rows, int64_t n, int64_t ld, float* y);
  void (*column_dots)(const float* x, int64_t ld, const float* factor, int64_t factor_ld,
                      int64_t rows, int64_t n, float* y);
  // In place, over `size` floats rounded up to lanes.
  void (*relu)(float* x, int64_t size);
  void (*tanh)(float* x, int64_t size);
  void (*sigmoid)(float* x, int64_t size);
  void (*relu_backward)(const float* y, float* dy, int64_t size);
  void (*tanh_backward)(const float* y, float* dy, int64_t size);
  void (*scale)(float* x, float factor, int64_t size);
  void (*clamp)(float* x, float limit, int64_t size);
  double (*sum_of_squares)(const float* x, int64_t size);
  // Over exactly `size` floats, sums in an order that depends on it alone.
  float (*row_max)(const float* x, int64_t size);  // of a row without NaN
  // e = exp(x - top) for x up to `top`, zero below e^-87.3, and the sum of them; e may be null. A
  // NaN in x makes the sum NaN.
  double (*exp_sum)(const float* x, float top, float* e, int64_t size);
  // Optimisers over one flat vector.
  void (*adam)(const AdamArgs& args, float* p, const float* g, float* m, float* v, int64_t size);
  void (*sgd)(float learning_rate, float momentum, float* p, const float* g, float* m,
              int64_t size);
  void (*rmsprop)(float learning_rate, float alpha, float rest, float epsilon, float* p,
                  const float* g, float* v, int64_t size);
};

const Kernels* generic_kernels();
const Kernels* avx2_kernels();    // null when not compiled for this target
const Kernels* avx512_kernels();  // likewise
const Kernels* neon_kernels();    // likewise

// The table in use: HEADGATE_ISA, or the widest that the CPU and the operating system support.
const Kernels& kernels();
// Choose by name; false when unknown or not supported here.
bool set_isa(const char* name);
// What this machine can run, widest first; fills up to `capacity` tables, returns how many.
int available_kernels(const Kernels** tables, int capacity);
// True when HEADGATE_ISA names something that this machine cannot run.
bool isa_request_failed();

}  // namespace headgate
