"""Long frames become panels of series, gaps are filled, and what comes after is written back."""

import datetime as dt
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest

from headgate.data.frames import Series, as_series, future_frame, future_times
from headgate.data.panel import Panel, complete
from headgate.data.panel_frames import as_panel
from headgate.data.panel_future import future_values, panel_frame, panel_times, stamped_rows
from headgate.errors import InputError

NAN = float("nan")
KINDS = pytest.mark.parametrize("kind", [pl.DataFrame, pd.DataFrame])
DAYS = ["2024-01-01", "2024-01-02", "2024-01-03"]


def long(*ids, start="2024-01-01", rows=3, step="D", **more):
    """Rows of several series: days in order, y counts on."""
    stamps = np.datetime64(start, step) + np.arange(rows)
    columns = {
        "unique_id": [name for name in ids for _ in range(rows)],
        "ds": [str(stamp) for _ in ids for stamp in stamps],
        "y": np.arange(float(rows * len(ids))),
    }
    return {**columns, **more}


def refused(words, call, *args, **options):
    with pytest.raises(InputError) as caught:
        call(*args, **options)
    assert str(caught.value) == words


def days(*texts):
    return np.array(texts, dtype="M8[us]")


# -- reading -------------------------------------------------------------------------------


@KINDS
def test_a_long_frame_in_any_order(kind):
    frame = pl.DataFrame(long("b", "a", temp=np.arange(6.0) * 10, shop=["x"] * 3 + ["y"] * 3))
    frame = frame[[1, 4, 0, 3, 5, 2]]
    frame = frame if kind is pl.DataFrame else frame.to_pandas()
    panel = as_panel(frame, past="temp", static=["shop"])
    assert (len(panel), panel.ids, panel.id_name) == (2, ("b", "a"), "unique_id")
    assert panel.bounds.tolist() == [0, 3, 6]
    assert panel.lengths.tolist() == [3, 3]
    assert panel.values.tolist() == [0, 1, 2, 3, 4, 5]
    assert (panel.past_names, panel.past[:, 0].tolist()) == (("temp",), [0, 10, 20, 30, 40, 50])
    assert (panel.static.tolist(), panel.future.shape) == ([["x"], ["y"]], (6, 0))
    assert (str(panel.freq), panel.season, panel.name(1)) == ("D", 7, "series 'a'")
    assert not panel.values.flags.writeable
    assert as_panel(panel) is panel
    one = panel.series(-1)
    assert (one.values.tolist(), one.times.tolist()) == ([3, 4, 5], days(*DAYS).tolist())
    assert np.shares_memory(one.values, panel.values)


@pytest.mark.parametrize(
    "data",
    [
        [1, 2, 3],
        np.array([1.0, 2, 3]),
        pl.Series([1, 2, 3]),
        pd.Series([1, 2, 3]),
        pd.Series([1, 2, 3], index=pd.date_range("2024", periods=3, freq="MS")),
        pl.DataFrame({"d": ["2024-01", "2024-02", "2024-03"], "v": [1, 2, 3]}),
        pl.DataFrame({"d": DAYS, "v": [1, 2, 3]}).to_arrow(),
        pl.LazyFrame({"year": [1990, 1991, 1992], "v": [1, 2, 3]}),
    ],
)
def test_one_series_as_as_series_reads_it(data):
    series, panel = as_series(data), as_panel(data)
    same = as_panel(series)
    for one in (panel, same):
        assert (len(one), one.ids, one.id_name, one.name(0)) == (1, (), None, "the series")
        assert one.values.tolist() == [1, 2, 3]
        assert (one.freq, one.season, one.kind) == (series.freq, series.season, series.kind)
        assert (one.time_name, one.value_name) == (series.time_name, series.value_name)
        assert panel_times(one, 2)[0].tolist() == future_times(series, 2).tolist()
        out, expected = panel_frame(one, {"f": [[1.0, 2.0]]}), future_frame(series, {"f": [1, 2.0]})
        assert type(out) is type(expected)
        assert out["f"].to_list() == [1, 2]
        name = series.time_name
        assert out[name].to_list() == expected[name].to_list()
    assert isinstance(panel.series(0), Series)


