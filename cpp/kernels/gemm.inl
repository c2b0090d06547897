// gemm.inl: packed matrix products, and the register tile that the recurrence shares.

constexpr int64_t kDepthBlock = 128;  // K is cut into these, by K alone, so sums never depend on M
constexpr int64_t kRowsToPack = 16;   // rows of C from which copying blocks of A or B pays
constexpr int64_t kNearFloats = 1 << 16;  // of A, that stay in the second-level cache

// Several steps of k to a turn of the loop, so that its end is foreseen more often. Clang unrolls
// by itself.
#if defined(__GNUC__) && !defined(__clang__)
#define HEADGATE_UNROLL _Pragma("GCC unroll 4")
#else
#define HEADGATE_UNROLL
#endif

// acc[R][NV] += rows of A times NV strips of B, one step of k after the other.
template <int R, int NV, bool UnitK>
HEADGATE_INLINE void chain(const float* a, int64_t a_row, int64_t a_k, int64_t k_count,
                           const float* b, int64_t b_k, int64_t b_strip, vf (&acc)[R][NV]) {
  HEADGATE_UNROLL
  for (int64_t k = 0; k < k_count; ++k) {
    vf bv[NV];
    for (int v = 0; v < NV; ++v) bv[v] = load(b + v * b_strip);
    for (int i = 0; i < R; ++i) {
      const vf av = set1(UnitK ? a[i * a_row] : a[i]);
      for (int v = 0; v < NV; ++v) acc[i][v] = fma(av, bv[v], acc[i][v]);
    }
    a += UnitK ? 1 : a_k;
    b += b_k;
  }
}

// The same for recurrent weights: P panels, each [K, G, kLanes], G gates of the same units.
template <int R, int P, int G>
HEADGATE_INLINE void chain_gates(const float* a, int64_t a_row, int64_t k_count, const float* b,
                                 int64_t panel, vf (&acc)[R][P * G]) {
  for (int64_t k = 0; k < k_count; ++k, ++a, b += G * kLanes) {
    vf bv[P * G];
    for (int v = 0; v < P * G; ++v) bv[v] = load(b + v / G * panel + v % G * kLanes);
    for (int i = 0; i < R; ++i) {
      const vf av = set1(a[i * a_row]);
      for (int v = 0; v < P * G; ++v) acc[i][v] = fma(av, bv[v], acc[i][v]);
    }
  }
}

// acc = (acc + sum over the first half of k) + (sum over the second half). A single row runs the
// halves as parallel chains, since it waits for latency; more rows run one after the other. Both
// add the same numbers in the same order, so a row's bits do not depend on its neighbours.
template <int R, int P, int G>
HEADGATE_INLINE void dot_halves(const float* a, int64_t a_row, int64_t k_count, const float* b,
                                vf (&acc)[R][P * G]) {
  const int64_t half = k_count / 2, panel = k_count * G * kLanes;
  vf second[R][P * G];
  for (int i = 0; i < R; ++i)
    for (int v = 0; v < P * G; ++v) second[i][v] = set1(0.0f);
  const float* a2 = a + half;
  const float* b2 = b + half * G * kLanes;
  if (R == 1) {
    for (int64_t k = 0; k < half; ++k, ++a, ++a2, b += G * kLanes, b2 += G * kLanes) {
      const vf x = set1(*a), y = set1(*a2);
      for (int v = 0; v < P * G; ++v)
        acc[0][v] = fma(x, load(b + v / G * panel + v % G * kLanes), acc[0][v]);
      for (int v = 0; v < P * G; ++v)
        second[0][v] = fma(y, load(b2 + v / G * panel + v % G * kLanes), second[0][v]);
    }
    chain_gates<R, P, G>(a2, a_row, k_count & 1, b2, panel, second);
  } else {
    chain_gates<R, P, G>(a, a_row, half, b, panel, acc);
    chain_gates<R, P, G>(a2, a_row, k_count - half, b2, panel, second);
  }
  for (int i = 0; i < R; ++i)
    for (int v = 0; v < P * G; ++v) acc[i][v] = add(acc[i][v], second[i][v]);
}

static inline void store_part(float* p, vf value, int64_t count) {
  if (count >= kLanes) {
    store(p, value);
    return;
  }
  float part[kLanes];
  store(part, value);
  for (int64_t i = 0; i < count; ++i) p[i] = part[i];
}

