"""5. Good or bad? The sentiment of six reviews of our own, then of ten thousand real ones.

Words become numbers, numbers become vectors (an embedding), a GRU reads them, and one output says
how likely it is that a review is a good one. The real ones are rt_polarity (Pang and Lee 2005), in
the folder that the variable HEADGATE_DATA names; without it they are skipped.
"""

import argparse
import os
from pathlib import Path

import numpy as np

import headgate as hg
from headgate.class_plots import learning_figure
from headgate.plots import save_figure

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", help="folder for the picture")
out = parser.parse_args().out


def reader(texts):
    """A function from texts to rows of numbers; 1 stands for words that ``texts`` do not have."""
    words = {word: 2 + k for k, word in enumerate(sorted(set(" ".join(texts).split())))}
    return lambda texts: [np.array([words.get(w, 1) for w in t.split()]) for t in texts]


texts = ["a warm and funny film", "i loved it", "a slow and boring film", "i hated it"]
texts += ["what wonderful acting", "what terrible acting"]
read = reader(texts)
size = {"embedding_size": 32, "hidden_size": 32, "task": "binary", "seed": 0}
net = hg.Network(vocabulary=100, **size)
net.fit(read(texts), [1, 1, 0, 0, 1, 0], epochs=50, learning_rate=0.01)
for text in ("a wonderful film", "a boring film"):
    print(f"{text!r} is good with probability {net.predict(read([text]))[0, 0]:.2f}")

folder = Path(os.environ.get("HEADGATE_DATA", ""), "rt_polarity")
if not folder.is_dir():
    print("HEADGATE_DATA names no folder with rt_polarity, so the real reviews are skipped")
    raise SystemExit
bad, good = ((folder / f"rt-polarity.{end}").read_text("cp1252") for end in ("neg", "pos"))
texts, labels = np.array((bad + good).splitlines()), np.repeat([0.0, 1.0], 5331)
order = np.split(np.random.default_rng(0).permutation(len(texts)), [8500, 9500])
read = reader(texts[order[0]])  # knows the words of the training part alone
train, validation, test = ((read(texts[rows]), labels[rows]) for rows in order)
size |= {"vocabulary": 20000, "readout": "max", "input_dropout": 0.5, "head_dropout": 0.5}
# The epoch with the lowest validation loss is kept; nothing is chosen on the test part.
net, accuracy = hg.Network(embedding_scale=0.1, **size), []


def score(X, y):
    """The share of reviews that the network takes for what they are."""
    return np.mean((net.predict(X)[:, 0] > 0.5) == y)


watch = {"early_stopping": 2, "callbacks": [lambda _: accuracy.append(score(*validation))]}
history = net.fit(*train, validation_data=validation, epochs=20, learning_rate=0.0005, **watch)
print(f"stopped after {len(accuracy)} epochs; right on {score(*test):.1%} of the other reviews")

if out:
    figure = learning_figure(history.loss, history.val_loss, accuracy, score_name="accuracy")
    save_figure(figure, f"{out}/05_sentiment.png", dpi=80)
