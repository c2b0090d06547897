"""Files and frames become one clean series, or an error that says what to do."""

import datetime as dt
import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.data.frames import (
    Frequency,
    Series,
    as_series,
    future_frame,
    future_times,
    read_table,
)
from headgate.errors import InputError

DATA = Path(os.environ.get("HEADGATE_DATA", "")) / "classic_series"
needs_data = pytest.mark.skipif(
    not os.environ.get("HEADGATE_DATA") or not DATA.is_dir(),
    reason="HEADGATE_DATA does not name a folder with classic_series",
)


def write(folder, content, name="t.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def stamps(*texts):
    return np.array(texts, dtype="datetime64[us]")


def ending(times):
    """What follows a series with these stamps, as plain texts."""
    series = as_series(pl.DataFrame({"ds": times, "y": np.arange(float(len(times)))}))
    return series, [str(t)[:16].replace("T00:00", "") for t in future_times(series, 3)]


# -- read_table ----------------------------------------------------------------------------

TABLE = "日期,销量\n2024-01-01,1\n2024-01-02,2.5\n"


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (TABLE, {}),
        (TABLE.encode("utf-8-sig"), {}),
        (TABLE.encode("utf-8-sig"), {"encoding": "utf-8"}),
        (TABLE.encode("gb18030"), {"encoding": "gb18030"}),
        (TABLE.encode("big5", "replace"), {"encoding": "big5"}),
        (TABLE.encode("utf-16"), {}),
        (gzip.compress(TABLE.encode()), {}),
        (TABLE.replace(",", ";").replace("2.5", "2,5"), {}),
        (TABLE.replace(",", "\t"), {}),
        (TABLE.replace("\n", "\r\n"), {}),
        ("日期, 销量 ,\n2024-01-01,1,\n2024-01-02,2.5,\n,,\n,,\n", {}),
    ],
)
def test_read_table_reads_what_people_save(tmp_path, content, options):
    frame = read_table(write(tmp_path, content), **options)
    assert frame.shape == (2, 2)
    assert frame.columns[0] == "日期"
    assert frame.to_series(1).to_list() == [1.0, 2.5]


def test_read_table_reads_parquet_and_tsv(tmp_path):
    frame = pl.DataFrame({"a": [1, 2], "b": [dt.date(2024, 1, 1), dt.date(2024, 1, 2)]})
    frame.write_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").equals(frame)
    # A comma in the header of a .tsv does not separate.
    assert read_table(write(tmp_path, "a,b,c\td\n1\t2\n", "t.tsv")).columns == ["a,b,c", "d"]


def test_read_table_keeps_row_numbers_and_late_text(tmp_path):
    content = "ds,y\n" + "".join(f"{k},{k}\n" for k in range(1, 2001)) + ",\n2002,oops\n"
    frame = read_table(write(tmp_path, content))
    assert frame.height == 2002
    assert frame["y"][2001] == "oops"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty; expected a header line"),
        (b" \n\n", "is empty; expected a header line"),
        (b"date,value\n", "has a header but no rows"),
        (b"date,value\n,\n", "has a header but no rows"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "is a binary file"),
        (b"PK\x03\x04rest", "Excel workbook"),
        (b"PAR1 not parquet", "cannot be read as a table"),
        (b"a,b\n1,2,3\n", "cannot be read as a table"),
        (b"1949-01,112\n1949-02,118\n", "holds values .1949-01,112., expected column names"),
        (b"\xef\xbb\xbf1949-01,112\n1949-02,118\n", "expected column names"),
        (gzip.compress(b"a,b\n1,2\n")[:-9], "damaged gzip"),
        ("日期,销量\n2024-01-01,1\n".encode("gb18030"), "try --encoding gb18030"),
        ("日期,销量\n2024-01-01,1\n".encode("gb18030"), "byte 0xc8 in line 1"),
        ("date,café\n2024-01-01,1\n".encode("cp1252"), "try --encoding cp1252"),
        ("date,prix_été_élevé_x\n2024-01-01,1\n".encode("cp1252"), "try --encoding cp1252"),
    ],
)
def test_read_table_says_what_to_do(tmp_path, content, words):
    with pytest.raises(InputError, match=words):
        read_table(write(tmp_path, content))


