"""2. Two GRU layers: what the first says at every step, and what the second says last.

Three sequences of five steps with ten features each, (3, 5, 10), become (3, 20). There is no head:
what comes out is the last state of the second layer.
"""

import argparse

import numpy as np

import headgate as hg
from headgate.plots import save_figure

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", help="folder for the picture")
out = parser.parse_args().out

rng = np.random.default_rng(0)
X, y = rng.normal(size=(3, 5, 10)), rng.uniform(-1, 1, size=(3, 20))

net = hg.Network(input_size=10, hidden_size=20, num_layers=2, output_size=None, seed=0)
print(net.summary())
# A layer has 3 gates, each with weights for its inputs and its states, and two biases.
first, second = (3 * (20 * inputs + 20 * 20 + 20 + 20) for inputs in (10, 20))
print(f"by hand: {first} + {second} = {first + second} parameters")

gates = net.gates(X)  # a look inside, layer by layer
print("the first layer, at every step:", gates["gru_l0"].state.shape)
print("the second layer, at every step:", gates["gru_l1"].state.shape)
print("the network, the last step alone:", net.predict(X).shape)
assert np.allclose(gates["gru_l1"].state[:, -1], net.predict(X))

history = net.fit(X, y, epochs=10, batch_size=3, optimizer="adam", loss="mse", learning_rate=0.01)
print(
    f"loss before the first update {history.loss[0]:.4f}, before the tenth {history.loss[-1]:.4f}"
)

if out:
    save_figure(history.plot().figure, f"{out}/02_stacks.png", dpi=80)
