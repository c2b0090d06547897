"""1. A noisy sine in windows: ten values predict the next one.

The series is scaled to [0, 1] by its training part, cut into windows, and learned by GRU(50) and a
linear layer. Then the same with clipped gradients, with dropout, and with three layers.
"""

import argparse

import numpy as np

import headgate as hg
from headgate.plots import new_figure, rollout_axes, save_figure

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", help="folder for the picture")
out = parser.parse_args().out

noise = np.random.RandomState(42).normal(0, 0.05, 1000)
series = np.sin(np.linspace(0, 100, 1000)) + noise
low, high = series[:802].min(), series[:802].max()  # all that the training windows hold
X, y = hg.windows((series - low) / (high - low), lookback=10)  # (990, 10, 1) and (990, 1)
train, validation = (X[:792], y[:792]), (X[792:], y[792:])
print(f"{len(train[0])} windows to learn from, {len(validation[0])} to validate with")

networks = {
    "GRU(50)": ({"hidden_size": 50}, {}),
    "gradients clipped at 1": ({"hidden_size": 50}, {"clip_norm": 1.0}),
    "dropout 0.2": ({"hidden_size": 50, "head_dropout": 0.2}, {}),
    "recurrent dropout 0.2": ({"hidden_size": 50, "recurrent_dropout": 0.2}, {}),
    "64-32-16, dropout 0.2": ({"hidden_size": [64, 32, 16], "dropout": 0.2}, {}),
}
learned = {}
print(f"{'':24}{'parameters':>10}  {'training':>8}  {'validation':>10}  seconds")
for name, (layers, options) in networks.items():
    net = hg.Network(input_size=1, output_size=1, seed=0, **layers)
    history = net.fit(*train, validation_data=validation, epochs=50, batch_size=32, **options)
    learned[name] = (net, history)
    losses = f"{history.loss[-1]:>8.5f}  {history.val_loss[-1]:>10.5f}"
    print(f"{name:24}{net.summary().parameters:>10,}  {losses}  {history.seconds:>7.2f}")

net, history = learned["GRU(50)"]
print(net.summary())
predicted = net.predict(validation[0])[:, 0] * (high - low) + low  # back to the series' own values
error = np.sqrt(np.mean((predicted - series[802:]) ** 2))
print(f"typical error of the next value: {error:.3f}, where the noise alone is 0.05")

if out:
    figure = new_figure(2, width=12, height=4)
    history.plot(figure.axes[0])
    paths = {"predicted": predicted}
    rollout_axes(figure.axes[1], series[802:], paths, "The next value, ten known", xlabel="window")
    save_figure(figure, f"{out}/01_sine_windows.png", dpi=80)
