// recurrence.inl: the GRU over time, h' = (1 - z) * n + z * h.
//
// reset_after:  n = tanh(i_n + r * (U_n h + b_hn))          (Cho et al. 2014 v1, cuDNN)
// otherwise:    n = tanh(i_n + U_n (r * h))                 (Cho et al. 2014 v3, Chung et al. 2014)
// where i_* are the input projections that the caller left in `gates`, hidden biases of r and z
// (and of n when not reset_after) included.

// Pointers to one step of one tile of sequences.
struct Step {
  int64_t hidden, padded, gate_row;  // H, padded H, 3 * padded
  float* gates;
  float* hidden_part;
  const float* before;  // h of the step before
  float* after;         // h of this step
};

static inline vf blend(vf z, vf n, vf h) { return fma(z, sub(h, n), n); }

// Pre-activations of P panels (each r, z, n of the same kLanes units) for R sequences: r, z and the
// candidate's hidden part.
template <int R, int P>
static inline void after_products(const GruArgs& a, const Step& s, int64_t row, int64_t panel,
                                  vf (&acc)[R][3 * P]) {
  const int64_t strip = a.hidden * kLanes, u = panel * kLanes;
  const float* gates = s.gates + row * s.gate_row + u;
  for (int i = 0; i < R; ++i)
    for (int p = 0; p < P; ++p) {
      acc[i][3 * p] = load(gates + i * s.gate_row + p * kLanes);
      acc[i][3 * p + 1] = load(gates + i * s.gate_row + s.padded + p * kLanes);
      acc[i][3 * p + 2] = load(a.bias_hidden + u + p * kLanes);
    }
  dot_halves<R, P, 3>(s.before + row * s.padded, s.padded, a.hidden, a.packed + 3 * panel * strip,
                      acc);
}

// Gates and new states of a tile. Each function waits long and does little, so all r come first,
// then all z, then all n: within a window of instructions there is then always another one to run.
template <int R, int P>
static inline void after_tile(const GruArgs& a, const Step& s, int64_t row, int64_t panel) {
  vf acc[R][3 * P];
  after_products<R, P>(a, s, row, panel, acc);
  const int64_t u = panel * kLanes;
  vf r[R * P], z[R * P], n[R * P];
  for (int i = 0; i < R * P; ++i) r[i] = sigmoid(acc[i / P][i % P * 3]);
  for (int i = 0; i < R * P; ++i) z[i] = sigmoid(acc[i / P][i % P * 3 + 1]);
  for (int i = 0; i < R * P; ++i) {
    const float* g = s.gates + (row + i / P) * s.gate_row + u + i % P * kLanes;
    n[i] = tanh(fma(r[i], acc[i / P][i % P * 3 + 2], load(g + 2 * s.padded)));
  }
  for (int i = 0; i < R * P; ++i) {
    float* g = s.gates + (row + i / P) * s.gate_row + u + i % P * kLanes;
    const int64_t at = (row + i / P) * s.padded + u + i % P * kLanes;
    store(s.after + at, blend(z[i], n[i], load(s.before + at)));
    store(g, r[i]);
    store(g + s.padded, z[i]);
    store(g + 2 * s.padded, n[i]);
    store(s.hidden_part + at, acc[i / P][i % P * 3 + 2]);
  }
}

// reset_before, first half: r and z, and r * h into hidden_part.
template <int R, int P>
static inline void before_gates_tile(const GruArgs& a, const Step& s, int64_t row, int64_t panel) {
  const int64_t strip = a.hidden * kLanes, u = panel * kLanes;
  float* gates = s.gates + row * s.gate_row + u;
  vf acc[R][2 * P];
  for (int i = 0; i < R; ++i)
    for (int p = 0; p < P; ++p) {
      acc[i][2 * p] = load(gates + i * s.gate_row + p * kLanes);
      acc[i][2 * p + 1] = load(gates + i * s.gate_row + s.padded + p * kLanes);
    }
  const float* packed = a.packed + 2 * panel * strip;
  dot_halves<R, P, 2>(s.before + row * s.padded, s.padded, a.hidden, packed, acc);
  for (int i = 0; i < R; ++i)
    for (int p = 0; p < P; ++p) {
      float* g = gates + i * s.gate_row + p * kLanes;
      const int64_t at = (row + i) * s.padded + u + p * kLanes;
      const vf r = sigmoid(acc[i][2 * p]);
      store(g, r);
      store(g + s.padded, sigmoid(acc[i][2 * p + 1]));
      store(s.hidden_part + at, mul(r, load(s.before + at)));
    }
}