def test_gaps_are_kept_as_nan():
    assert np.isnan(as_panel([1.0, None, 3.0]).values).tolist() == [False, True, False]
    frame = pl.DataFrame(long("a", "b", v=["1", "", None, "NA", "-", "6"]))
    assert np.isnan(as_panel(frame, target="v").values).sum() == 4
    empty = pl.DataFrame(long("a", v=[None] * 3))
    assert np.isnan(as_panel(empty, past="v").past).all()
    flags = pl.DataFrame(long("a", promo=[True, None, False]))
    np.testing.assert_array_equal(as_panel(flags, future="promo").future[:, 0], [1, NAN, 0])


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pl.Series([7, 7, 3, 3]), (7, 3)),
        (pl.Series([7.0, 7.0, 3.0, 3.0]), (7, 3)),
        (pl.Series(["店", "店", "é", "é"], dtype=pl.Categorical), ("店", "é")),
        (pd.Series(["b", "b", "a", "a"], dtype="category"), ("b", "a")),
        (pd.Series([2, 2, 1, 1], dtype="Int64"), (2, 1)),
        (pd.Series([1, "1", "x", "x"], dtype=object), ("1", "x")),
    ],
)
def test_kinds_of_ids(ids, expected):
    frame = {"store": ids, "d": DAYS[:2] * 2, "v": [1.5, 2, 3, 4]}
    kind = pl.DataFrame if isinstance(ids, pl.Series) else pd.DataFrame
    # Told by the repeated stamps, which no fractions are trusted with, and by name.
    for options in ({"id": "store"}, {})[: 1 if str(ids.dtype) == "Float64" else 2]:
        panel = as_panel(kind(frame), **options)
        assert (panel.ids, panel.id_name, panel.value_name) == (expected, "store", "v")
    out = panel_frame(panel, {"f": np.arange(4.0).reshape(2, 2)})
    assert list(out.columns) == ["store", "d", "f"]
    assert out["store"].to_list() == [expected[0]] * 2 + [expected[1]] * 2
    assert out["d"].to_list() == ["2024-01-03", "2024-01-04"] * 2
    assert out["f"].to_list() == [0, 1, 2, 3]


def test_pandas_index_levels():
    frame = pd.DataFrame(long("a", "b"))
    frame["ds"] = pd.to_datetime(frame["ds"])
    for indexed in (
        frame.set_index("unique_id"),
        frame.set_index(["unique_id", "ds"]),
        frame.set_index(["unique_id", "ds"])["y"],
        frame.set_index("ds"),
    ):
        panel = as_panel(indexed)
        assert (panel.ids, panel.time_name, panel.value_name) == (("a", "b"), "ds", "y")
    with pytest.raises(InputError, match="'unique_id' is both the index and a column"):
        as_panel(frame.set_index("unique_id", drop=False))


def test_ids_without_times_keep_the_order_of_rows():
    panel = as_panel(pl.DataFrame({"k": ["a", "b", "a"], "v": [1.0, 2, 3]}), id="k")
    assert (panel.times, panel.values.tolist(), panel.lengths.tolist()) == (None, [1, 3, 2], [2, 1])
    assert panel_times(panel, 2).tolist() == [[2, 3], [1, 2]]


def test_row_numbers_and_lone_series_are_no_ids():
    frame = pl.DataFrame({"n": range(6), **long("a", "b")}).rename({"unique_id": "shop"})
    assert as_panel(frame).id_name == "shop"
    assert as_panel(frame[:3]).id_name is None


TWO = {"d": DAYS * 2, "v": [1.5, 2, 3, 4, 5, 6]}


