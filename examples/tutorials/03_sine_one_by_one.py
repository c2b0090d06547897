"""3. A noisy sine, one value after the other: a GRU that remembers against an MLP that cannot.

Both learn to say the next value. Then they go on alone for 199 steps, each fed with its own
predictions. Both start with the weights that PyTorch draws after torch.manual_seed(0).
"""

import argparse

import numpy as np

import headgate as hg
from headgate.plots import direct_labels, new_figure, save_figure, style

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", help="folder for the picture")
out = parser.parse_args().out

noise = np.random.RandomState(42).normal(0, 0.1, 1000)
series = np.round(np.sin(np.linspace(0, 10 * np.pi, 1000)) + noise, 6)
runs = series[: 38 * 21].reshape(38, 21, 1)  # 20 inputs, and the same one step later
first, truth = series[800], series[801:]

gru = hg.Network(input_size=1, hidden_size=16, output_size=1, readout="every")
gru.reset_parameters(0, like="torch")
mlp = hg.Network(hg.NetworkSpec.mlp(1, [32, 16], 1))
mlp.reset_parameters(0, like="torch", skip=gru.spec.parameter_count())  # made after the GRU

curves = {}
for name, net, stateful in (("GRU", gru, True), ("MLP", mlp, False)):
    path = []

    def go_on_alone(env, path=path):
        """After every epoch: the squared error of 199 steps on its own predictions."""
        path.append(np.mean((env.network.rollout(first, 199)[:, 0] - truth) ** 2))

    # stateful: a run begins with the state that the run before has left, over the epochs too
    options = {"epochs": 150, "batch_size": 1, "shuffle": False, "learning_rate": 5e-4}
    history = net.fit(
        runs[:, :-1], runs[:, 1:], stateful=stateful, callbacks=[go_on_alone], **options
    )
    curves[name] = {"training loss": history.loss, "loss of 199 steps alone": np.array(path)}

print(f"{'':5}{'parameters':>10}  {'training loss':>13}  {'199 steps alone':>15}")
for name, net in (("GRU", gru), ("MLP", mlp)):
    train, alone = (curve[-1] for curve in curves[name].values())
    print(f"{name:5}{net.summary().parameters:>10}  {train:>13.4f}  {alone:>15.3g}")

if out:
    figure = new_figure(2, width=12, height=4)
    for axes, what in zip(figure.axes, curves["GRU"], strict=True):
        for name, color in (("GRU", "#0072B2"), ("MLP", "#D55E00")):
            axes.semilogy(np.arange(1, 151), curves[name][what], color=color)
        style(axes, what.capitalize(), "epoch", "mean squared error")
        ends = [(curves["GRU"][what][-1], "GRU", "#0072B2")]
        direct_labels(axes, [*ends, (curves["MLP"][what][-1], "MLP", "#D55E00")])
    save_figure(figure, f"{out}/03_sine_one_by_one.png", dpi=80)
