"""Planning a forecaster's fit: season, lookback, segments, and what is held out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ...errors import InputError
from .lines import Cut, Int64, Lines
from .treatment import PLAIN, SEASONAL, Bool, detect_season, swings_grow

LONGEST = 96  # values in a lookback by default at most, where each is a step of the network
LONG_SEASON = 24  # from here on the network reads a season, or part of one, at a time
SEASONS = 7  # in a lookback of long seasons: a week of hours
MOST_VALUES = 1024  # in a lookback by default
MOST_SEGMENT = 64
SHORTEST = 2  # values in a window
VOTERS = 100  # series that are asked for their season
MOST_REPEATS = 2  # seasons that differences are summed over: farther ahead their errors add up
FIXED = ("series", "standard", "minmax", "robust", "none")  # scalers that shift no window


@dataclass(frozen=True, eq=False)
class Plan:
    """How the series of a panel will be cut.

    Attributes:
        horizon: steps to forecast.
        season: steps in a season that is removed; 1 for none.
        cuts: of each candidate, in their order.
        candidates: (method, shift) of the treatments to try.
        log: (M,) whether the logarithm is taken.
        front: (M,) steps before the held-out part; all of them where nothing is held out.
        scaler: how offsets and scales are found.
    """

    horizon: int
    season: int
    cuts: tuple[Cut, ...]
    candidates: tuple[tuple[str, str], ...]
    log: Bool
    front: Int64
    scaler: str


def check_lengths(
    lengths: Int64,
    name: Callable[[int], str],
    horizon: int,
    lookback: int | None,
    least: int = SHORTEST,
) -> None:
    """Raise InputError for series too short to forecast, or when none is long enough to learn from.

    Args:
        name: k -> what series k is called.
        least: values that every series must have.
    """
    floor = lookback or SHORTEST
    needed = 2 * horizon + floor
    k = int(np.argmax(lengths))
    if lengths[k] < needed:
        more = f" and lookback={lookback}" if lookback else ""
        shorter = (int(lengths[k]) - floor) // 2
        advice = f", or ask for a horizon of at most {shorter}" if shorter >= 1 else ""
        who = name(k) if len(lengths) == 1 else f"the longest series ({name(k)})"
        raise InputError(
            f"{who} has {lengths[k]} values, but horizon={horizon}{more} needs at least {needed} "
            f"(two horizons and {floor} more); bring more data{advice}"
        )
    refuse_short(lengths, name, least)


def refuse_short(lengths: Int64, name: Callable[[int], str], least: int) -> None:
    """Raise InputError that names the series of fewer than ``least`` values."""
    short = np.flatnonzero(lengths < least)
    if len(short):
        listed = ", ".join(
            f"{name(int(k))} has {lengths[k]} value{'s' * bool(lengths[k] != 1)}" for k in short[:5]
        )
        more = f" (and {len(short) - 5} more series)" if len(short) > 5 else ""
        raise InputError(
            f"too short to forecast: {listed}{more}; at least {least} are needed; drop "
            f"{'it' if len(short) == 1 else 'them'} or bring more data"
        )


def find_season(lines: Lines, usual: int) -> int:
    """The season of the frequency, else what the longest series agree on.

    Many series are too noisy to show theirs: a fifth of them is enough, if the others do not show
    another.
    """
    if usual > 1:
        return usual
    longest = np.argsort(-lines.lengths, kind="stable")[:VOTERS]
    votes = Counter(
        detect_season(lines.values[lines.bounds[k] : lines.bounds[k + 1]]) for k in longest
    )
    del votes[1]
    if not votes:
        return 1
    found, count = votes.most_common(1)[0]
    agreed = 5 * count >= len(longest) and 2 * count > votes.total()
    return found if agreed else 1


def make_plan(
    lines: Lines, *, horizon: int, blocks: tuple[int, ...], lookback: int | None,
    season: int | str, usual: int, scaler: str, like: Cut,
) -> Plan:  # fmt: skip
    """Decide all that needs no training.

    Args:
        blocks: steps that the network puts out at once, to try one after the other.
        usual: season of the data's frequency, 1 for none.
        like: a cut with the columns as they will be.
    """
    lengths = lines.lengths
    shortest = lookback or SHORTEST
    held = np.maximum(horizon, np.minimum(np.round(0.2 * lengths), 4 * horizon + 20))
    held = np.minimum(held, (lengths - shortest) // 2).astype(np.int64)
    front = lengths - np.where(held < horizon, 0, held)
    longest = int(front[held >= horizon].max())
    before = lines.heads(front)
    found = find_season(before, usual) if season == "auto" else int(season)
    # a season must be seen: twice before the held-out part, or it is left alone
    spare = longest - horizon - shortest
    usable = found if longest >= 2 * found + 2 and spare >= found + 2 else 1
    if season != "auto" and usable != found:
        raise InputError(
            f"season={found} cannot be learned from {longest} values before the held-out part; "
            f"{max(2 * found + 2, found + 2 + horizon + shortest)} are needed: bring more data, or "
            "pass season=1"
        )
    candidates: tuple[tuple[str, str], ...] = SEASONAL if usable > 1 else PLAIN
    if horizon > MOST_REPEATS * usable:
        candidates = tuple(c for c in candidates if c[0] != "difference")
    if held.sum() < 2 * horizon:  # too few windows to choose by
        candidates = candidates[:1]
    if scaler in FIXED:
        candidates = (("indices" if usable > 1 else "plain", "none"),)
    elif scaler == "window":
        candidates = tuple(c for c in candidates if c[1] != "none") or (("plain", "last"),)
    seen = _lookback(usable, lookback, longest - horizon)
    segment = _segment(usable, seen)
    base = replace(like, lookback=seen, segment=segment)
    cuts = tuple(
        _cut(base, block, usable if method == "difference" else 0)
        for block in blocks
        for method, _ in candidates
    )
    candidates = candidates * len(blocks)
    # a treatment that some series are too short for is no candidate
    shortest_cut = min(range(len(cuts)), key=lambda i: cuts[i].least)
    kept = [i for i, cut in enumerate(cuts) if cut.least <= int(lengths.min())] or [shortest_cut]
    least = max(cuts[i].least for i in kept)
    front = np.where(front < least + max(blocks), lengths, front)
    return Plan(
        horizon, usable, tuple(cuts[i] for i in kept), tuple(candidates[i] for i in kept),
        logarithms(before, usable) & (lines.minimum(lines.values) > 0), front, scaler,
    )  # fmt: skip


def _cut(base: Cut, block: int, context: int) -> Cut:
    """For a network that puts out ``block`` steps."""
    # Known rows must end with the horizon: what is behind it is not known when forecasting.
    segment = math.gcd(base.segment, block) if base.knows_ahead else base.segment
    fewest = 1 if segment > 1 else min(SHORTEST, base.lookback)
    return replace(base, horizon=block, segment=segment, context=context, fewest=fewest)


def logarithms(lines: Lines, season: int) -> Bool:
    """(M,) For seasons that grow with the level; a trend alone would be made to explode."""
    return swings_grow(lines, season) if season > 1 else np.zeros(len(lines), np.bool_)


def _lookback(season: int, given: int | None, spare: int) -> int:
    """Values that a window holds; ``spare`` are there beside the horizon."""
    if given is not None:
        return given
    if season >= LONG_SEASON:
        wanted = min(SEASONS * season, max(MOST_VALUES, 2 * season))
        if (spare - season) // 2 >= 2 * season:
            return min(wanted, (spare - season) // 2 // season * season)
    wanted = min(max(2 * season, 8), LONGEST)
    return max(SHORTEST, min(wanted, (spare - (season if season > 1 else 0)) // 2))


def _segment(season: int, lookback: int) -> int:
    """Values that the network reads at each step: reading in segments is quick, and no worse.

    Zeng et al. 2023 and SegRNN (Lin et al. 2023, arXiv 2308.11200).
    """
    if season >= LONG_SEASON and lookback >= 2 * season:
        parts = -(-season // MOST_SEGMENT)
        while season % parts:
            parts += 1
        return season // parts
    return 1 if lookback <= LONGEST else -(-lookback // LONGEST)
