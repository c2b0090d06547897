// recurrence.inl: recurrent cells over time. A cell is a policy: what its gates are made of, and
// how they become the next state. Tiles, time loops, directions and lengths are written once.
//
// gru         n = tanh(i_n + r * (U_n h + b_hn)), h' = (1 - z) * n + z * h   Cho et al. 2014 v1,
// cuDNN
//
// gru_before  n = tanh(i_n + U_n (r * h))              Cho et al. 2014 v3, Chung et al. 2014
//
// lstm        c' = f * c + i * g, h' = o * tanh(c')    Gers et al. 2000
//
// rnn         h' = tanh(a) or max(a, 0)                Elman 1990
//
// where i_* are the input projections that the caller left in `gates`. Everywhere U meets `seen`:
// the state times the mask of the recurrent dropout (Gal and Ghahramani 2016), or the state itself.
// With layer normalisation U seen is normalised before it meets anything.

// One run of rows of one step: sequences side by side whose values before the step lie side by side
// too. Rows of what is carried, of the rest, and of what each sequence has one of.
struct Run {
  const CellArgs& a;
  int64_t row, before, after, sequence;
  bool fresh;  // the first step of these sequences
};

// Where the values of a run lie. To be made where it is used: what a cell does not need is then
// never computed, and what it needs stays in registers whatever is stored meanwhile.
struct Step {
  int64_t padded, gate_row;
  float *gates, *inner;
  const float *h, *seen, *c;  // before the step
  float *h_after, *seen_after, *c_after;
  const float *mask, *bias_hidden;
  float *normed, *scale, *raw;
  float *above, *grad, *grad_c, *through, *scratch;  // backward
  bool masked, keep, keep_total;
  explicit HEADGATE_METHOD Step(const Run& run)
      : padded(run.a.padded),
        gate_row(run.a.gate_row),
        gates(run.a.gates + (run.row - run.a.origin) * gate_row),
        inner(run.a.inner + (run.row - run.a.origin) * padded),
        h(run.a.state + run.before * padded),
        seen(run.a.seen + run.before * padded),
        c(run.a.memory + run.before * padded),
        h_after(run.a.state + run.after * padded),
        seen_after(run.a.seen + run.after * padded),
        c_after(run.a.memory + run.after * padded),
        mask(run.a.mask + run.sequence * padded),
        bias_hidden(run.a.bias_hidden),
        normed(run.a.normed + (run.row - run.a.origin) * gate_row),
        scale(run.a.scale + (run.row - run.a.origin) * 4),
        raw(run.a.raw + (run.row - run.a.origin) * gate_row),
        above(run.a.grad_out + run.row * padded),
        grad(run.a.grad_state + run.sequence * padded),
        grad_c(run.a.grad_memory + run.sequence * padded),
        through(run.a.grad_seen + run.sequence * padded),
        scratch(run.a.scratch + run.sequence * padded),
        masked(run.a.mask != nullptr),
        keep(run.a.keep),
        keep_total(run.a.keep_total) {}
};

// The run that begins with sequence i; `fresh` when it has its first step here.
static inline Run run_at(const CellArgs& a, int64_t t, int64_t i, bool fresh) {
  const int64_t row = a.offset[t] + i;
  const int64_t before = fresh ? a.initial + i : a.lead + a.offset[a.reverse ? t + 1 : t - 1] + i;
  return {a, row, before, a.lead + row, i, fresh};
}

// Calls body(run, rows) for the runs of sequences [r0, r1) at step t. In reverse, sequences that
// begin here follow those that go on; their tiles begin where any cut into threads would put them.
template <class Body>
static inline void each_run(const CellArgs& a, int64_t t, int64_t r0, int64_t r1, Body body) {
  const int64_t end = a.count[t] < r1 ? a.count[t] : r1;
  if (end <= r0) return;
  if (!a.reverse) return body(run_at(a, t, r0, t == 0), end - r0);
  const int64_t running = t + 1 < a.steps ? a.count[t + 1] : 0;
  int64_t i = running < end ? running : end;
  if (i > r0) body(run_at(a, t, r0, false), i - r0);
  for (i = i > r0 ? i : r0; i < end;) {
    const int64_t tile = i % kRowTile == 0 ? end : (i / kRowTile + 1) * kRowTile;
    const int64_t stop = tile < end ? tile : end;
    body(run_at(a, t, i, true), stop - i);
    i = stop;
  }
}

