"""What programs leave in a cell's text, taken out: escapes, markup, invisible characters, typographic punctuation.

A word must be the same word whichever program saved the table: Excel writes a carriage return as `_x000D_`, web pages
write `&nbsp;`, word processors write curly quotes and dashes, PDF files give ligatures.
"""

from __future__ import annotations

import html
import re
import unicodedata

_WORKBOOK_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
_CONTROL_ESCAPE = re.compile(r"_x00([01][0-9A-Fa-f]|[7-9A-Fa][0-9A-Fa-f])_")
_UNICODE_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})")
# What databases and JSON write for a line break; LaTeX has commands that begin like one.
_LINE_BREAK_ESCAPE = re.compile(r"\\r\\n|\\n(?!(?:u|abla|e|eq|eg|i|ot|otin|mid)\b)|\\r(?=\\|\s|$)")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_BREAKING_TAG = re.compile(r"</?(?:br|p|div|li|ul|ol|tr|td|table|h[1-6])(?:\s[^<>]{0,200})?/?>", re.IGNORECASE)
_INLINE_TAG = re.compile(r"</?(?:b|i|u|em|strong|sub|sup|span|font|small|a)(?:\s[^<>]{0,200})?/?>", re.IGNORECASE)
_LINE_ENDS = re.compile("\r\n|[\r\x85\u2028\u2029]")
# Soft hyphens, zero-width characters, marks of direction, variation selectors, byte order marks.
_INVISIBLE = re.compile(
    "[\xad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_APART = re.compile(r" *[\u2014\u2015\u2e3a\u2e3b]+ *")  # em dashes part clauses; the others join words, as hyphens do
_PUNCTUATION = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u2035\u02bc\u2039\u203a", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u2036\u00ab\u00bb", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2043\u2212\ufe58\ufe63", "-"),
    **dict.fromkeys("\u2022\u2023\u25e6\u25aa\u25ab\u25cf\u25cb\u25a0\u00b6", " "),
    **{"\u2026": "... ", "\u2044": "/", "\u3001": ", ", "\u3002": ". "},
    **{chr(0xFEE0 + code): chr(code) for code in range(0x21, 0x7F)},  # full-width forms of ASCII
    **{chr(code): unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)},  # ligatures
    **{chr(code): " " for code in (*range(9), 11, 12, *range(14, 32), *range(127, 133), *range(134, 160))},
}
_TRANSLATION = str.maketrans(_PUNCTUATION)
_SPACES = re.compile(r"[^\S\n\t ]")
_PLAIN = re.compile(r"[\n\t !-%'-;=?-\[\]-^`-~]*")  # ASCII without &, <, \ and _: nothing to take out


def clean_text(text: str) -> str:
    """Prose without escapes, markup, invisible characters and typographic punctuation; line breaks are `\\n`."""
    if _PLAIN.fullmatch(text):
        return text.strip()
    text = _CONTROL_ESCAPE.sub(lambda m: chr(int(m.group(1), 16)), text)
    text = _UNICODE_ESCAPE.sub(lambda m: chr(int(m.group(1), 16)), _LINE_BREAK_ESCAPE.sub("\n", text))
    for _ in range(3):  # `&amp;nbsp;` was escaped twice
        text, count = _ENTITY.subn(lambda m: html.unescape(m.group()), text)
        if not count:
            break
    text = _INLINE_TAG.sub("", _BREAKING_TAG.sub("\n", text))
    text = _LINE_ENDS.sub("\n", clean_code(text))
    return _SPACES.sub(" ", _APART.sub(" - ", text).translate(_TRANSLATION)).strip()


def clean_code(text: str) -> str:
    """An ID or a code without invisible characters and white space around it; accents composed."""
    text = _CONTROL_ESCAPE.sub(" ", text)
    if text.isascii():
        return text.strip()
    return unicodedata.normalize("NFC", _whole_characters(_INVISIBLE.sub("", text))).strip()


def unescape_workbook(text: str) -> str:
    """Text as Excel shows it: the file format has `_x000D_` for characters that XML cannot hold."""
    if "_x" not in text:
        return text
    return _whole_characters(_WORKBOOK_ESCAPE.sub(lambda m: chr(int(m.group(1), 16)), text))


def _whole_characters(text: str) -> str:
    """Pairs of surrogates as their character, lone ones as U+FFFD: no file can be written with them."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


# Lists of codes

_CUI = re.compile(r"[Cc][0-9]{7}")
_QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*)'(?!\w)|"((?:[^"\\]|\\.)*)"(?!\w)""")
_DICT_VALUE = re.compile(r"""(['"])\s*:\s*[^,{}]*""")
_WRAPPER = re.compile(r"^(?:np\.|numpy\.)?(?:array|list|tuple|set|frozenset|Index)\s*\(|,\s*dtype=[^,()]*\)?$")
NOTHING = {"", "nan", "none", "null", "na", "n/a", "-", "<na>"}  # what programs write for no value
# Codes hold no spaces where each part has a digit or an underscore; names such as `left lung` do.
_SPACED_CODES = re.compile(r"(?=\S*[\d_])[\w.:-]+(?:\s+(?=\S*[\d_])[\w.:-]+)+")


def split_codes(text: str) -> list[str]:
    """The codes of a cell: joined by `;` `,` `|` spaces or line breaks, or a list of JSON, Python or numpy."""
    text = clean_text(text)
    if text[:1] in ("[", "(", "{") or _WRAPPER.match(text):
        text = _DICT_VALUE.sub(r"\1", _WRAPPER.sub("", _WRAPPER.sub("", text)))
        quoted = [single or double for single, double in _QUOTED.findall(text)]
        parts = quoted or re.split(r"[;,|\n\t]", text.strip("[](){} "))
    else:
        parts = re.split(r"[;,|\n\t]", text.strip("'\""))
    codes = (part.strip(" '\"[](){}") for joined in parts for part in re.split(r"[;|]", joined))
    kept = (code for code in codes if code.lower() not in NOTHING)
    return [clean_cui(word) for code in kept for word in (code.split() if _SPACED_CODES.fullmatch(code) else [code])]


def clean_cui(code: str) -> str:
    """A UMLS CUI in upper case; other codes as they are."""
    return code.upper() if is_cui(code) else code


def is_cui(code: str) -> bool:
    """Whether it is a UMLS concept unique identifier: C and 7 digits."""
    return _CUI.fullmatch(code) is not None


def holds_cuis(cell: str) -> bool:
    """Whether a cell holds codes, all of them UMLS CUIs."""
    codes = split_codes(cell)
    return bool(codes) and all(map(is_cui, codes))
