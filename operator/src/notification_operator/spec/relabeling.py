"""`spec.monitoring.serviceMonitor.metricRelabelings`: Prometheus' relabeling, with its rules. `monitoring` has it.

prometheus-operator leaves a ServiceMonitor out when one of its relabelings is wrong, and the scrape with it; so what it
would refuse is refused here, and what would take away the labels that boards and rules need.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, NamedTuple, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import SchemaError

from notification_dispatcher.schema import ApiModel, Enumeration, rules
from notification_operator.spec.values import LABEL_NAME, PLAIN_TEXT

NEEDED_LABELS = ("namespace", "pipeline")
"""Labels by which rules and boards tell pipelines apart."""

_KEPT = ("__name__", *NEEDED_LABELS)
_REFERENCE = r"[$]([0-9A-Za-z_]+|[{][0-9A-Za-z_]+[}])"
_TARGET = rf"^([a-zA-Z_]|{_REFERENCE})([0-9a-zA-Z_]|{_REFERENCE})*$"
"""A label's name, in which groups of the regular expression may stand: `team_$1`."""

# What Go and the engine here read alike. Each reads some rarities that the other doesn't, and an expression that only
# one of them takes would be accepted by the API server and refused by the operator, or the other way round. Counted
# repetitions multiply within each other, and both have a limit: here a product stays below 100.
_ESCAPED = r"\\([tnrfv]|[!-;=?-@\[-`{-~])"
_SETS = r"\\[dDsSwW]"
_POSIX = r"\[:(alnum|alpha|ascii|blank|cntrl|digit|graph|lower|print|punct|space|upper|word|xdigit):\]"
_MEMBER = rf"([^\]\[\\&~\x00-]|{_ESCAPED})"
_CLASS = rf"\[\^?-?({_MEMBER}(-{_MEMBER})?|{_SETS}|{_POSIX})+-?\]"
_ONE = rf"([^\\\[\]{{}}()*+?\x00]|{_ESCAPED}|{_SETS}|\\[bB]|{_CLASS})"
_NAMED = r"P<[A-Za-z_][A-Za-z0-9_]*>"
_ANY_TIMES = r"[*+?][?]?"
_FEW_TIMES = r"[{][0-9](,[0-9]?)?[}][?]?"
_MANY_TIMES = r"[{][0-9]{1,2}(,([0-9]{1,2})?)?[}][?]?"
_COUNTED_GROUP = rf"[(]([?](:|{_NAMED}|[ims]:))?({_ONE}({_ANY_TIMES}|{_FEW_TIMES})?)*[)]{_FEW_TIMES}"
_GROUP = rf"[(]([?](:|{_NAMED}|[ims][:)]))?|[)]({_ANY_TIMES})?"
_REGEX = rf"^({_COUNTED_GROUP}|{_GROUP}|{_ONE}({_ANY_TIMES}|{_MANY_TIMES})?)*$"

_ASCII_SETS = {
    "d": "[0-9]",
    "D": "[^0-9]",
    "s": r"[\t\n\f\r ]",
    "S": r"[^\t\n\f\r ]",
    "w": r"[0-9A-Za-z_]",
    "W": "[^0-9A-Za-z_]",
}


class RelabelAction(Enumeration):
    """What a relabeling does, as Prometheus writes it."""

    REPLACE = "replace"
    KEEP = "keep"
    DROP = "drop"
    HASHMOD = "hashmod"
    LABELMAP = "labelmap"
    LABELDROP = "labeldrop"
    LABELKEEP = "labelkeep"
    LOWERCASE = "lowercase"
    UPPERCASE = "uppercase"
    KEEPEQUAL = "keepequal"
    DROPEQUAL = "dropequal"


_A = RelabelAction
_EQUAL = (_A.KEEPEQUAL, _A.DROPEQUAL)
_CASE = (_A.LOWERCASE, _A.UPPERCASE)
_LABELS = (_A.LABELDROP, _A.LABELKEEP)
_WRITES = (_A.REPLACE, _A.HASHMOD, *_CASE)


def matches_whole(regex: str, text: str) -> bool:
    """Whether a regular expression without look-around, as Prometheus has them, fits the whole text.

    Raises ValueError for one that cannot be read.
    """
    try:
        _adapter(regex).validate_python(text)
    except ValidationError:
        return False
    except SchemaError:
        raise ValueError("regex: it cannot be read as a regular expression") from None
    return True


@lru_cache(maxsize=256)
def _adapter(regex: str) -> TypeAdapter[str]:
    # Not Python's own expressions: those of Prometheus know no look-around and take no time that grows beyond the
    # text's length, and pydantic's engine is of that family. Its \w has all of Unicode, which is large too.
    ascii_sets = re.sub(r"\\(.)", lambda found: _ASCII_SETS.get(found[1], found[0]), regex, flags=re.DOTALL)
    return TypeAdapter(Annotated[str, Field(pattern=f"^(?:{ascii_sets})$")])


def _among(actions: tuple[RelabelAction, ...]) -> str:
    return f"self.action in {[action.value for action in actions]}"