static inline int64_t time_of(const CellArgs& a, int64_t position) {
  return a.reverse ? a.steps - 1 - position : position;
}

// -- forward: what the cells are ----------------------------------------------------------------
//
// A part of a cell is a product with some of the gates' weights and what follows from it:
// kGates, kFirst of its gates; packed(): its weights; operand(): what meets them, [row, padded];
// start(): what a gate's sum begins with; finish(): from sums to gates and states.

static inline vf blend(vf z, vf n, vf h) { return fma(z, sub(h, n), n); }

HEADGATE_INLINE void new_state(const Step& s, int64_t at, vf h) {
  store(s.h_after + at, h);
  if (s.masked) store(s.seen_after + at, mul(h, load(s.mask + at)));
}

HEADGATE_INLINE vf from_input(const Step& s, int64_t row, int64_t u, int gate) {
  return load(s.gates + row * s.gate_row + gate * s.padded + u);
}

// Each function of a gate waits long and does little, so all r of a tile come first, then all z,
// then all n: within a window of instructions there is then always another one to run.
struct GruPart {
  static constexpr int kGates = 3, kFirst = 0;
  static const float* packed(const CellArgs& a) { return a.packed; }
  static const float* operand(const Step& s) { return s.seen; }
  HEADGATE_INLINE vf start(const Step& s, int64_t row, int64_t u, int gate) {
    return gate == 2 ? load(s.bias_hidden + u) : from_input(s, row, u, gate);
  }
  template <int R, int P>
  HEADGATE_INLINE void finish(const Step& s, int64_t row, int64_t u, vf (&acc)[R][3 * P]) {
    vf r[R * P], z[R * P], n[R * P];
    for (int i = 0; i < R * P; ++i) r[i] = sigmoid(acc[i / P][i % P * 3]);
    for (int i = 0; i < R * P; ++i) z[i] = sigmoid(acc[i / P][i % P * 3 + 1]);
    for (int i = 0; i < R * P; ++i)
      n[i] = tanh(
          fma(r[i], acc[i / P][i % P * 3 + 2], from_input(s, row + i / P, u + i % P * kLanes, 2)));
    for (int i = 0; i < R * P; ++i) {
      float* g = s.gates + (row + i / P) * s.gate_row + u + i % P * kLanes;
      const int64_t at = (row + i / P) * s.padded + u + i % P * kLanes;
      new_state(s, at, blend(z[i], n[i], load(s.h + at)));
      if (!s.keep) continue;
      store(g, r[i]);
      store(g + s.padded, z[i]);
      store(g + 2 * s.padded, n[i]);
      store(s.inner + at, acc[i / P][i % P * 3 + 2]);
    }
  }
};

// reset_before, first half: r and z, and r * h.
struct ResetPart {
  static constexpr int kGates = 2, kFirst = 0;
  static const float* packed(const CellArgs& a) { return a.packed; }
  static const float* operand(const Step& s) { return s.seen; }
  HEADGATE_INLINE vf start(const Step& s, int64_t row, int64_t u, int gate) {
    return from_input(s, row, u, gate);
  }
  template <int R, int P>
  HEADGATE_INLINE void finish(const Step& s, int64_t row, int64_t u, vf (&acc)[R][2 * P]) {
    vf r[R * P], z[R * P];
    for (int i = 0; i < R * P; ++i) r[i] = sigmoid(acc[i / P][i % P * 2]);
    for (int i = 0; i < R * P; ++i) z[i] = sigmoid(acc[i / P][i % P * 2 + 1]);
    for (int i = 0; i < R * P; ++i) {
      float* g = s.gates + (row + i / P) * s.gate_row + u + i % P * kLanes;
      const int64_t at = (row + i / P) * s.padded + u + i % P * kLanes;
      store(g, r[i]);
      store(g + s.padded, z[i]);
      store(s.inner + at, mul(r[i], load(s.seen + at)));
    }
  }
};