def test_read_table_missing_folder_and_encoding(tmp_path):
    path = write(tmp_path, TABLE, "sales.csv")
    with pytest.raises(InputError, match=r"there is no file .*did you mean sales\.csv\?"):
        read_table(tmp_path / "sale.csv")
    with pytest.raises(InputError, match="check the name and the folder"):
        read_table(tmp_path / "nowhere" / "x.csv")
    with pytest.raises(InputError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(InputError, match="encoding 'klingon' is not known"):
        read_table(path, encoding="klingon")
    with pytest.raises(InputError, match=r"is not ascii: .* try encoding utf-8"):
        read_table(write(tmp_path, "a,é\n1,2\n"), encoding="ascii")
    with pytest.raises(InputError, match="cannot be opened"):
        read_table("a\0b")


# -- dates ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "texts",
    [
        ["2024-01-05", "2024-01-06"],
        ["2024/1/5", "2024/1/6"],
        ["2024.01.05", "2024.01.06"],
        ["2024年1月5日", "2024年1月6日"],
        ["20240105", "20240106"],
        ["5/1/2024", "6/1/2024", "13/1/2024"],
        ["1/5/2024", "1/6/2024", "1/13/2024"],
        [" 2024-01-05 ", "2024-01-06"],
        ["2024-01-05T00:00:00Z", "2024-01-06T00:00:00Z"],
        ["2024-01-05 00:00:00+08:00", "2024-01-06 00:00:00+08:00"],
    ],
)
def test_day_texts(texts):
    series = as_series(pl.DataFrame({"x": texts, "y": np.arange(float(len(texts)))}))
    assert series.time_name == "x"
    assert list(series.times[:2]) == list(stamps("2024-01-05", "2024-01-06"))
    assert str(series.freq) in ("D", "6D")  # the third stamp of the ordered pairs is a gap
    last = texts[-1].strip()
    frame = future_frame(series, {"f": [1.0]})
    # The next stamp is written as the others were: same length, same signs between digits.
    signs = [c for c in last if not c.isdigit()]
    assert [c for c in frame["x"][0] if not c.isdigit()] == signs


@pytest.mark.parametrize(
    ("texts", "freq", "following"),
    [
        (["1949-11", "1949-12"], "M", "1950-01"),
        (["2024年11月", "2024年12月"], "M", "2025年1月"),
        (["2023Q3", "2023Q4"], "Q", "2024Q1"),
        (["2023年第3季度", "2023年第4季度"], "Q", "2024年第1季度"),
        (["1949-01-01 12:00", "1949-01-01 13:00"], "h", "1949-01-01 14:00"),
        (["2024年1月5日 22时", "2024年1月5日 23时"], "h", "2024年1月6日 0时"),
        (["2024-01-01 23:59:58.500", "2024-01-01 23:59:59.250"], "750ms",
         "2024-01-02 00:00:00.000"),
        (["2024-01-31", "2024-02-29"], "M", "2024-03-31"),
        (["2024-06-30", "2024-09-30"], "Q", "2024-12-31"),
        (["2024/1/8", "2024/1/9"], "D", "2024/1/10"),
        (["2023年", "2024年"], "Y", "2025年"),
        (["{2024-01-01}", "{2024-01-02}"], None, None),
    ],
)  # fmt: skip
def test_other_texts_come_back_as_written(texts, freq, following):
    frame = pl.DataFrame({"date": texts, "y": [1.0, 2.0]})
    if freq is None:
        with pytest.raises(InputError, match=r"'{2024-01-01}', which is not a date in rows 1, 2;"):
            as_series(frame, time="date")
        return
    series = as_series(frame)
    assert str(series.freq) == freq
    assert future_frame(series, {"f": [0.0]})["date"].to_list() == [following]


