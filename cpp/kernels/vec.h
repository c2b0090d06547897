// vec.h: vectors of kLanes floats, and the transcendental functions on them.
//
// The only file with intrinsics. Each instruction set gives the same small vocabulary (load, fma,
// ...); everything above it is written once. A kernel file defines HEADGATE_VEC_<ISA> and includes
// this inside an anonymous namespace, so that nothing compiled for a wider instruction set can be
// picked by the linker for a narrower machine.
//
// Tile shape: kRowTile rows x 3 vectors of accumulators fill the register file.

// Sums in an array stay in registers only where the function that adds to them is inlined.
#if defined(_MSC_VER)
#define HEADGATE_METHOD __forceinline
#define HEADGATE_APART static __declspec(noinline)
#else
#define HEADGATE_METHOD __attribute__((always_inline)) inline
#define HEADGATE_APART __attribute__((noinline)) static
#endif
#define HEADGATE_INLINE static HEADGATE_METHOD

#if defined(HEADGATE_VEC_AVX512)

constexpr int kLanes = 16;
constexpr int kRowTile = 8;
using vf = __m512;
static inline vf load(const float* p) { return _mm512_loadu_ps(p); }
static inline void store(float* p, vf a) { _mm512_storeu_ps(p, a); }
static inline vf set1(float a) { return _mm512_set1_ps(a); }
static inline vf add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf sqrt(vf a) { return _mm512_sqrt_ps(a); }
static inline vf fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static inline vf fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
static inline vf max_or_nan(vf lo, vf a) { return _mm512_max_ps(lo, a); }
static inline vf min_or_nan(vf hi, vf a) { return _mm512_min_ps(hi, a); }
static inline vf abs(vf a) {
  return _mm512_castsi512_ps(
      _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x7fffffff)));
}
static inline vf copysign(vf magnitude, vf sign) {
  const __m512i s = _mm512_and_si512(_mm512_castps_si512(sign), _mm512_set1_epi32(INT32_MIN));
  return _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(magnitude), s));
}
static inline vf keep_where_positive(vf a, vf test) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(test, _mm512_setzero_ps(), _CMP_GT_OQ), a);
}
static inline vf exponent_to_float(vf biased) {
  const __m512i n = _mm512_slli_epi32(_mm512_castps_si512(biased), 23);
  return _mm512_castsi512_ps(_mm512_add_epi32(n, _mm512_set1_epi32(0x3f800000)));
}
static inline float sum_of_lanes(vf a) { return _mm512_reduce_add_ps(a); }

#elif defined(HEADGATE_VEC_AVX2)

constexpr int kLanes = 8;
constexpr int kRowTile = 4;
using vf = __m256;
static inline vf load(const float* p) { return _mm256_loadu_ps(p); }
static inline void store(float* p, vf a) { _mm256_storeu_ps(p, a); }
static inline vf set1(float a) { return _mm256_set1_ps(a); }
static inline vf add(vf a, vf b) { return _mm256_add_ps(a, b); }
static inline vf sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static inline vf mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static inline vf div(vf a, vf b) { return _mm256_div_ps(a, b); }
static inline vf sqrt(vf a) { return _mm256_sqrt_ps(a); }
static inline vf fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline vf fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
static inline vf max_or_nan(vf lo, vf a) { return _mm256_max_ps(lo, a); }
static inline vf min_or_nan(vf hi, vf a) { return _mm256_min_ps(hi, a); }
static inline vf abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
static inline vf copysign(vf magnitude, vf sign) {
  return _mm256_or_ps(magnitude, _mm256_and_ps(_mm256_set1_ps(-0.0f), sign));
}
static inline vf keep_where_positive(vf a, vf test) {
  return _mm256_and_ps(_mm256_cmp_ps(test, _mm256_setzero_ps(), _CMP_GT_OQ), a);
}
static inline vf exponent_to_float(vf biased) {
  const __m256i n = _mm256_slli_epi32(_mm256_castps_si256(biased), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(n, _mm256_set1_epi32(0x3f800000)));
}

static inline float sum_of_lanes(vf a) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

#elif defined(HEADGATE_VEC_NEON)

constexpr int kLanes = 8;  // two registers of four: the same tiles as AVX2
constexpr int kRowTile = 4;
struct vf {
  float32x4_t a, b;
};
#define HEADGATE_EACH(expression_a, expression_b) \
  return vf { expression_a, expression_b }