static inline vf load_part(const float* p, int64_t count) {
  if (count >= kLanes) return load(p);
  float part[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) part[i] = p[i];
  return load(part);
}

// One block of k of a few strips of C, and where B's block lies.
struct GemmBlock {
  int64_t k0, k_count, strip, columns;  // columns that may be written, from `strip` on
  const float* b;
  int64_t b_k, b_strip;
};

template <int R, int NV, bool UnitK>
static void gemm_tile(const GemmArgs& g, const GemmBlock& block, int64_t m) {
  float* c = g.c + m * g.ldc + block.strip * kLanes;
  const bool whole = block.columns >= NV * kLanes, carry = block.k0 > 0 || g.accumulate;
  vf acc[R][NV];
  for (int v = 0; v < NV; ++v) {
    const vf start = g.bias && !carry ? load(g.bias + (block.strip + v) * kLanes) : set1(0.0f);
    for (int i = 0; i < R; ++i) acc[i][v] = start;
  }
  chain<R, NV, UnitK>(g.a + m * g.a_row + block.k0 * g.a_k, g.a_row, g.a_k, block.k_count, block.b,
                      block.b_k, block.b_strip, acc);
  if (carry)
    for (int i = 0; i < R; ++i)
      for (int v = 0; v < NV; ++v)
        acc[i][v] =
            add(load_part(c + i * g.ldc + v * kLanes, block.columns - v * kLanes), acc[i][v]);
  for (int i = 0; i < R; ++i)
    for (int v = 0; v < NV; ++v) {
      if (whole)
        store(c + i * g.ldc + v * kLanes, acc[i][v]);
      else
        store_part(c + i * g.ldc + v * kLanes, acc[i][v], block.columns - v * kLanes);
    }
}

template <int R, int NV, bool UnitK>
static void gemm_rows(const GemmArgs& g, const GemmBlock& block, int64_t m0, int64_t m1) {
  for (; m0 + R <= m1; m0 += R) gemm_tile<R, NV, UnitK>(g, block, m0);
  if constexpr (R > 1) {
    if (m0 < m1) gemm_rows<(R > 4 ? 4 : R - 1), NV, UnitK>(g, block, m0, m1);
  }
}

// NV strips from `strip` on, for all rows. A block of B whose rows lie apart is copied first when
// many rows will read it: side by side it stays in the first-level cache.
template <int R, int NV, bool UnitK>
static void gemm_strips(const GemmArgs& g, int64_t m0, int64_t m1, int64_t strip, int64_t k0,
                        int64_t k_count, int64_t columns) {
  GemmBlock block{k0,    k_count,  strip, columns, g.b + strip * g.b_strip + k0 * g.b_k,
                  g.b_k, g.b_strip};
  alignas(64) float copy[NV * kDepthBlock * kLanes];
  if (g.b_k > NV * kLanes && m1 - m0 >= kRowsToPack) {
    for (int64_t k = 0; k < k_count; ++k)
      for (int v = 0; v < NV; ++v)
        store(copy + (k * NV + v) * kLanes, load(block.b + k * g.b_k + v * g.b_strip));
    block.b = copy;
    block.b_k = NV * kLanes;
    block.b_strip = kLanes;
  }
  gemm_rows<R, NV, UnitK>(g, block, m0, m1);
}

// How many strips go in threes; the rest are pairs, or a single one when there is no other. Two
// pairs keep more accumulators busy than three and one.
static inline int64_t strips_in_threes(int64_t strips) {
  return strips % 3 == 1 && strips > 1 ? strips - 4 : strips - strips % 3;
}

constexpr int64_t kBlockRows = 24;  // a multiple of every height of a tile

static inline int64_t depth(const GemmArgs& g, int64_t k0) {
  return g.k - k0 < kDepthBlock ? g.k - k0 : kDepthBlock;
}

template <int N>
struct Size {
  static constexpr int value = N;
};

// f(strip, R, NV) for groups of NV strips, and the height R of their tiles.
template <class F>
static inline void each_group(int64_t strips, F&& f) {
  const int64_t threes = strips_in_threes(strips);
  int64_t s = 0;
  for (; s < threes; s += 3) f(s, Size<kRowTile>{}, Size<3>{});
  for (; s + 2 <= strips; s += 2) f(s, Size<(kRowTile == 4 ? 6 : kRowTile)>{}, Size<2>{});
  if (s < strips) f(s, Size<8>{}, Size<1>{});
}