def test_mixed_offsets_become_utc():
    texts = ["2024-01-01T00:00:00+08:00", "2023-12-31T17:00:00Z", "2023-12-31T12:30:00-05:30"]
    series = as_series(pl.DataFrame({"t": texts, "y": [1.0, 2.0, 3.0]}))
    expected = stamps("2023-12-31T16:00", "2023-12-31T17:00", "2023-12-31T18:00")
    np.testing.assert_array_equal(series.times, expected)
    assert future_frame(series, {"f": [0]})["t"].to_list() == ["2023-12-31T19:00:00+00:00"]


def test_integer_times():
    days = as_series(pl.DataFrame({"x": [20240228, 20240229], "y": [1.0, 2.0]}))
    assert list(days.times) == list(stamps("2024-02-28", "2024-02-29"))
    assert future_frame(days, {"f": [0]})["x"].to_list() == [20240301]
    months = as_series(pl.DataFrame({"month": [202311, 202312], "y": [1.0, 2.0]}))
    assert future_frame(months, {"f": [0]})["month"].to_list() == [202401]
    years = as_series(pl.DataFrame({"YEAR": [1700, 1701], "y": [1.0, 2.0]}))
    assert (str(years.freq), years.season, years.times.dtype) == ("Y", 1, np.int64)
    assert future_times(years, 2).tolist() == [1702, 1703]
    floats = as_series(pl.DataFrame({"YEAR": [1700.0, 1701.0], "y": [1.0, 2.0]}))
    assert floats.times.tolist() == [1700, 1701]
    seconds = as_series(pl.DataFrame({"timestamp": [1700000000, 1700003600], "y": [1.0, 2.0]}))
    assert (str(seconds.freq), future_times(seconds, 1).tolist()) == ("3600", [1700007200])


@pytest.mark.parametrize(
    "values", [[20240131, 20240132], [20240030, 20240031], [30240130, 30240131], [-20240130, 1]]
)
def test_a_column_of_integers_that_are_no_days_stays_a_value(values):
    series = as_series(pl.DataFrame({"d": ["2024-01-01", "2024-01-02"], "n": values}))
    assert series.value_name == "n"


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["2024-01-01", "2024-02-30", "2024-01-03"], "'2024-02-30', which is not a date in row 2"),
        (["2024-01-01", "soon", "2024-01-03"], "'soon', which is not a date in row 2"),
        (["2024-01-01", None, "2024-01-03"], "time column 'ds' is empty in row 2"),
        (["2024-01-01", " ", "2024-01-03"], "time column 'ds' is empty in row 2"),
        (["01/02/2024", "02/02/2024"], "day and month could be either way round"),
        (["2024-01-01 25:00", "2024-01-02 01:00"], "not a date in row 1"),
    ],
)
def test_texts_that_are_no_dates_are_named(texts, words):
    frame = pl.DataFrame({"ds": texts, "y": np.arange(float(len(texts)))})
    with pytest.raises(InputError, match=words):
        as_series(frame)


# -- frequency and what follows ------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "step", "count", "freq", "season"),
    [
        ("2020-01-01", "1h", 50, "h", 24),
        ("2020-01-01", "30m", 50, "30min", 48),
        ("2020-01-01", "15m", 50, "15min", 96),
        ("2020-01-01", "1m", 50, "min", 1440),
        ("2020-01-01", "10s", 50, "10s", 360),
        ("2020-01-01", "10ms", 50, "10ms", 1),
        ("2020-01-01", "1d", 50, "D", 7),
        ("2020-01-01", "1w", 50, "W", 52),
        ("2020-01-01", "2w", 50, "2W", 26),
        ("2020-01-01", "4w", 50, "4W", 13),
        ("2020-01-01", "1mo", 50, "M", 12),
        ("2020-01-31", "1mo", 50, "M", 12),
        ("2020-01-30", "1mo", 50, "M", 12),
        ("2020-01-01", "3mo", 20, "Q", 4),
        ("2020-12-31", "1y", 20, "Y", 1),
        ("2020-02-29", "1y", 20, "Y", 1),
    ],
)
def test_frequency_is_inferred_and_continued(start, step, count, freq, season):
    first = dt.datetime.fromisoformat(start)
    whole = pl.select(
        pl.lit(first, dtype=pl.Datetime("us")).dt.offset_by(
            pl.concat_str(
                pl.int_range(count) * int("".join(c for c in step if c.isdigit())),
                pl.lit("".join(c for c in step if c.isalpha())),
            )
        )
    ).to_series()
    if start == "2020-02-29":  # leap years keep the last day of February
        whole = whole.dt.month_end()
    series = as_series(pl.DataFrame({"ds": whole[:-6], "y": np.zeros(count - 6)}))
    assert (str(series.freq), series.season) == (freq, season)
    np.testing.assert_array_equal(future_times(series, 6), whole[-6:].to_numpy())
    assert str(Frequency.parse(freq)) == freq


