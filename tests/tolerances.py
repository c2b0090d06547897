"""Every tolerance of the tests, in one place, with its source.

A tolerance is part of what the package promises. None is widened to make a test pass: a test
that misses one has found something.
"""

# -- the float64 reference against itself ----------------------------------------------------

# Fourth-order central differences in float64: 1e-16 of the fifth derivative (step^4 / 30), and
# about 1e-11 of rounding for a loss near 5 (a few units in its last place over the step).
DIFFERENCE_STEP = 2e-4
CENTRAL_DIFFERENCE = 1e-8  # max|difference| <= this * max(DIFFERENCE_FLOOR, max|gradient|)
DIFFERENCE_FLOOR = 1e-2
FLOAT64_EQUAL = 1e-14  # the same sums in another order, values of order 1

# -- kernels against the float64 reference ---------------------------------------------------

# Absolute, default initial weights and N(0, 1) inputs, T <= 100.
FORWARD_UP_TO_256 = 1e-6  # H <= 256
FORWARD_ABOVE_256 = 2e-6  # H > 256
# Elsewhere: at most this many times the error of a plain float32 evaluation of the reference.
FORWARD_ERROR_RATIO = 4.0
# max|difference| <= this * max|gradient|, tensor by tensor.
GRADIENT = 1e-5

# -- whole networks in PyTorch ----------------------------------------------------------------

# The same sums in another order, in float64: a normalised gate may grow rounding by 1 / sqrt(1e-5).
TORCH_FLOAT64 = 1e-12  # outputs; gradients, as a share of the larger of 1 and the largest
# Both in float32, outputs of order 1: the tolerance of a forward pass for either side.
TORCH_FLOAT32 = 2e-6
KERAS_FLOAT32 = 2e-6  # likewise

# Absolute: probabilities from float32 scores of order 10, whose rounding is 1e-6.
CRF_MARGINALS = 5e-6

# Absolute: two float32 evaluations of one network, each within FORWARD_UP_TO_256 of the truth.
ONNX_BESIDE_PREDICT = 2e-6

# Absolute: probabilities of two logistic regressions that both stop a little short of the optimum.
NGRAM_PROBABILITY = 2e-2

# Absolute, parameters of order 1 after 50 to 300 updates against float64: rounding alone, which an
# optimiser that moves every row in float32 has too (1.4e-6).
OPTIMIZER = 3e-6

# Units in the last place; the sigmoid's where its result is a normal number.
TANH_ULP = 2
SIGMOID_ULP = 4
SIGMOID_BELOW_NORMAL = 2.0**-126  # absolute, where the result is below the smallest normal

# -- headgate.torch beside torch.nn, both in float32 --------------------------------------------

# Of small modules, sums in another order: absolute, or the share of a tensor's largest above 1.
TORCH_FLOAT32 = 1e-5
# Second derivatives, as a share of the largest of a tensor: rounding acts twice.
TORCH_SECOND = 1e-4

# Absolute: losses of 200 steps of Adam beside PyTorch's float32, from equal weights.
LOSS_CURVE = 1e-4

# -- the sine job, one by one ----------------------------------------------------------------

# Started from torch.manual_seed(0)'s weights; PyTorch's own figures are the expected values.
SINE_TRAIN_LOSS = 0.0115601
SINE_TRAIN_LOSS_ABS = 2e-6
SINE_ROLLOUT_MSE = 0.01713
SINE_ROLLOUT_MSE_ABS = 2e-4


def forward_tolerance(hidden_size: int) -> float:
    """Absolute tolerance of a forward pass, default initial weights, N(0, 1) inputs."""
    return FORWARD_UP_TO_256 if hidden_size <= 256 else FORWARD_ABOVE_256