class _Rule(NamedTuple):
    """What holds for a relabeling: as Python and, beside it, as CEL."""

    holds: Callable[[Relabeling], bool]
    cel: str
    message: str


_RULES = (
    _Rule(
        lambda one: one.action not in (*_WRITES, *_EQUAL) or one.target_label is not None,
        f"!({_among((*_WRITES, *_EQUAL))}) || has(self.targetLabel)",
        "targetLabel: this action needs it",
    ),
    _Rule(
        lambda one: (one.action is _A.HASHMOD) == (one.modulus is not None),
        "(self.action == 'hashmod') == has(self.modulus)",
        "modulus: hashmod needs it, and no other action takes it",
    ),
    _Rule(
        lambda one: one.action is not _A.HASHMOD or "$" not in (one.target_label or ""),
        "self.action != 'hashmod' || !has(self.targetLabel) || !self.targetLabel.contains('$')",
        "targetLabel: hashmod takes a plain name, without groups of the regex",
    ),
    _Rule(
        lambda one: one.action not in (*_CASE, *_EQUAL, *_LABELS) or one.replacement is None,
        f"!({_among((*_CASE, *_EQUAL, *_LABELS))}) || !has(self.replacement)",
        "replacement: this action takes none",
    ),
    _Rule(
        lambda one: one.action is not _A.LABELMAP or one.replacement is None or matches_whole(_TARGET, one.replacement),
        f"self.action != 'labelmap' || !has(self.replacement) || self.replacement.matches('{_TARGET}')",
        "replacement: labelmap needs the name of a label, such as team_$1",
    ),
    _Rule(
        lambda one: one.action not in _EQUAL or (one.regex is None and one.separator is None),
        f"!({_among(_EQUAL)}) || !(has(self.regex) || has(self.separator))",
        "this action takes only sourceLabels and targetLabel",
    ),
    _Rule(
        lambda one: (
            one.action not in _LABELS
            or (
                one.regex is not None
                and one.source_labels is None
                and one.target_label is None
                and one.separator is None
            )
        ),
        f"!({_among(_LABELS)}) || (has(self.regex)"
        " && !(has(self.sourceLabels) || has(self.targetLabel) || has(self.separator)))",
        "this action needs a regex, and takes nothing else",
    ),
    _Rule(
        # An expression that cannot be read is an error here and there.
        lambda one: one.regex is None or matches_whole(one.regex, "") in (True, False),
        "!has(self.regex) || ''.matches('^(?:' + self.regex + ')$') in [true, false]",
        "regex: it cannot be read as a regular expression",
    ),
    _Rule(
        lambda one: one.action not in _WRITES or one.target_label not in NEEDED_LABELS,
        f"!({_among(_WRITES)}) || !has(self.targetLabel) || !(self.targetLabel in {list(NEEDED_LABELS)})",
        "targetLabel: rules and dashboards tell pipelines apart by namespace and pipeline; they stay as they are",
    ),
    _Rule(
        lambda one: one.action not in _LABELS or all(_kept(one.action, one.regex or "", label) for label in _KEPT),
        f"!({_among(_LABELS)}) || !has(self.regex) || {list(_KEPT)}.all(label,"
        " label.matches('^(?:' + self.regex + ')$') == (self.action == 'labelkeep'))",
        "regex: the labels __name__, namespace and pipeline must stay, rules and dashboards need them",
    ),
)


def _kept(action: RelabelAction, regex: str, label: str) -> bool:
    return matches_whole(regex, label) == (action is _A.LABELKEEP)


class Relabeling(ApiModel):
    """One step of Prometheus' relabeling, on each sample before it is stored."""

    model_config = ConfigDict(json_schema_extra=rules(*((one.cel, one.message) for one in _RULES)))

    action: RelabelAction = Field(default=_A.REPLACE, description="What is done with what the regex matches.")
    source_labels: tuple[Annotated[str, Field(pattern=LABEL_NAME, max_length=128)], ...] | None = Field(
        default=None,
        min_length=1,
        max_length=16,
        description="Labels whose values are joined and matched; __name__ is the metric's name.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    separator: str | None = Field(
        default=None, pattern=PLAIN_TEXT, max_length=16, description="Between the joined values. Default: a semicolon."
    )
    regex: str | None = Field(
        default=None,
        pattern=_REGEX,
        min_length=1,
        max_length=256,
        description="Must match the whole of the joined values. A brace or bracket that stands for itself needs a "
        "backslash, an & or ~ in a bracket too; a group is repeated nine times at most. Default: anything.",
    )
    target_label: str | None = Field(
        default=None, pattern=_TARGET, max_length=128, description="The label that is written, or compared with."
    )
    replacement: str | None = Field(
        default=None,
        pattern=PLAIN_TEXT,
        max_length=256,
        description="What is written; $1 is the first group of the regex. Default: $1.",
    )
    modulus: int | None = Field(
        default=None, ge=1, le=2_147_483_647, description="hashmod: the hash of the joined values is taken modulo this."
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        for one in _RULES:
            if not one.holds(self):
                raise ValueError(one.message)
        return self