def test_calendars_with_gaps():
    days = [d for d in np.arange("2024-01-01", "2024-03-02", dtype="M8[D]") if np.is_busday(d)]
    series, following = ending(np.array(days)[np.arange(len(days)) != 11])
    assert (series.freq.unit, series.season) == ("B", 5)
    assert following == ["2024-03-04", "2024-03-05", "2024-03-06"]
    # A working week from Sunday to Thursday.
    days = np.arange("2024-01-07", "2024-02-09", dtype="M8[D]")
    series, following = ending(days[np.is_busday(days, weekmask="1111001")])
    assert following == ["2024-02-11", "2024-02-12", "2024-02-13"]
    # Days that are missing here and there are a gap, not a calendar.
    days = np.delete(np.arange("2024-01-01", "2024-03-01", dtype="M8[D]"), [3, 4, 17])
    assert ending(days)[0].freq == Frequency("D")
    # Months that are missing, and the last trading day of each month.
    months = np.delete(np.arange("2020-01", "2023-01", dtype="M8[M]"), [5, 6]).astype("M8[D]")
    assert ending(months)[1] == ["2023-01-01", "2023-02-01", "2023-03-01"]
    ends = (np.arange("2020-02", "2023-02", dtype="M8[M]").astype("M8[D]")) - 1
    series, following = ending(np.busday_offset(ends, 0, roll="backward"))
    assert (str(series.freq), following) == ("M", ["2023-01-31", "2023-02-28", "2023-03-31"])
    hours = np.arange("2024-01-01T00", "2024-01-09T00", dtype="M8[h]")
    assert str(ending(np.delete(hours, [5, 50, 51]).astype("M8[us]"))[0].freq) == "h"
    # Jitter: no step is common, the median counts.
    jitter = np.cumsum([0, 58, 61, 60, 59, 62, 63, 57]).astype("m8[s]") + np.datetime64(
        "2024", "us"
    )
    assert str(ending(jitter)[0].freq) == "min"


def test_integer_gaps():
    frame = pl.DataFrame({"ds": [1, 3, 5, 9, 11], "y": [0.0] * 5})
    assert future_times(as_series(frame), 2).tolist() == [13, 15]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ME", "M"), ("MS", "M"), ("1mo", "M"), ("H", "h"), ("h", "h"), ("1h", "h"), ("T", "min"),
        ("60min", "h"), ("90min", "90min"), ("24h", "D"), ("7D", "W"), ("W-SUN", "W"),
        ("Q-DEC", "Q"), ("QE", "Q"), ("3M", "Q"), ("12M", "Y"), ("A", "Y"), ("YE", "Y"), ("B", "B"),
        ("daily", "D"), ("ms", "ms"), ("5", "5"), (5, "5"), ("monthly", "M"), ("2Q", "2Q"),
    ],
)  # fmt: skip
def test_frequency_spellings(text, expected):
    assert str(Frequency.parse(text)) == expected
    assert Frequency.parse(Frequency.parse(expected)) == Frequency.parse(expected)


@pytest.mark.parametrize("text", ["m", "fortnight", "", "0D", "-1", True, 1.5, "9999999D"])
def test_frequency_refuses(text):
    with pytest.raises(InputError, match="freq"):
        Frequency.parse(text)


