"""LanguageModel: what it learns, says, writes and keeps; and what it refuses."""

import math

import numpy as np
import pytest
import tolerances
from sklearn.base import clone

import headgate as hg
from headgate.models.texts.corpus import LINE, Sequences, Writing, hold_out, pack, unpack
from headgate.models.texts.language_network import (
    best_weight,
    language_table,
    make_plan,
    mixture,
    network_log_probabilities,
)
from headgate.models.texts.sampling import Sampling, until

LINES = [
    f"{who}{when}{what}。"
    for who in ("我", "你", "他们", "老师")
    for when in ("今天", "明天", "现在", "常常")
    for what in ("去学校", "看书", "吃饭", "决定回家", "学习中文")
]
SMALL = {"hidden_size": 16, "epochs": 30, "progress": False, "validation_fraction": 0.2}


@pytest.fixture(scope="module")
def model():
    return hg.LanguageModel(**SMALL).fit(LINES * 3)


@pytest.fixture(scope="module")
def runner():
    """Of one running text."""
    text = "the cat sat on the mat.\nthe dog sat on the log.\n" * 30
    return hg.LanguageModel("char", **SMALL).fit(text), text


def test_it_learns_what_follows(model):
    score = model.evaluate(LINES)
    assert score.tokens == sum(map(len, LINES)) + len(LINES)  # the end of each line too
    assert score.unknown == 0
    assert score.perplexity < score.network < score.unigram / 3
    assert model.perplexity(LINES) == score.perplexity
    assert model.score(LINES) == -score.nats == pytest.approx(-math.log(score.perplexity))
    best, second = model.next("我们今天决定", 2)
    assert best[0] == "回"
    assert best[1] > 0.5 > second[1]
    assert model.next("我今天看书。", 1)[0][0] == "\n"


def test_the_mixture_is_the_weighted_sum_of_its_parts(model):
    text = LINES[3]
    tokens = np.array([*model.writing_.prompt(text), model.writing_.line])
    own = network_log_probabilities(
        model.members_.networks[0], Sequences(tokens.astype(np.int32), np.array([0]))
    )
    other = model.ngram_.log_probabilities(tokens)
    w = model.network_weight_
    assert 0 < w < 1
    mixed = np.log(w * np.exp(own[1:]) + (1 - w) * np.exp(other[1:]))
    assert model.score([text]) == pytest.approx(mixed.mean(), abs=tolerances.FLOAT64_EQUAL)


def test_the_network_is_asked_for_the_token_behind_each_step(model):
    tokens = np.array(model.writing_.prompt("我今天看书"), np.int32)
    given = Sequences(np.tile(tokens, 2), np.array([0, len(tokens)]))
    network = model.members_.networks[0]
    p = network.predict(tokens[None])[0]
    expected = [0.0, *np.log(p[np.arange(len(tokens) - 1), tokens[1:]].astype(np.float64))]
    found = network_log_probabilities(network, given)
    np.testing.assert_allclose(found, expected * 2, rtol=0, atol=tolerances.FLOAT64_EQUAL)


def test_the_weight_is_the_best():
    rng = np.random.default_rng(0)
    own, other = np.log(rng.random((2, 500)))
    best = best_weight(own, other)
    assert 0.1 < best < 0.9
    scores = [mixture(own, other, w).mean() for w in (best - 0.02, best, best + 0.02)]
    assert max(scores) == scores[1]
    assert best_weight(own, own - 9) == 0.99


@pytest.mark.parametrize("keep", [True, False])
def test_the_best_epoch_is_kept(keep):
    held = ["".join(reversed(line)) for line in LINES]  # the better it learns, the worse this gets
    model = hg.LanguageModel(**SMALL, early_stopping=keep).fit(LINES, validation_data=held)
    losses = model.history_.val_losses
    assert len(losses) == SMALL["epochs"]
    assert min(losses) < losses[-1]
    expected = min(losses) if keep else losses[-1]
    assert math.log(model.evaluate(held).network) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(hg.InputError, match="validation_data is empty: no token is left"):
        model.set_params(cleaning=hg.Cleaning()).fit(LINES[0], validation_data="<b></b>")


def test_the_state_is_carried_through_a_text_however_it_is_cut(runner, monkeypatch):
    model, text = runner
    whole = model.evaluate(text[:500])
    monkeypatch.setattr("headgate.models.texts.language_network._CELLS", 17 * 64)
    assert model.evaluate(text[:500]) == whole
    parts = [text[:300], text[300:310], text[310:500]]
    together = model.evaluate(parts)
    alone = [model.evaluate([part]) for part in parts]
    mean = sum(score.nats * score.tokens for score in alone) / together.tokens
    assert together.nats == pytest.approx(mean, abs=tolerances.FLOAT64_EQUAL)