// reset_before, second half: the candidate from r * h, and the new state.
struct CandidatePart {
  static constexpr int kGates = 1, kFirst = 2;
  static const float* packed(const CellArgs& a) { return a.packed + 2 * a.padded * a.hidden; }
  static const float* operand(const Step& s) { return s.inner; }
  HEADGATE_INLINE vf start(const Step& s, int64_t row, int64_t u, int) {
    return from_input(s, row, u, 2);
  }
  template <int R, int P>
  HEADGATE_INLINE void finish(const Step& s, int64_t row, int64_t u, vf (&acc)[R][P]) {
    vf n[R * P];
    for (int i = 0; i < R * P; ++i) n[i] = tanh(acc[i / P][i % P]);
    for (int i = 0; i < R * P; ++i) {
      float* g = s.gates + (row + i / P) * s.gate_row + u + i % P * kLanes;
      const int64_t at = (row + i / P) * s.padded + u + i % P * kLanes;
      store(g + 2 * s.padded, n[i]);
      new_state(s, at, blend(load(g + s.padded), n[i], load(s.h + at)));
    }
  }
};

struct LstmPart {
  static constexpr int kGates = 4, kFirst = 0;
  static const float* packed(const CellArgs& a) { return a.packed; }
  static const float* operand(const Step& s) { return s.seen; }
  HEADGATE_INLINE vf start(const Step& s, int64_t row, int64_t u, int gate) {
    return from_input(s, row, u, gate);
  }
  template <int R, int P>
  HEADGATE_INLINE void finish(const Step& s, int64_t row, int64_t u, vf (&acc)[R][4 * P]) {
    for (int i = 0; i < R * P; ++i) acc[i / P][i % P * 4] = sigmoid(acc[i / P][i % P * 4]);
    for (int i = 0; i < R * P; ++i) acc[i / P][i % P * 4 + 1] = sigmoid(acc[i / P][i % P * 4 + 1]);
    for (int i = 0; i < R * P; ++i) acc[i / P][i % P * 4 + 2] = tanh(acc[i / P][i % P * 4 + 2]);
    vf c[R * P];
    for (int i = 0; i < R * P; ++i) {
      const int64_t at = (row + i / P) * s.padded + u + i % P * kLanes;
      const vf(&g)[4 * P] = acc[i / P];
      c[i] = fma(g[i % P * 4 + 1], load(s.c + at), mul(g[i % P * 4], g[i % P * 4 + 2]));
      store(s.c_after + at, c[i]);
    }
    for (int i = 0; i < R * P; ++i) acc[i / P][i % P * 4 + 3] = sigmoid(acc[i / P][i % P * 4 + 3]);
    for (int i = 0; i < R * P; ++i) c[i] = tanh(c[i]);
    for (int i = 0; i < R * P; ++i) {
      float* to = s.gates + (row + i / P) * s.gate_row + u + i % P * kLanes;
      const int64_t at = (row + i / P) * s.padded + u + i % P * kLanes;
      new_state(s, at, mul(acc[i / P][i % P * 4 + 3], c[i]));
      if (!s.keep) continue;
      for (int k = 0; k < 4; ++k) store(to + k * s.padded, acc[i / P][i % P * 4 + k]);
      store(s.inner + at, c[i]);
    }
  }
};

template <bool Tanh>
struct RnnPart {
  static constexpr int kGates = 1, kFirst = 0;
  static const float* packed(const CellArgs& a) { return a.packed; }
  static const float* operand(const Step& s) { return s.seen; }
  HEADGATE_INLINE vf start(const Step& s, int64_t row, int64_t u, int) {
    return from_input(s, row, u, 0);
  }
  template <int R, int P>
  HEADGATE_INLINE void finish(const Step& s, int64_t row, int64_t u, vf (&acc)[R][P]) {
    vf h[R * P];
    for (int i = 0; i < R * P; ++i)
      h[i] = Tanh ? tanh(acc[i / P][i % P]) : max_or_nan(set1(0.0f), acc[i / P][i % P]);
    for (int i = 0; i < R * P; ++i)
      new_state(s, (row + i / P) * s.padded + u + i % P * kLanes, h[i]);
  }
};

// With layer normalisation a product is stored first: a row must be whole before it is normalised.
template <class Part>
struct RawPart : Part {
  HEADGATE_INLINE vf start(const Step&, int64_t, int64_t, int) { return set1(0.0f); }
  template <int R, int P>
  HEADGATE_INLINE void finish(const Step& s, int64_t row, int64_t u,
                              vf (&acc)[R][Part::kGates * P]) {
    constexpr int G = Part::kGates;
    for (int i = 0; i < R; ++i)
      for (int v = 0; v < G * P; ++v)
        store(s.normed + (row + i) * s.gate_row + (Part::kFirst + v % G) * s.padded + u +
                  v / G * kLanes,
              acc[i][v]);
  }
};

