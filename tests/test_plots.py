"""Pictures: what is drawn, how it is labelled, and text that no font can draw."""

import logging
import re

import numpy as np
import polars as pl
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.colors import to_hex
from matplotlib.image import imread

from headgate import class_plots, fonts, plots
from headgate.data.frames import as_series, future_times
from headgate.errors import HeadgateError, HeadgateWarning, InputError


def series(time="ds", value="y", length=90):
    days = np.arange(length) + np.datetime64("2024-01-01")
    return as_series(pl.DataFrame({time: days, value: np.sin(np.arange(length)) + 5.0}))


def figure(data, horizon=7, **options):
    forecast = np.full(horizon, 5.0)
    bands = {95: (forecast - 2, forecast + 2), 80: (forecast - 1, forecast + 1)}
    return plots.forecast_figure(
        data, future_times(data, horizon), forecast, bands, **{"title": "Load", **options}
    )


def texts(artist):
    found = artist.findobj(lambda a: hasattr(a, "get_text"))
    return {text.get_text() for text in found} - {""}


@pytest.fixture(autouse=True)
def no_advice_yet(monkeypatch):
    monkeypatch.setattr(fonts, "_given", set())


@pytest.fixture
def no_cjk_font(monkeypatch):
    monkeypatch.setattr(fonts, "CJK_FAMILIES", ())
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])


@pytest.fixture
def cjk_font(tmp_path, monkeypatch):
    """A font of a few square characters in a file, which matplotlib has not listed yet."""
    pen = TTGlyphPen(None)
    for index, point in enumerate([(0, 0), (0, 700), (700, 700), (700, 0)]):
        (pen.lineTo if index else pen.moveTo)(point)
    pen.closePath()
    names = {ord(c): f"uni{ord(c):04X}" for c in "日期销量"}
    glyphs = [".notdef", *names.values()]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap(names)
    builder.setupGlyf(dict.fromkeys(glyphs, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Headgate Test CJK", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    path = tmp_path / "headgate-test-cjk.ttf"
    builder.save(path)
    monkeypatch.setattr(fonts, "CJK_FAMILIES", ("Headgate Test CJK",))
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(path)])
    listed = list(font_manager.fontManager.ttflist)
    yield
    font_manager.fontManager.ttflist[:] = listed


# -- what is drawn -------------------------------------------------------------------------


def test_forecast_shows_series_forecast_and_bands():
    data = series()
    axes = figure(data, backtest={"naive": data.values[-7:]}).axes[0]
    assert {"Load", "ds", "y", "forecast", "80 %", "95 %", "back-test: naive"} <= texts(axes)
    past, backtest, forecast = axes.lines
    # The last 80 steps; the back-test over the last 7; the forecast hangs on to the last value.
    assert len(past.get_xdata()) == 80
    np.testing.assert_array_equal(backtest.get_xdata(), data.times[-7:])
    np.testing.assert_array_equal(forecast.get_xdata()[1:], future_times(data, 7))
    assert forecast.get_xdata()[0] == data.times[-1]
    assert forecast.get_ydata().tolist() == [data.values[-1], *[5.0] * 7]
    wide, narrow = axes.collections
    assert wide.get_datalim(axes.transData).height == pytest.approx(4.0)
    assert narrow.get_datalim(axes.transData).height == pytest.approx(2.0)
    # The narrower band is the darker one and lies above.
    assert [to_hex(b.get_facecolor()[0]) for b in (narrow, wide)] == list(plots._BAND_TINTS[:2])


def test_forecast_of_years_arrays_and_constants():
    years = as_series(pl.DataFrame({"year": range(1700, 1750), "n": [3.0] * 50}))
    axes = figure(years).axes[0]
    axes.figure.canvas.draw()
    assert {"1700", "1720", "1740"} <= {t.get_text() for t in axes.get_xticklabels()}
    few = as_series(pl.DataFrame({"year": [2001, 2002, 2003], "n": [3.0, 1.0, 2.0]}))
    axes = figure(few, horizon=1).axes[0]
    axes.figure.canvas.draw()
    assert {t.get_text() for t in axes.get_xticklabels()} <= {str(y) for y in range(2000, 2006)}
    bare = as_series(np.ones(5))
    flat = plots.forecast_figure(bare, future_times(bare, 1), [1.0])
    flat.canvas.draw()
    assert flat.axes[0].lines[-1].get_xdata().tolist() == [4, 5]
    with pytest.raises(InputError, match="two 1-D arrays of one length"):
        plots.forecast_figure(bare, future_times(bare, 2), [1.0])