// reset_before, second half: the candidate from r * h, and the new state.
template <int R, int P>
static inline void before_candidate_tile(const GruArgs& a, const Step& s, int64_t row,
                                         int64_t panel) {
  const int64_t strip = a.hidden * kLanes, u = panel * kLanes;
  const float* packed = a.packed + (2 * (a.padded / kLanes) + panel) * strip;
  float* gates = s.gates + row * s.gate_row + u;
  vf acc[R][P];
  for (int i = 0; i < R; ++i)
    for (int p = 0; p < P; ++p)
      acc[i][p] = load(gates + i * s.gate_row + 2 * s.padded + p * kLanes);
  dot_halves<R, P, 1>(s.hidden_part + row * s.padded, s.padded, a.hidden, packed, acc);
  for (int i = 0; i < R; ++i)
    for (int p = 0; p < P; ++p) {
      float* g = gates + i * s.gate_row + p * kLanes;
      const int64_t at = (row + i) * s.padded + u + p * kLanes;
      const vf n = tanh(acc[i][p]);
      store(g + 2 * s.padded, n);
      store(s.after + at, blend(load(g + s.padded), n, load(s.before + at)));
    }
}

// What a time step is made of: each part says how to compute R rows x P panels.
struct AfterPart {
  template <int R, int P>
  static void run(const GruArgs& a, const Step& s, int64_t row, int64_t panel) {
    after_tile<R, P>(a, s, row, panel);
  }
};
struct BeforeGatesPart {
  template <int R, int P>
  static void run(const GruArgs& a, const Step& s, int64_t row, int64_t panel) {
    before_gates_tile<R, P>(a, s, row, panel);
  }
};
struct BeforeCandidatePart {
  template <int R, int P>
  static void run(const GruArgs& a, const Step& s, int64_t row, int64_t panel) {
    before_candidate_tile<R, P>(a, s, row, panel);
  }
};

template <class Part, int R>
static inline void run_rows(const GruArgs& a, const Step& s, int64_t row, int64_t rows,
                            int64_t panel) {
  for (; row + R <= rows; row += R) Part::template run<R, 1>(a, s, row, panel);
  if constexpr (R > 1) {
    if (row < rows) run_rows<Part, R - 1>(a, s, row, rows, panel);
  }
}

// All panels of one step: a panel's weights serve every row before the next panel's are touched.
// A single row takes several panels at once, for more chains to run in parallel.
// Every other step goes through the panels backwards: weights that do not fit the cache are then
// met again while their last part is still there.
template <class Part>
static inline void run_step(const GruArgs& a, const Step& s, int64_t rows, bool backwards) {
  const int64_t panels = a.padded / kLanes, pairs = panels / 2;
  if (rows == 1) {
    for (int64_t i = 0; i < pairs; ++i)
      Part::template run<1, 2>(a, s, 0, 2 * (backwards ? pairs - 1 - i : i));
    if (panels & 1) Part::template run<1, 1>(a, s, 0, panels - 1);
    return;
  }
  for (int64_t i = 0; i < panels; ++i)
    run_rows<Part, kRowTile>(a, s, 0, rows, backwards ? panels - 1 - i : i);
}

// Rows of sequences [r0, r1) that still run at step t.
static inline int64_t running(const GruArgs& a, int64_t t, int64_t r0, int64_t r1) {
  const int64_t last = a.count[t] < r1 ? a.count[t] : r1;
  return last > r0 ? last - r0 : 0;
}

static inline Step step_at(const GruArgs& a, int64_t t, int64_t r0) {
  const int64_t row = a.offset[t] + r0;
  const int64_t before = t == 0 ? r0 : a.sequences + a.offset[t - 1] + r0;
  return {a.hidden,
          a.padded,
          3 * a.padded,
          a.gates + row * 3 * a.padded,
          a.hidden_part + row * a.padded,
          a.states + before * a.padded,
          a.states + (a.sequences + row) * a.padded};
}