// -- forward: tiles, steps, time ----------------------------------------------------------------

template <class Part, int R, int P>
HEADGATE_INLINE void start_tile(const Step& s, int64_t row, int64_t u,
                                vf (&acc)[R][Part::kGates * P]) {
  constexpr int G = Part::kGates;
  for (int i = 0; i < R; ++i)
    for (int v = 0; v < G * P; ++v) acc[i][v] = Part::start(s, row + i, u + v / G * kLanes, v % G);
}

template <class Part, int R, int P>
HEADGATE_INLINE void run_tile(const Run& run, int64_t row, int64_t panel) {
  constexpr int G = Part::kGates;
  const int64_t u = panel * kLanes;
  const Step s(run);
  vf acc[R][G * P];
  start_tile<Part, R, P>(s, row, u, acc);
  dot_halves<R, P, G>(Part::operand(s) + row * s.padded, s.padded, run.a.hidden,
                      Part::packed(run.a) + G * u * run.a.hidden, acc);
  Part::template finish<R, P>(s, row, u, acc);
}

// A function of its own: within the loop over panels, what the gates' functions need would be kept
// in registers, and the twice as many sums of a single row would not be.
template <class Part, int P>
HEADGATE_APART void run_single(const Run& run, int64_t panel) {
  run_tile<Part, 1, P>(run, 0, panel);
}

template <class Part, int R, int P>
static inline void run_rows(const Run& run, int64_t row, int64_t rows, int64_t panel) {
  for (; row + R <= rows; row += R) run_tile<Part, R, P>(run, row, panel);
  if constexpr (R > 1) {
    if (row < rows) run_rows<Part, R - 1, P>(run, row, rows, panel);
  }
}

// Rows and panels of a tile: as many sums as the register file holds.
template <int G>
struct TileOf {
  static constexpr int kRows = G == 1 ? kRowTile : 3 * kRowTile / G < 8 ? 3 * kRowTile / G : 8;
  static constexpr int kPanels = G == 1 ? 3 : 1;  // at once, for many rows
  static constexpr int kRowPanels = G == 1   ? 4  // at once, for a single row: more chains
                                    : G == 4 ? 1
                                             : 2;
};

// All panels of one step: a panel's weights serve every row before the next panel's are touched.
// Every other step goes through the panels backwards: weights that do not fit the cache are then
// met again while their last part is still there.
template <class Part, int P, bool Single>
static inline void run_panels(const Run& run, int64_t rows, bool backwards) {
  const int64_t panels = run.a.padded / kLanes, groups = panels / P;
  for (int64_t i = 0; i < groups; ++i) {
    const int64_t panel = P * (backwards ? groups - 1 - i : i);
    if constexpr (Single)
      run_single<Part, P>(run, panel);
    else
      run_rows<Part, TileOf<Part::kGates>::kRows, P>(run, 0, rows, panel);
  }
  for (int64_t panel = groups * P; panel < panels; ++panel) {
    if constexpr (Single)
      run_single<Part, 1>(run, panel);
    else
      run_rows<Part, TileOf<Part::kGates>::kRows, 1>(run, 0, rows, panel);
  }
}

template <class Part>
static inline void run_product(const Run& run, int64_t rows, bool backwards) {
  using Tile = TileOf<Part::kGates>;
  if (rows == 1)
    run_panels<Part, Tile::kRowPanels, true>(run, rows, backwards);
  else
    run_panels<Part, Tile::kPanels, false>(run, rows, backwards);
}

// acc = start + gain * normalised product.
template <class Part, int R, int P>
static inline void finish_normed(const Run& run, int64_t row, int64_t u) {
  constexpr int G = Part::kGates;
  const Step s(run);
  vf acc[R][G * P];
  start_tile<Part, R, P>(s, row, u, acc);
  for (int i = 0; i < R; ++i)
    for (int v = 0; v < G * P; ++v) {
      const int64_t at = (Part::kFirst + v % G) * s.padded + u + v / G * kLanes;
      const vf normed = load(s.normed + (row + i) * s.gate_row + at);
      acc[i][v] = fma(load(run.a.gain + at), normed, acc[i][v]);
    }
  Part::template finish<R, P>(s, row, u, acc);
}

