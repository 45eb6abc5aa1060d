"""Random PromQL for property tests: mostly well-formed, often ill-typed, in many spellings."""

from hypothesis import strategies as st

from otel_latency.rules.promql.signatures import AGGREGATIONS, ARITHMETIC, COMPARISONS, FUNCTIONS, SET_OPERATORS

NUMBERS = ["0", "1", "2.5", ".5", "5.", "1e3", "1E-2", "0x1F", "0755", "inf", "NaN", "5m", "1h30m", "250ms"]
STRINGS = ['"a"', "'b'", "`c`", '"\\u00e9\\n"', '"\\xff"', '""']
NAMES = ["foo", "bar_total", "a:b:c", "sum", "offset", "by", "and", "unless", "le", "Rate", "start"]
MATCHERS = [
    'a="1"',
    "b!='x'",
    'c=~"x|y.*"',
    'd!~"(?i)z+"',
    'le="+Inf"',
    '__name__="foo"',
    '__name__=~"f.+"',
    'by=""',
    'e=~".*"',
    '"f g"="h"',
]
DURATIONS = ["5m", "250ms", "1h30m", "1d", "90", "0s", "1.5m", "1m30"]
OFFSETS = ["5m", "250ms", "1w", "60", "1.5m"]
LABELS = ["", "a", "a, b", "le,", "on, by", "bool", '"x y"']
OPERATORS = sorted(ARITHMETIC | COMPARISONS | SET_OPERATORS)
MATCHING = [
    *[""] * 3,
    " bool",
    " on ({})",
    " ignoring ({})",
    " bool on ({})",
    " on ({}) group_left",
    " on ({}) group_right (c)",
]

one_of = st.sampled_from
labels = one_of(LABELS)
selectors = st.one_of(
    one_of(NAMES),
    st.builds(
        lambda name, matchers: f"{name}{{{', '.join(matchers)}}}",
        one_of(["", *NAMES]),
        st.lists(one_of(MATCHERS), max_size=3, unique=True),
    ),
)
leaves = st.one_of(selectors, selectors, one_of(NUMBERS), one_of(STRINGS))


def _grow(inner):
    side = st.one_of(inner, inner.map("({})".format))
    return st.one_of(
        st.builds(
            lambda left, op, matching, names, right: f"{left} {op}{matching.format(names)} {right}",
            side,
            one_of(OPERATORS),
            one_of(MATCHING),
            labels,
            side,
        ),
        st.builds("{}{}".format, one_of(["-", "- "]), side),
        st.builds("{}[{}]".format, selectors, one_of(DURATIONS)),
        st.builds("{}[{}:{}]".format, side, one_of(DURATIONS), one_of(["", *DURATIONS])),
        st.builds("{} offset {}{}".format, side, one_of(["", "-"]), one_of(OFFSETS)),
        st.builds(
            lambda name, args: f"{name}({', '.join(args)})",
            one_of(sorted(FUNCTIONS)),
            st.lists(inner, max_size=3),
        ),
        st.builds("{} {} ({})".format, selectors, one_of(OPERATORS), inner),
        st.builds("{}({})".format, one_of(["abs", "sum", "scalar", "vector", "absent"]), inner),
        st.builds("{}({}[5m])".format, one_of(["rate", "max_over_time", "changes"]), selectors),
        st.builds(
            lambda op, clause, names, args: f"{op}{clause.format(names)}({', '.join(args)})",
            one_of(sorted(AGGREGATIONS)),
            one_of(["", " by ({}) ", " without ({}) "]),
            labels,
            st.lists(inner, min_size=1, max_size=2),
        ),
        st.builds("{}({}) {} ({})".format, one_of(["sum", "max"]), inner, one_of(["by", "without"]), labels),
        st.builds("{} # {{[(\n".format, inner),
    )


expressions = st.recursive(leaves, _grow, max_leaves=8)