@KINDS
@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({**TWO, "shop": list("aaabbb"), "town": list("xxxyyy")}, {},
         "several columns may name the series: 'shop', 'town'; choose one with --id "
         "(in Python: id='shop')"),
        (TWO, {},
         "time stamps of 'd' stand more than once: 2024-01-01 in rows 1, 4; 2024-01-02 in rows "
         "2, 5; 2024-01-03 in rows 3, 6; keep one row for each, or forecast one series at a time "
         "when the table holds several"),
        (long("a", "b", ds=[*DAYS[:2], DAYS[1], *DAYS]), {},
         "time stamps of 'ds' stand more than once: 2024-01-02 of series 'a' in rows 2, 3; keep "
         "one row for each"),
        (long("a", "b", ds=[DAYS[1]] * 3 + DAYS), {},
         "time stamps of 'ds' stand more than once: 2024-01-02 of series 'a' in rows 1, 2, 3; keep "
         "one row for each"),
        ({**TWO, "shop": ["a", "a", None, "b", "b", " "]}, {"id": "shop"},
         "the id column 'shop' is empty in rows 3, 6; fill or drop them"),
        ({**TWO, "shop": [1.5] * 6}, {"id": "shop", "target": "v"},
         "the id column 'shop' holds fractions, expected texts or integers; choose another with "
         "--id"),
        (long("a", "b", hot=[1.0, 2, np.inf, 4, 5, 6]), {"past": "hot"},
         "the value column 'hot' is infinite in row 3; replace these values by numbers"),
        (long("a", "b", hot=["1", "2", "x", "4", "5", "6"]), {"future": "hot"},
         "the value column 'hot' holds text, such as 'x', in row 3; write plain numbers such as "
         "1234.5 (no unit, no thousands separator), or leave the cell empty"),
        (long("a", "b", hot=[1.0] * 6), {"future": "hat"},
         "future column 'hat' is not in the table; its columns are 'unique_id', 'ds', 'y', 'hot'; "
         "did you mean 'hot'?"),
        (long("a", "b", hot=[1.0] * 6), {"future": ["hot"], "past": "hot"},
         "column 'hot' is named as past and as future; name it once"),
        (long("a", "b", shop=["x", "x", "y"] * 2), {"static": "shop"},
         "the static column 'shop' changes within series 'a': 'x', then 'y'; expected one "
         "category for each series, so name it under past or future"),
        (long("a", "b", shop=["x"] * 3 + ["y", "", "y"]), {"static": "shop"},
         "the static column 'shop' is empty for series 'b' in row 5; fill it with a category such "
         "as 'unknown'"),
        (long("a", "b", rows=1), {},
         "each of the 2 series has one row, which does not tell how far apart stamps stand; pass "
         "freq=, or check the id column 'unique_id'"),
        (long("a", rows=1), {},
         "the table has 1 row; a series needs at least 2, one for each time step"),
    ],
)  # fmt: skip
def test_frames_that_are_no_panel(columns, options, words, kind):
    refused(words, as_panel, kind(columns), **options)


def test_values_that_are_no_panel():
    refused(
        "past= names a column, but the data are list; pass a pandas or polars frame, or leave it "
        "out",
        as_panel, [1.0, 2.0], past="x",
    )  # fmt: skip
    with pytest.raises(InputError, match="use read_table first"):
        as_panel("data.csv")
    with pytest.raises(InputError, match="the table has 0 rows"):
        as_panel(pl.DataFrame(long("a")).clear())


def test_static_numbers_become_their_text():
    frame = pd.DataFrame(
        long("a", "b", region=[4.0] * 3 + [5.0] * 3, open=[True] * 3 + [False] * 3)
    )
    panel = as_panel(frame, static=["region", "open"])
    assert panel.static.tolist() == [["4", "true"], ["5", "false"]]
    assert as_panel(pl.DataFrame(frame), static=["region", "open"]).static.tolist() == (
        panel.static.tolist()
    )


# -- frequency -----------------------------------------------------------------------------


def joined(**series):
    """A frame of series given by their stamps."""
    rows = [(name, stamp) for name, stamps in series.items() for stamp in stamps]
    ids, stamps = zip(*rows, strict=True)
    return pl.DataFrame({"unique_id": ids, "ds": np.array(stamps, "M8[us]"), "y": [1.0] * len(ids)})


def every(step, count, start="2024-01-01"):
    return np.datetime64(start, step[-1]) + np.arange(count) * int(step[:-1] or 1)


MONTHS = every("M", 24, "2020-01")
TRADING = np.busday_offset("2024-01-01", np.arange(40))


@pytest.mark.parametrize(
    ("series", "words"),
    [
        ({"a": MONTHS, "b": every("D", 9)}, "series 'b' comes every D, series 'a' every M"),
        ({"x": every("D", 3), "a": MONTHS, "b": every("D", 9), "c": every("D", 5)},
         "series 'x' comes every D, series 'a' every M (and 2 more)"),
        ({"a": every("D", 40), "b": MONTHS[:5]}, "series 'b' comes every M, series 'a' every D"),
        ({"a": every("D", 40), "b": every("7D", 3)},
         "series 'b' comes every W, series 'a' every D"),
        ({"a": every("h", 40), "b": every("D", 3)}, "series 'b' comes every D, series 'a' every h"),
        ({"a": MONTHS, "b": every("3M", 4, "2020-01")},
         "series 'b' comes every Q, series 'a' every M"),
        ({"a": every("3D", 20), "b": every("2D", 9)},
         "series 'b' comes every 2D, series 'a' every 3D"),
        ({"a": TRADING, "b": TRADING[:20] - 1}, "series 'b' comes every D, series 'a' every B"),
        ({"a": TRADING, "b": every("D", 30)}, "series 'b' comes every D, series 'a' every B"),
    ],
)  # fmt: skip
def test_mixed_frequencies_are_refused(series, words):
    refused(
        f"mixed frequencies: {words}; pass the series of one frequency at a time, or freq= where "
        "rows are only missing",
        as_panel, joined(**series),
    )  # fmt: skip
    assert len(as_panel(joined(**series), freq="D")) == len(series)


