"""4. Whales: the weights of tutorial 3's GRU by the whale optimisation algorithm, beside Adam.

A swarm needs no gradients: it needs a vector of numbers and a loss. Here the 929 weights are one
vector, and the loss is the mean squared error over the training values, read as one sequence. Both
may look at it some 5,000 times. Needs mealpy: pip install --no-deps mealpy==3.0.3 (without
--no-deps it would bring an old NumPy), pandas and matplotlib.
"""

import argparse
import time

import numpy as np
from mealpy import WOA, FloatVar

import headgate as hg
from headgate.plots import new_figure, save_figure, style

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", help="folder for the picture")
out = parser.parse_args().out

noise = np.random.RandomState(42).normal(0, 0.1, 1000)
series = np.round(np.sin(np.linspace(0, 10 * np.pi, 1000)) + noise, 6)
X, y = series[None, :798, None], series[None, 1:799, None]  # (1, 798, 1), and one step later
net = hg.Network(input_size=1, hidden_size=16, output_size=1, readout="every")


def adam():
    return net.fit(X, y, epochs=5000, learning_rate=0.005, schedule="cosine").loss


def loss(weights):
    net.set_vector(weights)
    return net.evaluate(X, y)


def whales():
    """50 whales around the network's weights, one of them exactly there, for 100 epochs."""
    weights = net.get_vector()
    near = weights + np.random.default_rng(0).normal(0, 0.01, (50, 929))
    near[0] = weights
    box = FloatVar(lb=weights - 1, ub=weights + 1)
    problem = {"obj_func": loss, "bounds": box, "minmax": "min", "log_to": None}
    model = WOA.OriginalWOA(epoch=100, pop_size=50)
    net.set_vector(model.solve(problem, seed=0, starting_solutions=near).solution)
    return model.history.list_global_best_fit


figure = new_figure()
for name, search in (("whales", whales), ("Adam", adam), ("whales where Adam ended", whales)):
    if name != "whales where Adam ended":
        net.reset_parameters(0, like="torch")
    before, begin = net.evaluate(X, y), time.perf_counter()
    curve = search()
    seconds = time.perf_counter() - begin
    print(f"{name:25}{before:.5f} -> {net.evaluate(X, y):.5f} in {seconds:.1f} s")
    figure.axes[0].loglog(np.linspace(0, 5000, len(curve) + 1)[1:], curve, label=name)

if out:
    style(figure.axes[0], "Whales and Adam", "looks at the loss", "mean squared error")
    figure.axes[0].legend(frameon=False)
    save_figure(figure, f"{out}/04_whales.png", dpi=80)