static inline vf load(const float* p) { HEADGATE_EACH(vld1q_f32(p), vld1q_f32(p + 4)); }
static inline void store(float* p, vf x) {
  vst1q_f32(p, x.a);
  vst1q_f32(p + 4, x.b);
}
static inline vf set1(float s) { HEADGATE_EACH(vdupq_n_f32(s), vdupq_n_f32(s)); }
static inline vf add(vf x, vf y) { HEADGATE_EACH(vaddq_f32(x.a, y.a), vaddq_f32(x.b, y.b)); }
static inline vf sub(vf x, vf y) { HEADGATE_EACH(vsubq_f32(x.a, y.a), vsubq_f32(x.b, y.b)); }
static inline vf mul(vf x, vf y) { HEADGATE_EACH(vmulq_f32(x.a, y.a), vmulq_f32(x.b, y.b)); }
static inline vf div(vf x, vf y) { HEADGATE_EACH(vdivq_f32(x.a, y.a), vdivq_f32(x.b, y.b)); }
static inline vf sqrt(vf x) { HEADGATE_EACH(vsqrtq_f32(x.a), vsqrtq_f32(x.b)); }
static inline vf fma(vf x, vf y, vf z) {
  HEADGATE_EACH(vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b));
}
static inline vf fnma(vf x, vf y, vf z) {
  HEADGATE_EACH(vfmsq_f32(z.a, x.a, y.a), vfmsq_f32(z.b, x.b, y.b));
}
// vmaxq and vminq give NaN when either operand is NaN.
static inline vf max_or_nan(vf x, vf y) { HEADGATE_EACH(vmaxq_f32(x.a, y.a), vmaxq_f32(x.b, y.b)); }
static inline vf min_or_nan(vf x, vf y) { HEADGATE_EACH(vminq_f32(x.a, y.a), vminq_f32(x.b, y.b)); }
static inline vf abs(vf x) { HEADGATE_EACH(vabsq_f32(x.a), vabsq_f32(x.b)); }
static inline float32x4_t copysign4(float32x4_t magnitude, float32x4_t sign) {
  return vbslq_f32(vdupq_n_u32(0x80000000u), sign, magnitude);
}
static inline vf copysign(vf m, vf s) { HEADGATE_EACH(copysign4(m.a, s.a), copysign4(m.b, s.b)); }
static inline float32x4_t keep4(float32x4_t x, float32x4_t test) {
  return vreinterpretq_f32_u32(
      vandq_u32(vreinterpretq_u32_f32(x), vcgtq_f32(test, vdupq_n_f32(0))));
}
static inline vf keep_where_positive(vf x, vf t) {
  HEADGATE_EACH(keep4(x.a, t.a), keep4(x.b, t.b));
}
static inline float32x4_t exponent4(float32x4_t x) {
  const int32x4_t n = vshlq_n_s32(vreinterpretq_s32_f32(x), 23);
  return vreinterpretq_f32_s32(vaddq_s32(n, vdupq_n_s32(0x3f800000)));
}
static inline vf exponent_to_float(vf x) { HEADGATE_EACH(exponent4(x.a), exponent4(x.b)); }
static inline float sum_of_lanes(vf x) { return vaddvq_f32(vaddq_f32(x.a, x.b)); }
#undef HEADGATE_EACH

#else  // generic: plain C++17; a compiler turns these loops into what its target has

constexpr int kLanes = 8;
constexpr int kRowTile = 4;
struct vf {
  float v[kLanes];
};
#define HEADGATE_LANES(expression)                      \
  vf r;                                                 \
  for (int i = 0; i < kLanes; ++i) r.v[i] = expression; \
  return r
static inline vf load(const float* p) { HEADGATE_LANES(p[i]); }
static inline void store(float* p, vf a) {
  for (int i = 0; i < kLanes; ++i) p[i] = a.v[i];
}
static inline vf set1(float a) { HEADGATE_LANES(a); }
static inline vf add(vf a, vf b) { HEADGATE_LANES(a.v[i] + b.v[i]); }
static inline vf sub(vf a, vf b) { HEADGATE_LANES(a.v[i] - b.v[i]); }
static inline vf mul(vf a, vf b) { HEADGATE_LANES(a.v[i] * b.v[i]); }
static inline vf div(vf a, vf b) { HEADGATE_LANES(a.v[i] / b.v[i]); }
static inline vf sqrt(vf a) { HEADGATE_LANES(::sqrtf(a.v[i])); }
// Not fused: a fused one costs a library call where the hardware has none.
static inline vf fma(vf a, vf b, vf c) { HEADGATE_LANES(a.v[i] * b.v[i] + c.v[i]); }
static inline vf fnma(vf a, vf b, vf c) { HEADGATE_LANES(c.v[i] - a.v[i] * b.v[i]); }
static inline vf max_or_nan(vf lo, vf a) { HEADGATE_LANES(a.v[i] < lo.v[i] ? lo.v[i] : a.v[i]); }
static inline vf min_or_nan(vf hi, vf a) { HEADGATE_LANES(a.v[i] > hi.v[i] ? hi.v[i] : a.v[i]); }
static inline vf abs(vf a) { HEADGATE_LANES(::fabsf(a.v[i])); }
static inline vf copysign(vf m, vf s) { HEADGATE_LANES(::copysignf(m.v[i], s.v[i])); }
static inline vf keep_where_positive(vf a, vf test) {
  HEADGATE_LANES(test.v[i] > 0.0f ? a.v[i] : 0.0f);
}
static inline vf exponent_to_float(vf biased) {
  vf r;
  uint32_t bits[kLanes];
  memcpy(bits, biased.v, sizeof bits);
  for (int i = 0; i < kLanes; ++i) bits[i] = (bits[i] << 23) + 0x3f800000u;
  memcpy(r.v, bits, sizeof bits);
  return r;
}
static inline float sum_of_lanes(vf a) {
  float total = 0.0f;
  for (int i = 0; i < kLanes; ++i) total += a.v[i];
  return total;
}
#undef HEADGATE_LANES