// A in rows (activations times weights): as many rows at a time as stay in the cache while all of
// B passes by, and all of K for one group of strips, whose part of C then stays near.
static void gemm_by_rows(const GemmArgs& g, int64_t m0, int64_t m1, int64_t strips,
                         int64_t columns) {
  const int64_t near = kNearFloats / (g.k > 0 ? g.k : 1) / kBlockRows * kBlockRows;
  const int64_t rows = near < 2 * kBlockRows    ? 2 * kBlockRows
                       : near > 16 * kBlockRows ? 16 * kBlockRows
                                                : near;
  for (; m0 < m1; m0 += rows)
    each_group(strips, [&](int64_t s, auto r, auto nv) {
      const int64_t end = m1 - m0 < rows ? m1 : m0 + rows;
      for (int64_t k0 = 0; k0 < g.k || k0 == 0; k0 += kDepthBlock)
        gemm_strips<r.value, nv.value, true>(g, m0, end, s, k0, depth(g, k0), columns - s * kLanes);
    });
}

// Tiles of packed operands. On Zen 3 with gcc 12, 6 x 2 accumulators beat 4 x 3 by a tenth here,
// but not where A is read in place.
constexpr int kPackedRows = kRowTile == 4 ? 6 : kRowTile, kPackedStrips = kRowTile == 4 ? 2 : 3;
constexpr int64_t kPackedBlock = 192;    // rows of A packed at a time: 96 KiB
constexpr int64_t kColumnsToPack = 256;  // columns of C from which packing A pays

// Copies [k_count, Tiles * kPackedRows] of A, k by k a_k apart, into tiles [k_count, kPackedRows].
// Whole vectors, whose surplus the next k overwrites; so the last k is copied by the float.
template <int Tiles>
static inline void pack_tiles(const float* a, int64_t a_k, int64_t k_count, float* to) {
  constexpr int R = kPackedRows;
  for (int64_t k = 0; k + 1 < k_count; ++k)
    for (int i = 0; i < Tiles; ++i) store(to + (i * k_count + k) * R, load(a + k * a_k + i * R));
  for (int i = 0; i < Tiles; ++i)
    memcpy(to + ((i + 1) * k_count - 1) * R, a + (k_count - 1) * a_k + i * R, R * sizeof(float));
}

// The same for any number of rows; the last tile is filled up with zeros.
static void pack_columns(const float* a, int64_t a_k, int64_t rows, int64_t k_count, float* to) {
  constexpr int R = kPackedRows, together = 48 / R;
  int64_t m = 0;
  for (; m + together * R <= rows; m += together * R)
    pack_tiles<together>(a + m, a_k, k_count, to + m * k_count);
  for (; m + R <= rows; m += R) pack_tiles<1>(a + m, a_k, k_count, to + m * k_count);
  for (int64_t k = 0; k < k_count && m < rows; ++k)
    for (int64_t i = 0; i < R; ++i)
      to[m * k_count + k * R + i] = m + i < rows ? a[k * a_k + m + i] : 0.0f;
}

// C[rows, columns] (at most a tile) = or += a b, both packed.
static inline void packed_tile(const float* a, const float* b, int64_t k_count, bool carry,
                               float* c, int64_t ldc, int64_t rows, int64_t columns) {
  constexpr int R = kPackedRows, NV = kPackedStrips;
  vf acc[R][NV];
  for (int i = 0; i < R; ++i)
    for (int v = 0; v < NV; ++v) acc[i][v] = set1(0.0f);
  for (int64_t k = 0; k < k_count; ++k, a += R, b += NV * kLanes) {
    vf bv[NV];
    for (int v = 0; v < NV; ++v) bv[v] = load(b + v * kLanes);
    for (int i = 0; i < R; ++i) {
      const vf av = set1(a[i]);
      for (int v = 0; v < NV; ++v) acc[i][v] = fma(av, bv[v], acc[i][v]);
    }
  }
  if (rows >= R && columns >= NV * kLanes) {
    if (carry)
      for (int i = 0; i < R; ++i)
        for (int v = 0; v < NV; ++v) acc[i][v] = add(load(c + i * ldc + v * kLanes), acc[i][v]);
    for (int i = 0; i < R; ++i)
      for (int v = 0; v < NV; ++v) store(c + i * ldc + v * kLanes, acc[i][v]);
    return;
  }
  float part[R][NV * kLanes];
  for (int i = 0; i < R; ++i)
    for (int v = 0; v < NV; ++v) store(part[i] + v * kLanes, acc[i][v]);
  for (int64_t i = 0; i < rows && i < R; ++i)
    for (int64_t j = 0; j < columns && j < NV * kLanes; ++j)
      c[i * ldc + j] = carry ? c[i * ldc + j] + part[i][j] : part[i][j];
}

