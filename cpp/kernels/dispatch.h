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

// One GRU layer over time. Rows are packed by time: step t owns rows offset[t] ..
// offset[t] + count[t] - 1, sequences in order of decreasing length, so that row i of step t
// continues row i of step t - 1.
struct GruArgs {
  int64_t hidden, padded;  // H, and H rounded up to lanes
  int64_t steps;           // T: steps [first, steps) are run
  const int32_t* count;    // [T] sequences still running at each step
  const int64_t* offset;   // [T] first row of each step
  bool reset_after;
  float* gates;  // [rows, 3, padded] in: input projections with all biases of r and z, and b_in.
                 // forward leaves r, z, n; backward leaves d(pre-activations) of r, z, n
  float* hidden_part;        // [rows, padded] forward leaves U_n h + b_hn (reset_after) or r * h;
                             // backward leaves d(U_n h + b_hn) (reset_after) or keeps r * h
  float* states;             // [n + rows, padded]: h0 of every sequence, then h of every row
  int64_t sequences;         // n: rows of h0
  const float* packed;       // forward: panels [H, 3, lanes] of r, z, n (reset_after), or panels
                             // [H, 2, lanes] of r, z and then [H, lanes] of n
  const float* bias_hidden;  // [padded] b_hn (reset_after)
  const float* packed_back;  // backward: strips of U as [3H, H]
  const float* grad_out;     // [rows, padded] dLoss/dh from above
  float* grad_state;         // [n, padded] in: dLoss/dh_n (or zeros); out: dLoss/dh0
  float* scratch;            // [n, padded]
  int64_t first = 0;
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
  // Sequences [r0, r1), all steps.
  void (*gru_forward)(const GruArgs& args, int64_t r0, int64_t r1);
  void (*gru_backward)(const GruArgs& args, int64_t r0, int64_t r1);
  // y[n] = sum over rows of x[row, n].
  void (*column_sums)(const float* x, int64_t rows, int64_t n, int64_t ld, float* y);
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