def test_direct_labels_keep_apart_and_near_their_values():
    gap = 0.05
    for wishes in ([0.1, 0.5, 0.9], [0.5, 0.5, 0.5], [0.0, 0.01, 0.3, 0.31, 0.32, 1.0]):
        places = plots._spread(sorted(wishes), gap)
        assert np.diff(places).min() >= gap - 1e-12
        assert np.mean(places) == pytest.approx(np.mean(wishes))
    assert plots._spread([0.1, 0.5, 0.9], gap) == [0.1, 0.5, pytest.approx(0.9)]
    axes = plots.new_figure().axes[0]
    plots.rollout_axes(axes, [0.0, 1.0], {"low": [0, 0], "high": [0, 4], "next": [0, 0.01]})
    heights = {t.get_text(): t.get_position()[1] for t in axes.texts}
    assert heights["high"] > heights["truth"] > heights["next"] > heights["low"]
    assert heights["next"] - heights["low"] > 0.04
    low, high = axes.get_ylim()
    assert heights["high"] == pytest.approx((4 - low) / (high - low))


def test_history():
    axes = plots.new_figure().axes[0]
    loss = np.array([1.0, 0.5, 0.4, 0.3])
    plots.history_axes(axes, loss, loss + 0.1, best_epoch=2)
    assert {"training", "validation", "epoch", "loss"} <= texts(axes)
    assert "best validation 0.5, epoch 3" in texts(axes)
    assert axes.lines[0].get_xdata().tolist() == [1, 2, 3, 4]
    assert axes.lines[2].get_xydata().tolist() == [[3.0, 0.5]]
    assert axes.get_yscale() == "linear"
    axes = plots.new_figure().axes[0]
    plots.history_axes(axes, [1.0, 0.1, 0.01], np.array([]))
    assert axes.get_yscale() == "log"
    assert "validation" not in texts(axes)
    for odd in ([0.5], [np.nan, np.nan], [], [0.0, 0.0]):
        axes = plots.new_figure().axes[0]
        plots.history_axes(axes, odd)
        axes.figure.canvas.draw()


def test_rollout():
    axes = plots.new_figure(2).axes[1]
    truth = np.sin(np.arange(20.0))
    plots.rollout_axes(axes, truth, {"GRU": truth, "MLP": truth * 0}, "Sine")
    assert {"Sine", "GRU", "MLP", "truth", "steps ahead"} <= texts(axes)
    assert axes.lines[1].get_color() != axes.lines[2].get_color()
    assert axes.lines[1].get_xdata()[0] == 1


# -- files and notebooks -------------------------------------------------------------------


def test_save(tmp_path):
    path = plots.save_figure(figure(series()), tmp_path / "a.png")
    image = imread(path)
    assert image.shape[:2] == (675, 1350)
    assert image[0, 0, :3].tolist() == [1.0, 1.0, 1.0]
    first = path.read_bytes()
    plots.save_figure(figure(series()), path)
    assert path.read_bytes() == first  # the same data, the same bytes
    assert plots.save_figure(figure(series()), tmp_path / "a.svg").read_bytes()[:5] == b"<?xml"
    assert plots.save_figure(figure(series()), tmp_path / "a.pdf").read_bytes()[:4] == b"%PDF"
    with pytest.raises(InputError, match=r"must end in \.png, \.svg, \.pdf; got 'a\.gif'"):
        plots.save_figure(figure(series()), tmp_path / "a.gif")
    with pytest.raises(HeadgateError, match="cannot write"):
        plots.save_figure(figure(series()), tmp_path / "nowhere" / "a.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pdf", "a.png", "a.svg"]


def test_a_notebook_shows_the_figure():
    assert figure(series())._repr_png_()[:8] == b"\x89PNG\r\n\x1a\n"


# -- text ----------------------------------------------------------------------------------


def test_without_a_font_one_warning_and_stand_ins(no_cjk_font, tmp_path):
    data = series("日期", "销量")
    with pytest.warns(HeadgateWarning) as caught:
        picture = figure(data, title="销量, 7天", backtest={"季节 naive": data.values[-7:]})
    assert len(caught) == 1
    message = str(caught[0].message)
    assert re.search("no installed font can draw '.*量.*'", message)
    assert "apt-get install fonts-noto-cjk" in message
    assert "\n" not in message
    axes = picture.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time", "value")
    assert axes.get_title(loc="left") == "series, 7 series"
    assert "back-test: series naive" in texts(axes)
    plots.save_figure(picture, tmp_path / "a.png")  # no glyph is missing: no warning


