"""8. Both directions, residual layers, attention: one task for each, one table.

Sixty values stand in a row, and one of them is marked: which value is it? The mark may come early,
so the last state must have kept the value for up to 60 steps; attention may look back.
"""

import argparse

import numpy as np

import headgate as hg
from headgate.plots import new_figure, save_figure, style

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", help="folder for the picture")
out = parser.parse_args().out

rng = np.random.default_rng(0)
values, place = rng.uniform(-1, 1, (2500, 60)), rng.integers(0, 60, 2500)
X = np.stack([values, np.eye(60)[place]], axis=2)  # (2500, 60, 2): the values, and the mark
y = values[np.arange(2500), place]
learned, unseen = (X[:2000], y[:2000]), (X[2000:], y[2000:])

networks = {
    "one layer": {},
    "both directions": {"bidirectional": True},
    "three layers": {"num_layers": 3},
    "three layers, residual": {"num_layers": 3, "residual": True},
    "attention": {"readout": "attention"},
}
figure = new_figure(2, width=12, height=4)
print(f"{'':24}{'parameters':>10}  {'after 5 epochs':>14}  {'after 20':>9}  seconds")
for name, options in networks.items():
    net = hg.Network(input_size=2, hidden_size=16, output_size=1, seed=0, **options)
    history = net.fit(*learned, validation_data=unseen, epochs=20, learning_rate=0.005)
    loss, seconds = history.val_loss, history.seconds
    count = net.summary().parameters
    print(f"{name:24}{count:>10,}  {loss[4]:>14.5f}  {loss[19]:>9.5f}  {seconds:>7.2f}")
    figure.axes[0].semilogy(np.arange(1, 21), loss, label=name)

if out:
    style(figure.axes[0], "Values not seen in training", "epoch", "mean squared error")
    figure.axes[0].legend(frameon=False)
    figure.axes[0].set_xticks([1, 5, 10, 15, 20])
    figure.axes[1].imshow(net.attention(X[-12:]), aspect="auto", cmap="Blues")
    figure.axes[1].plot(place[-12:], np.arange(12), "o", ms=12, mfc="none", mec="#D55E00")
    style(figure.axes[1], "Attention, and the marks (orange)", "step", "sequence")
    save_figure(figure, f"{out}/08_bidirectional_residual_attention.png", dpi=80)
