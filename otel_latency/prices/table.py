"""The child process that asks genai-prices: a question on its standard input, the answer on its output, both JSON.

    {"path": ["..."], "pairs": [["openai", "gpt-4o"], ...]}        `path` is the asking process's `sys.path`
    {"version": "0.2.3", "tariffs": [{"periods": [...]}, null, ...]}   null where no price is known
    {"missing": "genai_prices"}                                     where a package is not installed

It runs as a file, by an interpreter that loads neither our package nor what others add to each start of one
(`python -I -S table.py`). It gives way to everybody: lowest priority, first to be killed where memory is short, and
limited in memory and time. Nothing is downloaded.

A tariff is the price of a model made linear in the token counts of our rows, in whole numbers, so that costs come out
to the last bit as genai-prices figures them in decimals:

    periods   the later ones win. Each holds from `since` on (Unix seconds) or `daily` between two seconds of the UTC
              day, or always, and if none does, the first one.
    rates     each counts where more than `above` tokens were read, the last that does: the sum of `fixed` and
              `weights` times counts, divided by the tariff's `divisor`, is US dollars.
    leaves    sums that cannot be negative: what is left of a count without its parts that have a price of their own.
    unsaid    a count (null: one that no row of ours has) that must be told where all of one of the groups are not 0,
              because the price hangs on it: how many of the cached tokens were audio, say.

Cost: 0.15 s of CPU time and 41 MiB for that long; 0.7 s and 108 MiB where genai-prices was installed without its
bytecode in a place that is not writable.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from fractions import Fraction
from itertools import combinations
from math import lcm
from typing import Any, Final

MEMORY_LIMIT_BYTES: Final = 256 << 20
CPU_LIMIT: Final = 20
"""Seconds."""

FIELDS: Final = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "output_reasoning_tokens": "reasoning_tokens",
    "input_audio_tokens": "audio_input_tokens",
    "cache_audio_read_tokens": "audio_cache_read_tokens",
    "output_audio_tokens": "audio_output_tokens",
}
"""genai-prices' name of a count -> ours, of `ingest.normalise.FIELDS`."""
REQUESTS: Final = "requests"
PROVIDERS: Final = {
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "gcp.gen_ai": "google",
    "x_ai": "x-ai",
}
"""Names of OpenTelemetry's registry that genai-prices does not know, or takes for somebody else's."""

Form = dict[str, int]
"""A sum of counts: our field -> factor."""
Dimensions = Mapping[str, str]


def main() -> None:
    give_way()
    question = json.load(sys.stdin)
    sys.path.extend(place for place in question["path"] if place and place not in sys.path)
    json.dump(answer(question["pairs"]), sys.stdout)


def give_way() -> None:
    """Stand behind everybody else on this machine, and within limits."""
    os.nice(10)
    for kind, limit in ((resource.RLIMIT_AS, MEMORY_LIMIT_BYTES), (resource.RLIMIT_CPU, CPU_LIMIT)):
        _, hard = resource.getrlimit(kind)
        most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (most, most))
    try:
        with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 - pathlib costs this process 5 ms
            file.write("1000")
    except OSError:
        pass  # no Linux, or a sandbox: the limits stand


