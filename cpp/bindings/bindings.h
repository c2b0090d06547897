// bindings.h: what the bindings share. They check sizes and release the GIL, and hold no
// arithmetic.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "network.h"
#include "parallel.h"
#include "trainer.h"

namespace headgate {

namespace nb = nanobind;
using namespace nb::literals;

template <class T, int Dims>
using Array = nb::ndarray<T, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>;
using Floats = Array<const float, 1>;
using FloatsOut = Array<float, 1>;
using Indices = Array<const int64_t, 1>;

inline void require(bool condition, const char* message) {
  if (!condition) throw nb::value_error(message);
}

// Signals are handled in the main thread only; the others need not ask.
bool in_main_thread();
bool finalizing();
// Whether a signal handler raised an error; for StopFlag.
bool ask(void*);

// Releases the GIL. At the end of the process a daemon thread must not ask for it again: before
// 3.14 Python would end the thread within a destructor, which ends the process with an abort.
class WithoutGil {
 public:
  explicit WithoutGil(bool main) : main_(main), state_(PyEval_SaveThread()) {}
  ~WithoutGil() {
    while (!main_ && finalizing()) std::this_thread::sleep_for(std::chrono::seconds(1));
    PyEval_RestoreThread(state_);
  }
  WithoutGil(const WithoutGil&) = delete;

 private:
  bool main_;
  PyThreadState* state_;
};

// The network for this thread alone; `stop` may end the waiting, and then ok() is false.
class Turn {
 public:
  Turn(Network& net, StopFlag* stop) : net_(net), lock_(net.mutex(), std::defer_lock) {
    // A signal handler may come back to the network that its own thread is working with.
    if (net.owner().load() == std::this_thread::get_id())
      throw std::runtime_error(
          "this network is at work in this very thread, so a signal handler cannot use it (except "
          "for state_dict and save); set a flag in the handler and act on it in a callback");
    while (!lock_.try_lock_for(std::chrono::milliseconds(20)))
      if (stop->poll()) return;
    net.owner().store(std::this_thread::get_id());
  }
  ~Turn() {
    if (lock_) net_.owner().store(std::thread::id());
  }
  bool ok() const { return lock_.owns_lock(); }

 private:
  Network& net_;
  std::unique_lock<std::timed_mutex> lock_;
};

// Runs `work(stop)` without the GIL, one caller per network. Ctrl-C sets the flag; the error it
// raised is thrown once the engine is at rest.
template <class Work>
auto run(Network& net, Work work) {
  const bool main = in_main_thread();
  StopFlag stop = main ? StopFlag(&ask, nullptr) : StopFlag();
  using Result = decltype(work(&stop));
  std::optional<Result> result;
  {
    WithoutGil release(main);
    Turn turn(net, &stop);
    if (turn.ok()) result = work(&stop);
  }
  if (!result) throw nb::python_error();
  return *result;
}

inline void raise_if_stopped(Status status) {
  if (status == Status::stopped && PyErr_Occurred()) throw nb::python_error();
}

// Keeps the arrays alive that a Samples points into.
struct SamplesHolder {
  Samples samples;
  std::vector<int32_t> lowest, highest;  // token of each column
  std::vector<nb::object> keep;
};

// loss: null when no targets are needed.
void require_samples(const Network& net, const SamplesHolder& holder, const LossOptions* loss);

float* require_state(const Network& net, std::optional<FloatsOut>& state, int64_t rows);

// (name, quantiles, class_weights, label_smoothing, ignore_index)
using LossRow = std::tuple<std::string, std::vector<double>, std::vector<double>, double,
                           std::optional<double>>;

LossOptions loss_options(const Network& net, const LossRow& row);

// What an epoch runs over, checked. carried: the state with rows for the largest batch, or no data.
Batches checked_batches(const Network& net, const Samples& s, const Indices& order,
                        const Indices& bounds, const std::optional<Array<const uint8_t, 1>>& resets,
                        std::optional<FloatsOut>& state, State<float>* carried);

// A Network as Python describes it; layers: rows of kernels.lower.
void init_network(Network* self, int64_t inputs, int64_t token_columns,
                  const std::vector<nb::dict>& layers, const std::string& output);

void bind_samples(nb::module_& m);
void bind_network(nb::module_& m);
void bind_training(nb::module_& m);
void bind_stack(nb::module_& m);
void bind_stream(nb::module_& m);
void bind_chains(nb::module_& m);

}  // namespace headgate
