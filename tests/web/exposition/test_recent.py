"""What is kept is what is shown."""

from otel_latency.web.exposition.recent import Recent


def test_made_once_and_forgotten():
    """A value is made at its first use, kept while pages use it, and made anew after a page without it."""
    made = []
    recent = Recent(lambda key: made.append(key) or key.upper())
    assert [recent("a"), recent("a"), recent("b")] == ["A", "A", "B"]
    recent.turn_page()
    assert recent("a") == "A"
    recent.turn_page()
    assert [recent("a"), recent("b")] == ["A", "B"]
    assert made == ["a", "b", "b"]


def test_bounded_by_the_page():
    """However many keys pass through, only those of the last page stay."""
    recent = Recent(str)
    for page in range(10):
        for key in range(100):
            recent(page * 100 + key)
        recent.turn_page()
    assert len(recent) == 100
