"""6. The cell by hand: the equations of the textbooks in NumPy, and the same in the engine.

    r = sigmoid(W_r [h; x] + b_r)        z = sigmoid(W_z [h; x] + b_z)
    n = tanh(W [r * h; x] + b)           h' = (1 - z) * n + z * h       (keep-form)

Half of the books write h' = (1 - z) * h + z * n (update-form). Both are computed here, with 10
inputs, 5 units and the same weights, which then are two different networks.
"""

import argparse

import numpy as np

import headgate as hg
from headgate.plots import save_figure

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", help="folder for the picture")
out = parser.parse_args().out

rng = np.random.default_rng(0)
I, H, T = 10, 5, 12  # noqa: E741
W_r, W_z, W = (rng.uniform(-0.5, 0.5, (H, H + I)) for _ in range(3))
b_r, b_z, b = (rng.uniform(-0.5, 0.5, H) for _ in range(3))
x = rng.normal(size=(T, I))
print("parameters by hand:", sum(part.size for part in (W_r, W_z, W, b_r, b_z, b)))


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def step(h, x, update_form):
    both = np.concatenate([h, x])
    r, z = sigmoid(W_r @ both + b_r), sigmoid(W_z @ both + b_z)
    n = np.tanh(W @ np.concatenate([r * h, x]) + b)
    return (1 - z) * h + z * n if update_form else (1 - z) * n + z * h


for update_form in (False, True):
    h, states = np.zeros(H), []
    for t in range(T):
        h = step(h, x[t], update_form)
        states.append(h)
    cell = hg.gate_layout.from_textbook(W_r, W_z, W, b_r, b_z, b, update_form=update_form)
    net = hg.Network(
        input_size=I, hidden_size=H, output_size=None, readout="every", reset_after=False
    )
    net.load_state_dict({f"gru.{name}_l0": part for name, part in cell._asdict().items()})
    difference = np.abs(net.predict(x[None])[0] - np.array(states)).max()
    form = "update-form" if update_form else "keep-form"
    print(f"{form}: the engine differs from NumPy by at most {difference:.1e}")
    assert difference < 1e-6

if out:  # in the engine 1 keeps the old state, whatever the weights were written for
    save_figure(net.plot_gates(x[None]), f"{out}/06_cell_by_hand.png", dpi=80)
