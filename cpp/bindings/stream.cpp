// stream.cpp: a network that follows one sequence step by step.
#include "stream.h"

#include <algorithm>

#include "bindings.h"

namespace headgate {
namespace {

// The arrays that a stream reads from and writes to are given once: a step then costs no checks.
struct StreamHolder {
  nb::object source, own;  // both networks stay alive
  Array<const float, 1> x;
  Array<const int32_t, 1> tokens;
  FloatsOut out;
  Stream stream;
};

// The next step; false when x is not finite, and then nothing has happened.
bool stream_step(StreamHolder& self) {
  const float* x = self.x.data();
  float sum = 0.0f;  // times zero: NaN as soon as one is not finite
  for (size_t i = 0; i < self.x.shape(0); ++i) sum += 0.0f * x[i];
  if (sum != 0.0f) return false;
  Network& source = *nb::inst_ptr<Network>(self.source);
  if (self.stream.version() != source.version())
    run(source, [&](StopFlag*) {
      self.stream.refresh(&source);
      return true;
    });
  self.stream.step(x, self.tokens.data(), self.out.data());
  return true;
}

}  // namespace

void bind_stream(nb::module_& m) {
  nb::class_<StreamHolder>(m, "Stream")
      .def(
          "__init__",
          [](StreamHolder* self, nb::object source, nb::object own, Array<const float, 1> x,
             Array<const int32_t, 1> tokens, FloatsOut out) {
            const Network& net = nb::cast<Network&>(source);
            Network& copy = nb::cast<Network&>(own);
            require(copy.parameter_count() == net.parameter_count() &&
                        copy.state_size() == net.state_size(),
                    "own: built like source");
            require(static_cast<int64_t>(x.shape(0)) == copy.input_size() &&
                        static_cast<int64_t>(tokens.shape(0)) == copy.token_columns() &&
                        static_cast<int64_t>(out.shape(0)) == copy.output_size(),
                    "x: [I], tokens: [columns], out: [O]");
            new (self) StreamHolder{source, own, x, tokens, out, Stream(&copy)};
          },
          "source"_a, "own"_a, "x"_a.noconvert(), "tokens"_a.noconvert(), "out"_a.noconvert())
      .def("step", &stream_step)
      .def(
          "get_state",
          [](StreamHolder& self, FloatsOut out) {
            require(out.shape(0) == self.stream.state().size(), "size");
            std::copy(self.stream.state().begin(), self.stream.state().end(), out.data());
          },
          "out"_a.noconvert())
      .def(
          "set_state",
          [](StreamHolder& self, Floats values) {
            require(values.shape(0) == self.stream.state().size(), "size");
            std::copy_n(values.data(), values.shape(0), self.stream.state().begin());
          },
          "values"_a.noconvert());
}

}  // namespace headgate
