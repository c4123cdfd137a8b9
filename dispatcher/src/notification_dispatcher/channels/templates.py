"""Messages from templates: Jinja in a sandbox, bounded in time and size. `slack`, `email` and `apprise` render.

A template comes from whoever wrote the pipeline, a payload from whoever calls: neither can make the dispatcher call
anything, loop for long, or fill the memory. Nothing of a payload is in an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from jinja2 import StrictUndefined, TemplateSyntaxError, UndefinedError, nodes, pass_context
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from notification_dispatcher.clock import rfc3339
from notification_dispatcher.job import Lease

_MOST_STEPS = 10_000
_MOST_CHARACTERS = 65_536

_FILTERS = (
    *("abs", "capitalize", "d", "default", "dictsort", "filesizeformat", "first", "float", "int", "items", "join"),
    *("last", "length", "lower", "round", "sort", "string", "title", "tojson", "trim", "truncate", "unique", "upper"),
)


DEFAULT_TEXT = "{% for name, value in payload | items %}{{ name }}: {{ value }}\n{% endfor %}\n{{ type }} · {{ id }}\n"
"""What is said where no template is given: the payload's fields, one a line."""


class TextError(Exception):
    """A template and a payload that do not fit, in words without the payload."""


class Text:
    """One template. Made anew with each change of the settings; raises TextError when its syntax is wrong."""

    def __init__(self, source: str, escape: Callable[[str], str] | None = None) -> None:
        """`escape` is applied to each value that is put in, and not to the template's own words."""
        environment = _Environment(escape)
        try:
            tree = environment.parse(source)
            _bound_loops(tree)
            self._template = environment.from_string(tree)
        except TemplateSyntaxError as error:
            raise TextError(f"line {error.lineno}: {error.message}") from None
        except (TemplateError, RecursionError) as error:
            raise TextError(type(error).__name__) from None

    def render(self, job: Lease) -> str:
        """The text for a job. Raises TextError when the payload does not have what is asked for."""
        pieces, size = [], 0
        try:
            for piece in self._template.generate(_budget=_Budget(_MOST_STEPS), **_names(job)):
                pieces.append(piece)
                size += len(piece)
                if size > _MOST_CHARACTERS:
                    raise TextError(f"the text is longer than {_MOST_CHARACTERS} characters")
        except UndefinedError:
            raise TextError("the payload does not have a field that the template asks for") from None
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            raise TextError(f"the template does not fit the payload ({type(error).__name__})") from None
        return "".join(pieces)


def mistake(source: str) -> str | None:
    """Why a text is no template; None: it is one. `settings_source` asks, before it is put in force."""
    try:
        Text(source)
    except TextError as error:
        return str(error)
    return None


def _names(job: Lease) -> dict[str, Any]:
    return {
        "type": job.type,
        "id": job.id,
        "payload": msgspec.json.decode(job.payload),
        "attempt": job.attempt,
        "accepted_at": rfc3339(job.accepted_ms),
    }


class _Environment(ImmutableSandboxedEnvironment):
    """Values, conditions, loops over what the payload has, and a list of filters. Nothing can be called."""

    # What makes much out of little: "x" * 10**9, 9**9**9, "%999999999d" % 1.
    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, escape: Callable[[str], str] | None) -> None:
        def finalize(value: Any) -> Any:
            return escape(value) if escape is not None and isinstance(value, str) else value

        super().__init__(undefined=StrictUndefined, autoescape=False, finalize=finalize)
        self.globals.clear()
        known = {name: self.filters[name] for name in _FILTERS}
        self.filters = {**known, "replace": _replace, "_steps": _steps}

    def is_safe_callable(self, obj: Any) -> bool:  # noqa: ARG002
        """Nothing is: filters do what there is to do."""
        return False

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic on numbers of a sane size alone."""
        if operator == "**" or not all(isinstance(one, (int, float)) and abs(one) < 1e15 for one in (left, right)):
            raise SecurityError("only numbers, and no powers")
        return super().call_binop(context, operator, left, right)


class _Budget:
    """How many steps the loops of one text may take together."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise SecurityError("the loops take too many steps")


@pass_context
def _steps(context: Context, values: Iterable[Any]) -> Iterator[Any]:
    budget: _Budget = context["_budget"]
    for value in values:
        budget.spend()
        yield value


def _replace(text: Any, old: str, new: str) -> str:
    words = str(text)
    if len(words) + words.count(old) * len(new) > _MOST_CHARACTERS:
        raise SecurityError("the text would be too long")
    return words.replace(old, new)


def _bound_loops(tree: nodes.Template) -> None:
    """Let each loop spend steps."""
    for loop in tree.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, "_steps", [], [], None, None)
