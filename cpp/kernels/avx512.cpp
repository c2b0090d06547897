#include "dispatch.h"
#if defined(__AVX512F__)
#include <immintrin.h>
#define HEADGATE_VEC_AVX512
#include "table.inl"
const headgate::Kernels* headgate::avx512_kernels() { return table("avx512"); }
#else
const headgate::Kernels* headgate::avx512_kernels() { return nullptr; }
#endif