def test_step_by_step_it_says_what_it_says_of_the_whole(runner):
    model, text = runner
    logs = 0.0
    for place in range(40, 60):
        known = dict(model.next(text[:place], 99))
        logs += math.log(known[text[place]])
    # what cannot be written is left out of `next`, and has next to no probability here
    apart = model.evaluate(text[:60]).nats * 60 - model.evaluate(text[:40]).nats * 40
    assert -logs == pytest.approx(apart, abs=0.05)


def test_next_has_at_most_all_tokens_and_they_add_up_to_one(model):
    known = model.next("", 10**6)
    assert len(known) == len(model.writing_) - 2  # neither padding nor unknown
    assert sum(p for _, p in known) == pytest.approx(1)
    assert [p for _, p in known] == sorted((p for _, p in known), reverse=True)
    assert [token for token, _ in known[:4]] != []
    assert "<unk>" not in dict(known)


def test_generating_is_repeatable_and_streams(model, runner):
    drawn = [model.generate("我", 30, seed=seed) for seed in range(8)]
    assert drawn == [model.generate("我", 30, seed=seed) for seed in range(8)]
    assert len(set(drawn)) > 1
    assert all("\n" not in text for text in drawn)  # a list of texts: it ends where they do
    pieces = list(model.stream("我", 30, seed=3))
    assert "".join(pieces) == drawn[3]
    assert all(len(piece) == 1 for piece in pieces)
    greedy = [model.generate("老师", 30, temperature=0, seed=seed) for seed in (1, 2)]
    assert greedy[0] == greedy[1]
    assert model.generate("老师", 30, top_k=1, seed=5) == greedy[0]
    assert model.generate("老师", 30, top_p=1e-9, seed=5) == greedy[0]
    assert model.generate("老师", 0) == ""
    other, _ = runner
    assert other.generate("the cat", 200, temperature=0).count("\n") > 2  # a running text goes on
    assert other.generate("the cat", 200, temperature=0, stop="\n") == " sat on the mat."
    assert other.generate("the cat", 200, temperature=0, stop=["zz", "on t"]) == " sat "


def test_words_are_joined_as_they_are_written():
    text = "He said: it's late, isn't it?\nYes, it is late.\n" * 20
    model = hg.LanguageModel("word", **SMALL).fit(text)
    assert model.generate("He", 100, temperature=0, stop="\n") == " said: it's late, isn't it?"
    assert model.next("Yes", 1)[0][0] == ","


def test_gates_are_the_network_s_and_lie_between_zero_and_one(model):
    readings = model.gates("我今天")
    assert [reading.token for reading in readings] == ["我", "今", "天"]
    assert readings[-1].next == model.next("我今天", 3)
    assert all(0 < gate < 1 for r in readings for gate in (r.reset, r.update))
    network = model.members_.networks[0]
    found = network.gates([np.array(model.writing_.prompt("我今天"))])
    assert readings[1].update == pytest.approx(found.update[0, 2].mean())
    assert readings[1].reset == pytest.approx(found.reset[0, 2].mean())
    assert model.gates("") == []


@pytest.mark.parametrize("which", ["model", "runner"])
def test_a_file_gives_the_same_bits(which, request, tmp_path):
    model = request.getfixturevalue(which)
    model = model[0] if isinstance(model, tuple) else model
    model.save(tmp_path / "m.safetensors")
    again = hg.load(tmp_path / "m.safetensors")
    assert again.evaluate(LINES) == model.evaluate(LINES)
    assert again.next("我", 99) == model.next("我", 99)
    assert again.generate("the ", 50, seed=1) == model.generate("the ", 50, seed=1)
    assert again.get_params() == model.parameters_
    assert again.validation_score_ == model.validation_score_ < 0


def test_the_same_seed_gives_the_same_bits(model):
    again = clone(model).fit(LINES * 3)
    assert again.evaluate(LINES) == model.evaluate(LINES)
    other = clone(model).set_params(seed=1).fit(LINES * 3)
    assert other.evaluate(LINES) != model.evaluate(LINES)


def test_more_text_is_learned():
    news = ["明天老师吃书。"] * 20
    model = hg.LanguageModel(**SMALL).partial_fit(LINES * 3)
    before = model.evaluate(news)
    assert model.partial_fit(news, epochs=3) is model
    after = model.evaluate(news)
    assert after.network < before.network
    assert after.ngram < before.ngram
    assert model.evaluate(LINES).perplexity < 3
    with pytest.raises(hg.InputError, match="batch_size must be between 1"):
        model.set_params(batch_size=0).partial_fit(news)


