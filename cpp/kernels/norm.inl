// norm.inl: layer normalisation of one gate, (x - mean) / sqrt(variance + 1e-5) over its units,
// Ba, Kiros and Hinton 2016. Sums run in an order that the number of units alone decides.

constexpr float kNormEpsilon = 1e-5f;

HEADGATE_INLINE float sum_of_lanes(vf a) {
  float lanes[kLanes];
  store(lanes, a);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

// The values of x[from ...] that are units, less `mean`; zero in the padding.
HEADGATE_INLINE vf centred(const float* x, int64_t from, int64_t hidden, vf mean) {
  const vf d = sub(load(x + from), mean);
  if (from + kLanes <= hidden) return d;
  float part[kLanes] = {};
  store_part(part, d, hidden - from);
  return load(part);
}

// x[hidden] becomes (x - mean) * scale, its padding zero; returns scale.
static inline float normalise(float* x, int64_t hidden, int64_t padded) {
  const float share = 1.0f / static_cast<float>(hidden);
  vf sum = set1(0.0f), squares = set1(0.0f);
  for (int64_t u = 0; u < padded; u += kLanes) sum = add(sum, load(x + u));
  const vf mean = set1(sum_of_lanes(sum) * share);
  for (int64_t u = 0; u < padded; u += kLanes) {
    const vf d = centred(x, u, hidden, mean);
    squares = fma(d, d, squares);
  }
  const float scale = 1.0f / sqrtf(sum_of_lanes(squares) * share + kNormEpsilon);
  for (int64_t u = 0; u < padded; u += kLanes)
    store(x + u, mul(centred(x, u, hidden, mean), set1(scale)));
  return scale;
}

// With g = dy * gain: dx = scale * (g - mean(g) - normed * mean(g * normed)). dx may be dy.
static inline void normalise_backward(const float* normed, float scale, const float* gain,
                                      int64_t hidden, int64_t padded, const float* dy, float* dx) {
  vf sum = set1(0.0f), dots = set1(0.0f);
  for (int64_t u = 0; u < padded; u += kLanes) {
    const vf g = mul(load(dy + u), load(gain + u));
    sum = add(sum, g);
    dots = fma(g, load(normed + u), dots);
  }
  const float share = 1.0f / static_cast<float>(hidden);
  const vf mean = set1(sum_of_lanes(sum) * share), slope = set1(sum_of_lanes(dots) * share);
  for (int64_t u = 0; u < padded; u += kLanes) {
    const vf g = mul(load(dy + u), load(gain + u));
    store(dx + u, mul(set1(scale), sub(fnma(load(normed + u), slope, g), mean)));
  }
}

static void norm_forward(const NormArgs& a, const float* bias, float* y, int64_t r0, int64_t r1) {
  for (int64_t row = r0; row < r1; ++row)
    for (int64_t gate = 0; gate < a.gates; ++gate) {
      const int64_t at = (row * a.gates + gate) * a.padded;
      a.scale[4 * row + gate] = normalise(a.normed + at, a.hidden, a.padded);
      for (int64_t u = 0; u < a.padded; u += kLanes)
        store(y + at + u, fma(load(a.normed + at + u), load(a.gain + gate * a.padded + u),
                              load(bias + gate * a.padded + u)));
    }
}

static void norm_backward(const NormArgs& a, const float* dy, float* dx, int64_t r0, int64_t r1) {
  for (int64_t row = r0; row < r1; ++row)
    for (int64_t gate = 0; gate < a.gates; ++gate) {
      const int64_t at = (row * a.gates + gate) * a.padded;
      normalise_backward(a.normed + at, a.scale[4 * row + gate], a.gain + gate * a.padded, a.hidden,
                         a.padded, dy + at, dx + at);
    }
}