static void gru_forward(const GruArgs& a, int64_t r0, int64_t r1) {
  for (int64_t t = a.first; t < a.steps; ++t) {
    const int64_t rows = running(a, t, r0, r1);
    if (rows == 0) return;
    const Step s = step_at(a, t, r0);
    if (a.reset_after) {
      run_step<AfterPart>(a, s, rows, t & 1);
    } else {
      run_step<BeforeGatesPart>(a, s, rows, false);
      run_step<BeforeCandidatePart>(a, s, rows, true);
    }
  }
}

// -- backward -----------------------------------------------------------------------------------

// out[R, strips] += A1 U1 + A2 U2 (+ A3 U3): K rows of the packed strips for each part, in order.
struct BackProduct {
  int64_t parts;
  const float* a[3];
  int64_t a_row[3];
  const float* b[3];
  int64_t k, b_strip;
  float* out;
  int64_t out_row;
};

template <int R, int NV>
static inline void back_tile(const BackProduct& p, int64_t row, int64_t strip) {
  float* out = p.out + row * p.out_row + strip * kLanes;
  vf acc[R][NV];
  for (int i = 0; i < R; ++i)
    for (int v = 0; v < NV; ++v) acc[i][v] = load(out + i * p.out_row + v * kLanes);
  if (R == 1 && p.parts == 3) {  // latency: the parts, and the halves of each, as parallel chains
    vf second[NV], third[NV];
    for (int v = 0; v < NV; ++v) second[v] = third[v] = set1(0.0f);
    const float *a1 = p.a[0] + row * p.a_row[0], *a2 = p.a[1] + row * p.a_row[1],
                *a3 = p.a[2] + row * p.a_row[2];
    const float *b1 = p.b[0] + strip * p.b_strip, *b2 = p.b[1] + strip * p.b_strip,
                *b3 = p.b[2] + strip * p.b_strip;
    for (int64_t k = 0; k < p.k; ++k, b1 += kLanes, b2 += kLanes, b3 += kLanes) {
      const vf x = set1(a1[k]), y = set1(a2[k]), w = set1(a3[k]);
      for (int v = 0; v < NV; ++v) {
        acc[0][v] = fma(x, load(b1 + v * p.b_strip), acc[0][v]);
        second[v] = fma(y, load(b2 + v * p.b_strip), second[v]);
        third[v] = fma(w, load(b3 + v * p.b_strip), third[v]);
      }
    }
    for (int v = 0; v < NV; ++v) acc[0][v] = add(acc[0][v], add(second[v], third[v]));
  } else {
    for (int64_t part = 0; part < p.parts; ++part)
      chain<R, NV, true>(p.a[part] + row * p.a_row[part], p.a_row[part], 1, p.k,
                         p.b[part] + strip * p.b_strip, kLanes, p.b_strip, acc);
  }
  for (int i = 0; i < R; ++i)
    for (int v = 0; v < NV; ++v) store(out + i * p.out_row + v * kLanes, acc[i][v]);
}

template <int R, int NV>
static inline void back_rows(const BackProduct& p, int64_t row, int64_t rows, int64_t strip) {
  for (; row + R <= rows; row += R) back_tile<R, NV>(p, row, strip);
  if constexpr (R > 1) {
    if (row < rows) back_rows<R - 1, NV>(p, row, rows, strip);
  }
}

static inline void back_product(const BackProduct& p, int64_t rows, int64_t strips,
                                bool backwards) {
  int64_t s = strips_in_threes(strips);
  for (int64_t i = 0; i < s; i += 3) back_rows<kRowTile, 3>(p, 0, rows, backwards ? s - 3 - i : i);
  for (; s + 2 <= strips; s += 2) back_rows<kRowTile, 2>(p, 0, rows, s);
  if (s < strips) back_rows<kRowTile, 1>(p, 0, rows, s);
}