def test_layers_cleaning_and_the_network_alone(tmp_path):
    model = hg.LanguageModel(
        "word", num_layers=2, embedding_size=8, ngram_order=0, cleaning=hg.Cleaning(), **SMALL
    ).fit(["A <b>Cat</b> SAT", "a cat sat"] * 20)
    assert model.evaluate(["A CAT SAT"]).ngram is None
    assert model.network_weight_ == 1
    assert len(model.gates("a cat")) == 2
    model.save(tmp_path / "m.safetensors")
    again = hg.load(tmp_path / "m.safetensors")
    assert again.cleaning == again.writing_.cleaning == hg.Cleaning()
    assert again.next("A <i>cat", 5) == model.next("a CAT", 5)
    assert again.next("a", 1)[0][0] == "cat"


# -- what is little or strange -----------------------------------------------------------------


@pytest.mark.parametrize("corpus", ["a", "ab ab", "你好。", ["", "a"], ["a"], "\n\na"])
def test_a_corpus_shorter_than_a_chunk_is_learned(corpus):
    with pytest.warns(hg.HeadgateWarning, match="tokens are too few to hold some out"):
        model = hg.LanguageModel(hidden_size=4, epochs=2, progress=False).fit(corpus)
    assert model.validation_score_ is None
    assert 1 <= model.perplexity(corpus) < 20
    assert isinstance(model.generate("", 5, seed=0), str)


def test_what_was_never_seen_in_a_prompt_is_unknown_or_its_like(model):
    assert model.next("龘☃", 3) == model.next("☃龘", 3)
    wide = hg.LanguageModel("char", hidden_size=4, epochs=1, progress=False).fit("好，好" * 20)
    assert wide.writing_.prompt("好,") == wide.writing_.prompt("好，")
    assert 1 not in wide.writing_.prompt("好,")
    both = hg.LanguageModel("char", hidden_size=4, epochs=1, progress=False).fit(
        "好，好" * 20 + ",!"
    )
    assert both.writing_.prompt("好,!") == both.writing_.prompt("好，!")
    assert len(model.next("我" * 100_000, 1)) == 1


def test_unknown_tokens_count_as_one(model):
    score = model.evaluate(["龘龘"])
    assert (score.tokens, score.unknown) == (3, pytest.approx(2 / 3))
    assert math.isfinite(score.perplexity)


@pytest.mark.parametrize("corpus", ["", " \n ", [], ["", " "]])
def test_an_empty_corpus_is_refused(corpus, model):
    with pytest.raises(hg.InputError, match=r"^the corpus is empty: there is no text in it"):
        hg.LanguageModel().fit(corpus)
    with pytest.raises(hg.InputError, match=r"^the text is empty"):
        model.perplexity(corpus)


def test_what_is_no_text_is_refused(model):
    with pytest.raises(hg.InputError) as error:
        hg.LanguageModel().fit(["a", math.nan])
    assert str(error.value) == (
        "the corpus must hold texts, but text 1 is nan of type float; drop missing texts first"
    )
    for wrong in (None, 3, b"bytes", {"a": 1}):
        with pytest.raises(hg.InputError, match=r"^the corpus must be a text or a list of texts"):
            hg.LanguageModel().fit(wrong)
    with pytest.raises(hg.InputError, match=r"^a prompt must be a text, got None"):
        model.next(None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1}, "temperature must be a finite number of at least 0, got -1"),
        ({"temperature": math.nan}, "temperature must be a finite number of at least 0, got nan"),
        ({"top_k": 0}, "top_k must be between 1 and"),
        ({"top_p": 0}, "top_p must be above 0 and at most 1, got 0"),
        ({"n": -1}, "n must be between 0 and"),
        ({"stop": [""]}, "stop must be texts that are not empty"),
        ({"stop": 5}, "stop must be a list or tuple, got 5"),
        ({"seed": -1}, "seed must be between 0 and"),
    ],
)
def test_options_of_generate_are_checked_at_once(model, options, message):
    with pytest.raises(hg.InputError) as error:
        model.stream("我", **options)
    assert str(error.value).startswith(message)
    with pytest.raises(hg.InputError, match=r"^k must be between 1 and"):
        model.next("我", 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "letters"}, "unit must be one of"),
        ({"minutes": math.nan}, "minutes must be a finite number above 0, got nan"),
        ({"ngram_order": 99}, "ngram_order must be between 0 and 16"),
        ({"dropout": 1}, "dropout must be at least 0 and below 1"),
        ({"validation_fraction": math.nan}, "validation_fraction must be between 0 and 0.5"),
        ({"cleaning": "yes"}, "cleaning must be a headgate.Cleaning or None, got 'yes'"),
        ({"max_vocabulary": 2}, "max_vocabulary must be between 10 and"),
    ],
)
def test_parameters_are_checked(options, message):
    with pytest.raises(hg.InputError) as error:
        hg.LanguageModel(**options).fit("a b c")
    assert str(error.value).startswith(message)


