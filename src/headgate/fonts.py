"""Text that a picture can really show: fonts for other scripts, or readable stand-ins.

matplotlib draws an empty box for a character that its font lacks. :func:`tidy_text` looks for
an installed font that has it, and where there is none says once per process what to install
and writes a stand-in.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from .errors import HeadgateWarning

# Families with Chinese characters (most with Japanese and Korean too), best first.
CJK_FAMILIES = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK TC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "Source Han Sans",
    "Microsoft YaHei",
    "PingFang SC",
    "PingFang HK",
    "Hiragino Sans GB",
    "Heiti SC",
    "Heiti TC",
    "STHeiti",
    "SimHei",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "Noto Serif CJK SC",
    "SimSun",
    "Songti SC",
    "Arial Unicode MS",
    "AR PL UMing CN",
    "Noto Sans CJK KR",
    "Malgun Gothic",
    "NanumGothic",
)
# Files of such fonts, for those that were installed after matplotlib made its list of fonts.
_CJK_FILE = re.compile(
    r"cjk|wqy|wenquan|sourcehan|simhei|simsun|msyh|pingfang|heiti|hiragino|droidsansfallback|"
    r"uming|noto(sans|serif)(sc|tc|jp|kr)|malgun|nanum|songti",
    re.IGNORECASE,
)
_CJK = re.compile(
    "[\u1100-\u11ff\u2e80-\u303f\u3040-\u30ff\u3100-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)


_NAMED = 10  # names that a warning lists beside their stand-ins
_given: set[str] = set()  # advice


def tidy_text(artist: Artist) -> None:
    """Make all text within a figure or axes drawable: families set, or characters replaced.

    Runs of characters for which no font is installed become "time" in the label of the x
    axis, "value" in that of the y axis and "series" elsewhere; one HeadgateWarning says what
    to install. Dollar signs stay dollar signs; control characters become blanks.
    """
    lost: list[str] = []
    roles = _roles(artist)
    for text in artist.findobj(Text):
        assert isinstance(text, Text)
        content = text.get_text()
        if content.isascii() and content.isprintable() and "$" not in content:
            continue
        text.set_parse_math(False)
        content = _printable(content)
        have = _drawn_by(list(text.get_fontfamily()))
        absent = {c for c in content if ord(c) not in have and not c.isspace()}
        if absent:
            families = _families_for(frozenset(absent))
            if families:
                text.set_fontfamily([*text.get_fontfamily(), *families])
                if not all(_has_bold(family) for family in families):
                    text.set_fontweight("normal")  # one weight throughout the line
                have = _drawn_by(families)
                absent = {c for c in absent if ord(c) not in have}
            content = _replace(content, absent, roles.get(id(text), "series"))
            lost += sorted(absent)
        text.set_text(content)
    if lost:
        _warn(lost, "'time', 'value' or 'series'")


def names_that_show(names: Sequence[str], stand_in: str = "class") -> list[str]:
    """Each name as it is, or "class 3" for the third of them if no installed font can draw it.

    For the names along an axis, which matplotlib writes anew at will, and which must differ.
    """
    have = _drawn_by(list(font_manager.FontProperties().get_family()))
    absent = {c for name in map(_printable, names) for c in name if ord(c) not in have}
    absent = {c for c in absent if not c.isspace()}
    if absent:
        have = _drawn_by(_families_for(frozenset(absent)))
        absent = {c for c in absent if ord(c) not in have}
    if absent:
        lost = [
            (k, name) for k, name in enumerate(names, start=1) if absent & set(_printable(name))
        ]
        said = ", ".join(f"'{stand_in} {k}' for {name!r}" for k, name in lost[:_NAMED])
        _warn(sorted(absent), said + ", ..." * (len(lost) > _NAMED))
    return [
        f"{stand_in} {number}" if absent & set(name) else name
        for number, name in enumerate(map(_printable, names), start=1)
    ]


def _printable(content: str) -> str:
    content = unicodedata.normalize("NFC", content)
    return "".join(c if c.isprintable() or c == "\n" else " " for c in content)


def _replace(content: str, absent: set[str], stand_in: str) -> str:
    if not absent:
        return content
    runs = re.compile("[" + re.escape("".join(sorted(absent))) + "]+")

    def stand(match: re.Match[str]) -> str:
        # A blank parts the stand-in from a word beside it, not from a comma or a colon.
        before, after = content[: match.start()][-1:], content[match.end() :][:1]
        return " " * before.isalnum() + stand_in + " " * after.isalnum()

    return runs.sub(stand, content)


def _roles(artist: Artist) -> dict[int, str]:
    """Stand-ins of the axes' labels, by the identity of their text."""
    roles = {}
    for axes in artist.findobj(Axes):
        assert isinstance(axes, Axes)
        roles[id(axes.xaxis.label)] = "time"
        roles[id(axes.yaxis.label)] = "value"
    return roles