@pytest.mark.parametrize(
    ("series", "freq"),
    [
        ({"a": TRADING, "b": TRADING[3:6], "c": TRADING[4:6], "d": TRADING[:1]}, "B"),
        ({"a": every("D", 40), "b": every("D", 30)[[0, 3, 4, 9]], "c": every("D", 9)[[0, 8]]}, "D"),
        ({"a": every("D", 40), "b": TRADING[:20], "c": every("D", 11)[[0, 2, 7, 10]]}, "D"),
        ({"a": MONTHS, "b": MONTHS[[0, 5]], "c": MONTHS[:3].astype("M8[D]") + 14}, "M"),
    ],
)  # fmt: skip
def test_gaps_and_short_series_are_no_other_frequency(series, freq):
    assert str(as_panel(joined(**series)).freq) == freq


def test_months_keep_the_day_of_each_series():
    ends = every("M", 12, "2020-02").astype("M8[D]") - 1
    middle = MONTHS[:5].astype("M8[D]") + 14
    panel = as_panel(joined(a=MONTHS, b=ends, c=middle, d=middle[:1]))
    assert panel_times(panel, 2).tolist() == [
        days("2022-01-01", "2022-02-01").tolist(),
        days("2021-01-31", "2021-02-28").tolist(),
        days("2020-06-15", "2020-07-15").tolist(),
        days("2020-02-01", "2020-03-01").tolist(),  # one stamp shows no habit
    ]
    for k in range(4):
        assert future_times(panel.series(k), 2).tolist() == panel_times(panel, 2)[k].tolist()


def test_stamps_follow_each_series():
    frame = joined(a=TRADING[:30], b=TRADING[:10], c=TRADING[:15])
    panel = as_panel(frame)
    times = panel_times(panel, 4)
    for k in range(3):
        assert times[k].tolist() == future_times(panel.series(k), 4).tolist()
    with pytest.raises(InputError, match="horizon"):
        panel_times(panel, 0)


@pytest.mark.parametrize("kind", ["polars", "pandas"])
def test_time_zones(kind):
    hours = pl.Series(["2024-03-30 23:00", "2024-03-31 00:00"]).str.to_datetime(time_zone="UTC")
    hours = hours.dt.convert_time_zone("Europe/Berlin")
    frame = pl.DataFrame({"unique_id": list("aabb"), "ds": [*hours] * 2, "y": [1.0] * 4})
    frame = frame if kind == "polars" else frame.to_pandas()
    out = panel_frame(as_panel(frame), {"f": np.zeros((2, 1))})
    assert [str(t) for t in list(out["ds"])] == ["2024-03-31 03:00:00+02:00"] * 2


# -- a panel's own --------------------------------------------------------------------------


def test_cut_and_choose():
    panel = as_panel(pd.DataFrame(long("a", "b", "c", v=range(9), s=list("xxxyyyzzz"))),
                     past="v", static="s")  # fmt: skip
    cut = panel.cut([0, 1, 2], [1, 3, 3])
    assert (cut.bounds.tolist(), cut.values.tolist()) == ([0, 1, 3, 4], [0, 4, 5, 8])
    assert cut.past[:, 0].tolist() == [0, 4, 5, 8]
    assert cut.times.tolist() == days(DAYS[0], *DAYS[1:], DAYS[2]).tolist()
    for which in ([2, 0], np.array([-1, 0])):
        some = panel.choose(which)
        assert (some.ids, some.static.tolist()) == (("c", "a"), [["z"], ["x"]])
        assert some.values.tolist() == [6, 7, 8, 0, 1, 2]
    assert panel.choose(np.array([False, True, False])).ids == ("b",)
    refused("rows 2 to 2 of series 'b' were asked for, which has 3; expected at least one row "
            "within them", panel.cut, [0, 2, 0], [3, 2, 3])  # fmt: skip
    for wrong in ([3], []):
        with pytest.raises(InputError, match="of a panel of 3 were asked for"):
            panel.choose(wrong)


# -- gaps ----------------------------------------------------------------------------------


