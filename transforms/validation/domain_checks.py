"""What values a schema allows of a feature, held to its statistics."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2

from transforms.validation.anomalies import Reason
from transforms.validation.feature_view import NOT_UTF8, PLACEHOLDERS, FeatureView
from transforms.validation.schema_file import string_domain

__all__ = ["domain_reasons"]

_NAMED = 20
# Types that may have a domain; a feature without a type may have any.
_TYPES = {
    "int_domain": ("INT", "BYTES", "TYPE_UNKNOWN"),
    "float_domain": ("FLOAT", "BYTES", "TYPE_UNKNOWN"),
    "bool_domain": ("INT", "FLOAT", "BYTES", "TYPE_UNKNOWN"),
    "string_domain": ("BYTES", "TYPE_UNKNOWN"),
    "domain": ("BYTES", "TYPE_UNKNOWN"),
}
_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
_ALMOST_NOTHING = 1e-9  # what rounding makes of a sum of zeros and ones


def domain_reasons(schema: Any, feature: Any, view: FeatureView) -> Iterator[Reason]:
    """Yields the values that the schema does not allow.

    Args:
        schema: the whole, for its domains.
        feature: what the schema says of it.
        view: its statistics; of the type that the schema says.
    """
    kind = feature.WhichOneof("domain_info")
    type_name = schema_pb2.FeatureType.Name(feature.type)
    if kind in _TYPES and type_name not in _TYPES[kind]:
        text = f"A feature of type {type_name} cannot have a {kind}; it is for {' and '.join(_TYPES[kind][:-1])}."
        yield Reason(feature.name, "DOMAIN_INVALID_FOR_TYPE", "Domain of another type", text)
        return
    allowed = string_domain(schema, feature)
    if allowed is not None:
        yield from _strings(feature, view, allowed)
    elif kind == "int_domain":
        low = feature.int_domain.min if feature.int_domain.HasField("min") else -math.inf
        high = feature.int_domain.max if feature.int_domain.HasField("max") else math.inf
        yield from _range(feature.name, view, low, high, "INT")
    elif kind == "float_domain":
        domain = feature.float_domain
        low = domain.min if domain.HasField("min") else -math.inf
        high = domain.max if domain.HasField("max") else math.inf
        yield from _range(feature.name, view, low, high, "FLOAT")
        yield from _not_finite(feature, view)
    elif kind == "bool_domain":
        yield from _booleans(feature, view)


def _strings(feature: Any, view: FeatureView, allowed: list[str]) -> Iterator[Reason]:
    if not view.has_strings:
        return
    if view.proto.string_stats.invalid_utf8_count:
        text = f"{view.proto.string_stats.invalid_utf8_count:,} values are not UTF-8; a domain of strings was expected."
        yield Reason(feature.name, "ENUM_TYPE_INVALID_UTF8", "Bytes that are no text", text)
    known = {*allowed, NOT_UTF8}
    other = {name: count for name, count in view.strings.items() if name not in known}
    # Values that the statistics do not name cannot be told from new ones, unless all that is allowed is among those they name.
    unnamed = view.unseen if view.proto.string_stats.unique > len(view.strings) else 0.0
    share = sum(other.values()) / view.total + unnamed if view.total else 0.0
    least = feature.distribution_constraints.min_domain_mass if feature.HasField("distribution_constraints") else 1.0
    if (not other and unnamed <= 0) or share <= 1 - least + 1e-12:
        return
    ranked = sorted(other.items(), key=lambda each: (-each[1], each[0]))
    named = ", ".join(f"{name!r} ({count / view.total:.4%})" for name, count in ranked[:_NAMED])
    more = f" and {len(ranked) - _NAMED:,} more" if len(ranked) > _NAMED else ""
    beyond = (
        f", and values beyond the {len(view.strings):,} that the statistics name ({unnamed:.2%})" if unnamed > 0 else ""
    )
    text = f"Values that the domain does not have: {named or 'none named'}{more}{beyond}; {share:.4%} in all, {1 - least:.4%} allowed."
    yield Reason(feature.name, "ENUM_TYPE_UNEXPECTED_STRING_VALUES", "New values", text)


def _range(name: str, view: FeatureView, low: float, high: float, kind: str) -> Iterator[Reason]:
    if view.has_numbers:
        least, most = view.proto.num_stats.min, view.proto.num_stats.max
    elif view.has_strings:
        names = [each for each in view.strings if each not in PLACEHOLDERS]
        parsed = [_number(each, kind) for each in names]
        wrong = [each for each, value in zip(names, parsed) if value is None]
        if wrong or view.invalid_strings:
            text = f"Strings that are no numbers: {', '.join(map(repr, wrong[:_NAMED])) or 'bytes that are no text'}."
            of = "INT_TYPE_NOT_INT_STRING" if kind == "INT" else "FLOAT_TYPE_STRING_NOT_FLOAT"
            yield Reason(name, of, "Not a number", text)
        least, most = _ends(parsed)
    else:
        return
    if least < low:
        yield Reason(
            name,
            f"{kind}_TYPE_SMALL_{kind}",
            "Values too small",
            f"The least value is {least:g}; {low:g} or more is expected.",
        )
    if most > high:
        yield Reason(
            name,
            f"{kind}_TYPE_BIG_{kind}",
            "Values too large",
            f"The largest value is {most:g}; {high:g} or less is expected.",
        )


def _number(text: str, kind: str) -> float | None:
    if "_" in text:  # which Python allows between digits
        return None
    try:
        return float(text) if kind == "FLOAT" else int(text) if _INTEGER.fullmatch(text) else None
    except ValueError:
        return None


def _ends(values: Iterable[float | None]) -> tuple[float, float]:
    """Returns the least and the largest number among the values; NaN where there is none."""
    numbers = [value for value in values if value is not None and not math.isnan(value)]
    return min(numbers, default=math.nan), max(numbers, default=math.nan)


def _not_finite(feature: Any, view: FeatureView) -> Iterator[Reason]:
    domain = feature.float_domain
    if view.has_numbers:
        low, high, nan = view.proto.num_stats.min, view.proto.num_stats.max, view.num_nan
    elif view.has_strings:
        pairs = [(_number(text, "FLOAT"), count) for text, count in view.strings.items() if text not in PLACEHOLDERS]
        low, high = _ends(value for value, _ in pairs)
        nan = sum(count for value, count in pairs if value is not None and math.isnan(value))
    else:
        return
    if domain.disallow_nan and nan:
        yield Reason(feature.name, "FLOAT_TYPE_HAS_NAN", "NaN", f"{nan:,.0f} values are NaN, which the domain forbids.")
    if domain.disallow_inf and (math.isinf(low) or math.isinf(high)):
        text = f"Infinite values ({low:g} to {high:g}), which the domain forbids."
        yield Reason(feature.name, "FLOAT_TYPE_HAS_INF", "Infinite values", text)


def _booleans(feature: Any, view: FeatureView) -> Iterator[Reason]:
    if view.has_strings:
        domain = feature.bool_domain
        known = {each for each in (domain.true_value, domain.false_value) if each} or {"true", "false"}
        other = [each for each in view.strings if each not in known]
        if other:
            text = f"Values {', '.join(map(repr, other[:_NAMED]))}; expected {' or '.join(map(repr, sorted(known)))}."
            yield Reason(feature.name, "BOOL_TYPE_UNEXPECTED_STRING", "Not a boolean", text)
        return
    if not view.has_numbers:
        return
    stats = view.proto.num_stats
    if view.type_name == "FLOAT":
        yield from _float_booleans(feature, view)
        return
    if stats.min < 0:
        yield Reason(
            feature.name, "BOOL_TYPE_SMALL_INT", "Not a boolean", f"The least value is {stats.min:g}; expected 0 or 1."
        )
    if stats.max > 1:
        yield Reason(
            feature.name, "BOOL_TYPE_BIG_INT", "Not a boolean", f"The largest value is {stats.max:g}; expected 0 or 1."
        )


def _float_booleans(feature: Any, view: FeatureView) -> Iterator[Reason]:
    stats = view.proto.num_stats
    # Of numbers from 0 to 1 the mean of the squares is the mean itself just where all are 0 or 1.
    between = stats.mean - (stats.std_dev**2 + stats.mean**2) > _ALMOST_NOTHING
    nan = f", {view.num_nan:,.0f} of them NaN" if view.num_nan else ""
    if nan or between or stats.min < 0 or stats.max > 1:
        text = f"Values from {stats.min:g} to {stats.max:g} with mean {stats.mean:g}{nan}; expected 0 or 1."
        yield Reason(feature.name, "BOOL_TYPE_UNEXPECTED_FLOAT", "Not a boolean", text)
