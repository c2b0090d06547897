// module.cpp: the extension module, and what a call into it needs of Python.
#include "bindings.h"

namespace headgate {

bool in_main_thread() {
  thread_local const bool main = [] {
    const nb::module_ threading = nb::module_::import_("threading");
    return threading.attr("main_thread")().attr("ident").equal(threading.attr("get_ident")());
  }();
  return main;
}

bool finalizing() {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing() != 0;
#else
  return _Py_IsFinalizing() != 0;
#endif
}

bool ask(void*) {
  nb::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

}  // namespace headgate

NB_MODULE(_engine, m) {
  using namespace headgate;
  nb::set_leak_warnings(false);
  m.def("isa", [] { return kernels().name; });
  m.def("set_isa", [](const std::string& name) { return set_isa(name.c_str()); });
  m.def("isa_request_failed", &isa_request_failed);
  m.def("available_isas", [] {
    const Kernels* tables[4];
    const int count = available_kernels(tables, 4);
    std::vector<std::string> names;
    for (int i = 0; i < count; ++i) names.emplace_back(tables[i]->name);
    return names;
  });
  m.def("set_num_threads", &set_num_threads);
  m.def("get_num_threads", &get_num_threads);
  // In place; what the accuracy tests measure.
  m.def(
      "activate",
      [](const std::string& name, FloatsOut x) {
        const auto size = static_cast<int64_t>(x.shape(0));
        require(size % kAlignment == 0, "size must be a multiple of 16");
        if (name == "sigmoid") return kernels().sigmoid(x.data(), size);
        require(name == "tanh", "sigmoid or tanh");
        kernels().tanh(x.data(), size);
      },
      "name"_a, "x"_a.noconvert());
  bind_samples(m);
  bind_network(m);
  bind_training(m);
  bind_stack(m);
  bind_stream(m);
  bind_chains(m);
}