// As gemm_by_depth, below, when C is wide: A is copied too, so that a tile reads it in order.
// Unpacked, every k of a tile lies in another page, and what a cache line holds for the next tiles
// is gone before they come. Sums are made in the same order either way. K > 0.
static void gemm_by_depth_packed(const GemmArgs& g, int64_t m0, int64_t m1, int64_t strips,
                                 int64_t columns) {
  constexpr int R = kPackedRows, NV = kPackedStrips;
  alignas(64) float packed_a[kPackedBlock * kDepthBlock], packed_b[kDepthBlock * NV * kLanes];
  const int64_t blocks = (m1 - m0 + kPackedBlock - 1) / kPackedBlock;
  const int64_t block = (m1 - m0 + blocks * R - 1) / (blocks * R) * R;
  for (int64_t k0 = 0; k0 < g.k; k0 += kDepthBlock) {
    const int64_t k_count = depth(g, k0);
    for (int64_t m = m0; m < m1; m += block) {
      const int64_t rows = m1 - m < block ? m1 - m : block;
      pack_columns(g.a + m + k0 * g.a_k, g.a_k, rows, k_count, packed_a);
      for (int64_t s = 0; s < strips; s += NV) {
        const float* b = g.b + s * g.b_strip + k0 * g.b_k;
        for (int64_t k = 0; k < k_count; ++k)
          for (int v = 0; v < NV; ++v)
            store(packed_b + (k * NV + v) * kLanes,
                  s + v < strips ? load(b + k * g.b_k + v * g.b_strip) : set1(0.0f));
        for (int64_t r = 0; r < rows; r += R)
          packed_tile(packed_a + r * k_count, packed_b, k_count, k0 > 0 || g.accumulate,
                      g.c + (m + r) * g.ldc + s * kLanes, g.ldc, rows - r, columns - s * kLanes);
      }
    }
  }
}

// A in columns (gradients of weights, whose K is the batch): one block of K after the other, so
// that what is read of A and B stays near for all of C.
static void gemm_by_depth(const GemmArgs& g, int64_t m0, int64_t m1, int64_t strips,
                          int64_t columns) {
  for (int64_t k0 = 0; k0 < g.k || k0 == 0; k0 += kDepthBlock)
    each_group(strips, [&](int64_t s, auto r, auto nv) {
      gemm_strips<r.value, nv.value, false>(g, m0, m1, s, k0, depth(g, k0), columns - s * kLanes);
    });
}

static void gemm(const GemmArgs& g, int64_t m0, int64_t m1) {
  const int64_t strips = (g.n + kLanes - 1) / kLanes;
  const int64_t columns = g.whole_strips ? strips * kLanes : g.n;
  if (g.a_k == 1)
    gemm_by_rows(g, m0, m1, strips, columns);
  else if (g.k > 0 && g.n >= kColumnsToPack && m1 - m0 >= kRowsToPack)
    gemm_by_depth_packed(g, m0, m1, strips, columns);
  else
    gemm_by_depth(g, m0, m1, strips, columns);
}

static void pack(const float* src, int64_t k_stride, int64_t n_stride, int64_t k, int64_t n,
                 float* dst, int64_t dst_k, int64_t dst_strip) {
  for (int64_t n0 = 0; n0 < n; n0 += kLanes, dst += dst_strip, src += kLanes * n_stride) {
    const int64_t columns = n - n0 < kLanes ? n - n0 : kLanes;
    int64_t i = 0;
    if (columns == kLanes && n_stride == 1) {
      for (; i < k; ++i) store(dst + i * dst_k, load(src + i * k_stride));
    } else if (columns == kLanes && k_stride == 1) {
      for (; i + 8 <= k; i += 8)
        for (int64_t j = 0; j < kLanes; j += 8)
          transpose8x8(src + j * n_stride + i, n_stride, dst + i * dst_k + j, dst_k);
    }
    for (; i < k; ++i) {
      if (columns < kLanes) store(dst + i * dst_k, set1(0.0f));
      for (int64_t j = 0; j < columns; ++j) dst[i * dst_k + j] = src[i * k_stride + j * n_stride];
    }
  }
}