// Gate gradients of one step, reset_after. grad (dLoss/dh') becomes the part that passes z. The
// factors do not wait for dh, so a machine computes them while the step before is still running.
static inline void after_gate_gradients(const Step& s, const float* above, float* grad,
                                        int64_t row) {
  float* g = s.gates + row * s.gate_row;
  float* hidden_part = s.hidden_part + row * s.padded;
  const float* before = s.before + row * s.padded;
  const vf one = set1(1.0f);
  for (int64_t u = 0; u < s.padded; u += kLanes) {
    const vf r = load(g + u), z = load(g + s.padded + u), n = load(g + 2 * s.padded + u);
    const vf kept = sub(one, z);
    const vf to_n = mul(kept, fnma(n, n, one)), to_q = mul(to_n, r);
    const vf to_r = mul(mul(to_q, load(hidden_part + u)), sub(one, r));
    const vf to_z = mul(mul(z, kept), sub(load(before + u), n));
    const vf dh = add(load(grad + u), load(above + u));
    store(g + u, mul(dh, to_r));
    store(g + s.padded + u, mul(dh, to_z));
    store(g + 2 * s.padded + u, mul(dh, to_n));
    store(hidden_part + u, mul(dh, to_q));
    store(grad + u, mul(dh, z));
  }
}

// reset_before: gradients of z and n, and the part of grad that passes z.
static inline void before_gate_gradients(const Step& s, const float* above, float* grad,
                                         int64_t row) {
  float* g = s.gates + row * s.gate_row;
  const float* before = s.before + row * s.padded;
  const vf one = set1(1.0f);
  for (int64_t u = 0; u < s.padded; u += kLanes) {
    const vf z = load(g + s.padded + u), n = load(g + 2 * s.padded + u);
    const vf kept = sub(one, z), to_n = mul(kept, fnma(n, n, one));
    const vf to_z = mul(mul(z, kept), sub(load(before + u), n));
    const vf dh = add(load(grad + u), load(above + u));
    store(g + s.padded + u, mul(dh, to_z));
    store(g + 2 * s.padded + u, mul(dh, to_n));
    store(grad + u, mul(dh, z));
  }
}

// reset_before: with d(r * h) in `inner`, the gradient of r and r's share of dLoss/dh.
static inline void before_reset_gradients(const Step& s, const float* inner, float* grad,
                                          int64_t row) {
  float* g = s.gates + row * s.gate_row;
  const float* before = s.before + row * s.padded;
  const vf one = set1(1.0f);
  for (int64_t u = 0; u < s.padded; u += kLanes) {
    const vf r = load(g + u), through = mul(load(inner + u), r);
    store(grad + u, add(load(grad + u), through));
    store(g + u, mul(mul(through, load(before + u)), sub(one, r)));
  }
}

static void gru_backward(const GruArgs& a, int64_t r0, int64_t r1) {
  const int64_t strips = a.padded / kLanes, strip = 3 * a.hidden * kLanes;
  const float* back_r = a.packed_back;
  const float* back_z = back_r + a.hidden * kLanes;
  const float* back_n = back_z + a.hidden * kLanes;
  float* grad = a.grad_state + r0 * a.padded;
  float* inner = a.scratch + r0 * a.padded;
  for (int64_t t = a.steps - 1; t >= a.first; --t) {
    const int64_t rows = running(a, t, r0, r1);
    if (rows == 0) continue;
    const Step s = step_at(a, t, r0);
    const float* above = a.grad_out + (a.offset[t] + r0) * a.padded;
    if (a.reset_after) {
      for (int64_t i = 0; i < rows; ++i)
        after_gate_gradients(s, above + i * a.padded, grad + i * a.padded, i);
      back_product({3,
                    {s.gates, s.gates + s.padded, s.hidden_part},
                    {s.gate_row, s.gate_row, s.padded},
                    {back_r, back_z, back_n},
                    a.hidden,
                    strip,
                    grad,
                    a.padded},
                   rows, strips, t & 1);
      continue;
    }
    for (int64_t i = 0; i < rows; ++i) {
      before_gate_gradients(s, above + i * a.padded, grad + i * a.padded, i);
      for (int64_t u = 0; u < a.padded; u += kLanes) store(inner + i * a.padded + u, set1(0.0f));
    }
    back_product(
        {1, {s.gates + 2 * s.padded}, {s.gate_row}, {back_n}, a.hidden, strip, inner, a.padded},
        rows, strips, t & 1);
    for (int64_t i = 0; i < rows; ++i)
      before_reset_gradients(s, inner + i * a.padded, grad + i * a.padded, i);
    back_product({2,
                  {s.gates, s.gates + s.padded},
                  {s.gate_row, s.gate_row},
                  {back_r, back_z},
                  a.hidden,
                  strip,
                  grad,
                  a.padded},
                 rows, strips, t & 1);
  }
}
