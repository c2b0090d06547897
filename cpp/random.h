// random.h: counter-based random numbers, Philox4x32-10 (Salmon et al. 2011, "Parallel random
// numbers: as easy as 1, 2, 3").
#pragma once
#include <cstdint>

namespace headgate {

// What identifies the random numbers of an update: no dependence on batches or threads.
struct RandomKey {
  uint64_t seed = 0, update = 0;
  const int64_t* sample = nullptr;  // [sequences] index of each sequence in the data, sorted order
};

struct Four {
  uint32_t v[4];
};

// splitmix64's finaliser: turns related keys into unrelated ones.
inline uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

inline Four philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  Four c{{static_cast<uint32_t>(counter_low), static_cast<uint32_t>(counter_low >> 32),
          static_cast<uint32_t>(counter_high), static_cast<uint32_t>(counter_high >> 32)}};
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c.v[0], p1 = uint64_t{0xCD9E8D57} * c.v[2];
    c = {{static_cast<uint32_t>(p1 >> 32) ^ c.v[1] ^ k0, static_cast<uint32_t>(p1),
          static_cast<uint32_t>(p0 >> 32) ^ c.v[3] ^ k1, static_cast<uint32_t>(p0)}};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return c;
}

// Masks of inverted dropout (Srivastava et al. 2014): kept values are divided by the share that is
// kept. A mask is a function of (seed, update, layer, sample, time, unit), so it depends on no
// batch, no order and no thread.
class DropoutMask {
 public:
  // `stream`: what tells this layer's numbers from those of others.
  DropoutMask(const RandomKey& random, double rate, uint64_t stream)
      : key_(mix(random.seed ^ mix(random.update * 0x10001 + stream))),
        threshold_(static_cast<uint32_t>(rate * 4294967296.0)),
        keep_(static_cast<float>(1.0 / (1.0 - rate))) {}

  void draw(int64_t sample, int64_t time, int64_t units, float* mask) const {
    for (int64_t u = 0; u < units; u += 4) {
      const Four bits = philox(key_, static_cast<uint64_t>(sample),
                               static_cast<uint64_t>(time) << 32 | static_cast<uint64_t>(u / 4));
      for (int64_t j = 0; j < 4 && u + j < units; ++j)
        mask[u + j] = bits.v[j] < threshold_ ? 0.0f : keep_;
    }
  }

 private:
  uint64_t key_;
  uint32_t threshold_;
  float keep_;
};

}  // namespace headgate
