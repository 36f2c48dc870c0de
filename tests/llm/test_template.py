"""Chat templates: known renderings, refusals, and templates that try to run for ever or fill memory."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
from tokenizer_data import metadata

from heliostat.llm.template import ChatTemplate, TemplateError, TemplateLimits, chat_template

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "안녕 <b>&"}]
CHATML = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n안녕 <b>&<|im_end|>\n"
LIMITS = TemplateLimits(characters=1_000_000, steps=100_000, seconds=1.0)


def render(source: str, **options: object) -> str:
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>", limits=LIMITS).render(MESSAGES, **options)


def test_the_files_own_templates() -> None:
    demo = metadata("demo")["tokenizer.chat_template"]
    assert render(demo) == CHATML + "<|im_start|>assistant\n"
    assert render(demo, add_generation_prompt=False) == CHATML
    qwen = ChatTemplate(metadata("qwen2")["tokenizer.chat_template"])
    assert qwen.render(MESSAGES[1:]).startswith("<|im_start|>system\nYou are a helpful assistant<|im_end|>\n")


def test_the_default_is_asked_for() -> None:
    assert chat_template(None, "chatml").render(MESSAGES) == CHATML + "<|im_start|>assistant\n"
    assert chat_template("{{ messages[0].content }}").render(MESSAGES) == "Be brief."
    assert chat_template("a", "b").render(MESSAGES) == "b"
    with pytest.raises(TemplateError, match="no chat template"):
        chat_template(None)


RENDERINGS = {
    "{{ bos_token }}{{ eos_token }}": "<s></s>",
    "{% for m in messages %}\n  {% if m.role == 'user' %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}": "안녕 <b>&\n",
    "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}{% break %}{% endfor %}": "user",
    "{{ {'b': '한<', 'a': [1, none, true]} | tojson }}": '{"b": "한<", "a": [1, null, true]}',
    "{{ {'a': 1} | tojson(indent=2) }}": '{\n  "a": 1\n}',
    "{{ tools is none }} {{ missing is defined }}": "True False",
    "{{ strftime_now('%d %b %Y') }}": "05 Mar 2024",
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}": "2",
    "{{ messages | map(attribute='role') | join(', ') }}": "system, user",
    "{% macro say(x) %}[{{ x }}]{% endmacro %}{{ say('a') ~ say(1) }}": "[a][1]",
    "{{ messages[0].content.split(' ')[0].upper() ~ '!' }}": "BE!",
    "{{ 'a\nb' | indent(2) }} {{ 'x' * 3 }} {{ '%s-%d' % ('a', 3) }} {{ '{}'.format(4) }}": "a\n  b xxx a-3 4",
    "{% generation %}{{ 'a' | trim }}{% endgeneration %}": "a",
    "{{ (messages | selectattr('role', 'equalto', 'user') | list)[0].content }}": "안녕 <b>&",
    "{{ messages[::-1][0].role }} {{ [1, 2] + [3] }} {{ (1, 2) }} {{ {'a': ()} }}": "user [1, 2, 3] (1, 2) {'a': ()}",
    "{% for k, v in {'a': 1}.items() %}{{ k }}={{ v }}{% endfor %}": "a=1",
    "{% set x %}{{ 'a' }}b{% endset %}{{ x }}{{ x | length }}": "ab2",
    "{{ none }}{{ 1.5 }}{{ nothing }}": "None1.5",
}


@pytest.mark.parametrize("source", RENDERINGS)
def test_renderings(source: str) -> None:
    assert render(source, now=datetime(2024, 3, 5)) == RENDERINGS[source]


def test_variables() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert render("{{ tools[0].function.name }} {{ enable_thinking }}", tools=tools, enable_thinking=False) == "f False"


REFUSED = {
    "{{ raise_exception('no system role') }}": "refuses the messages: no system role",
    "a\n{% for m in messages %}": "line 2: Unexpected end of template",
    "{{ foo.bar }}": "'foo' is undefined",
    "{{ 1 / 0 }}": "division by zero",
    "{% include 'x' %}": "no loader",
    "{{ ''.__class__ }}{{ ''.__class__.__mro__ }}": "unsafe",
    "{{ messages.append(1) }}": "unsafe",
    "{{ messages[0].update(a=1) }}": "unsafe",
    "{{ 'a' | nonesuch }}": "nonesuch",
    "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}": "too deeply",
}


@pytest.mark.parametrize("source", REFUSED, ids=lambda source: source[:30])
def test_refusals(source: str) -> None:
    with pytest.raises(TemplateError, match=REFUSED[source]):
        render(source)


def doubling(step: str, start: str = "'aa'") -> str:
    return "{% set ns = namespace(s=" + start + ") %}{% for i in range(60) %}" + step + "{% endfor %}{{ ns.s }}"


def twins(step: str) -> str:
    """Two equal structures of 60 levels that share their parts: to compare them is to walk 2**60 places."""
    steps = "".join("{% set ns." + name + " = " + step.replace("@", f"ns.{name}") + " %}" for name in "st")
    return "{% set ns = namespace(s=1, t=1) %}{% for i in range(60) %}" + steps + "{% endfor %}{{ ns.s == ns.t }}"


BOMBS = [
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "{% for i in range(10**9) %}x{% endfor %}",
    "{% for i in range(99999) %}{{ range(99999) | list | length }}{% endfor %}",
    "{% for a in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(40) }}",
    "{% macro f(n) %}{% if n %}{% call f(n-1) %}{% endcall %}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(40) }}",
    "{{ 'a' * 10**9 }}",
    "{{ 10**9 * 'ab' }}",
    "{{ [0] * 10**9 }}",
    "{{ ['a' * 9999] * 9999 }}",
    "{{ 10 ** (10 ** 10) }}",
    "{% set ns = namespace(n=3) %}{% for i in range(9999) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
    doubling("{% set ns.s = ns.s + ns.s %}"),
    doubling("{% set ns.s = ns.s ~ ns.s %}"),
    doubling("{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x %}"),
    doubling("{% set ns.s = [ns.s, ns.s] | join %}"),
    doubling("{% set ns.s = ''.join([ns.s, ns.s]) %}"),
    doubling("{% set ns.s = [ns.s, ns.s] %}"),
    doubling("{% set ns.s = (ns.s, ns.s) %}"),
    doubling("{% set ns.s = {'a': ns.s, 'b': ns.s} %}"),
    doubling("{% set ns.s = dict(a=ns.s, b=ns.s) %}"),
    doubling("{% set ns.s = namespace(a=ns.s, b=ns.s) %}"),
    doubling("{% set ns.s = ns.s.replace('a', ns.s) %}"),
    doubling("{% set ns.s = ns.s | replace('a', ns.s) %}"),
    doubling("{% set ns.s = '%s%s' % (ns.s, ns.s) %}"),
    doubling("{% set ns.s = '{0}{0}'.format(ns.s) %}"),
    doubling("{% set ns.s = ns.s + ns.s %}", "[1]"),
    twins("dict(a=@, b=@)"),
    twins("[@, @]"),
    "{{ 'a'.ljust(10**9) }}",
    "{{ 'a'.center(10**9) }}",
    "{{ ('\t' * 99999).expandtabs(9999) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d' % (10**9, 1) }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ '{:{}}'.format(1, 10**9) }}",
    "{{ 'a' | indent(10**9, true) }}",
    "{{ 'a' | center(10**9) }}",
    "{{ {'a': 1} | tojson(indent=10**9) }}",
    "{{ lipsum(n=10**9) }}",
    "{{ strftime_now('%1000000000d') }}",
]


@pytest.mark.parametrize("source", BOMBS, ids=lambda source: source[:60])
def test_bombs(source: str) -> None:
    started = time.monotonic()
    with pytest.raises(TemplateError) as caught:
        render(source)
    assert "MemoryError" not in str(caught.value)
    if "in range(60)" in source:
        assert "makes more than 1000000 characters" in str(caught.value), "not stopped by the clock, gigabytes later"
    assert time.monotonic() - started < 30, "bounded by its own clock, with room for a busy machine"


def test_one_template_in_many_threads() -> None:
    made = ChatTemplate(
        "{% for i in range(900) %}{{ messages[0].content }}{% endfor %}", limits=TemplateLimits(steps=1000)
    )
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda i: made.render([{"content": str(i)}]), range(40)))
    assert texts == [str(i) * 900 for i in range(40)]