def test_frequency_by_hand_keeps_the_anchor_of_the_data():
    frame = pl.DataFrame({"ds": ["2024-01-31", "2024-04-30"], "y": [1.0, 2.0]})
    series = as_series(frame, freq="MS")
    assert (series.season, series.freq.day) == (12, 31)
    assert future_frame(series, {"f": [0.0]})["ds"].to_list() == ["2024-05-31"]
    friday = pl.DataFrame({"ds": ["2024-01-04", "2024-01-05"], "y": [1.0, 2.0]})
    series = as_series(friday, freq="B")
    assert future_frame(series, {"f": [0.0]})["ds"].to_list() == ["2024-01-08"]
    with pytest.raises(InputError, match="needs dates, but the time column holds plain integers"):
        as_series(pl.DataFrame({"ds": [1, 2], "y": [1.0, 2.0]}), freq="M")
    with pytest.raises(InputError, match="is an integer step, but the time column holds dates"):
        as_series(frame, freq=1)


# -- kinds in, kinds out -------------------------------------------------------------------


def test_arrays():
    for data in (
        [1, 2, 3],
        np.array([[1.0], [2], [3]]),
        pl.Series([1, 2, 3]),
        pd.Series([1, 2, 3]),
    ):
        series = as_series(data, freq="M")
        assert series.values.tolist() == [1.0, 2.0, 3.0]
        assert (series.times, series.season, len(series)) == (None, 12, 3)
        assert not series.values.flags.writeable
        assert future_times(series, 2).tolist() == [3, 4]
    assert as_series([1, 2, 3]).season == 1
    frame = future_frame(as_series([1, 2, 3]), {"headgate": [4.0, 5.0]})
    assert frame.to_dict(as_series=False) == {"ds": [3, 4], "headgate": [4.0, 5.0]}
    assert type(future_frame(as_series(pd.Series([1, 2])), {"f": [1]})) is pd.DataFrame
    values = np.array([1.0, 2.0, 3.0])
    as_series(values)
    values[0] = 7.0  # the caller's array is theirs


@pytest.mark.parametrize(
    "dtype", [pl.Date, pl.Datetime("ms"), pl.Datetime("us"), pl.Datetime("ns")]
)
def test_polars_dates_keep_their_type(dtype):
    days = pl.Series([dt.date(2024, 1, 1), dt.date(2024, 1, 2)]).cast(dtype)
    series = as_series(pl.DataFrame({"day": days, "y": [1, 2]}))
    frame = future_frame(series, {"headgate": np.array([3.0]), "headgate-lo-80": [2.0]})
    assert frame.schema == {"day": dtype, "headgate": pl.Float64, "headgate-lo-80": pl.Float64}
    assert frame["day"].cast(pl.Date).to_list() == [dt.date(2024, 1, 3)]


@pytest.mark.parametrize("dtype", ["datetime64[ns]", "datetime64[s]"])
def test_pandas_dates_keep_their_type(dtype):
    days = pd.Series(pd.to_datetime(["2024-01-01", "2024-01-02"]).astype(dtype))
    values = pd.Series([1, 2], dtype="Int64")
    frame = future_frame(as_series(pd.DataFrame({"ds": days, "y": values})), {"f": [0.0]})
    assert type(frame) is pd.DataFrame
    assert str(frame["ds"].dtype) == dtype
    assert frame["ds"].tolist() == [pd.Timestamp("2024-01-03")]


def test_pandas_indices_and_objects():
    for index in (
        pd.date_range("2024-01-31", periods=3, freq="ME", name="when"),
        pd.date_range("2024-01-31", periods=3, freq="ME").rename("when"),
    ):
        series = as_series(pd.Series([1.0, 2, 3], index=index, name="load"))
        assert (series.time_name, series.value_name, str(series.freq)) == ("when", "load", "M")
        frame = future_frame(series, {"f": [0.0]})
        assert frame["when"].tolist() == [pd.Timestamp("2024-04-30")]
    periods = pd.period_range("2024-01", periods=3, freq="M")
    series = as_series(pd.DataFrame({"y": [1.0, 2, 3]}, index=periods))
    assert (series.time_name, str(series.freq)) == ("ds", "M")
    objects = pd.DataFrame({"d": [dt.date(2024, 1, 1), dt.date(2024, 1, 2)], "y": [1, 2]})
    series = as_series(objects)
    assert future_frame(series, {"f": [0]})["d"].tolist() == [pd.Timestamp("2024-01-03")]


