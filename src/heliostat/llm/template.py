"""Chat templates: Jinja sources from model files, rendered in a sandbox with bounds on time, steps and text.

A template is a program by a stranger. The sandbox keeps it from reaching Python; the bounds here keep it from running
for ever or filling memory. Covered: loops, macros and recursion (counted), text and lists that double, repetitions,
widths, powers and products. Not covered: one built-in filter or method at work on one value of the allowed size is not
interrupted, and what a template keeps at one time is bounded by value, not in sum.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import BuiltinMethodType
from typing import Any, NoReturn

from heliostat.diagnostics import HeliostatError, PackageMissingError, Span
from heliostat.llm.chatml import CHATML

try:
    import jinja2
    from jinja2 import nodes
    from jinja2.ext import Extension
    from jinja2.filters import make_attrgetter
    from jinja2.parser import Parser
    from jinja2.runtime import Context
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace
except ImportError as error:
    raise PackageMissingError.of("chat templates", "jinja2") from error

_WIDE = 10_000  # no template pads, indents or repeats a text beyond this
_LONG_NUMBER = 4096  # bits


class TemplateError(HeliostatError, ValueError):
    """A chat template is malformed, refuses the messages, or exceeds its bounds."""


@dataclass(frozen=True)
class TemplateLimits:
    """Bounds of one rendering. `characters`: of the text, and of any text or list made on the way; `steps`: rounds of
    loops and calls of macros; `seconds`: wall time, looked at between steps."""

    characters: int = 16_000_000
    steps: int = 1_000_000
    seconds: float = 10.0


class ChatTemplate:
    """One compiled template.

    Variables as in Hugging Face `transformers`: messages, tools, add_generation_prompt, bos_token, eos_token and what
    `render` is given; functions raise_exception(text) and strftime_now(format). trim_blocks and lstrip_blocks are on.
    """

    def __init__(
        self, source: str, *, bos_token: str = "", eos_token: str = "", limits: TemplateLimits | None = None
    ) -> None:
        """`source`: the template, or the name "chatml" for the plain ChatML format.

        Raises TemplateError, pointing at the line, if the template does not parse.
        """
        self.source = CHATML if source == "chatml" else source
        self._roles = {"bos_token": bos_token, "eos_token": eos_token}
        self._lock = threading.Lock()  # the sandbox counts for one rendering
        self._environment = _Sandbox(limits or TemplateLimits())
        try:
            self._template = self._environment.from_string(self.source)
        except jinja2.TemplateSyntaxError as error:
            at = Span("chat template", error.lineno, 1, error.lineno, 2)
            raise TemplateError(f"chat template, line {error.lineno}: {error.message}", at=at) from None
        except TemplateError:
            raise
        except Exception as error:  # constants are folded while compiling; RecursionError for deep nesting
            raise TemplateError(f"chat template does not compile: {_reason(error)}") from None

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        now: datetime | None = None,
        **variables: Any,
    ) -> str:
        """The prompt for `messages` (each with `role` and `content`). `now`: what strftime_now shows, else the clock.

        The names of control tokens in contents are not escaped. Raises TemplateError, with the template's own words if
        it refuses the messages.
        """
        given = {
            **self._roles,
            **variables,
            "messages": list(messages),
            "tools": list(tools) if tools is not None else None,
            "add_generation_prompt": add_generation_prompt,
        }
        with self._lock:
            return self._render(given, now)

    def _render(self, given: dict[str, Any], now: datetime | None) -> str:
        environment = self._environment
        environment.start(now)
        pieces: list[str] = []
        size = 0
        try:
            for piece in self._template.generate(given):
                size += len(piece)
                environment.check_size(size)
                pieces.append(piece)
        except TemplateError:
            raise
        except Exception as error:  # a template can raise anything that Python can
            raise TemplateError(f"chat template failed: {_reason(error)}") from None
        return "".join(pieces)


def chat_template(
    source: str | None, template: str | None = None, *, bos_token: str = "", eos_token: str = ""
) -> ChatTemplate:
    """The template to use: `template` if given (a source, or "chatml"), else the file's `source`.

    Raises TemplateError if there is neither: a guessed format would give answers that are quietly worse.
    """
    chosen = template if template is not None else source
    if chosen is None:
        raise TemplateError("the model has no chat template", help='give one, or "chatml" if it was trained on ChatML')
    return ChatTemplate(chosen, bos_token=bos_token, eos_token=eos_token)


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it nests or recurses too deeply"
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


class _Generation(Extension):
    """`{% generation %} ... {% endgeneration %}`, which marks the assistant's text for training: its body here."""

    tags = {"generation"}  # noqa: RUF012  # Jinja's declaration is a plain set

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with counted steps and bounded sizes, for one rendering at a time."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, limits: TemplateLimits) -> None:
        self.limits = limits
        self._steps = 0
        self._shown = 0
        self._deadline = float("inf")
        self._now: datetime | None = None
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _Generation],
            finalize=self._finalize,
        )
        self.globals.pop("lipsum", None)
        self.globals.update(raise_exception=_raise_exception, strftime_now=self._strftime_now)
        self.filters["tojson"] = self._tojson
        self.filters["join"] = self._join
        self.filters["string"] = lambda value: str(self.made(value))
        for name in ("center", "wordwrap", "format", "urlize", "xmlattr", "pprint"):
            self.filters.pop(name, None)
        for name in ("indent", "batch", "slice", "truncate", "round", "replace"):
            self.filters[name] = self._bounded(self.filters[name])

    def start(self, now: datetime | None) -> None:
        """Begin a rendering: counters at zero."""
        self._steps = self._shown = 0
        self._deadline = time.monotonic() + self.limits.seconds
        self._now = now

    def check_size(self, size: int) -> None:
        """Raise TemplateError if `size` characters or entries are too many."""
        if size > self.limits.characters:
            raise TemplateError(f"chat template makes more than {self.limits.characters} characters")

    def step(self) -> str:
        """Count one round of a loop or call of a macro. Returns the empty text, to stand in an output."""
        self._steps += 1
        if self._steps > self.limits.steps:
            raise TemplateError(f"chat template takes more than {self.limits.steps} steps")
        if time.monotonic() > self._deadline:
            raise TemplateError(f"chat template takes more than {self.limits.seconds:g} s")
        return ""

    def concat_bounded(self, *values: Any) -> str:
        """The `~` operator."""
        self.check_size(sum(map(_size, values)))
        return "".join(map(str, values))

    def made(self, value: Any) -> Any:
        """A list, tuple or dict that the template writes: its size counts what it holds as often as it holds it."""
        self.check_size(_size(value))
        return value

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        _instrument(template, self)
        return template

    def _finalize(self, value: Any) -> Any:
        """Every value that is put out, block sets and macros included, passes here."""
        self._shown += _size(value)
        self.check_size(self._shown)
        return value

    def _strftime_now(self, format: str) -> str:
        text = str(format)
        if len(text) > 200 or re.search(r"\d{3}", text):
            raise TemplateError("chat template asks for an unreasonable time format")
        return (self._now or datetime.now()).strftime(text)

    def _join(self, value: Any, d: str = "", attribute: str | None = None) -> str:
        getter = make_attrgetter(self, attribute) if attribute is not None else None
        texts: list[str] = []
        size = 0
        for item in value:
            item = getter(item) if getter is not None else item
            size += _size(item) + len(d)
            self.check_size(size)
            texts.append(str(item))
        return str(d).join(texts)

    def _tojson(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: Any = None,
        sort_keys: bool = False,
    ) -> str:
        """JSON as models were trained to read it: plain characters, nothing escaped for HTML."""
        if indent is not None and not (isinstance(indent, int) and 0 <= indent <= 16):
            raise TemplateError(f"chat template asks tojson for an indent of {indent!r}")
        separators = tuple(separators) if separators is not None else None
        value = self.made(value)
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def _bounded(self, filter: Callable[..., Any]) -> Callable[..., Any]:
        """`filter` with a look at its arguments: numbers within reason, and the size of what `replace` may make."""

        def bounded(*args: Any, **kwargs: Any) -> Any:
            self._check_arguments(args, kwargs)
            texts = [a for a in (*args, *kwargs.values()) if isinstance(a, str)]
            if len(texts) >= 3:
                self._check_replace(*texts[:3])
            return filter(*args, **kwargs)

        bounded.__dict__.update(filter.__dict__)  # Jinja marks there what it passes first
        return bounded

    def _check_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        for value in (*args, *kwargs.values()):
            if isinstance(value, int) and abs(value) > _WIDE:
                raise TemplateError(f"chat template asks for a width or count of {value}, the limit is {_WIDE}")

    def _check_replace(self, text: str, old: str, new: str) -> None:
        found = text.count(old) if old else len(text) + 1
        self.check_size(len(text) + found * len(new))

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call from a template: methods of texts and makers of containers have their sizes checked first."""
        if obj is dict or obj is Namespace:
            self.made([*args, kwargs])
        method = getattr(obj, "__wrapped__", obj)  # the sandbox wraps str.format
        owner = getattr(method, "__self__", None)
        if isinstance(method, BuiltinMethodType) and isinstance(owner, str):
            self._check_method(owner, method.__name__, args, kwargs)
        return super().call(context, obj, *args, **kwargs)

    def _check_method(self, owner: str, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        if name in ("format", "format_map"):
            if re.search(r"\d{4}|\{[^}]*\{", owner.replace("{{", "")):  # a width, or one that an argument gives
                raise TemplateError("chat template formats with an unreasonable width")
            self.check_size(len(owner) + owner.count("{") * (1000 + _size([*args, kwargs])))
        if name in ("center", "ljust", "rjust", "zfill", "expandtabs"):
            self._check_arguments(args, kwargs)
        if name == "replace" and len(args) >= 2 and isinstance(args[0], str) and isinstance(args[1], str):
            self._check_replace(owner, args[0], args[1])
        if name == "expandtabs":
            self.check_size(len(owner) + owner.count("\t") * _WIDE)
        if name == "join" and args and isinstance(args[0], list | tuple):
            self.check_size(len(owner) * len(args[0]) + _size(args[0]))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Operators that can make something large from something small."""
        if operator == "%" and isinstance(left, str | bytes):
            if re.search(r"%[^a-zA-Z%]*(\*|\d{4})", str(left)):
                raise TemplateError("chat template formats with an unreasonable width")
            fields = left.count("%") if isinstance(left, str) else left.count(b"%")
            self.check_size(len(left) + fields * (1000 + _size(right)))
        elif operator == "+":
            if isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
                self.check_size(len(left) + len(right))
        elif operator == "*":
            for text, count in ((left, right), (right, left)):
                if isinstance(text, str | bytes | list | tuple) and isinstance(count, int):
                    self.check_size(_size(text) * count)
            if isinstance(left, int) and isinstance(right, int):
                _check_number(left.bit_length() + right.bit_length())
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            _check_number(left.bit_length() * abs(right))
        return super().call_binop(context, operator, left, right)


