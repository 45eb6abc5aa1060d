"""Sentences end where a reader would pause, however the text is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_latency.instrument.sentences import SentenceSplitter, sentences

TEXTS = {
    "full stops": ("Hello world. How are you? Fine!", ["Hello world.", "How are you?", "Fine!"]),
    "a decimal": ("It costs 3.14 dollars. Cheap.", ["It costs 3.14 dollars.", "Cheap."]),
    "a number at the end": ("The answer is 42. Next.", ["The answer is 42.", "Next."]),
    "titles": ("Dr. Smith met Mrs. Jones. They left.", ["Dr. Smith met Mrs. Jones.", "They left."]),
    "e.g.": ("Fruit, e.g. apples. Good.", ["Fruit, e.g. apples.", "Good."]),
    "initials": ("J. R. Smith is here. Ok.", ["J. R. Smith is here.", "Ok."]),
    "an abbreviation that ends the sentence": ("At 5 p.m. Then we left.", ["At 5 p.m.", "Then we left."]),
    "an abbreviation that does not": ("At 5 p.m. we left.", ["At 5 p.m. we left."]),
    "a name with dots": ("See example.com for v1.2. Bye.", ["See example.com for v1.2.", "Bye."]),
    "an ellipsis that goes on": ("Well... maybe. Wait\u2026 what?", ["Well... maybe.", "Wait\u2026 what?"]),
    "an ellipsis that ends": ("Well... No. Wait\u2026 Yes.", ["Well...", "No.", "Wait\u2026", "Yes."]),
    "several marks": ("What?! Really!!! Yes.", ["What?!", "Really!!!", "Yes."]),
    "quotes": ('He said "Go." She left.', ['He said "Go."', "She left."]),
    "Chinese": (
        "\u4f60\u597d\u3002\u4e16\u754c\uff01\u597d\u5417\uff1f",
        ["\u4f60\u597d\u3002", "\u4e16\u754c\uff01", "\u597d\u5417\uff1f"],
    ),
    "Japanese quotes": (
        "\u300c\u306f\u3044\u3002\u300d\u5f7c\u306f\u8a00\u3063\u305f\u3002",
        ["\u300c\u306f\u3044\u3002\u300d", "\u5f7c\u306f\u8a00\u3063\u305f\u3002"],
    ),
    "newlines": ("Title\n\nText here", ["Title", "Text here"]),
    "a list": ("1. First\n2. Second", ["1. First", "2. Second"]),
    "bold": ("**Note.** Be quick.", ["**Note.**", "Be quick."]),
    "no end": ("no end", ["no end"]),
    "only marks": ("... !", []),
    "nothing": ("", []),
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.values(), ids=TEXTS)
def test_sentences(text, expected):
    """Text is cut where a sentence ends, and nowhere else."""
    assert expected == sentences(text)


PIECES = st.lists(st.text('aB .!?\n1"\u3002\u2026', max_size=6) | st.sampled_from(["Dr. ", "e.g. ", "p.m. ", "3.1"]))


@given(PIECES)
def test_cut(pieces):
    """How the text is cut into pieces does not matter."""
    splitter = SentenceSplitter()
    in_pieces = [end for piece in pieces for end in splitter.feed(piece)] + splitter.finish()
    whole = SentenceSplitter()
    assert whole.feed("".join(pieces)) + whole.finish() == in_pieces


@given(PIECES)
def test_all_words(pieces):
    """No word is lost between two sentences."""
    text = "".join(pieces)
    kept = "".join("".join(sentences(text)).split())
    assert [char for char in text if char.isalnum()] == [char for char in kept if char.isalnum()]


def test_position():
    """A sentence is told by the position of its last character, once what follows proves it the last."""
    splitter = SentenceSplitter()
    assert ([], [], [6], []) == tuple(splitter.feed(piece) for piece in ("Hello", ".", " Y", "ou"))


@pytest.mark.parametrize("pieces", [["x" * 100_000], ["x"] * 100_000, ["x "] * 100_000])
def test_memory(pieces):
    """Text that goes on is not remembered as a whole."""
    splitter = SentenceSplitter()
    for piece in pieces:
        splitter.feed(piece)
    assert len(splitter._word) + sum(map(len, splitter._skipped)) < 200
