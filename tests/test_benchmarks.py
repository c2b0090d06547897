"""The parts of the benchmarks that need no peer: what is drawn, counted and printed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import bench
import jobs
import shapes
import text_scores
from harness import Entry
from tables import duration, table, verdict

import headgate as hg


class _Peer:
    name, version, threads = "some", "1", 1


def entry(seconds: float) -> Entry:
    return Entry(_Peer(), "step", rounds=[seconds])  # type: ignore[arg-type]


def test_drawn_shapes_are_the_seeds_own() -> None:
    first = jobs.draw_shapes(60, seed=7)
    assert first == jobs.draw_shapes(60, seed=7)
    assert first[:10] == jobs.draw_shapes(10, seed=7)
    assert first != jobs.draw_shapes(60, seed=8)


def test_drawn_shapes_keep_within_sizes_and_work() -> None:
    drawn = jobs.draw_shapes(5000, seed=0)
    for shape, steps in drawn:
        assert all(1 <= size <= top for size, top in zip(shape, jobs.RANDOM_TOPS, strict=True))
        assert shape[1] <= steps <= jobs.RANDOM_TOPS[1]
        assert jobs.products(shape, training=True) <= jobs.RANDOM_WORK
    sizes = np.array([[shape[0], steps, *shape[2:]] for shape, steps in drawn])
    assert sizes.min(0).tolist() == [1, 1, 1, 1]
    # As many below the geometric mean of 1 and the top as above it, give or take whole numbers.
    for column, top in zip(sizes.T, jobs.RANDOM_TOPS, strict=True):
        assert 0.4 < np.mean(column <= top**0.5) < 0.6
        assert column.max() > 0.95 * top
    shortened = [steps != shape[1] for shape, steps in drawn]
    assert 0 < np.mean(shortened) < 0.1


def test_products_count_what_a_step_must_do() -> None:
    # 64 x 50 steps; W x and U h forward, then the gradients of W, U and h: 2 of W's size, 3 of U's
    assert jobs.products((64, 50, 512, 512), training=True) == 2 * 64 * 50 * 1536 * (2 + 3) * 512
    assert jobs.products((2, 3, 4, 5), training=False) == 2 * 2 * 3 * 15 * (4 + 5)
    assert jobs.products((2, 3, 4, 5), training=True, cell="lstm") == 2 * 2 * 3 * 20 * (8 + 15)


def test_an_epoch_is_neither_one_update_nor_endless() -> None:
    for shape in (*jobs.GRID, (128, 300, 600, 600), (1, 1, 1, 1)):
        assert 2 <= jobs.updates_per_epoch(shape) <= 40


def test_random_shapes_keep_an_epoch_in_memory() -> None:
    for shape, _ in jobs.draw_shapes(1000, seed=1):
        n, steps, inputs, _ = shape
        assert 4 * n * steps * inputs * jobs.updates_per_epoch(shape) < 1e9


@pytest.mark.parametrize("reset_after", [True, False])
def test_the_benchmarks_equations_are_the_engines(reset_after: bool) -> None:
    net = hg.Network(
        input_size=3,
        hidden_size=5,
        output_size=None,
        readout="every",
        reset_after=reset_after,
        seed=0,
    )
    x = np.random.default_rng(0).standard_normal((2, 7, 3)).astype(np.float32)
    states = jobs.states(net.state_dict(), x, reset_after=reset_after)
    np.testing.assert_allclose(net.predict(x), states, atol=1e-6)


def test_a_live_job_is_what_a_stream_says() -> None:
    shape = jobs.live_shape(16)
    weights, values, _ = jobs.live_case(shape)
    net = hg.Network(input_size=1, hidden_size=16, output_size=1, readout="every", seed=0)
    net.load_state_dict(weights)
    stream = net.stream()
    outputs = [float(stream.step(value)[0]) for value in values]
    assert jobs.live_error(outputs, shape) < 1e-6
    assert jobs.live_error(outputs[::-1], shape) > 1e-3


def test_the_norm_and_the_lstm_by_hand() -> None:
    # One unit: its normalised products are zero, so that the biases alone decide.
    ones = {"weight_ih": (3, 1), "weight_hh": (3, 1), "norm_ih": 3, "norm_hh": 3, "bias_ih": 3}
    weights = {f"gru.{name}_l0": np.ones(shape, np.float32) for name, shape in ones.items()}
    weights["gru.bias_hh_l0"] = np.zeros(3, np.float32)
    x = np.full((1, 1, 1), 9.0, np.float32)
    z = 1 / (1 + np.exp(-1.0))
    assert jobs.states(weights, x, layer_norm=True).item() == pytest.approx((1 - z) * np.tanh(1))
    weights = {
        f"lstm.{name}_l0": np.zeros(shape, np.float32)
        for name, shape in {"weight_ih": (4, 1), "weight_hh": (4, 1), "bias_hh": 4}.items()
    }
    weights["lstm.bias_ih_l0"] = np.array([0, 0, 1, 0], np.float32)  # the candidate, g
    first = 0.5 * np.tanh(1)
    second = 0.5 * first + 0.5 * np.tanh(1)
    states = jobs.states(weights, np.zeros((1, 2, 1)), cell="lstm")
    np.testing.assert_allclose(states.ravel(), 0.5 * np.tanh([first, second]))


def test_losses_are_held_to_the_first_ones_seen() -> None:
    check = shapes.losses_as_torch()
    assert check({"losses": [0.5, 0.4]}, {}) == ""
    assert check({"losses": [0.5, 0.400003], "max_error": 1e-7}, {}) == ""
    assert "PyTorch has [0.5, 0.4]" in check({"losses": [0.5, 0.40003]}, {})
    assert "off by 1.0e-03" in check({"losses": [0.5, 0.4], "max_error": 1e-3}, {})
    assert "went from" in shapes.check_equations({"losses": [0.5, 0.6]}, {})
    assert "went from" in shapes.check_equations({"losses": [0.5, float("nan")]}, {})


def test_cells_of_a_table() -> None:
    ours, torch = entry(0.001), entry(0.0025)
    assert shapes.ratio(torch, ours) == 2.5
    assert shapes.judged(2.5, 3) == ["2.5", "3 x: MISSED"]
    assert shapes.judged(1.2, 1.3, at_most=True) == ["1.2", "<= 1.3 x: reached"]
    assert shapes.judged(None, 3) == ["-", ""]
    assert shapes.took(ours) == "1 ms (1 ms - 1 ms)"
    assert shapes.took(None) == "absent"
    assert shapes.rates(ours, 40_000_000, peak=80.0) == ["40", "50%"]
    assert shapes.ratio(Entry(_Peer(), "step", fault="broke"), ours) is None  # type: ignore[arg-type]
    assert verdict(2, None) == ""
    assert (duration(2), duration(0.25), duration(3e-6)) == ("2 s", "250 ms", "3 us")
    assert table(["a", "bb"], [["ccc", "d"]]) == "| a   | bb |\n| --- | -- |\n| ccc | d  |"


def test_only_names_parts_in_their_order() -> None:
    assert bench.names_of("wheel,grid") == ["grid", "wheel"]
    with pytest.raises(Exception, match="unknown: \\['gird'\\]; known are: sine"):
        bench.names_of("gird")


def test_a_row_says_whether_the_baseline_is_beaten() -> None:
    job = text_scores.Job(lambda seed: results[seed], "%", None, 10, "counting", margin=8)
    results = [text_scores.Result(80.0, 9.0, 71.0), text_scores.Result(81.0, 10.0, 72.0)]
    row = text_scores.line("some", job, results)
    assert "80.500 +- 0.500 %" in row
    assert row.endswith("9.5 s (at most 10)  counting 71.500, beaten by 9.000: reached")
    assert text_scores.line("some", job, [results[0]._replace(baseline=73.0)]).endswith("MISSED")
    absent = text_scores.line("some", job, [results[0]._replace(baseline=None)])
    assert absent.endswith("counting: not measured, a library is missing")