def gappy(a, b, **covariates):
    numbers = {"y": [*a, *b], **covariates}
    frame = {name: np.array(column, dtype=float) for name, column in numbers.items()}
    frame["unique_id"] = ["a"] * len(a) + ["b"] * len(b)
    stamps = np.datetime64("2024-01-01") + np.arange(len(a) + len(b))
    stamps[len(a) :] -= len(a)
    return as_panel(pl.DataFrame(frame | {"ds": stamps}), past=list(covariates))


@pytest.mark.parametrize(
    ("policy", "a", "b", "expected", "bounds", "count"),
    [
        ("interpolate", [NAN, 1, NAN, NAN, 4], [5, 6], [1, 2, 3, 4, 5, 6], [0, 4, 6], 2),
        ("interpolate", [1, 2], [NAN, NAN, 5, NAN, 9], [1, 2, 5, 7, 9], [0, 2, 5], 1),
        ("forward", [NAN, 1, NAN, NAN, 4], [5, NAN], [1, 1, 1, 4, 5, 5], [0, 4, 6], 3),
        ("error", [1, 2], [3, 4], [1, 2, 3, 4], [0, 2, 4], 0),
    ],
)
def test_gaps_are_filled(policy, a, b, expected, bounds, count):
    panel, filled = complete(gappy(a, b), policy)
    assert (panel.values.tolist(), panel.bounds.tolist(), filled) == (expected, bounds, count)
    assert not panel.values.flags.writeable
    assert len(panel.times) == len(expected)
    assert panel.times[panel.bounds[1] - 1] == np.datetime64("2024-01-01") + (len(a) - 1)


def test_covariates_are_filled():
    panel = gappy([NAN, 1, 2, 3], [4, 5], v=[NAN, NAN, 20, 30, NAN, 50])
    whole, filled = complete(panel, "interpolate")
    # The row before the first value of 'a' is gone and does not count.
    assert (whole.past[:, 0].tolist(), filled) == ([20, 20, 30, 50, 50], 2)
    panel = replace(panel, future_names=("w",), future=panel.past[:, ::-1].copy())
    assert complete(panel, "forward")[0].future[:, 0].tolist() == [20, 20, 30, 50, 50]
    same = gappy([1, 2], [3, 4])
    assert complete(same, "interpolate")[0] is same


@pytest.mark.parametrize(
    ("policy", "a", "b", "covariates", "words"),
    [
        ("interpolate", [1, NAN, NAN], [2, NAN], {},
         "series 'a' ends with 2 missing values of 'y' (and 1 more series); drop those rows "
         "(future rows of covariates belong into X_df), or pass missing='forward' to repeat the "
         "last value"),
        ("forward", [1, 2], [NAN, NAN], {},
         "series 'b' has no value at all; drop it, or fill the column 'y'"),
        ("forward", [1, 2], [3, 4], {"v": [1, 2, NAN, NAN]},
         "series 'b' has no value of 'v'; drop it, or fill the column 'v'"),
        ("interpolate", [1, 2], [3, 4], {"v": [1, 2, 3, NAN]},
         "series 'b' ends with 1 missing value of 'v'; drop those rows (future rows of covariates "
         "belong into X_df), or pass missing='forward' to repeat the last value"),
        ("error", [1, NAN, 3, NAN], [NAN, 4], {},
         "the column 'y' has 2 missing values in series 'a' at 2024-01-02, 2024-01-04 (and 1 more "
         "series); fill them first, or pass missing='interpolate' (straight lines) or 'forward' "
         "(the last value)"),
        ("drop", [1, 2], [3, 4], {},
         "missing must be one of 'interpolate', 'forward', 'error'; got 'drop'"),
    ],
)  # fmt: skip
def test_gaps_that_are_not_filled(policy, a, b, covariates, words):
    refused(words, complete, gappy(a, b, **covariates), policy)


def test_gaps_of_bare_values_are_named_by_index():
    refused(
        "the column 'y' has 1 missing value in the series at index 1; fill them first, or pass "
        "missing='interpolate' (straight lines) or 'forward' (the last value)",
        complete, as_panel([1.0, None, 3.0]), "error",
    )  # fmt: skip
    panel, filled = complete(as_panel([None, 1.0, None, 3.0]), "interpolate")
    assert (panel.values.tolist(), filled) == ([1, 2, 3], 1)


# -- known ahead ---------------------------------------------------------------------------


def with_future(kind=pl.DataFrame, **options):
    return as_panel(kind(long("a", "b", temp=np.zeros(6), **options)), future="temp")