def test_not_fitted():
    with pytest.raises(hg.NotFittedError, match=r"^this LanguageModel is not fitted, so next"):
        hg.LanguageModel().next("a")


# -- the parts ---------------------------------------------------------------------------------


def test_the_epochs_follow_from_the_arithmetic():
    usual = {"minutes": 2.5, "dropout": None, "epochs": None, "learning_rate": None}
    short = make_plan(10_000, 60, (100_000, 100_000), 256, **usual)
    long = make_plan(1_000_000, 1000, (270_000, 260_000), 256, **usual)
    huge = make_plan(10**9, 10**6, (270_000, 260_000), 256, **usual)
    assert (short.epochs, huge.epochs) == (30, 1)
    assert 5 < long.epochs < 30
    assert short.dropout == 0.4 > long.dropout == 0.1
    twice = make_plan(1_000_000, 1000, (270_000, 260_000), 256, **{**usual, "minutes": 5})
    assert twice.epochs == pytest.approx(2 * long.epochs, abs=1)


def test_a_running_text_is_read_in_rows_and_every_token_is_a_target_once():
    given = Sequences(np.arange(1001, dtype=np.int32), np.array([0]))
    table = language_table(given, 4)
    assert table.lengths.tolist() == [250] * 4
    ends = table.starts + table.lengths
    targets = np.concatenate([table.y[a:b] for a, b in zip(table.starts, ends, strict=True)])
    assert targets.tolist() == list(range(1, 1001))


def test_what_is_held_out_is_not_learned():
    texts = [np.array([2, 10 + k, 3], np.int32) for k in range(400)]
    starts = np.arange(400) * 3
    learned, held = hold_out(Sequences(np.concatenate(texts), starts), 0.25)
    assert len(held.starts) == 100
    assert not set(learned.tokens) & set(held.tokens) - {2, 3}
    assert len(learned.tokens) + len(held.tokens) == 1200
    running = Sequences(np.arange(5000, dtype=np.int32), np.array([0]))
    learned, held = hold_out(running, 0.1)
    assert learned.tokens.tolist() == list(range(4500))
    assert held.tokens.tolist() == list(range(4499, 5000))  # the first is what it begins with


@pytest.mark.parametrize("vocabulary", [2, 68, 4096, 4097, 1 << 24])
def test_texts_come_back_from_a_file_to_the_token(vocabulary):
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, vocabulary, 101).astype(np.int32)
    tokens[0] = vocabulary - 1
    given = Sequences(tokens, np.array([0, 1, 50]))
    again = unpack(pack(given, vocabulary), vocabulary)
    assert again.tokens.tolist() == tokens.tolist()
    assert again.starts.tolist() == [0, 1, 50]


def test_a_broken_text_in_a_file_is_refused(model):
    good = pack(model.text_, len(model.writing_))
    for name, array in [("text", good["text"][:-5]), ("lengths", good["lengths"] * -1)]:
        with pytest.raises(hg.InputError, match=r"no text of its vocabulary"):
            unpack({**good, name: array}, len(model.writing_))


def test_drawing_follows_temperature_and_what_is_left_out():
    p = np.array([0.5, 0.3, 0.15, 0.05])
    rng = np.random.default_rng(0)

    def shares(**options):
        drawn = [Sampling(**options).draw(p, rng) for _ in range(4000)]
        return np.bincount(drawn, minlength=4) / 4000

    assert shares() == pytest.approx(p, abs=0.03)
    hot = p**0.5 / (p**0.5).sum()
    assert shares(temperature=2.0) == pytest.approx(hot, abs=0.03)
    assert shares(top_k=2) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert shares(top_p=0.9) == pytest.approx(p * [1, 1, 1, 0] / 0.95, abs=0.03)
    for cold in (0, 1e-9, 1e-320):
        assert shares(temperature=cold).tolist() == [1, 0, 0, 0]


def test_stopping_holds_back_what_may_be_a_stop():
    assert list(until(iter(["a", "b", "\n", "c"]), ["\n\n"])) == ["a", "b", "\n", "c"]
    assert "".join(until(iter(["ab", "c\n", "\nd"]), ["\n\n"])) == "abc"
    assert "".join(until(iter(["x", "y"]), ["xy"])) == ""


def test_lines_are_tokens_in_every_unit():
    texts = ["a b\r\nc", "a b\nc\n"]
    for unit in ("char", "word"):
        writing = Writing.learn(texts, unit, min_count=1, max_size=50, cleaning=None)
        assert writing.vocabulary.names[2] == LINE
        first = writing.sequences(texts[:1], True)
        assert writing.text(first.tokens[1:]) == "a b\nc"
        ended = writing.sequences(texts[:1], False)
        assert ended.tokens.tolist() == [*first.tokens.tolist(), writing.line]
        assert writing.text(writing.sequences(texts[1:], True).tokens[1:]) == "a b\nc\n"