def test_a_font_installed_since_is_found_and_used(cjk_font, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        picture = figure(series("日期", "销量"), title="销量, 7 days")
        plots.save_figure(picture, tmp_path / "a.png")
    assert not caplog.records  # "no bold face" and the like
    axes = picture.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("日期", "销量")
    assert axes.xaxis.label.get_fontfamily()[-1] == "Headgate Test CJK"
    assert axes.title.get_fontfamily()[-1] != "Headgate Test CJK"


def test_what_the_font_lacks_is_replaced(cjk_font, tmp_path):
    with pytest.warns(HeadgateWarning, match="can draw '朴',"):
        picture = figure(series("日期", "销量"), title="销量朴")
    assert picture.axes[0].get_title(loc="left") == "销量 series"
    plots.save_figure(picture, tmp_path / "a.png")


def test_other_scripts_dollars_and_control_characters(no_cjk_font, tmp_path):
    with pytest.warns(HeadgateWarning, match="apt-get install fonts-noto$"):
        picture = figure(series(), title="ยอดขาย 🚀")
    assert picture.axes[0].get_title(loc="left") == "series series"
    name = "$ of\na_\\x_b$ {caf\u00e9}\x07"
    picture = figure(series(value=name), title="x" * 200)
    assert picture.axes[0].get_ylabel().rstrip() == "$ of a_\\x_b$ {café}"
    assert len(picture.axes[0].get_title(loc="left")) == 80
    plots.save_figure(picture, tmp_path / "a.png")


def test_text_that_a_caller_adds_is_checked_when_saved(no_cjk_font, tmp_path):
    picture = figure(series())
    picture.axes[0].set_xlabel("日期")
    with pytest.warns(HeadgateWarning, match="日期"):
        plots.save_figure(picture, tmp_path / "a.png")
    assert picture.axes[0].get_xlabel() == "time"


def test_the_same_advice_is_given_once(no_cjk_font):
    with pytest.warns(HeadgateWarning, match="fonts-noto-cjk"):
        figure(series("日期", "销量"))
    figure(series("门店", "气温"))  # no warning: they are errors in these tests


def test_one_legend_for_all_panels():
    data = series()
    picture = plots.new_figure(2)
    for axes in picture.axes:
        when = np.arange(len(data), len(data) + 3) if data.times is None else data.times[-3:]
        plots.forecast_axes(axes, data, when, [1.0, 2, 3], backtest={"model": [1.0, 2, 3]})
    plots.share_legend(picture)
    assert [axes.get_legend() for axes in picture.axes] == [None, None]
    (legend,) = picture.legends
    assert [text.get_text() for text in legend.get_texts()] == ["back-test: model"]
    picture.canvas.draw()
    bottom = legend.get_window_extent().y0
    assert all(axes.get_window_extent().y1 <= bottom for axes in picture.axes)


# -- classes -------------------------------------------------------------------------------


def test_a_confusion_matrix_names_its_classes(cjk_font, tmp_path):
    picture = class_plots.confusion_figure([[7, 1], [0, 3]], ["销量", "日期"], "reviews")
    plots.save_figure(picture, tmp_path / "a.png")  # no glyph is missing: no warning
    axes = picture.axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["销量", "日期"]
    assert [t.get_text() for t in axes.texts] == ["7", "1", "0", "3"]
    assert np.ma.getdata(axes.images[0].get_array()).tolist() == [[7 / 8, 1 / 8], [0.0, 1.0]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")


def test_classes_that_no_font_can_draw_get_numbers(no_cjk_font, tmp_path):
    with pytest.warns(
        HeadgateWarning, match=r"says 'class 1' for '\S+', 'class 3' for '\S+' instead"
    ):
        picture = class_plots.confusion_figure(np.eye(3, dtype=int), ["好评", "a", "差评"])
    plots.save_figure(picture, tmp_path / "a.png")
    assert [t.get_text() for t in picture.axes[0].get_yticklabels()] == ["class 1", "a", "class 3"]


def test_many_classes_are_cut_and_counted():
    picture = class_plots.confusion_figure(np.eye(45, dtype=int), [f"c{k}" for k in range(45)])
    axes = picture.axes[0]
    assert axes.images[0].get_array().shape == (40, 40)
    assert axes.get_title(loc="right") == "5 more not shown"
    assert not axes.texts
    with pytest.raises(InputError, match="confusion matrix of 2 classes must have the shape"):
        class_plots.confusion_figure(np.eye(3), ["a", "b"])


def test_a_learning_curve_with_a_score():
    picture = class_plots.learning_figure([3, 2], [3, 2.5], [0.5, 0.7], score_name="accuracy")
    assert [axes.get_ylabel() for axes in picture.axes] == ["loss", "accuracy"]
    assert picture.axes[1].lines[0].get_ydata().tolist() == [0.5, 0.7]
    assert len(class_plots.learning_figure([3, 2], [], []).axes) == 1