@KINDS
def test_future_values_are_looked_up(kind):
    panel = with_future(kind)
    table = pl.DataFrame(long("b", "zzz", "a", rows=9)).rename({"y": "temp"})
    table = table.sample(fraction=1.0, shuffle=True, seed=0)
    for frame in (table, table.with_columns(pl.col("ds").str.to_date()), table.to_pandas(),
                  table.to_pandas().set_index("unique_id")):  # fmt: skip
        found = future_values(panel, frame, 2)
        assert found.tolist() == [[[21.0], [22.0]], [[3.0], [4.0]]]
    # Without times, rows are the steps; without ids only where there is one series.
    rows = table.sort("ds").filter(pl.col("ds") >= "2024-01-04").drop("ds")
    assert future_values(panel, rows, 2).tolist() == found.tolist()
    alone = panel.choose([1])
    assert future_values(
        alone, rows.filter(pl.col("unique_id") == "b").drop("unique_id"), 2
    ).tolist() == [[[3.0], [4.0]]]
    assert future_values(as_panel([1, 2]), None, 3).shape == (1, 3, 0)


@pytest.mark.parametrize(
    ("stamps", "later"),
    [
        (["30/12/2023", "31/12/2023"], ["01/01/2024", "02/01/2024"]),
        (["12/30/2023", "12/31/2023"], ["01/01/2024", "01/02/2024"]),
        (["12/20/2023", "12/27/2023"], ["01/03/2024", "01/10/2024"]),
        (["12/30/2023", "12/31/2023"], [dt.date(2024, 1, 1), dt.date(2024, 1, 2)]),
        ([20231230, 20231231], ["2024-01-01", "2024-01-02"]),
        (["2023年11月", "2023年12月"], [202401, 202402]),
        (["2023-12-31T21:00+08:00", "2023-12-31T22:00+08:00"],
         ["2023-12-31T15:00Z", "2023-12-31T16:00Z"]),
        (["2023-12-31T21:00+08:00", "2023-12-31T14:00Z"],
         ["2023-12-31T23:00+08:00", "2024-01-01T00:00+08:00"]),
        ([1, 2], [3, 4]),
    ],
)  # fmt: skip
def test_future_stamps_may_be_written_otherwise(stamps, later):
    frame = pl.DataFrame({"ds": stamps, "y": [1.0, 2.0], "x": [0.0, 0.0]})
    panel = as_panel(frame, future="x")
    table = pl.DataFrame({"ds": later, "x": [5.0, 6.0]})
    assert future_values(panel, table, 2).tolist() == [[[5.0], [6.0]]]


def test_future_stamps_in_a_time_zone():
    hours = pl.Series(["2024-03-30 23:00", "2024-03-31 00:00", "2024-03-31 01:00"])
    hours = hours.str.to_datetime(time_zone="UTC").dt.convert_time_zone("Europe/Berlin")
    panel = as_panel(pl.DataFrame({"ds": hours[:2], "y": [1.0, 2], "x": [0.0, 0]}), future="x")
    for zone in ("Europe/Berlin", "America/New_York"):
        table = pl.DataFrame({"ds": hours[2:].dt.convert_time_zone(zone), "x": [5.0]})
        assert future_values(panel, table, 1).tolist() == [[[5.0]]]
    nights = pl.Series(["2024-03-17 23:00", "2024-03-24 23:00", "2024-03-31 22:00"])
    nights = nights.str.to_datetime(time_zone="UTC")
    local = nights.dt.convert_time_zone("Europe/Berlin")
    weekly = as_panel(pl.DataFrame({"ds": local[:2], "y": [1.0, 2], "x": [0.0, 0]}), future="x")
    table = pl.DataFrame({"ds": nights[2:], "x": [5.0]})
    assert future_values(weekly, table, 1).tolist() == [[[5.0]]]
    assert str(weekly.freq) == "W"
    refused(
        "future covariate 'x' is missing for 2024-04-01 of the series; X_df must hold the one step "
        "after each series ends",
        future_values, weekly, table[:0], 1,
    )  # fmt: skip
    naive = pl.DataFrame({"ds": hours[2:].dt.replace_time_zone(None), "x": [5.0]})
    refused(
        "the time column 'ds' has no time zone, but the data fitted had Europe/Berlin; localize "
        "it to that zone",
        future_values, panel, naive, 1,
    )  # fmt: skip


