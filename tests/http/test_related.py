"""The parser of multipart/related bodies, against the same body cut in every way."""

from __future__ import annotations

import email
import email.policy
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.http.wire.multipart_related import MalformedMultipart, Part, RelatedParser, TooManyParts

BOUNDARY = b"=_cut(here)?"
#: Bytes that a boundary could be mistaken in: line ends, hyphens, the boundary itself and pieces of it.
TRICKY = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", BOUNDARY, b"--" + BOUNDARY[:-1], b" ", b"\t", b"\0", b"DICM"])
    | st.binary(max_size=3),
    max_size=12,
).map(b"".join)


def parse(body: bytes, sizes: list[int] | None = None, *, parts: int = 50, part_bytes: int = 10_000) -> list[Part]:
    parser = RelatedParser(BOUNDARY, max_parts=parts, max_part_bytes=part_bytes)
    found: list[Part] = []
    for size in sizes or []:
        found += parser.feed(body[:size])
        body = body[size:]
    found += parser.feed(body)
    parser.close()
    return found


def written(bodies: list[bytes], newline: bytes, preamble: bytes = b"", epilogue: bytes = b"") -> bytes:
    head = newline.join([b"Content-Type: application/dicom", b"Content-Location: x", b"", b""])
    lines = [b"--" + BOUNDARY + newline + head + body + newline for body in bodies]
    return preamble + b"".join(lines) + b"--" + BOUNDARY + b"--" + epilogue


@given(
    st.lists(TRICKY, min_size=1, max_size=4),
    st.sampled_from([b"\r\n", b"\n"]),
    st.sampled_from([b"", b"\n", b"\r\n", b"This is MIME.\r\n", b"--\r\n--" + BOUNDARY[:4] + b"\r\n"]),
    st.sampled_from([b"", b"\r\n", b"\r\nand more\r\n--" + BOUNDARY + b"\r\n"]),
    st.lists(st.integers(0, 9), max_size=60),
)
def test_any_bodies_come_out_as_they_went_in_however_they_are_cut(
    bodies: list[bytes], newline: bytes, preamble: bytes, epilogue: bytes, sizes: list[int]
) -> None:
    line = re.compile(re.escape(newline + b"--" + BOUNDARY) + rb"(--|[ \t]*" + re.escape(newline) + b")")
    for body in bodies:  # a sender must choose a boundary that is no line of a body
        assume(not line.search(newline + body + newline))
    body = written(bodies, newline, preamble, epilogue)
    found = parse(body, sizes)
    assert [part.body for part in found] == bodies
    assert all(part.headers["content-type"] == "application/dicom" and not part.too_large for part in found)


@given(st.binary(max_size=200) | TRICKY, st.lists(st.integers(0, 7), max_size=40))
def test_whatever_arrives_the_answer_does_not_depend_on_the_cuts(body: bytes, sizes: list[int]) -> None:
    def outcome(sizes: list[int]) -> object:
        try:
            return parse(body, sizes, parts=2, part_bytes=5)
        except (MalformedMultipart, TooManyParts) as error:
            return type(error)

    assert outcome(sizes) == outcome([]) == outcome([1] * len(body))


@given(st.lists(TRICKY, min_size=1, max_size=3), st.integers(0, 10), st.lists(st.integers(0, 9), max_size=60))
def test_a_part_over_the_limit_is_cut_and_its_neighbours_are_whole(
    bodies: list[bytes], limit: int, sizes: list[int]
) -> None:
    assume(not any(b"\r\n--" + BOUNDARY in b"\r\n" + body for body in bodies))
    found = parse(written(bodies, b"\r\n"), sizes, part_bytes=limit)
    assert [part.body for part in found] == [body[:limit] for body in bodies]
    assert [part.too_large for part in found] == [len(body) > limit for body in bodies]


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=3))
def test_an_independent_parser_agrees(bodies: list[bytes]) -> None:
    hexed = [body.hex().encode() for body in bodies]  # the standard library reads text lines only
    head = b'Content-Type: multipart/related; boundary="' + BOUNDARY + b'"\r\n\r\n'
    message = email.message_from_bytes(head + written(hexed, b"\r\n", b"Hello\r\n"), policy=email.policy.HTTP)
    theirs = [part.get_payload(decode=True) for part in message.iter_parts()]
    assert [part.body for part in parse(written(hexed, b"\r\n", b"Hello\r\n"))] == theirs


