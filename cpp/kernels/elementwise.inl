// elementwise.inl: activations, clipping and optimisers. Every array is padded to a multiple of 16
// floats, so there are no tails; what the padding holds stays zero.

static void relu(float* x, int64_t size) {
  for (int64_t i = 0; i < size; i += kLanes) {
    const vf a = load(x + i);
    store(x + i, max_or_nan(set1(0.0f), a));
  }
}

static void tanh_all(float* x, int64_t size) {
  for (int64_t i = 0; i < size; i += kLanes) store(x + i, tanh(load(x + i)));
}

static void sigmoid_all(float* x, int64_t size) {
  for (int64_t i = 0; i < size; i += kLanes) store(x + i, sigmoid(load(x + i)));
}

static void relu_backward(const float* y, float* dy, int64_t size) {
  for (int64_t i = 0; i < size; i += kLanes)
    store(dy + i, keep_where_positive(load(dy + i), load(y + i)));
}

static void tanh_backward(const float* y, float* dy, int64_t size) {
  for (int64_t i = 0; i < size; i += kLanes) {
    const vf a = load(y + i);
    store(dy + i, mul(load(dy + i), fnma(a, a, set1(1.0f))));
  }
}

static void scale(float* x, float factor, int64_t size) {
  const vf f = set1(factor);
  for (int64_t i = 0; i < size; i += kLanes) store(x + i, mul(load(x + i), f));
}

static void clamp(float* x, float limit, int64_t size) {
  const vf low = set1(-limit), high = set1(limit);
  for (int64_t i = 0; i < size; i += kLanes)
    store(x + i, min_or_nan(high, max_or_nan(low, load(x + i))));
}

// Blocks of 64 vectors are summed in float, blocks in double: the order is fixed by size alone.
static double sum_of_squares(const float* x, int64_t size) {
  double total = 0.0;
  for (int64_t block = 0; block < size; block += 64 * kLanes) {
    const int64_t end = block + 64 * kLanes < size ? block + 64 * kLanes : size;
    vf sum = set1(0.0f);
    for (int64_t i = block; i < end; i += kLanes) {
      const vf a = load(x + i);
      sum = fma(a, a, sum);
    }
    float lanes[kLanes];
    store(lanes, sum);
    for (int i = 0; i < kLanes; ++i) total += static_cast<double>(lanes[i]);
  }
  return total;
}

// The first n lanes from p, `rest` in the others.
static inline vf load_part_or(const float* p, int64_t n, float rest) {
  float lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = i < n ? p[i] : rest;
  return load(lanes);
}

static float row_max(const float* x, int64_t size) {
  vf top = set1(-INFINITY);
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) top = max_or_nan(top, load(x + i));
  if (i < size) top = max_or_nan(top, load_part_or(x + i, size - i, -INFINITY));
  float lanes[kLanes];
  store(lanes, top);
  for (i = 1; i < kLanes; ++i) lanes[0] = lanes[i] > lanes[0] ? lanes[i] : lanes[0];
  return lanes[0];
}

// What underflows is stored as zero: subnormal numbers would slow the products that follow. The
// sum takes it as it comes, so that a NaN is not lost in the comparison.
static double exp_sum(const float* x, float top, float* e, int64_t size) {
  const vf shift = set1(top), least = set1(-87.3f);
  double total = 0.0;
  for (int64_t block = 0; block < size; block += 64 * kLanes) {
    const int64_t end = block + 64 * kLanes < size ? block + 64 * kLanes : size;
    vf sum = set1(0.0f);
    for (int64_t i = block; i < end; i += kLanes) {
      const int64_t left = size - i;
      const vf a = left < kLanes ? load_part_or(x + i, left, -INFINITY) : load(x + i);
      const vf y = max_or_nan(least, sub(a, shift));
      const ExpParts parts = exp_parts(y);
      const vf value = fma(parts.s, parts.p, parts.s);
      sum = add(sum, value);
      if (e) store_part(e + i, keep_where_positive(value, sub(y, least)), left);
    }
    float lanes[kLanes];
    store(lanes, sum);
    for (int i = 0; i < kLanes; ++i) total += static_cast<double>(lanes[i]);
  }
  return total;
}

