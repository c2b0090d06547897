// stack.cpp: recurrent layers on the memory of PyTorch's tensors. Addresses come as integers, since
// a capsule for every tensor would cost more than a small network's whole pass; Python has checked
// what lies there.
#include "stack.h"

#include <nanobind/stl/unique_ptr.h>

#include <cstdlib>

#include "bindings.h"
#include "random.h"

namespace headgate {
namespace {

constexpr double kReleaseCost = 2e4;  // nanoseconds of work from which the GIL is released
// And of a pass for training from which it is given threads: see torch_polls().
constexpr double kShareCost = 2e7;

template <class T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

template <class T>
std::vector<T*> addresses(const nb::list& list) {
  std::vector<T*> pointers;
  pointers.reserve(list.size());
  for (nb::handle item : list) pointers.push_back(at<T>(nb::cast<uintptr_t>(item)));
  return pointers;
}

// Runs `work` on `threads` threads; without the GIL when it is long.
template <class Work>
void run_on(int threads, double cost, Work work) {
  const ThreadCount count(threads);
  if (cost < kReleaseCost) return work();
  const WithoutGil release(in_main_thread());
  work();
}

// Whether PyTorch's threads, for some milliseconds after each of its own parallel operations, go on
// polling on the cores that ours would run on. OpenMP's runtimes ask the environment, once.
bool torch_polls() {
  static const bool polls = [] {
    const char* policy = std::getenv("OMP_WAIT_POLICY");
    const char* spins = std::getenv("GOMP_SPINCOUNT");
    const bool passive = policy && (*policy == 'p' || *policy == 'P');
    return !passive && !(spins && std::atoi(spins) == 0);
  }();
  return polls;
}

// The threads of a pass for training.
int shared_by(int threads, double cost) { return cost < kShareCost && torch_polls() ? 1 : threads; }

// Rows of a batch. Sequences at each step must make a packed one: the kernels rely on it.
int64_t checked_total(const Shape& shape) {
  if (!shape.sizes) return shape.steps * shape.sequences;
  int64_t total = 0, before = shape.sequences;
  require(shape.sizes[0] == before, "the first size must be the number of sequences");
  for (int64_t t = 0; t < shape.steps; ++t) {
    require(shape.sizes[t] >= 1 && shape.sizes[t] <= before, "sizes must not increase");
    before = shape.sizes[t];
    total += before;
  }
  for (int64_t i = 0; shape.order && i < shape.sequences; ++i)
    require(shape.order[i] >= 0 && shape.order[i] < shape.sequences, "order must number sequences");
  return total;
}

Cell cell_of(const std::string& name) {
  if (name == "lstm") return Cell::lstm;
  require(name == "gru" || name == "gru_before", "cell");
  return name == "gru" ? Cell::gru : Cell::gru_before;
}

}  // namespace

void bind_stack(nb::module_& m) {
  m.def(
      "dropout_mask",
      [](double rate, uint64_t seed, uint64_t stream, int64_t sample, int64_t time, FloatsOut out) {
        const RandomKey random{seed, 0, nullptr};
        DropoutMask(random, rate, stream)
            .draw(sample, time, static_cast<int64_t>(out.shape(0)), out.data());
      },
      "rate"_a, "seed"_a, "stream"_a, "sample"_a, "time"_a, "out"_a.noconvert());
  nb::class_<Tape>(m, "Tape")
      .def("backward",
           [](Tape& self, uintptr_t x, int64_t x_step, int64_t x_row, uintptr_t dy, int64_t dy_step,
              int64_t dy_row, uintptr_t dh_n, uintptr_t dc_n, uintptr_t dx, uintptr_t dh0,
              uintptr_t dc0, const nb::list& gradients, int threads) {
             const std::vector<float*> to = addresses<float>(gradients);
             const Tape::Call call{{at<const float>(x), x_step, x_row},
                                   {at<const float>(dy), dy_step, dy_row},
                                   {at<const float>(dh_n), at<const float>(dc_n)},
                                   at<float>(dx),
                                   {at<float>(dh0), at<float>(dc0)},
                                   to.data()};
             bool done = false;
             const double cost = self.cost();
             run_on(shared_by(threads, cost), cost, [&] { done = self.backward(call); });
             return done;
           })
      .def("release", &Tape::release);
  nb::class_<Stack>(m, "Stack")
      .def("__init__",
           [](Stack* self, const std::string& cell, int64_t inputs, int64_t hidden, int64_t layers,
              bool bidirectional, bool bias, bool layer_norm, double dropout,
              double recurrent_dropout) {
             require(inputs >= 1 && hidden >= 1 && layers >= 1, "sizes");
             new (self) Stack({cell_of(cell), inputs, hidden, layers, bidirectional, bias,
                               layer_norm, dropout, recurrent_dropout});
           })
      .def("release", &Stack::release)
      // Rows of a packed batch; ValueError when it is none.
      .def("rows",
           [](Stack&, int64_t steps, int64_t sequences, uintptr_t sizes, uintptr_t order) {
             return checked_total(
                 {steps, sequences, 0, at<const int64_t>(sizes), at<const int64_t>(order)});
           })
      .def("forward",
           [](Stack& self, uintptr_t x, int64_t x_step, int64_t x_row, int64_t steps,
              int64_t sequences, uintptr_t sizes, uintptr_t order, uintptr_t h0, uintptr_t c0,
              uintptr_t y, uintptr_t h_n, uintptr_t c_n, const nb::list& parameters, bool keep,
              bool drop, uint64_t seed, int threads) -> std::unique_ptr<Tape> {
             const std::vector<const float*> from = addresses<const float>(parameters);
             require(static_cast<int64_t>(from.size()) == self.parameter_count(), "parameters");
             require(steps >= 1 && sequences >= 1, "an empty batch");
             Shape shape{steps, sequences, 0, at<const int64_t>(sizes), at<const int64_t>(order)};
             shape.total = checked_total(shape);
             const Stack::Call call{shape,
                                    {at<const float>(x), x_step, x_row},
                                    {at<const float>(h0), at<const float>(c0)},
                                    from.data(),
                                    at<float>(y),
                                    {at<float>(h_n), at<float>(c_n)},
                                    drop,
                                    seed};
             std::unique_ptr<Tape> tape;
             const double cost = self.cost(shape.total);
             run_on(keep ? shared_by(threads, cost) : threads, cost,
                    [&] { tape = self.forward(call, keep); });
             return tape;
           });
}

}  // namespace headgate
