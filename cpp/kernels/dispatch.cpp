#include "dispatch.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

#if defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
#include <intrin.h>
#endif

namespace headgate {
namespace {

// Whether the CPU has the instructions and the operating system saves the registers.
#if (defined(__GNUC__) || defined(__clang__)) && (defined(__x86_64__) || defined(__i386__))
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
}
#elif defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
bool os_saves(unsigned long long mask) {
  int regs[4];
  __cpuid(regs, 1);
  return (regs[2] >> 27 & 1) && (_xgetbv(0) & mask) == mask;
}
bool has_avx2() {
  int one[4], seven[4];
  __cpuid(one, 1);
  __cpuidex(seven, 7, 0);
  return os_saves(0x6) && (one[2] >> 12 & 1) && (seven[1] >> 5 & 1);
}
bool has_avx512() {
  int seven[4];
  __cpuidex(seven, 7, 0);
  const int needed = 1 << 16 | 1 << 17 | 1 << 30 | static_cast<int>(1u << 31);
  return has_avx2() && os_saves(0xe6) && (seven[1] & needed) == needed;
}
#else
bool has_avx2() { return false; }
bool has_avx512() { return false; }
#endif

bool request_failed = false;

const Kernels* find(const char* name) {
  const Kernels* tables[4];
  const int count = available_kernels(tables, 4);
  for (int i = 0; i < count; ++i)
    if (std::strcmp(tables[i]->name, name) == 0) return tables[i];
  return nullptr;
}

const Kernels* choose() {
  const Kernels* tables[4];
  available_kernels(tables, 4);
  if (const char* wanted = std::getenv("HEADGATE_ISA")) {
    if (*wanted) {
      if (const Kernels* found = find(wanted)) return found;
      request_failed = true;
    }
  }
  return tables[0];
}

std::atomic<const Kernels*>& current() {
  static std::atomic<const Kernels*> table{choose()};
  return table;
}

}  // namespace

int available_kernels(const Kernels** tables, int capacity) {
  int count = 0;
  const auto offer = [&](const Kernels* table, bool supported) {
    if (table && supported && count < capacity) tables[count++] = table;
  };
  offer(avx512_kernels(), has_avx512());
  offer(avx2_kernels(), has_avx2());
  offer(neon_kernels(), true);
  offer(generic_kernels(), true);
  return count;
}

const Kernels& kernels() { return *current().load(std::memory_order_relaxed); }

bool set_isa(const char* name) {
  const Kernels* found = find(name);
  if (found) current().store(found);
  return found != nullptr;
}

bool isa_request_failed() {
  current();
  return request_failed;
}

}  // namespace headgate