@pytest.mark.parametrize("kind", ["polars", "pandas"])
def test_time_zones(kind):
    def frame(texts):
        times = (
            pl.Series(texts).str.to_datetime(time_zone="UTC").dt.convert_time_zone("Europe/Berlin")
        )
        polars = pl.DataFrame({"ds": times, "y": np.arange(float(len(texts)))})
        return polars if kind == "polars" else polars.to_pandas()

    # Hours over the change of clocks on 2024-03-31, local midnights over the same night.
    hours = as_series(frame(["2024-03-30 23:00", "2024-03-31 00:00", "2024-03-31 01:00"]))
    assert str(hours.freq) == "h"
    out = [str(t) for t in list(future_frame(hours, {"f": [0.0, 0.0]})["ds"])]
    assert out == ["2024-03-31 04:00:00+02:00", "2024-03-31 05:00:00+02:00"]
    # The hour that comes twice in autumn is no duplicate.
    back = as_series(frame(["2024-10-26 23:00", "2024-10-27 00:00", "2024-10-27 01:00"]))
    assert str(future_frame(back, {"f": [0.0]})["ds"][0]) == "2024-10-27 03:00:00+01:00"
    nights = as_series(frame(["2024-03-29 23:00", "2024-03-30 23:00", "2024-03-31 22:00"]))
    assert str(nights.freq) == "D"
    assert str(future_frame(nights, {"f": [0.0]})["ds"][0]) == "2024-04-02 00:00:00+02:00"
    # A stamp that the change of clocks leaves out.
    gap = as_series(frame(["2024-03-29 01:30", "2024-03-30 01:30"]))
    assert str(future_frame(gap, {"f": [0.0]})["ds"][0])[:13] == "2024-03-31 03"


def test_part():
    series = as_series(
        pl.DataFrame({"ds": ["2024-01-31", "2024-02-29", "2024-03-31"], "y": [1, 2, 3]})
    )
    part = series.part(0, -1)
    assert isinstance(part, Series)
    assert (len(part), part.values.tolist()) == (2, [1.0, 2.0])
    assert future_times(part, 1).tolist() == stamps("2024-03-31").tolist()
    assert as_series(part) is part


# -- columns -------------------------------------------------------------------------------

DAYS = ["2024-01-03", "2024-01-01", "2024-01-02"]


def test_columns_are_found_and_rows_sorted():
    series = as_series(
        pl.DataFrame({"销量": ["3", " 1", "2"], "日期": DAYS, "店": ["a", "a", "a"]})
    )
    assert (series.time_name, series.value_name) == ("日期", "销量")
    assert series.values.tolist() == [1.0, 2.0, 3.0]
    # Names of the long frame win over other candidates.
    frame = pl.DataFrame({"ds": DAYS, "date": DAYS, "x": [1, 2, 3], "y": [3, 1, 2]})
    assert as_series(frame).value_name == "y"
    assert as_series(frame, target="x", time="date").values.tolist() == [2.0, 3.0, 1.0]
    assert as_series(pl.DataFrame({"v": [1, 2]})).times is None


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({"d": DAYS, "a": [1, 2, 3], "b": [1, 2, 3]}, {}, "may be the target: 'a', 'b'"),
        ({"d": DAYS, "e": DAYS, "a": [1, 2, 3]}, {}, "several columns may be the time: 'd', 'e'"),
        ({"year": [1, 1, 2], "quarter": [1, 2, 1], "a": [1, 2, 3]}, {}, "--time"),
        ({"d": DAYS}, {}, "no column of numbers was found beside the time 'd'"),
        ({"d": DAYS, "a": ["x", "y", "z"], "b": ["x", "y", "z"]}, {}, "no column of numbers"),
        ({"d": DAYS, "sales": [1, 2, 3]}, {"target": "sale"}, "did you mean 'sales'"),
        ({"d": DAYS, "a": [1, 2, 3]}, {"time": "x"}, "time column 'x' is not in the table; its"),
        ({"d": DAYS, "a": [1, 2, 3]}, {"time": "a", "target": "a"}, "name two columns"),
        ({"d": DAYS, "a": [1, 2, 3]}, {"target": "d"}, "such as '2024-01-03', in rows 1, 2, 3"),
        ({"d": DAYS, "a": [True, False, True]}, {"target": "a"}, "holds Boolean, expected numbers"),
        ({"d": [True, False, True], "a": [1, 2, 3]}, {"time": "d"}, "Boolean, expected dates"),
        ({"time": [0.1, 0.2, 1.0], "a": [1, 2, 3]}, {"time": "time"}, "fractions in rows 1, 2"),
        ({"d": [1, None, 3], "a": [1, 2, 3]}, {"time": "d"}, "time column 'd' is empty in row 2"),
        ({"d": DAYS[:1], "a": [1]}, {}, "the table has 1 row; a series needs at least 2"),
        ({"d": [], "a": []}, {}, "the table has 0 rows"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [pl.DataFrame, pd.DataFrame])
