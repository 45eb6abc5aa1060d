"""Ids in span names do not make series; the names of models and stages stay readable."""

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_latency.ingest.template import template

KEPT = (
    "llm",
    "tts",
    "v34",
    "chat gpt-4o",
    "chat gpt-4o-mini",
    "chat gpt-4o-2024-08-06",
    "chat gpt-3.5-turbo-0125",
    "chat gpt-4-1106-preview",
    "chat claude-3-5-sonnet-20241022",
    "chat us.anthropic.claude-sonnet-4-20250514-v1:0",
    "generate_content gemini-1.5-pro-002",
    "chat claude-3-5-sonnet@20240620",
    "chat mistral-large-2407",
    "chat qwen3-235b-a22b-2507",
    "chat llama-v3p1-405b-instruct",
    "chat meta-llama/Meta-Llama-3.1-8B-Instruct",
    "chat command-r-08-2024",
    "text_to_speech eleven_multilingual_v2",
    "embeddings text-embedding-3-small",
    "ProcessDocumentV2",
    "facade",
    "what next?",
    "POST /v1/chat/completions",
    "answer {question}",
)

REPLACED = {
    "job 5c2b9a1e-7d43-4f6a-9e0b-1f2a3b4c5d6e": "job {uuid}",
    "job 5C2B9A1E-7D43-4F6A-9E0B-1F2A3B4C5D6E": "job {uuid}",
    "run_3f2a9c1b": "run_{hex}",
    "commit 0xdeadbeef": "commit {hex}",
    "trace 4bf92f3577b34da6a3ce929d0e0e4736": "trace {hex}",
    "GET /users/8412/orders?page=2": "GET /users/{n}/orders?{query}",
    "GET https://bob:hunter2@example.com/x?token=abc": "GET https://{user}@example.com/x?{query}",
    "GET http://10.0.0.17:34561/health": "GET http://{ip}:{n}/health",
    "mail bob.smith+x@example.co.uk": "mail {email}",
    "report 2024-08-06": "report {date}",
    "job-2024-08-06T12:30:00.123Z": "job-{date}",
    "turn 7": "turn {n}",
    "step 3/10": "step {n}/{n}",
    "chunk_0003": "chunk_{n}",
    "user-123": "user-{n}",
    "order 1234567": "order {n}",
    "took 1234ms": "took {n}ms",
    "item#42 [7]": "item#{n} [{n}]",
    "ratio 3.14": "ratio {n}",
    "a-12345-678": "a-{n}-{n}",
    "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT": "chatcmpl-{token}",
    "01ARZ3NDEKTSV4RRFFQ69G5FAV": "{token}",
    "key AKIAIOSFODNN7EXAMPLE": "key {token}",
    "session " + "x" * 80: "session {token}",
}

NAMES = st.one_of(
    st.text(max_size=60),
    st.text("ab09-_/.:?=@ {}+Z", max_size=60),
    st.from_regex(r"[a-z]{2,6}[-_/ ]([0-9a-f]{8}|\d{1,9}|\d{4}-\d\d-\d\d)[-_/ ?]\w{0,12}", fullmatch=True),
)


@pytest.mark.parametrize("name", KEPT)
def test_kept(name):
    """Names of models, versions and stages stay as they are."""
    assert name == template(name)


@pytest.mark.parametrize(("name", "expected"), REPLACED.items(), ids=REPLACED)
def test_replaced(name, expected):
    """What tells one occurrence from the next becomes a placeholder."""
    assert expected == template(name)


@given(NAMES)
def test_idempotent(name):
    """A template is its own template."""
    assert template(name) == template(template(name))


@given(st.uuids(), st.integers(min_value=100_000, max_value=10**12).filter(lambda n: not re.match("20", str(n))))
def test_ids_make_one_name(uuid, number):
    """However many ids there are, the name is one."""
    assert template(f"load {UUID(int=0)} for 123456") == template(f"load {uuid} for {number}")


@pytest.mark.parametrize("name", ["a" * 20_000, "1-" * 10_000, "a1" * 10_000, "x@" * 10_000, "?" * 20_000])
def test_hostile_names_end(name):
    """No name takes more than a moment: each pattern looks at a character a bounded number of times."""
    assert template(name) == template(template(name))


def test_clean_names_are_not_copied():
    """A name without anything suspicious comes back as the same object."""
    name = "retrieve documents"
    assert template(name) is name
