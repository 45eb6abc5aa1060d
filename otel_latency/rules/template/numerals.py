"""Numbers as Go spells them, and Prometheus' humanize family on top.

`shortest` is what `{{ $value }}` prints: the fewest digits that read back as the same float, with an exponent
below 1e-4 and from 1e+06 on. Everything else has Go's rules of rounding, which are C's, and Go's words for infinity.
"""

from __future__ import annotations

import math

_LARGE = ("k", "M", "G", "T", "P", "E", "Z", "Y")
_SMALL = ("m", "u", "n", "p", "f", "a", "z", "y")
_BINARY = ("ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi")
_INT64_MIN = -(1 << 63)
_EXPONENT_FROM = 6


def shortest(value: float) -> str:
    """Go's `%v` of a float64."""
    if not math.isfinite(value):
        return not_finite(value)
    sign, digits, exponent = _digits(value)
    if -4 <= exponent < _EXPONENT_FROM:
        return sign + _positional(digits, exponent)
    return sign + _scientific(digits, exponent)


def scientific(value: float) -> str:
    """Always with an exponent: `1e+00`; how Prometheus' HTTP API spells the value of an alert."""
    if not math.isfinite(value):
        return not_finite(value)
    sign, digits, exponent = _digits(value)
    return sign + _scientific(digits, exponent)


def positional(value: float) -> str:
    """Never with an exponent: `0.0000001`; how Prometheus' HTTP API spells the value of a sample."""
    if not math.isfinite(value):
        return not_finite(value)
    sign, digits, exponent = _digits(value)
    return sign + _positional(digits, exponent)


def not_finite(value: float) -> str:
    """`NaN`, `+Inf` or `-Inf`."""
    if math.isnan(value):
        return "NaN"
    return "+Inf" if value > 0 else "-Inf"


def float_text(value: float, verb: str, precision: int | None) -> str:
    """A finite float with verb e, E, f, F, g, G, x or X as Go's strconv gives it; signed only when negative."""
    if verb in "xX":
        text = _hexadecimal(value, precision)
        return text.upper() if verb == "X" else text
    if precision is None and verb in "gG":
        text = shortest(value)
        return text.upper() if verb == "G" else text
    return f"%.{6 if precision is None else precision}{verb}" % value


def humanize(value: float) -> str:
    """Four significant digits with an SI prefix: `1.235M`, `120m`."""
    if value == 0 or not math.isfinite(value):
        return _four(value)
    scaled, prefix = _scaled(value, _LARGE, 1000) if abs(value) >= 1 else _shrunk(value)
    return _four(scaled) + prefix


def humanize1024(value: float) -> str:
    """Four significant digits with a binary prefix: `1.5ki`."""
    if abs(value) <= 1 or not math.isfinite(value):
        return _four(value)
    scaled, prefix = _scaled(value, _BINARY, 1024)
    return _four(scaled) + prefix


def humanize_duration(seconds: float) -> str:
    """`1d 1h 1m 1s`, `12.35s`, `123.5ms`; days are the largest unit."""
    if not math.isfinite(seconds):
        return _four(seconds)
    if seconds == 0:
        return _four(seconds) + "s"
    if abs(seconds) < 1:
        scaled, prefix = _shrunk(seconds)
        return f"{_four(scaled)}{prefix}s"
    return ("-" if seconds < 0 else "") + _whole_units(abs(seconds))


def humanize_percentage(ratio: float) -> str:
    """A ratio as per cent: `99.5%`."""
    return _four(ratio * 100) + "%"


def _four(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else not_finite(value)


def _scaled(value: float, prefixes: tuple[str, ...], base: int) -> tuple[float, str]:
    prefix = ""
    for larger in prefixes:
        if abs(value) < base:
            break
        prefix = larger
        value /= base
    return value, prefix


def _shrunk(value: float) -> tuple[float, str]:
    prefix = ""
    for smaller in _SMALL:
        if abs(value) >= 1:
            break
        prefix = smaller
        value *= 1000
    return value, prefix


def _whole_units(seconds: float) -> str:
    # Go's conversion of a float beyond int64 gives the smallest int64, and its division rounds towards zero.
    whole = int(seconds) if seconds < -_INT64_MIN else _INT64_MIN
    sign, rest = (-1, -whole) if whole < 0 else (1, whole)
    days, hours, minutes = rest // 86400, rest // 3600 % 24, rest // 60 % 60
    if days:
        return f"{sign * days}d {sign * hours}h {sign * minutes}m {sign * (rest % 60)}s"
    if hours:
        return f"{hours}h {minutes}m {rest % 60}s"
    if minutes:
        return f"{minutes}m {rest % 60}s"
    return _four(seconds) + "s"


def _digits(value: float) -> tuple[str, str, int]:
    """Sign, shortest decimal digits and the exponent of the first: -1250.0 is `-`, `125`, 3."""
    mantissa, exponent = f"{value!r}e0".split("e")[:2]
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    first = int(exponent) + len(whole) - 1 - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    return (sign, digits, first) if digits else (sign, "0", 0)


def _positional(digits: str, exponent: int) -> str:
    if exponent < 0:
        return "0." + "0" * (-exponent - 1) + digits
    whole = digits[: exponent + 1].ljust(exponent + 1, "0")
    return f"{whole}.{digits[exponent + 1 :]}" if len(digits) > exponent + 1 else whole


def _scientific(digits: str, exponent: int) -> str:
    mantissa = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
    return f"{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _hexadecimal(value: float, precision: int | None) -> str:
    """`0x1.8p+00`: one bit before the point, rounded half to even when *precision* cuts digits off."""
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    fraction, exponent = math.frexp(abs(value))
    mantissa, exponent = (int(fraction * (1 << 53)), exponent - 1) if value else (0, 0)
    digits = 13 if precision is None else precision
    if digits < 13:
        mantissa = _half_even(mantissa, 1 << (4 * (13 - digits)))
    if mantissa >> 53:
        mantissa, exponent = mantissa >> 1, exponent + 1
    text = f"{mantissa & ((1 << 52) - 1):013x}".ljust(digits, "0")[:digits]
    if precision is None:
        text = text.rstrip("0")
    return f"{sign}0x{mantissa >> 52}{'.' if text else ''}{text}p{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _half_even(number: int, unit: int) -> int:
    whole, rest = divmod(number, unit)
    return (whole + (rest * 2 > unit or (rest * 2 == unit and whole & 1))) * unit
