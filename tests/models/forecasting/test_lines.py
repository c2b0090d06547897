"""Lines: what is done to all series at once is what slices of each would give."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.models.forecasting.lines import Cut, Lines, all_windows, spread, windows_at

LENGTHS = (5, 1, 8, 3)


@pytest.fixture
def lines() -> Lines:
    rng = np.random.default_rng(0)
    bounds = np.concatenate([[0], np.cumsum(LENGTHS)])
    total = int(bounds[-1])
    known = np.arange(2 * total, dtype=np.float32).reshape(total, 2)
    return Lines(rng.normal(0, 1, total), bounds, np.array([0, 4, 7, 0]), known)


def parts(lines: Lines) -> list[tuple[list[float], list[list[float]], int]]:
    """(values, known, phase) of each series."""
    rows = [slice(a, b) for a, b in zip(lines.bounds[:-1], lines.bounds[1:], strict=True)]
    return [
        (lines.values[r].tolist(), lines.known[r].tolist(), int(p))
        for r, p in zip(rows, lines.phase, strict=True)
    ]


def test_spread() -> None:
    assert spread(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]


def test_rows_and_their_places(lines: Lines) -> None:
    assert len(lines) == 4
    assert lines.lengths.tolist() == list(LENGTHS)
    assert lines.owner.tolist() == [0] * 5 + [1] + [2] * 8 + [3] * 3
    assert lines.place().tolist() == [*range(5), 4, *range(7, 15), *range(3)]
    one = Lines.of(np.arange(3.0))
    assert (len(one), one.bounds.tolist(), one.known.shape) == (1, [0, 3], (3, 0))


@pytest.mark.parametrize(
    ("name", "given", "rows"),
    [
        ("cut", ([1, 0, 3, 0], [4, 1, 8, 2]), [(1, 4), (0, 1), (3, 8), (0, 2)]),
        ("heads", ([2, 1, 8, 1],), [(0, 2), (0, 1), (0, 8), (0, 1)]),
        ("tails", ([2, 3, 8, 1],), [(3, 5), (0, 1), (0, 8), (2, 3)]),
        ("tails", (4,), [(1, 5), (0, 1), (4, 8), (0, 3)]),
    ],
)
def test_parts_of_each_series(
    lines: Lines, name: str, given: tuple[object, ...], rows: list[tuple[int, int]]
) -> None:
    got = getattr(lines, name)(*map(np.asarray, given))
    expected = [
        (values[a:b], known[a:b], phase + a)
        for (values, known, phase), (a, b) in zip(parts(lines), rows, strict=True)
    ]
    assert parts(got) == expected


def test_choose(lines: Lines) -> None:
    which = [2, 0, 2, 1]
    assert parts(lines.choose(np.array(which))) == [parts(lines)[k] for k in which]


def test_extended(lines: Lines) -> None:
    block = np.arange(8.0).reshape(4, 2)
    ahead = -np.arange(16, dtype=np.float32).reshape(4, 2, 2)
    expected = [
        (values + block[k].tolist(), known + ahead[k].tolist(), phase)
        for k, (values, known, phase) in enumerate(parts(lines))
    ]
    assert parts(lines.extended(block, ahead)) == expected
    blank = [(v, [*known[:-2], [0, 0], [0, 0]], p) for v, known, p in expected]
    assert parts(lines.extended(block)) == blank
    room = lines.with_room(3)
    for (values, *_), (longer, *_) in zip(parts(lines), parts(room), strict=True):
        assert longer == values + 3 * values[-1:]


def test_sums_by_series(lines: Lines) -> None:
    each = [np.array(values) for values, *_ in parts(lines)]
    for name in ("minimum", "maximum", "mean"):
        plain = {"minimum": np.min, "maximum": np.max, "mean": np.mean}[name]
        found = getattr(lines, name)(lines.values)
        np.testing.assert_allclose(found, [plain(values) for values in each])
    for apart in (1, 4, 8, 17, 40):
        moves, owner = lines.differences(apart)
        expected = [v[apart:] - v[:-apart] for v in each]
        np.testing.assert_array_equal(moves, np.concatenate(expected))
        assert owner.tolist() == [k for k, v in enumerate(expected) for _ in v]


@pytest.mark.parametrize(
    "cut",
    [
        Cut(horizon=2, lookback=3),
        Cut(horizon=1, lookback=6, segment=2, fewest=1),
        Cut(horizon=2, lookback=4, context=2, fewest=1),
        Cut(horizon=3, lookback=100),
    ],
)
def test_all_windows(lines: Lines, cut: Cut) -> None:
    """Each window there is: enough before it, its targets before the stop, none across series."""
    stops = np.array([5, 1, 7, 3])
    expected = []
    for k, stop in enumerate(stops.tolist()):
        for at in range(stop - cut.horizon + 1):
            seen = min(cut.lookback, at - cut.context) // cut.segment
            if seen >= cut.fewest:
                expected.append((k, int(lines.bounds[k]) + at, seen))
    windows = all_windows(lines, stops, cut, 1000)
    found = list(zip(windows.owner.tolist(), windows.ends.tolist(), windows.steps.tolist(),
                     strict=True))  # fmt: skip
    assert found == expected
    assert len(windows) == len(expected)
    starts = windows.ends - windows.steps * cut.segment
    assert (starts - cut.context >= lines.bounds[windows.owner]).all()
    few = all_windows(lines, stops, cut, 2)
    assert len(few) == min(2, len(expected))
    if len(expected) > 1:  # the first and the last are among the few
        assert few.ends.tolist() == [expected[0][1], expected[-1][1]]


def test_windows_with_too_little_are_left_out(lines: Lines) -> None:
    cut = Cut(horizon=1, lookback=4, context=1, fewest=2)
    assert (cut.least, cut.ahead) == (3, 1)
    owner, at = np.array([0, 0, 1, 2, 3]), np.array([2, 3, 1, 8, 3])
    windows = windows_at(lines, owner, at, cut)
    assert windows.owner.tolist() == [0, 2, 3]
    assert windows.ends.tolist() == [3, 14, 17]
    assert windows.steps.tolist() == [2, 4, 2]
    assert windows.take(np.array([True, False, True])).steps.tolist() == [2, 2]
    assert Cut(horizon=7, lookback=4, segment=3).ahead == 3