template <class Part>
static inline void run_normed(const Run& run, int64_t rows, bool backwards) {
  run_product<RawPart<Part>>(run, rows, backwards);
  const vf units = units_of_last(run.a.hidden, run.a.padded);
  const Step s(run);
  for (int64_t row = 0; row < rows; ++row)
    for (int gate = Part::kFirst; gate < Part::kFirst + Part::kGates; ++gate)
      s.scale[4 * row + gate] =
          normalise(s.normed + row * s.gate_row + gate * s.padded, run.a.hidden, s.padded, units);
  int64_t row = 0, u = 0;
  for (; row + 4 <= rows; row += 4)
    for (u = 0; u < s.padded; u += kLanes) finish_normed<Part, 4, 1>(run, row, u);
  for (; row < rows; ++row) {
    for (u = 0; u + 4 * kLanes <= s.padded; u += 4 * kLanes) finish_normed<Part, 1, 4>(run, row, u);
    for (; u < s.padded; u += kLanes) finish_normed<Part, 1, 1>(run, row, u);
  }
}

template <class Part>
static inline void run_part(const Run& run, int64_t rows, bool backwards) {
  if (run.a.gain)
    run_normed<Part>(run, rows, backwards);
  else
    run_product<Part>(run, rows, backwards);
}

template <class... Parts>
static inline void forward_over_time(const CellArgs& a, int64_t r0, int64_t r1) {
  for (int64_t position = a.first; position < a.last; ++position)
    each_run(a, time_of(a, position), r0, r1, [&](const Run& run, int64_t rows) {
      bool backwards = position & 1;
      ((run_part<Parts>(run, rows, backwards), backwards = !backwards), ...);
    });
}

static void cell_forward(const CellArgs& a, int64_t r0, int64_t r1) {
  switch (a.cell) {
    case Cell::gru:
      return forward_over_time<GruPart>(a, r0, r1);
    case Cell::gru_before:
      return forward_over_time<ResetPart, CandidatePart>(a, r0, r1);
    case Cell::lstm:
      return forward_over_time<LstmPart>(a, r0, r1);
    case Cell::rnn_tanh:
      return forward_over_time<RnnPart<true>>(a, r0, r1);
    case Cell::rnn_relu:
      return forward_over_time<RnnPart<false>>(a, r0, r1);
  }
}

// -- backward -----------------------------------------------------------------------------------

// out[R, strips] += A1 U1 + A2 U2 + ...: K rows of the packed strips for each part, in order.
struct BackProduct {
  int64_t parts;
  const float* a[4];
  int64_t a_row[4];
  const float* b[4];
  int64_t k, b_strip;
  float* out;
  int64_t out_row;
};

// One row waits for latency: the parts run as parallel chains.
template <int NV, int Parts>
HEADGATE_INLINE void back_row(const BackProduct& p, int64_t row, int64_t strip) {
  vf acc[Parts][NV];
  const float *a[Parts], *b[Parts];
  float* out = p.out + row * p.out_row + strip * kLanes;
  for (int part = 0; part < Parts; ++part) {
    a[part] = p.a[part] + row * p.a_row[part];
    b[part] = p.b[part] + strip * p.b_strip;
    for (int v = 0; v < NV; ++v) acc[part][v] = part == 0 ? load(out + v * kLanes) : set1(0.0f);
  }
  for (int64_t k = 0; k < p.k; ++k)
    for (int part = 0; part < Parts; ++part) {
      const vf x = set1(a[part][k]);
      for (int v = 0; v < NV; ++v)
        acc[part][v] = fma(x, load(b[part] + k * kLanes + v * p.b_strip), acc[part][v]);
    }
  for (int v = 0; v < NV; ++v) {
    vf rest = acc[Parts - 1][v];
    for (int part = Parts - 2; part >= 0; --part) rest = add(acc[part][v], rest);
    store(out + v * kLanes, rest);
  }
}