def test_columns_that_cannot_be_told(columns, options, words, kind):
    with pytest.raises(InputError, match=words):
        as_series(kind(columns), **options)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["1", "twelve", "3"], "holds text, such as 'twelve', in row 2; write plain numbers"),
        (["1", "1,234", "3"], "no thousands separator"),
        ([1.0, np.inf, -np.inf], "'y' is infinite in rows 2, 3"),
        (["1", "inf", "2"], "'y' is infinite in row 2"),
        ([1.0, None, 3.0], "'y' has 1 missing value in row 2; fill them first"),
        (["1", "NA", ""], "'y' has 2 missing values in rows 2, 3; fill"),
    ],
)
@pytest.mark.parametrize("kind", [pl.DataFrame, pd.DataFrame])
def test_values_that_are_no_numbers_are_named(values, words, kind):
    # Rows count in the order of the file, before sorting.
    with pytest.raises(InputError, match=words):
        as_series(kind({"d": DAYS, "y": values}))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([1.0], "length 1; a series needs at least 2"),
        ([], "length 0"),
        (np.zeros((3, 2)), r"ndarray of shape \(3, 2\)"),
        ([1.0, np.nan, 3.0], "the data has 1 missing value in index 1"),
        ([1.0, None, 3.0], "the data has 1 missing value in index 1"),
        ([1.0, np.inf], "the data is infinite in index 1"),
        ([1.0, "x"], "hold 'x' at index 1, expected a number"),
        ([[1, 2], [3]], "1-D"),
        ({"ds": [1], "y": [2]}, "got dict"),
        ("data.csv", "use read_table first"),
        (None, "got NoneType"),
    ],
)
def test_arrays_that_are_no_series(data, words):
    with pytest.raises(InputError, match=words):
        as_series(data)


