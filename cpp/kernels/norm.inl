// norm.inl: layer normalisation of one gate, (x - mean) / sqrt(variance + 1e-5) over its units,
// Ba, Kiros and Hinton 2016. Sums run in an order that the number of units alone decides.

constexpr float kNormEpsilon = 1e-5f;

// 1 for the lanes of the last vector that are units, 0 for its padding.
static inline vf units_of_last(int64_t hidden, int64_t padded) {
  float lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = padded - kLanes + i < hidden ? 1.0f : 0.0f;
  return load(lanes);
}

// x[hidden] becomes (x - mean) * scale, its padding zero; returns scale.
static inline float normalise(float* x, int64_t hidden, int64_t padded, vf units) {
  const int64_t last = padded - kLanes;
  const float share = 1.0f / static_cast<float>(hidden);
  vf sum = load(x + last), squares = set1(0.0f);
  for (int64_t u = 0; u < last; u += kLanes) sum = add(sum, load(x + u));
  const vf mean = set1(sum_of_lanes(sum) * share);
  for (int64_t u = 0; u < last; u += kLanes) {
    const vf d = sub(load(x + u), mean);
    squares = fma(d, d, squares);
  }
  const vf rest = mul(sub(load(x + last), mean), units);
  const vf variance = set1(sum_of_lanes(fma(rest, rest, squares)) * share);
  const vf scale = div(set1(1.0f), sqrt(add(variance, set1(kNormEpsilon))));
  for (int64_t u = 0; u < last; u += kLanes) store(x + u, mul(sub(load(x + u), mean), scale));
  store(x + last, mul(rest, scale));
  float lanes[kLanes];
  store(lanes, scale);
  return lanes[0];
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
  const vf units = units_of_last(a.hidden, a.padded);
  for (int64_t row = r0; row < r1; ++row)
    for (int64_t gate = 0; gate < a.gates; ++gate) {
      const int64_t at = (row * a.gates + gate) * a.padded;
      a.scale[4 * row + gate] = normalise(a.normed + at, a.hidden, a.padded, units);
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