template <int R, int NV>
static inline void back_tile(const BackProduct& p, int64_t row, int64_t strip) {
  if (R == 1 && p.parts == 3) return back_row<NV, 3>(p, row, strip);
  if (R == 1 && p.parts == 4) return back_row<NV, 4>(p, row, strip);
  float* out = p.out + row * p.out_row + strip * kLanes;
  vf acc[R][NV];
  for (int i = 0; i < R; ++i)
    for (int v = 0; v < NV; ++v) acc[i][v] = load(out + i * p.out_row + v * kLanes);
  for (int64_t part = 0; part < p.parts; ++part)
    chain<R, NV, true>(p.a[part] + row * p.a_row[part], p.a_row[part], 1, p.k,
                       p.b[part] + strip * p.b_strip, kLanes, p.b_strip, acc);
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

// target[rows] += d(U seen) U over the gates [first, first + gates), of which `inner` holds gate
// `apart` (-1: none).
static inline void through_weights(const Run& run, int first, int gates, int apart, float* target,
                                   int64_t rows, bool backwards) {
  const CellArgs& a = run.a;
  const Step s(run);
  BackProduct p;  // not zeroed: that would cost as much as a small product
  p.parts = gates;
  p.k = a.hidden;
  p.b_strip = gate_count(a.cell) * a.hidden * kLanes;
  p.out = target;
  p.out_row = s.padded;
  for (int i = 0; i < gates; ++i) {
    const int gate = first + i;
    p.a[i] = gate == apart ? s.inner : s.gates + gate * s.padded;
    p.a_row[i] = gate == apart ? s.padded : s.gate_row;
    p.b[i] = a.packed_back + gate * a.hidden * kLanes;
    if (!a.gain) continue;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t at = row * s.gate_row + gate * s.padded;
      normalise_backward(s.normed + at, s.scale[4 * row + gate], a.gain + gate * s.padded, a.hidden,
                         s.padded, p.a[i] + row * p.a_row[i], s.raw + at);
    }
    p.a[i] = s.raw + gate * s.padded;
    p.a_row[i] = s.gate_row;
  }
  back_product(p, rows, s.padded / kLanes, backwards);
}

// dLoss/dh of one vector: what later steps and what the layers above ask for.
HEADGATE_INLINE vf whole_gradient(const Step& s, int64_t at) {
  const vf dh = add(load(s.grad + at), load(s.above + at));
  if (s.keep_total) store(s.above + at, dh);
  return dh;
}

// Each cell: gradients(): d(pre-activations) of vector u of a row, and in grad the part of dLoss/dh
// that does not pass the weights. through(): what does, added to `target`; kCompletes: and
// gradients of gates that follow from it.

// The factors do not wait for dh, so a machine computes them while the step before is still
// running.
struct GruBack {
  HEADGATE_INLINE void gradients(const Step& s, int64_t row, int64_t u) {
    float* g = s.gates + row * s.gate_row + u;
    const int64_t at = row * s.padded + u;
    const vf one = set1(1.0f);
    const vf r = load(g), z = load(g + s.padded), n = load(g + 2 * s.padded);
    const vf kept = sub(one, z);
    const vf to_n = mul(kept, fnma(n, n, one)), to_q = mul(to_n, r);
    const vf to_r = mul(mul(to_q, load(s.inner + at)), sub(one, r));
    const vf to_z = mul(mul(z, kept), sub(load(s.h + at), n));
    const vf dh = whole_gradient(s, at);
    store(g, mul(dh, to_r));
    store(g + s.padded, mul(dh, to_z));
    store(g + 2 * s.padded, mul(dh, to_n));
    store(s.inner + at, mul(dh, to_q));
    store(s.grad + at, mul(dh, z));
  }
  static constexpr bool kCompletes = false;
  static inline void through(const Run& run, float* target, int64_t rows, bool backwards) {
    through_weights(run, 0, 3, 2, target, rows, backwards);
  }
};

struct GruBeforeBack {
  HEADGATE_INLINE void gradients(const Step& s, int64_t row, int64_t u) {
    float* g = s.gates + row * s.gate_row + u;
    const int64_t at = row * s.padded + u;
    const vf one = set1(1.0f);
    const vf z = load(g + s.padded), n = load(g + 2 * s.padded);
    const vf kept = sub(one, z), to_n = mul(kept, fnma(n, n, one));
    const vf to_z = mul(mul(z, kept), sub(load(s.h + at), n));
    const vf dh = whole_gradient(s, at);
    store(g + s.padded, mul(dh, to_z));
    store(g + 2 * s.padded, mul(dh, to_n));
    store(s.grad + at, mul(dh, z));
    store(s.scratch + at, set1(0.0f));
  }
  // r meets h only within r * h, whose gradient is the candidate's.
  static constexpr bool kCompletes = true;
  static inline void through(const Run& run, float* target, int64_t rows, bool backwards) {
    const Step s(run);
    through_weights(run, 2, 1, -1, s.scratch, rows, backwards);
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t u = 0; u < s.padded; u += kLanes) {
        float* g = s.gates + row * s.gate_row + u;
        const int64_t at = row * s.padded + u;
        const vf r = load(g), passed = mul(load(s.scratch + at), r);
        store(target + at, add(load(target + at), passed));
        store(g, mul(mul(passed, load(s.seen + at)), sub(set1(1.0f), r)));
      }
    through_weights(run, 0, 2, -1, target, rows, !backwards);
  }
};

