"""7. The next word of a Chinese sentence, and what the gates did at each word.

A language model of a dozen lines, read word by word. Words are found by jieba:
pip install 'headgate[text]'.
"""

import argparse

import numpy as np

import headgate as hg
from headgate.fonts import names_that_show
from headgate.plots import new_figure, save_figure, style

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", help="folder for the picture")
out = parser.parse_args().out

lines = """\
今天阳光明媚，我决定去公园散步。
今天阳光明媚，我们决定去河边钓鱼。
今天下雨了，我决定在家里看书。
今天下雪了，我们决定在家里喝茶。
今天很热，我决定去河边游泳。
昨天阳光明媚，我去公园散步了。
昨天下雨了，我在家里看书。
明天要是天气好，我们就去爬山。
周末下雨了，我决定在家里做饭。
我决定去公园散步，因为阳光很好。""".splitlines()
prompt = "今天阳光明媚，我决定"

model = hg.LanguageModel(unit="jieba", hidden_size=64, epochs=100, progress=False).fit(lines)
print(f"{model.members_.networks[0].summary().parameters:,} parameters, {model.seconds_:.1f} s")
readings = model.gates(prompt, k=3)
print("word  reset  update  likeliest next words")
for at in readings:
    likeliest = ", ".join(f"{word} {chance:.0%}" for word, chance in at.next)
    print(f"{at.token}  {at.reset:.2f}  {at.update:.2f}  {likeliest}")
print("goes on:", prompt + model.generate(prompt, 12, temperature=0))

if out:
    figure = new_figure(height=4)
    place = np.arange(len(readings))
    for k, gate in enumerate(("reset", "update")):
        heights = [getattr(at, gate) for at in readings]
        figure.axes[0].bar(place + 0.36 * k, heights, 0.34, label=f"{gate} gate")
    figure.axes[0].set_xticks(place + 0.18, names_that_show([at.token for at in readings], "word"))
    style(figure.axes[0], "Gates, word by word: update 1 keeps the old state", "", "mean")
    figure.axes[0].legend(frameon=False)
    save_figure(figure, f"{out}/07_next_word.png", dpi=80)
