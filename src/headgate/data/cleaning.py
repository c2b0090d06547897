"""What is done to a text before it is cut into tokens; each step can be left out."""

from __future__ import annotations

import html
import html.entities
import re
import unicodedata
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..checks import check_flags, shown
from ..errors import InputError

URL = "<url>"  # what stands for an address; the word tokenizer keeps it whole

# By name, so that <unk>, "a < b > c" and the like stay. No pattern here runs past the next bracket:
# a text of a megabyte of "<" costs what any other costs.
_TAGS = re.compile(
    r"<!--[^<>]*-->|<!doctype[^<>]*>|</?(?:a|abbr|article|aside|b|big|blockquote|body|br|button|"
    r"caption|center|cite|code|dd|del|div|dl|dt|em|figure|font|footer|form|h[1-6r]|head|header|"
    r"html|i|iframe|img|input|ins|kbd|label|li|link|main|meta|nav|ol|option|p|pre|q|s|script|"
    r"section|select|small|span|strike|strong|style|sub|sup|svg|table|tbody|td|textarea|tfoot|th|"
    r"thead|title|tr|tt|u|ul|video)(?:[\s/][^<>]*)?>",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_ADDRESS = re.compile(
    r"(?:https?://|\bwww\.)[^\s<>\"'，。！？；：（）【】《》、\u3400-\u9fff]+", re.IGNORECASE
)
_BLANK = re.compile(r"[\s\x00-\x1f\x7f\u200b\ufeff]+")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Cleaning:
    """The steps of cleaning, in the order in which they are done; each can be switched off.

    Args:
        html: leave out the tags of HTML, turn ``&amp;`` and its like into what they mean.
        urls: write ``<url>`` for each web address.
        unicode: NFKC: full-width letters and marks become usual ones, ligatures come apart.
        lower_case: small letters only.
        whitespace: one blank for any run of blanks, line ends and control characters, none at the
            ends.

    Halves of characters that no file can hold (lone surrogates) always become U+FFFD.
    """

    html: bool = True
    urls: bool = True
    unicode: bool = True
    lower_case: bool = True
    whitespace: bool = True

    def __post_init__(self) -> None:
        check_flags(**asdict(self))

    @classmethod
    def none(cls) -> Cleaning:
        """Every text as it stands."""
        return cls(html=False, urls=False, unicode=False, lower_case=False, whitespace=False)

    def __call__(self, text: str) -> str:
        """The cleaned text.

        Raises:
            InputError: ``text`` is no text.
        """
        if not isinstance(text, str):
            raise InputError(
                f"expected a text, got {shown(text)} of type {type(text).__name__}; pass a str, "
                "'' where there is none"
            )
        if not text.isascii():
            text = _SURROGATE.sub("\ufffd", text)
        if self.html:
            text = _TAGS.sub(" ", text)
            text = _ENTITY.sub(_meant, text)
        if self.urls:
            text = _ADDRESS.sub(URL, text)
        if self.unicode:
            text = unicodedata.normalize("NFKC", text)
        if self.lower_case:
            text = text.lower()
        if self.whitespace:
            text = _BLANK.sub(" ", text).strip()
        return text

    def to_dict(self) -> dict[str, bool]:
        """Plain JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Any) -> Cleaning:
        """What :meth:`to_dict` wrote.

        Raises:
            InputError: it is something else.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(content, dict) or set(content) != names:
            raise InputError(
                f"the cleaning must have the keys {', '.join(sorted(names))}; got {shown(content)}"
            )
        return cls(**content)


def _meant(entity: re.Match[str]) -> str:
    # Names must be whole: unescape alone would make "¬aname;" of "&notaname;".
    known = entity[0][1] == "#" or entity[0][1:] in html.entities.html5
    return html.unescape(entity[0]) if known else entity[0]
