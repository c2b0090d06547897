// losses.h: mean squared, mean absolute and Huber loss over the valid targets of an update.
#pragma once
#include <cstdint>

namespace headgate {

enum class Loss { mse, mae, huber };  // huber: delta 1, as PyTorch's default

// Sum of the losses of y against target, both [count, width] in rows of `row` floats. With
// `gradient`, also d(mean loss)/dy there; its padding is left alone.
double loss_and_gradient(Loss loss, const float* y, const float* target, int64_t count,
                         int64_t width, int64_t row, float* gradient);

}  // namespace headgate