// Columns [j, j + V * kLanes): even and odd rows apart, so that V * 2 chains run in parallel.
template <int V>
static inline void sum_strips(const float* x, int64_t rows, int64_t n, int64_t ld, float* y) {
  vf even[V], odd[V];
  for (int v = 0; v < V; ++v) even[v] = odd[v] = set1(0.0f);
  int64_t i = 0;
  for (; i + 2 <= rows; i += 2, x += 2 * ld)
    for (int v = 0; v < V; ++v) {
      even[v] = add(even[v], load(x + v * kLanes));
      odd[v] = add(odd[v], load(x + ld + v * kLanes));
    }
  if (i < rows)
    for (int v = 0; v < V; ++v) even[v] = add(even[v], load(x + v * kLanes));
  for (int v = 0; v < V; ++v) store_part(y + v * kLanes, add(even[v], odd[v]), n - v * kLanes);
}

static void column_sums(const float* x, int64_t rows, int64_t n, int64_t ld, float* y) {
  int64_t j = 0;
  for (; j + 3 * kLanes < n; j += 4 * kLanes) sum_strips<4>(x + j, rows, n - j, ld, y + j);
  for (; j < n; j += kLanes) sum_strips<1>(x + j, rows, n - j, ld, y + j);
}

static void column_dots(const float* x, int64_t ld, const float* factor, int64_t factor_ld,
                        int64_t rows, int64_t n, float* y) {
  for (int64_t j = 0; j < n; j += kLanes) {
    vf sum = set1(0.0f);
    for (int64_t i = 0; i < rows; ++i)
      sum = fma(load(x + i * ld + j), load(factor + i * factor_ld + j), sum);
    store_part(y + j, sum, n - j);
  }
}

// Kingma and Ba 2015, in the form of PyTorch: p -= lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) +
// eps).
static void adam(const AdamArgs& a, float* p, const float* g, float* m, float* v, int64_t size) {
  const vf b1 = set1(a.beta1), c1 = set1(a.rest1), b2 = set1(a.beta2), c2 = set1(a.rest2),
           eps = set1(a.epsilon), k2 = set1(a.correction2),
           step = set1(a.learning_rate * a.correction1);
  for (int64_t i = 0; i < size; i += kLanes) {
    const vf gi = load(g + i);
    const vf mi = fma(b1, load(m + i), mul(c1, gi));
    const vf vi = fma(b2, load(v + i), mul(c2, mul(gi, gi)));
    store(m + i, mi);
    store(v + i, vi);
    const vf denominator = fma(sqrt(vi), k2, eps);
    store(p + i, fnma(step, div(mi, denominator), load(p + i)));
  }
}

static void sgd(float learning_rate, float momentum, float* p, const float* g, float* m,
                int64_t size) {
  const vf rate = set1(learning_rate), mu = set1(momentum);
  for (int64_t i = 0; i < size; i += kLanes) {
    const vf mi = fma(mu, load(m + i), load(g + i));
    store(m + i, mi);
    store(p + i, fnma(rate, mi, load(p + i)));
  }
}

// Tieleman and Hinton 2012, in the form of PyTorch (epsilon outside the root).
static void rmsprop(float learning_rate, float alpha, float rest, float epsilon, float* p,
                    const float* g, float* v, int64_t size) {
  const vf rate = set1(learning_rate), a = set1(alpha), c = set1(rest), eps = set1(epsilon);
  for (int64_t i = 0; i < size; i += kLanes) {
    const vf gi = load(g + i);
    const vf vi = fma(a, load(v + i), mul(c, mul(gi, gi)));
    store(v + i, vi);
    store(p + i, fnma(rate, div(gi, add(sqrt(vi), eps)), load(p + i)));
  }
}