struct LstmBack {
  HEADGATE_INLINE void gradients(const Step& s, int64_t row, int64_t u) {
    float* g = s.gates + row * s.gate_row + u;
    const int64_t at = row * s.padded + u;
    const vf one = set1(1.0f);
    const vf i = load(g), f = load(g + s.padded), n = load(g + 2 * s.padded),
             o = load(g + 3 * s.padded), c = load(s.inner + at);
    const vf to_c = mul(o, fnma(c, c, one)), to_o = mul(mul(c, o), sub(one, o));
    const vf to_i = mul(mul(n, i), sub(one, i)), to_n = mul(i, fnma(n, n, one));
    const vf to_f = mul(mul(load(s.c + at), f), sub(one, f));
    const vf dh = whole_gradient(s, at);
    const vf dc = fma(dh, to_c, load(s.grad_c + at));
    store(g, mul(dc, to_i));
    store(g + s.padded, mul(dc, to_f));
    store(g + 2 * s.padded, mul(dc, to_n));
    store(g + 3 * s.padded, mul(dh, to_o));
    store(s.grad_c + at, mul(dc, f));
    store(s.grad + at, set1(0.0f));
  }
  static constexpr bool kCompletes = false;
  static inline void through(const Run& run, float* target, int64_t rows, bool backwards) {
    through_weights(run, 0, 4, -1, target, rows, backwards);
  }
};

template <bool Tanh>
struct RnnBack {
  HEADGATE_INLINE void gradients(const Step& s, int64_t row, int64_t u) {
    const int64_t at = row * s.padded + u;
    const vf h = load(s.h_after + at), dh = whole_gradient(s, at);
    store(s.gates + row * s.gate_row + u,
          Tanh ? mul(dh, fnma(h, h, set1(1.0f))) : keep_where_positive(dh, h));
    store(s.grad + at, set1(0.0f));
  }
  static constexpr bool kCompletes = false;
  static inline void through(const Run& run, float* target, int64_t rows, bool backwards) {
    through_weights(run, 0, 1, -1, target, rows, backwards);
  }
};

// With a mask, what passes the weights is collected apart and meets the mask on its way to h.
template <class Back>
static inline void step_back(const Run& run, int64_t rows, bool backwards) {
  const Step s(run);
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t u = 0; u < s.padded; u += kLanes) Back::gradients(s, row, u);
  if (run.fresh && !run.a.to_first && !run.a.gain && !Back::kCompletes) return;
  if (!s.masked) return Back::through(run, s.grad, rows, backwards);
  const int64_t size = rows * s.padded;
  for (int64_t at = 0; at < size; at += kLanes) store(s.through + at, set1(0.0f));
  Back::through(run, s.through, rows, backwards);
  for (int64_t at = 0; at < size; at += kLanes)
    store(s.grad + at, fma(load(s.through + at), load(s.mask + at), load(s.grad + at)));
}

template <class Back>
static inline void backward_over_time(const CellArgs& a, int64_t r0, int64_t r1) {
  for (int64_t position = a.last - 1; position >= a.first; --position)
    each_run(a, time_of(a, position), r0, r1,
             [&](const Run& run, int64_t rows) { step_back<Back>(run, rows, position & 1); });
}

static void cell_backward(const CellArgs& a, int64_t r0, int64_t r1) {
  switch (a.cell) {
    case Cell::gru:
      return backward_over_time<GruBack>(a, r0, r1);
    case Cell::gru_before:
      return backward_over_time<GruBeforeBack>(a, r0, r1);
    case Cell::lstm:
      return backward_over_time<LstmBack>(a, r0, r1);
    case Cell::rnn_tanh:
      return backward_over_time<RnnBack<true>>(a, r0, r1);
    case Cell::rnn_relu:
      return backward_over_time<RnnBack<false>>(a, r0, r1);
  }
}