def answer(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """What genai-prices says of each (provider, model); an empty provider is guessed from the model."""
    try:
        import genai_prices
    except ModuleNotFoundError as error:
        return {"missing": error.name}
    return {"version": genai_prices.__version__, "tariffs": [tariff(provider, model) for provider, model in pairs]}


def tariff(provider: str, model: str) -> dict[str, Any] | None:
    """The price of a model, or None where none is known that its tokens decide."""
    from genai_prices import Usage, calc_price
    from genai_prices.types import ModelPrice

    try:
        found = calc_price(Usage(), model, provider_id=PROVIDERS.get(provider, provider) or None)
    except (LookupError, ValueError):
        return None
    prices = found.model.prices
    conditional = (
        [({}, prices)] if isinstance(prices, ModelPrice) else [(_when(each.constraint), each.prices) for each in prices]
    )
    periods = [{**when, **period} for when, price in conditional if (period := _period(price)) is not None]
    return _whole(periods) if len(periods) == len(conditional) else None


def _when(constraint: Any) -> dict[str, Any]:
    if constraint is None:
        return {}
    if hasattr(constraint, "start_date"):
        return {"since": _midnight(constraint.start_date)}
    return {"daily": [_second_of_day(constraint.start_time), _second_of_day(constraint.end_time)]}


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def _second_of_day(moment: time) -> float:
    zone = moment.tzinfo or UTC
    return datetime.combine(date(1970, 1, 1), moment.replace(tzinfo=zone)).timestamp() % 86_400


def _period(price: Any) -> dict[str, Any] | None:
    """Rates as fractions. None where the price hangs on other things than tokens; no prices at all are a gift."""
    from genai_prices.data_units import unit_data

    units = {unit["price_key"]: (key, unit) for key, unit in unit_data.items()}
    known = {key: value for key, value in vars(price).items() if value is not None and key in units}
    priced = {units[key][0]: (value, units[key][1]) for key, value in known.items()}
    dimensions = {key: unit["dimensions"] for key, (_, unit) in priced.items()}
    if priced and not any(_is_of_tokens(each) for each in dimensions.values()):
        return None
    leaves = _leaves(dimensions)
    starts = sorted({tier.start for value, _ in priced.values() for tier in getattr(value, "tiers", ())})
    return {
        "rates": [_rate(above, priced, leaves) for above in (-1, *starts)],
        "leaves": [form for form in leaves.values() if any(factor < 0 for factor in form.values())],
        "unsaid": [
            [FIELDS.get(key), groups]
            for key, each in dimensions.items()
            if (groups := list(_revealing(key, each, {name: unit_data[name]["dimensions"] for name in FIELDS})))
        ],
    }


def _is_of_tokens(dimensions: Dimensions) -> bool:
    return dimensions["family"] == "tokens"


def _leaves(dimensions: Mapping[str, Dimensions]) -> dict[str, Form]:
    """Of each priced count what its priced parts leave of it, as a sum of our fields."""
    leaves: dict[str, Form] = {}
    for key in sorted(dimensions, key=lambda key: -len(dimensions[key])):
        form: Form = {FIELDS[key]: 1} if key in FIELDS else {}
        for part, leaf in leaves.items():
            if _is_part(dimensions[part], dimensions[key]):
                for field, factor in leaf.items():
                    form[field] = form.get(field, 0) - factor
        leaves[key] = form
    return leaves


def _is_part(part: Dimensions, whole: Dimensions) -> bool:
    return part != whole and whole.items() <= part.items()


def _revealing(key: str, priced: Dimensions, told: Mapping[str, Dimensions]) -> Iterator[list[str]]:
    """Groups of our fields that cannot all be above 0 without the priced count being so, maybe."""
    parts = [name for name, each in told.items() if name != key and _is_part(each, priced)]
    yield from ([FIELDS[name]] for name in parts)
    for one, other in combinations(told, 2):
        a, b = told[one], told[other]
        is_join = {**a, **b} == {**b, **a} == priced and not _is_part(a, b) and not _is_part(b, a)
        if is_join and key not in (one, other):
            yield [FIELDS[one], FIELDS[other]]


def _rate(above: int, priced: Mapping[str, tuple[Any, Any]], leaves: Mapping[str, Form]) -> dict[str, Any]:
    weights: dict[str, Fraction] = {}
    fixed = Fraction(0)
    for key, (value, unit) in priced.items():
        each = Fraction(_price(value, above)) / unit["per"]
        if key == REQUESTS:
            fixed += each
        for field, factor in leaves[key].items():
            weights[field] = weights.get(field, Fraction(0)) + factor * each
    return {"above": above, "fixed": fixed, "weights": weights}


def _price(value: Any, above: int) -> Any:
    """The decimal that counts for more than *above* tokens read, up to the next tier."""
    if not hasattr(value, "tiers"):
        return value
    return next((tier.price for tier in reversed(value.tiers) if tier.start <= above), value.base)


def _whole(periods: list[dict[str, Any]]) -> dict[str, Any]:
    """Fractions of a dollar made whole numbers, and what they are to be divided by."""
    rates = [rate for period in periods for rate in period["rates"]]
    divisor = lcm(*(each.denominator for rate in rates for each in (rate["fixed"], *rate["weights"].values())))
    for rate in rates:
        rate["fixed"] = int(rate["fixed"] * divisor)
        rate["weights"] = {field: int(weight * divisor) for field, weight in rate["weights"].items()}
    return {"divisor": divisor, "periods": periods}


if __name__ == "__main__":
    main()