def test_days_that_the_calendar_leaves_out():
    panel = as_panel(joined(a=TRADING[:20]).with_columns(x=0.0), future="x")
    days = np.delete(TRADING[19:], 2)  # the last day that is known, and a holiday
    table = pl.DataFrame({"unique_id": "a", "ds": days, "x": np.arange(20.0)})
    assert future_values(panel, table, 3)[0, :, 0].tolist() == [1, 2, 3]
    table[2, "x"] = None
    refused(
        "future covariate 'x' is missing for 2024-01-31 of series 'a'; X_df must hold all 3 steps "
        "after each series ends",
        future_values, panel, table, 3,
    )  # fmt: skip


LATER = ["2024-01-04", "2024-01-05", "2024-01-06"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"unique_id": list("aabbb"), "ds": [LATER[0], LATER[2], *LATER], "temp": [1.0] * 5},
         "future covariate 'temp' is missing for 2024-01-05 of series 'a'; X_df must hold all 3 "
         "steps after each series ends"),
        ({"unique_id": list("abbb"), "ds": [LATER[0], *LATER], "temp": [1.0, NAN, NAN, 1]},
         "future covariate 'temp' is missing for 2024-01-05 (and 1 more step) of series 'a' (and "
         "1 more series); X_df must hold all 3 steps after each series ends"),
        ({"unique_id": ["a"] * 3, "ds": DAYS, "temp": [1.0] * 3},
         "future covariate 'temp' is missing for 2024-01-04 (and 2 more steps) of series 'a' (and "
         "1 more series); X_df must hold all 3 steps after each series ends"),
        ({"unique_id": list("aaab"), "temp": [1.0] * 4},
         "X_df has 1 row for series 'b' and no column of times; it must hold all 3 steps after "
         "each series ends"),
        ({"unique_id": list("aaabbb"), "when": LATER * 2, "temp": [1.0] * 6},
         "time column 'ds' is not in the table; its columns are 'unique_id', 'when', 'temp'"),
        ({"ds": LATER, "temp": [1.0] * 3},
         "id column 'unique_id' is not in the table; its columns are 'ds', 'temp'"),
        ({"unique_id": list("aaabbb"), "ds": LATER * 2},
         "future column 'temp' is not in the table; its columns are 'unique_id', 'ds'"),
        ({"unique_id": list("aaabbb"), "ds": [1, 2, 3] * 2, "temp": [1.0] * 6},
         "the time column 'ds' of X_df holds integers, but the data fitted had dates; write both "
         "the same way"),
        ({"unique_id": list("aaaa"), "ds": [*LATER, LATER[1]], "temp": [1.0] * 4},
         "time stamps of 'ds' stand more than once: 2024-01-05 of series 'a' in rows 2, 4; keep "
         "one row for each"),
    ],
)  # fmt: skip
@KINDS
def test_future_values_that_are_not_there(columns, words, kind):
    refused(words, future_values, with_future(), kind(columns), 3)


def test_future_values_need_a_frame():
    refused(
        "X_df must be a frame with the future covariates 'temp' for the steps after each series, "
        "got NoneType",
        future_values, with_future(), None, 3,
    )  # fmt: skip


def test_panel_frame_refuses():
    panel = as_panel(pl.DataFrame(long("a", "b")))
    for columns in (
        {"f": [[1.0]]},
        {},
        {"f": [1.0, 2.0]},
        {"f": [[1], [2]], "g": [[1, 2], [3, 4]]},
    ):
        with pytest.raises(InputError, match=r"columns must have shape \(2, horizon\); got shapes"):
            panel_frame(panel, columns)
    for name, what in (("ds", "time"), ("unique_id", "ids")):
        with pytest.raises(InputError, match=f"a column is named '{name}' like the {what}"):
            panel_frame(panel, {name: [[1.0], [2.0]]})


# -- many ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_many_series_agree_with_each_alone(seed):
    rng = np.random.default_rng(seed)
    pieces = []
    for name in rng.permutation(40).tolist():
        rows = int(rng.integers(2, 30))
        start = np.datetime64("2024-01-01") + int(rng.integers(100))
        y = rng.normal(size=rows)
        pieces.append(pl.DataFrame({"id": f"s{name}", "day": start + np.arange(rows), "v": y}))
    frame = pl.concat(pieces).sample(fraction=1.0, shuffle=True, seed=seed)
    panel = as_panel(frame)
    assert isinstance(panel, Panel)
    assert panel.ids == tuple(dict.fromkeys(frame["id"].to_list()))
    ahead = panel_times(panel, 5)
    for k, name in enumerate(panel.ids):
        alone = as_series(frame.filter(pl.col("id") == name), freq="D")
        assert panel.series(k).values.tolist() == alone.values.tolist()
        assert panel.series(k).times.tolist() == alone.times.tolist()
        assert ahead[k].tolist() == future_times(alone, 5).tolist()


