#include "dispatch.h"
#if defined(__AVX2__) && (defined(__FMA__) || defined(_MSC_VER))
#include <immintrin.h>
#define HEADGATE_VEC_AVX2
#include "table.inl"
const headgate::Kernels* headgate::avx2_kernels() { return table("avx2"); }
#else
const headgate::Kernels* headgate::avx2_kernels() { return nullptr; }
#endif
