#include "table.inl"
namespace headgate {
const Kernels* generic_kernels() { return table("generic"); }
}  // namespace headgate