# -- odd frames ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "name", "expected"),
    [
        (DAYS, None, days(*DAYS)),
        ([dt.date.fromisoformat(day) for day in DAYS], None, days(*DAYS)),
        (pd.CategoricalIndex(DAYS), "when", days(*DAYS)),
        ([2001, 2002, 2003], "year", np.array([2001, 2002, 2003])),
        ([4, 5, 6], None, None),
        ([0.0, 0.5, 1.0], "time", None),
        (["a", "b", "c"], "day", None),
    ],
)
def test_a_pandas_index_that_is_the_time(index, name, expected):
    frame = pd.DataFrame({"y": [1.0, 2.0, 3.0]}, index=pd.Index(index, name=name))
    for data in (frame, frame["y"]):
        times = as_panel(data).times
        assert (times is None) == (expected is None)
        assert expected is None or times.tolist() == expected.tolist()
    frame.insert(0, name or "ds", DAYS)  # the column counts
    assert as_panel(frame).times.tolist() == days(*DAYS).tolist()


@pytest.mark.parametrize(
    "column", [pd.Series([7, 7, 7, 2, 2, 2], dtype=object), pd.Categorical([7, 7, 7, 2, 2, 2])]
)
def test_ids_that_are_integers_in_disguise(column):
    assert as_panel(pd.DataFrame({**long("a", "b"), "unique_id": column})).ids == (7, 2)


def test_cells_that_are_neither_numbers_nor_texts():
    frame = pd.DataFrame({"ds": DAYS, "y": pd.Series([1, pd.NA, 3], dtype=object)})
    frame["x"] = frame["y"]
    panel = as_panel(frame, past="x", target="y")
    assert np.isnan(panel.values).tolist() == np.isnan(panel.past[:, 0]).tolist() == [0, 1, 0]
    frame["y"] = pd.Series([Decimal(1), Decimal("sNaN"), Decimal(3)], dtype=object)
    with pytest.raises(InputError, match="holds text, such as 'sNaN', in row 2"):
        as_panel(frame, target="y")
    endless = pd.DataFrame({**long("a", "b"), "unique_id": [1.0] * 3 + [np.inf] * 3})
    with pytest.raises(InputError, match="'unique_id' holds infinite values, expected texts"):
        as_panel(endless)
    opaque = pl.DataFrame(
        {"ds": DAYS, "y": [1, 2, 3], "s": pl.Series([set()] * 3, dtype=pl.Object)}
    )
    with pytest.raises(InputError, match="'s' holds Python objects, expected texts or numbers"):
        as_panel(opaque, static="s")


def test_the_only_value_column_is_a_covariate():
    refused(
        "no column of numbers is left to forecast beside the time 'ds', as 'y' is named under "
        "past; expected a target besides, so name only covariates there",
        as_panel, pl.DataFrame({"ds": DAYS, "y": [1, 2, 3]}),
        past="y",
    )  # fmt: skip


def test_a_bad_column_of_x_df_is_named_so():
    frame = pl.DataFrame({"ds": DAYS, "y": [1, 2, 3], "x": [1, 2, 3]})
    panel = as_panel(frame, future="x")
    with pytest.raises(InputError, match="'x' of X_df holds Date, expected numbers; write numbers"):
        future_values(panel, pl.DataFrame({"ds": ["2024-01-04"], "x": [dt.date(2024, 1, 4)]}), 1)


@KINDS
def test_a_column_called_cutoff(kind):
    ids = [name for name in "ab" for _ in DAYS]
    stamps = [dt.datetime.fromisoformat(day) for day in DAYS] * 2
    frame = kind({"cutoff": ids, "ds": stamps, "y": np.arange(6.0)})
    panel = as_panel(frame, id="cutoff")
    out = panel_frame(panel, {"headgate": np.zeros((2, 1))})
    assert list(out["cutoff"]) == ["a", "b"]
    at = np.array([0]), np.array([1]), {"headgate": np.zeros((1, 1))}
    with pytest.raises(InputError, match="the id column is named 'cutoff'"):
        stamped_rows(panel, *at)
    with pytest.raises(InputError, match="the time column is named 'cutoff'"):
        stamped_rows(replace(panel, id_name=None, ids=(), time_name="cutoff"), *at)
