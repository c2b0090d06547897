// stream.h: one sequence, followed a step at a time.
#pragma once
#include <cstdint>
#include <vector>

#include "network.h"

namespace headgate {

// A network's copy with a workspace of one row, and the state between two steps. A step allocates
// nothing and takes no lock.
class Stream {
 public:
  // own: built like the network that is followed; refresh() brings its parameters.
  explicit Stream(Network* own);

  uint64_t version() const { return version_; }  // of the followed network's parameters
  // Takes over the parameters of `source`, which must be at rest.
  void refresh(Network* source);

  // x [I], tokens [token columns] -> prediction [O].
  void step(const float* x, const int32_t* tokens, float* prediction);

  // Per recurrent layer and direction h, then c where there is one: [H] each.
  std::vector<float>& state() { return state_; }

 private:
  Network* own_;
  uint64_t version_ = 0;
  Rows rows_;
  std::vector<float> state_;
};

}  // namespace headgate
