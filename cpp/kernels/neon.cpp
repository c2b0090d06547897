#include "dispatch.h"
#if defined(__aarch64__) || defined(_M_ARM64)
#include <arm_neon.h>
#define HEADGATE_VEC_NEON
#include "table.inl"
const headgate::Kernels* headgate::neon_kernels() { return table("neon"); }
#else
const headgate::Kernels* headgate::neon_kernels() { return nullptr; }
#endif