def test_duplicates_are_named():
    days = ["2024-01-01", "2024-01-02", "2024-01-01", "2024-01-03", "2024-01-03"]
    for kind in (pl.DataFrame, pd.DataFrame):
        with pytest.raises(
            InputError, match=r"2024-01-01 in rows 1, 3; 2024-01-03 in rows 4, 5; keep one row"
        ):
            as_series(kind({"d": days, "y": [1, 2, 3, 4, 5]}))
    native = pl.DataFrame({"d": [dt.date(2024, 1, 1)] * 2, "y": [1, 2]})
    with pytest.raises(InputError, match="once: 2024-01-01 in rows 1, 2; keep"):
        as_series(native)
    many = pl.DataFrame({"year": [2000 + k // 2 for k in range(20)], "y": range(20)})
    with pytest.raises(InputError, match=r"2002 in rows 5, 6 .and 7 more stamps"):
        as_series(many)


def test_more_refusals():
    with pytest.raises(InputError, match="nanoseconds"):
        as_series(pl.DataFrame({"d": np.array([1, 2], "M8[ns]"), "y": [1, 2]}))
    with pytest.raises(InputError, match="time= and target= name columns"):
        as_series([1, 2, 3], target="y")
    series = as_series(pl.DataFrame({"d": DAYS, "y": [1, 1, 1]}))
    for horizon in (0, -1, 2.5, None):
        with pytest.raises(InputError, match="horizon"):
            future_times(series, horizon)
    end = as_series(pl.DataFrame({"d": ["9999-12-30", "9999-12-31"], "y": [1, 1]}))
    with pytest.raises(InputError, match="10000-01-01, after the year 9999"):
        future_frame(end, {"f": [1.0]})
    with pytest.raises(InputError, match="one length"):
        future_frame(series, {"a": [1], "b": [1, 2]})
    with pytest.raises(InputError, match="like the time; rename it"):
        future_frame(series, {"d": [1]})
    twice = pd.DataFrame(
        {"ds": [1, 2], "y": [1, 2]}, index=pd.date_range("2024", periods=2, name="ds")
    )
    with pytest.raises(InputError, match="both the index and a column"):
        as_series(twice)


# -- the real files ------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize(
    ("name", "options", "length", "freq", "season", "following"),
    [
        ("airpassengers", {}, 144, "M", 12, "1961-01"),
        ("sunspots_yearly", {}, 309, "Y", 1, 2009),
        ("nile", {}, 100, "Y", 1, 1971),
    ],
)
def test_classic_series(name, options, length, freq, season, following):
    series = as_series(read_table(DATA / f"{name}.csv"), **options)
    assert (len(series), str(series.freq), series.season) == (length, freq, season)
    assert future_frame(series, {"f": [0.0]}).row(0) == (following, 0.0)


@needs_data
def test_classic_weekly_series_with_holes():
    table = read_table(DATA / "co2_weekly.csv")
    with pytest.raises(InputError, match="59 missing values in rows 7, 10, 11, 12, 13 and 54 more"):
        as_series(table)
    series = as_series(table.with_columns(pl.col("co2").interpolate()))
    assert (str(series.freq), series.season) == ("W", 52)
    assert future_frame(series, {"f": [0.0]})["date"].to_list() == [20020105]


# -- anything at all -----------------------------------------------------------------------

CELLS = st.text(alphabet="0123456789-/.:,;eEinfaNT年月日时Q \"'\t\r\n\0é", max_size=12)


@given(st.one_of(st.binary(max_size=60), st.lists(CELLS, max_size=12).map(",".join)))
@settings(max_examples=150, deadline=None)
def test_any_file_is_a_table_or_an_input_error(tmp_path_factory, content):
    path = write(tmp_path_factory.getbasetemp(), content, "any.csv")
    try:
        table = read_table(path)
        series = as_series(table)
    except InputError:
        return
    assert np.isfinite(series.values).all()
    assert future_frame(series, {"f": [0.0, 0.0]}).height == 2


WAYS = (
    "{0:%Y-%m-%d %H:%M}", "{0:%Y/%m/%d}", "{0:%Y%m%d}", "{0.year}年{0.month}月{0.day}日",
    "{0.day}.{0.month}.{0.year}", "{0:%Y-%m}", "{0:%Y-%m-%dT%H:%M:%S.%f}",
    "{0.year}/{0.month}/{0.day}",
)  # fmt: skip


@given(
    st.lists(
        st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2199, 1, 1)),
        min_size=2,
        max_size=6,
    ),
    st.sampled_from(WAYS),
    st.integers(1, 3),
)
@settings(max_examples=100, deadline=None)
def test_dates_written_in_any_way_are_read_back(dates, way, horizon):
    texts = [way.format(date) for date in dates]
    frame = pl.DataFrame({"ds": texts, "y": np.arange(float(len(dates)))})
    try:
        series = as_series(frame)
    except InputError as error:
        twice = len(set(texts)) < len(texts)
        if not twice and "either way round" not in str(error):
            raise
        return
    order = np.argsort(np.array(dates, dtype="M8[us]"), kind="stable")
    assert series.values.tolist() == order.tolist()
    assert series.style.write(series.times) == [texts[k] for k in order]
    after = future_times(series, horizon)
    assert len(after) == horizon
    assert after[0] > series.times[-1]