def _warn(lost: list[str], stand_ins: str) -> None:
    """Once in a process for each advice: pictures have many panels, and programs many pictures."""
    shown = "".join(dict.fromkeys(lost))[:12]
    if _CJK.search(shown):
        advice = (
            "install one, for example by: apt-get install fonts-noto-cjk (Debian, Ubuntu), "
            "dnf install google-noto-sans-cjk-fonts (Fedora), brew install font-noto-sans-cjk "
            "(macOS)"
        )
    else:
        advice = "install one, for example by: apt-get install fonts-noto"
    if advice in _given:
        return
    _given.add(advice)
    warnings.warn(
        f"no installed font can draw {shown!r}, so the picture says {stand_ins} instead; {advice}",
        HeadgateWarning,
        stacklevel=4,
    )


# -- fonts ---------------------------------------------------------------------------------


def _families_for(characters: frozenset[str]) -> list[str]:
    """Installed families that draw the most of ``characters``: one, or none."""
    if not any(_CJK.match(c) for c in characters):
        return []
    families = _installed()
    if not families:
        _add_new_files()
        families = _installed()
    drawn = {f: sum(ord(c) in _family_characters(f) for c in characters) for f in families}
    best = max(drawn, key=drawn.__getitem__, default=None)  # the first of equals
    return [best] if best is not None and drawn[best] else []


def _installed() -> list[str]:
    names = {entry.name for entry in font_manager.fontManager.ttflist}
    return [family for family in CJK_FAMILIES if family in names]


def _has_bold(family: str) -> bool:
    """Whether matplotlib finds a bold face; it writes a line to the log where it does not."""
    weights = [e.weight for e in font_manager.fontManager.ttflist if e.name == family]
    return any(
        weight == "bold" or (isinstance(weight, int) and weight >= 600) for weight in weights
    )


def _add_new_files() -> None:
    """Fonts installed since matplotlib last listed them, which it does not notice by itself."""
    listed = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in listed and _CJK_FILE.search(Path(path).name):
            try:
                font_manager.fontManager.addfont(path)
            except (OSError, RuntimeError, ValueError):
                continue  # a damaged font file is as good as none


def _drawn_by(families: list[str]) -> frozenset[int]:
    return frozenset().union(*(_family_characters(family) for family in families))


def _family_characters(family: str) -> frozenset[int]:
    properties = font_manager.FontProperties(family=[family])
    try:
        return _characters(font_manager.findfont(properties, fallback_to_default=False))
    except ValueError:
        return frozenset()


@lru_cache(maxsize=16)
def _characters(path: str) -> frozenset[int]:
    """Code points that the font at ``path`` (a matplotlib FontPath) has glyphs for."""
    face = getattr(path, "face_index", 0)
    font = FT2Font(str(path), face_index=face) if face else FT2Font(str(path))
    return frozenset(font.get_charmap())