def test_a_film_may_end_with_a_carriage_return() -> None:
    for newline in (b"\r\n", b"\n"):
        assert [part.body for part in parse(written([b"film\r", b"\r\n", b""], newline))] == [b"film\r", b"\r\n", b""]


def test_padding_after_a_boundary_is_allowed() -> None:
    body = b"--%s \t\r\n\r\nfilm\r\n--%s--" % (BOUNDARY, BOUNDARY)
    assert parse(body) == [Part({}, b"film")]


def test_a_longer_boundary_is_no_boundary() -> None:
    body = b"--%s\r\n\r\n\r\n--%sX\r\n--%s-\r\n\r\n--%s--" % ((BOUNDARY,) * 4)
    assert parse(body)[0].body == b"\r\n--%sX\r\n--%s-\r\n" % (BOUNDARY, BOUNDARY)


def test_folded_headers_are_unfolded_and_names_are_lower() -> None:
    body = b"--%s\r\nCONTENT-type: application/dicom;\r\n\ttransfer-syntax=*\r\n\r\nx\r\n--%s--" % (BOUNDARY, BOUNDARY)
    assert parse(body)[0].headers == {"content-type": "application/dicom; transfer-syntax=*"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no line"),
        (b"film", "no line"),
        (b"x--%s\r\n\r\nfilm\r\nx--%s--" % (BOUNDARY, BOUNDARY), "no line"),
        (b"x--%s\r\n\r\nfilm\r\n--%s--" % (BOUNDARY, BOUNDARY), "no part"),
        (b"--%s--\r\n" % BOUNDARY, "no part"),
        (b"--%s\r\n\r\nfilm" % BOUNDARY, "cut short"),
        (b"--%s\r\n\r\nfilm\r\n--%s" % (BOUNDARY, BOUNDARY), "cut short"),
        (b"--%s\r\n\r\nfilm\r\n--%s\r\n" % (BOUNDARY, BOUNDARY), "cut short"),
        (b"--%s\r\nContent-Type: a/b\r\n" % BOUNDARY, "cut short"),
        (b"--%s\r\nno colon\r\n\r\nfilm\r\n--%s--" % (BOUNDARY, BOUNDARY), "colon"),
        (b"--%s\r\n--%s--" % (BOUNDARY, BOUNDARY), "cut short"),
        (b"--%s\r\nA: b\r\na: c\r\n\r\nfilm\r\n--%s--" % (BOUNDARY, BOUNDARY), "twice"),
        (b"--%s\r\nA: %s" % (BOUNDARY, b"b" * 9000), "too long"),
        (b"--%s\r\nA: %s\r\n\r\n\r\n--%s--" % (BOUNDARY, b"b" * 9000, BOUNDARY), "too long"),
    ],
    ids=range(14),
)
def test_a_malformed_body_is_refused_with_the_reason(body: bytes, said: str) -> None:
    with pytest.raises(MalformedMultipart, match=said):
        parse(body)


def test_too_many_parts_are_refused_when_one_too_many_begins() -> None:
    body = written([b"a", b"b", b"c"], b"\r\n")
    assert len(parse(body, parts=3)) == 3
    with pytest.raises(TooManyParts, match="2 parts"):
        parse(body, parts=2)


@pytest.mark.parametrize("boundary", [b"", b"a" * 201, b"a ", b'"', b"a\r\nb", b"\xff"])
def test_a_boundary_that_the_standard_forbids_is_refused(boundary: bytes) -> None:
    with pytest.raises(MalformedMultipart, match="boundary"):
        RelatedParser(boundary, max_parts=1, max_part_bytes=1)


def test_a_part_over_the_limit_is_not_held() -> None:
    parser = RelatedParser(BOUNDARY, max_parts=1, max_part_bytes=1000)
    parser.feed(b"--" + BOUNDARY + b"\r\n\r\n")
    for _ in range(100):
        parser.feed(b"x" * 10_000)
        assert len(parser._buffer) < 20_000
    assert [len(part.body) for part in parser.feed(b"\r\n--" + BOUNDARY + b"--")] == [1000]
