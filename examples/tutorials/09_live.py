"""9. Live: a sensor is predicted value by value, by a network that goes on learning.

The network has learned how a machine swings. Then the machine gets another speed. One copy of the
network stays as it is; the other learns from the last twenty values whenever twenty have come.
"""

import argparse
import copy
import time

import numpy as np

import headgate as hg
from headgate.plots import new_figure, save_figure, style

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", help="folder for the picture")
out = parser.parse_args().out

speed = np.where(np.arange(9000) < 4000, 0.2, 0.35)
series = np.sin(np.cumsum(speed)) + np.random.default_rng(0).normal(0, 0.05, 9000)
X, y = series[:1000].reshape(10, 100, 1), series[1:1001].reshape(10, 100, 1)
frozen = hg.Network(input_size=1, hidden_size=16, output_size=1, readout="every", seed=0)
frozen.fit(X, y, epochs=200, batch_size=1, learning_rate=0.003)
learning = copy.deepcopy(frozen)

streams = {"stays as it is": frozen.stream(), "goes on learning": learning.stream()}
predicted = {name: [] for name in streams}
last, updates, begin = [], 0, time.perf_counter()
for value in series[1000:-1].tolist():  # as they would come from the sensor
    for name, stream in streams.items():
        predicted[name].append(stream.step(value)[0])
    last.append(value)
    if len(last) == 21:  # the state goes on from update to update, and memory does not grow
        window = np.array(last).reshape(1, 21, 1)
        learning.partial_fit(window[:, :-1], window[:, 1:], stateful=True, learning_rate=0.003)
        last, updates = last[-1:], updates + 1
microseconds = (time.perf_counter() - begin) / len(series[1001:]) * 1e6
print(f"{updates} updates; {microseconds:.1f} microseconds a value, for both networks together")

figure = new_figure(height=4)
print(f"{'typical error':18}before  change  at the end")
for name, values in predicted.items():
    squares = (values - series[1001:]) ** 2
    parts = (squares[2000:3000], squares[3000:3500], squares[7000:])
    print(f"{name:18}" + "  ".join(f"{np.sqrt(part.mean()):6.3f}" for part in parts))
    running = np.sqrt(np.convolve(squares, np.ones(100) / 100, "valid"))
    figure.axes[0].plot(np.arange(100, len(squares) + 1), running, label=name)

if out:
    style(figure.axes[0], "Another speed from value 3,000 on", "value", "error of the last 100")
    figure.axes[0].legend(frameon=False)
    save_figure(figure, f"{out}/09_live.png", dpi=80)
