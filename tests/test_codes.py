"""ISCC strings are read as iscc-core writes them, and anything else is refused."""

import base64

import iscc_core
import pytest
from hypothesis import given
from hypothesis import strategies as st

import codes
from oracle import codes_of

KINDS = [
    ("WIDE", iscc_core.MT.ISCC, iscc_core.ST_ISCC.WIDE, 16, 16),
    ("SUM", iscc_core.MT.ISCC, iscc_core.ST_ISCC.SUM, 8, 8),
    ("Data 64", iscc_core.MT.DATA, iscc_core.ST.NONE, 8, 0),
    ("Data 128", iscc_core.MT.DATA, iscc_core.ST.NONE, 16, 0),
    ("Data 256", iscc_core.MT.DATA, iscc_core.ST.NONE, 32, 0),
    ("Instance 64", iscc_core.MT.INSTANCE, iscc_core.ST.NONE, 0, 8),
    ("Instance 128", iscc_core.MT.INSTANCE, iscc_core.ST.NONE, 0, 16),
    ("Instance 256", iscc_core.MT.INSTANCE, iscc_core.ST.NONE, 0, 32),
]
WIDE = codes_of(b"some bytes").wide
NARROW = codes_of(b"some bytes").narrow
NO_ISCC_CODE = "expected an ISCC-CODE of a file's bytes, which begins with K4A or KUA"


def written_by_iscc_core(main_type, sub_type, data: bytes, instance: bytes) -> str:
    body = data + instance
    # An ISCC-CODE of WIDE or SUM says its length by its SubType; the nibble is 0.
    bits = 0 if main_type == iscc_core.MT.ISCC else len(body) * 8
    length = iscc_core.encode_length(main_type, bits) if bits else 0
    header = iscc_core.encode_header(main_type, sub_type, iscc_core.VS.V0, length)
    return "ISCC:" + iscc_core.encode_base32(header + body)


@pytest.mark.parametrize(
    ("main_type", "sub_type", "data", "instance"),
    [kind[1:] for kind in KINDS],
    ids=[kind[0] for kind in KINDS],
)
@given(bits=st.binary(min_size=64, max_size=64))
def test_reads_what_iscc_core_writes(main_type, sub_type, data, instance, bits):
    expected = codes.Code(bits[:data], bits[32 : 32 + instance])
    written = written_by_iscc_core(main_type, sub_type, expected.data, expected.instance)
    assert codes.parse(written) == expected


@pytest.mark.parametrize(
    ("main_type", "sub_type", "data", "instance"),
    [kind[1:] for kind in KINDS],
    ids=[kind[0] for kind in KINDS],
)
@given(
    bits=st.binary(min_size=64, max_size=64),
    place=st.integers(0, 60),
    digit=st.sampled_from(codes.BASE32 + "018a-"),
)
def test_a_code_is_told_without_reading_it(main_type, sub_type, data, instance, bits, place, digit):
    """The pattern accepts exactly the codes with a known header and the right encoding."""
    written = written_by_iscc_core(main_type, sub_type, bits[:data], bits[32 : 32 + instance])
    digits = written.removeprefix("ISCC:")
    for text in (digits, digits[:place] + digit + digits[place + 1 :]):
        try:
            decoded = base64.b32decode(text + "=" * (-len(text) % 8))
        except ValueError:
            decoded = b""
        sizes = codes.KINDS.get(decoded[:2], ())
        is_code = len(decoded) == 2 + sum(sizes) and codes.encode(decoded) == text
        assert codes.is_valid(text) == is_code
        if is_code:
            assert codes.normalize(f"ISCC:{text}") == codes.normalize(text.lower()) == text


@pytest.mark.parametrize("code", [WIDE, NARROW])
def test_spelling_is_free_where_that_is_safe(code):
    digits = code.removeprefix("ISCC:")
    dashed = "-".join([digits[:4], digits[4:20], digits[20:]])
    for spelling in (digits, code.lower(), f"iscc:{digits}", f"  {code}\t", f"ISCC:{dashed}"):
        assert codes.parse(spelling) == codes.parse(code)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", NO_ISCC_CODE),
        ("ISCC:", NO_ISCC_CODE),
        ("K4", "expected 55 characters for this type of ISCC, found 2"),
        (WIDE[:-1], "expected 55 characters for this type of ISCC, found 54"),
        (WIDE + "A", "expected 55 characters for this type of ISCC, found 56"),
        (NARROW[:-1], "expected 29 characters for this type of ISCC, found 28"),
        (WIDE[:-2] + "0" + WIDE[-1], "'0' is not a digit of base32 (A to Z, 2 to 7)"),
        (WIDE[:-1] + "\u017f", "'\u017f' is not a digit of base32 (A to Z, 2 to 7)"),
        (WIDE + "=", "'=' is not a digit of base32 (A to Z, 2 to 7)"),
        (WIDE.replace("K4A", "K4 A"), "' ' is not a digit of base32 (A to Z, 2 to 7)"),
        # 55 digits hold 275 bits, of which 272 are bytes: the last 3 have to be 0.
        (WIDE[:-1] + "B", "its last character has non-zero padding bits"),
        ("ISCC:MAIGIIFJRDGEQQAA", NO_ISCC_CODE),
        ("ISCC:AAAZXZ6OU74YAZIM", NO_ISCC_CODE),
        ("ISCC:KACYPXW445FTYNJ3", NO_ISCC_CODE),
        ("ISCC:EAAWJGVJ2OJMI62N", NO_ISCC_CODE),
        ("ISCC:7777777777777777", NO_ISCC_CODE),
    ],
)
def test_refusals_say_why(text, reason):
    with pytest.raises(codes.CodeError) as error:
        codes.parse(text)
    assert str(error.value) == reason


@given(st.binary(min_size=32, max_size=32), st.integers(0, 7))
def test_no_two_endings_mean_the_same_code(body, spare):
    """Of the eight last digits that decode to the same bytes, only one is valid."""
    code = written_by_iscc_core(iscc_core.MT.ISCC, iscc_core.ST_ISCC.WIDE, body[:16], body[16:])
    last = codes.BASE32.index(code[-1]) | spare
    other = code[:-1] + codes.BASE32[last]
    if other == code:
        codes.parse(other)
    else:
        with pytest.raises(codes.CodeError):
            codes.parse(other)


@given(st.text(max_size=70))
def test_any_text_is_a_code_or_refused(text):
    try:
        code = codes.parse(text)
    except codes.CodeError:
        return
    assert len(code.data) + len(code.instance) in (8, 16, 32)


@pytest.mark.parametrize("kind", [kind[1:] for kind in KINDS], ids=[kind[0] for kind in KINDS])
@given(bits=st.binary(min_size=64, max_size=64), before=st.text("ABC #,", max_size=5))
def test_a_long_code_is_found_wherever_it_stands(kind, bits, before):
    """Codes of 128 bits and more; shorter ones could occur by chance."""
    main_type, sub_type, data, instance = kind
    written = written_by_iscc_core(main_type, sub_type, bits[:data], bits[32 : 32 + instance])
    digits = written.removeprefix("ISCC:")
    assert bool(codes.LONG.search(f"{before}{digits}Z.tif")) == (data + instance >= 16)