def _check_number(bits: int) -> None:
    if bits > _LONG_NUMBER:
        raise TemplateError(f"chat template makes a number of more than {_LONG_NUMBER} bits")


def _instrument(template: nodes.Template, environment: jinja2.Environment) -> None:
    """Count every round of a loop and every call of a macro; send `~` and containers through the environment."""
    bodies = [node.body for node in template.find_all(nodes.For)]
    bodies += [node.body for node in template.find_all(nodes.Macro)]
    bodies += [node.body for node in template.find_all(nodes.CallBlock)]
    for body in bodies:
        body.insert(0, nodes.ExprStmt(_environment_call("step", [], 1)))
    _replace_children(template)
    template.set_environment(environment)


def _replace_children(node: nodes.Node) -> None:
    for name, value in node.iter_fields():
        if isinstance(value, list):
            setattr(node, name, [_replaced(v) if isinstance(v, nodes.Node) else v for v in value])
        elif isinstance(value, nodes.Node):
            setattr(node, name, _replaced(value))


def _replaced(node: nodes.Node) -> nodes.Node:
    _replace_children(node)
    if isinstance(node, nodes.Concat):
        return _environment_call("concat_bounded", node.nodes, node.lineno)
    if isinstance(node, nodes.List | nodes.Dict) or (isinstance(node, nodes.Tuple) and node.ctx == "load"):
        return _environment_call("made", [node], node.lineno)
    return node


def _environment_call(method: str, args: list[nodes.Expr], lineno: int) -> nodes.Call:
    function = nodes.EnvironmentAttribute(method, lineno=lineno)
    return nodes.Call(function, args, [], None, None, lineno=lineno)


def _size(value: Any, known: dict[int, int] | None = None) -> int:
    """Characters and entries of `value` as it would be written out, what it shares counted every time."""
    if isinstance(value, str | bytes):
        return len(value)
    if not isinstance(value, list | tuple | Mapping | Namespace):
        return 8
    known = {} if known is None else known
    if id(value) not in known:
        held = value._Namespace__attrs if isinstance(value, Namespace) else value
        parts = [*held.keys(), *held.values()] if isinstance(held, Mapping) else held
        known[id(value)] = 2 + sum(2 + _size(part, known) for part in parts)
    return known[id(value)]


def _raise_exception(message: object = "") -> NoReturn:
    raise TemplateError(f"chat template refuses the messages: {message}")