#endif

// dst[i * ldd + j] = src[j * lds + i] for i, j < 8.
static inline void transpose8x8(const float* src, int64_t lds, float* dst, int64_t ldd) {
#if defined(HEADGATE_VEC_AVX512) || defined(HEADGATE_VEC_AVX2)
  __m256 r[8], s[8];
  for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(src + i * lds);
  for (int i = 0; i < 4; ++i) {
    s[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    s[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    r[4 * i + 0] = _mm256_shuffle_ps(s[4 * i + 0], s[4 * i + 2], 0x44);
    r[4 * i + 1] = _mm256_shuffle_ps(s[4 * i + 0], s[4 * i + 2], 0xee);
    r[4 * i + 2] = _mm256_shuffle_ps(s[4 * i + 1], s[4 * i + 3], 0x44);
    r[4 * i + 3] = _mm256_shuffle_ps(s[4 * i + 1], s[4 * i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(dst + i * ldd, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    _mm256_storeu_ps(dst + (i + 4) * ldd, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
#else
  for (int i = 0; i < 8; ++i)
    for (int j = 0; j < 8; ++j) dst[i * ldd + j] = src[j * lds + i];
#endif
}

// Splits exp(y) for y in [-87.3, 88.3]: exp(y) = s * (1 + p), s a power of two, |p| < 0.415, and
// p keeps its relative accuracy near zero. Cody and Waite's reduction; the polynomial is a
// minimax fit of (expm1(r) - r) / r^2 on |r| <= ln(2) / 2, relative error of p below 3e-9.
struct ExpParts {
  vf s, p;
};
HEADGATE_INLINE ExpParts exp_parts(vf y) {
  const vf magic = set1(12582912.0f);  // 1.5 * 2^23: leaves round(y / ln 2) in the low bits
  const vf t = fma(y, set1(1.44269504f), magic);
  const vf n = sub(t, magic);
  vf r = fnma(n, set1(0.693359375f), y);
  r = fnma(n, set1(-2.12194440e-4f), r);
  const vf r2 = mul(r, r);
  const vf low = fma(set1(1.666666716e-01f), r, set1(0.5f));
  const vf mid = fma(set1(8.333273232e-03f), r, set1(4.166635498e-02f));
  const vf high = fma(set1(1.991410536e-04f), r, set1(1.394096646e-03f));
  const vf q = fma(mul(r2, r2), high, fma(r2, mid, low));
  return {exponent_to_float(t), fma(r2, q, r)};
}

// 1 / (1 + exp(-x)). NaN in, NaN out.
HEADGATE_INLINE vf sigmoid(vf x) {
  const vf y = min_or_nan(set1(88.3f), max_or_nan(set1(-87.3f), sub(set1(0.0f), x)));
  const ExpParts e = exp_parts(y);
  return div(set1(1.0f), fma(e.s, e.p, add(e.s, set1(1.0f))));
}

// With e = exp(-2|x|), tanh(|x|) = (1 - e) / (1 + e), each part rounded once from e's exact split;
// 1 + e lies in (1, 2], where its rounding costs half of what 1 + exp(2|x|) would. NaN in, NaN out.
HEADGATE_INLINE vf tanh(vf x) {
  const vf magnitude = abs(x);
  const vf y = max_or_nan(set1(-20.0f), sub(set1(0.0f), add(magnitude, magnitude)));
  const ExpParts e = exp_parts(y);
  const vf numerator = fnma(e.s, e.p, sub(set1(1.0f), e.s));
  return copysign(div(numerator, fma(e.s, e.p, add(e.s, set1(1.0f)))), x);
}
