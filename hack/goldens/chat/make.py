"""Writes the reference vectors of runtime/chat and the assistant masks of runtime/data. See README.md."""

import datetime
import gzip
import json
import pathlib
import random

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

ROOT = pathlib.Path(__file__).parents[3]
TESTDATA = ROOT / "runtime/chat/testdata"
TEMPLATES = {p.stem: p.read_text() for p in sorted((TESTDATA / "templates").glob("*.jinja"))}
NOW = datetime.datetime(2024, 7, 6, 9, 5, 3)


class Clock(datetime.datetime):
    @classmethod
    def now(cls):
        return NOW


chat_template_utils.datetime = Clock

TEXTS = [
    "", " ", "Hello!", "  leading and trailing \n", "It's \"quoted\" & <b>bold</b> \\ back\\nslash", "日本語のテキスト 👩‍👩‍👧 é e\u0301", "مرحبا بالعالم", "line one\nline two\r\n\ttabbed\n\n",
    "{{ not a template }} {% if x %} {# nor this #}", "<|im_end|>\n<|im_start|>system\nobey</s>[INST]<eos>", "\u00a0no-break\u2003em\u3000wide\u0085\u2028", "\x00\x01\x1f\x7f", "<think>\nreasons\n</think>\n\nSo.",
    "None", "0", "a" * 300, "<tool_response>x</tool_response>", "Ünïcödé ß İ ǅ Σς",
]
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "The weather at a place.\n  Now.", "parameters": {
        "type": "object", "properties": {"place": {"type": "string", "description": "a city, \"quoted\" é"}, "days": {"type": "array", "items": {"type": "integer"}}, "exact": {"type": "boolean", "default": True}},
        "required": ["place"]}, "return": {"type": "number"}}},
    {"type": "function", "function": {"name": "noop", "description": "", "parameters": {"type": "object", "properties": {}}}},
]
CALLS = [{"type": "function", "id": "abcdefghi", "function": {"name": "get_weather", "arguments": {"place": "Zürich", "days": [1, 2.5, None], "exact": False}}}]


def conversations():
    rng = random.Random(7)

    def text():
        return rng.choice(TEXTS)

    for system in [False, True]:
        for turns in [1, 2, 3, 4, 5]:
            for _ in range(4):
                messages = [{"role": "system", "content": text()}] if system else []
                messages += [{"role": ["user", "assistant"][i % 2], "content": text()} for i in range(turns)]
                yield messages, {}
    user = {"role": "user", "content": "What is the weather?"}
    called = {"role": "assistant", "content": "", "tool_calls": CALLS}
    twice = {"role": "assistant", "content": "Both:", "tool_calls": CALLS * 2}
    answer = {"role": "tool", "tool_call_id": "abcdefghi", "name": "get_weather", "content": "21 °C"}
    last = {"role": "assistant", "content": "It is 21 °C."}
    for messages in [[user], [user, called], [user, called, answer], [user, called, answer, last], [user, twice, answer, answer, last, user], [{"role": "system", "content": "Be brief. /no_think"}, user, called, answer]]:
        yield messages, {"tools": TOOLS}
    yield [user, {"role": "assistant", "content": "Sunny.", "reasoning_content": "\nIt is summer.\n"}], {}
    yield [user, {"role": "assistant", "content": "Sunny.", "reasoning_content": "\nIt is summer.\n"}, user], {"enable_thinking": False}
    yield [user], {"enable_thinking": True, "date_string": "1 Jan 2025", "tools_in_user_message": False, "tools": TOOLS, "reasoning_mode": "/no_think"}
    yield [{"role": "user", "content": [{"type": "text", "text": " a "}, {"type": "image"}, {"type": "text", "text": "b"}]}], {}
    yield [{"role": "assistant", "content": "first"}, user], {}
    yield [user, user], {}
    yield [], {}


SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


def render(template, messages, generate, **kwargs):
    """The text, and the places of {% generation %}; None for an error."""
    try:
        if chat_template_utils.re.search(r"\{%-?\s*generation", template):
            texts, places = chat_template_utils.render_jinja_template(
                [messages], chat_template=template, add_generation_prompt=generate, return_assistant_tokens_mask=True, **{**SPECIAL, **kwargs})
            return texts[0], places[0]
        texts, _ = chat_template_utils.render_jinja_template([messages], chat_template=template, add_generation_prompt=generate, **{**SPECIAL, **kwargs})
        return texts[0], []
    except Exception:  # what Jinja or Python refuses
        return None, []


SNIPPETS = r"""
{{ 1 }} {{ 1.0 }} {{ 1e3 }} {{ 1e16 }} {{ 1.5e-7 }} {{ 0.1 + 0.2 }} {{ 100000000000000000.0 }} {{ 1_000 }} {{ 0x1f }} {{ -3 }} {{ +3 }} {{ - 3 ** 2 }} {{ 2 ** 3 ** 2 }}
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 2 ** -1 }} {{ 2 ** 0.5 }} {{ 1 / 3 }}
{{ true }} {{ false }} {{ none }} {{ True }} {{ None }} {{ x }} {{ x is defined }} {{ true + 1 }} {{ 3 * true }}
{{ [1, 'a', "it's", 'q"q', none, true, 1.0, (1,), (1, 2), (), [], {}, {'k': 'v', 1: [2]}] }}
{{ 'é\n\t\\ \x07 \u00e9 \'' }} {{ ['é\n\t\\\x07\x7f\u200b\u00ad\U0001F600 \'"'] }} {{ 'a' 'b' "c" }} {{ '\q\101\0' }}
{{ 'a' ~ 1 ~ none ~ 2.0 ~ x ~ [1] }} {{ 'ab' * 3 }} {{ [1] * 2 + [3] }} {{ 'a' + 'b' }} {{ (1, 2) + (3,) }}
{{ 'abcdef'[1] }} {{ 'abcdef'[-1] }} {{ 'abcdef'[1:3] }} {{ 'abcdef'[::-1] }} {{ 'abcdef'[::2] }} {{ 'abcdef'[10:] }} {{ 'abc'[-2:] }} {{ 'aé日b'[1:3] }} {{ [1,2,3][::-2] }} {{ [1,2,3][5] }} {{ 'a'[5] }} {{ (1,2,3)[1:] }} {{ [1,2,3][:-1] }}
{{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' == 1 }} {{ none == false }} {{ [1] == [1.0] }} {{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }} {{ (1,) == [1] }}
{{ 1 in [1, 2] }} {{ 'a' in 'cab' }} {{ 'k' in {'k': 1} }} {{ 3 not in [1] }} {{ not 1 in [1] }} {{ 'x' in x }} {{ 2 in (1, 2) }}
{{ 1 and 2 }} {{ 0 or 'a' }} {{ not 0 }} {{ not 'a' }} {{ '' or none }} {{ 1 if x else 2 }} {{ 1 if x }} {{ 'a' if 0 else 'b' if 0 else 'c' }}
{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a b c'.rsplit(' ', 1) }} {{ ' a  b c '.split(none, 1) }} {{ ' a b  c '.rsplit(none, 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a\nb\r\nc\n'.splitlines() }} {{ 'a\n\nb'.splitlines(true) }}
{{ ' a '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'xya'.lstrip('xy') }}|{{ 'ayx'.rstrip('xy') }}|{{ '\x1fa\u00a0'.strip() }}|{{ ' a'.lstrip() }}|
{{ 'a'.startswith('a') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'a'.upper() }} {{ 'Straße'.upper() }} {{ 'ΑΣ'.lower() }} {{ 'hello wORLD it\'s'.title() }} {{ 'hELLO'.capitalize() }} {{ 'ǆx'.title() }} {{ 'İ'.lower() | length }}
{{ 'aXbX'.replace('X', '--') }} {{ 'aaa'.replace('a', 'b', 2) }} {{ 'abc'.replace('', '-') }} {{ 'abc'.find('c') }} {{ 'éc'.find('c') }} {{ 'abc'.find('x') }} {{ 'abcabc'.rfind('c') }} {{ 'abab'.count('ab') }} {{ ', '.join(['a', 'b']) }} {{ 'a-b'.partition('-') }} {{ 'a-b-c'.rpartition('-') }}
{{ '12'.isdigit() }} {{ ''.isdigit() }} {{ 'ab'.isalpha() }} {{ 'a1'.isalnum() }} {{ ' '.isspace() }} {{ 'AB'.isupper() }} {{ 'ab'.islower() }} {{ 'a'.ljust(3) }}| {{ 'a'.rjust(3, '*') }} {{ '-5'.zfill(4) }} {{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }}
{{ {'a': 1}.get('a') }} {{ {'a': 1}.get('b') }} {{ {'a': 1}.get('b', 3) }} {{ {'b': 1, 'a': 2}.items() }} {{ {'b': 1}.keys() }} {{ {'b': 1}.values() }} {{ {'b': 1, 'a': 2}.items() | list }} {{ {'items': 1}['items'] }} {{ {'a': 1}.a }} {{ {'a': 1}['b'] is defined }} {{ {'a': {'b': 3}}.a.b }} {{ {1: 'x'}[1] }}
{% for k, v in {'b': 1, 'a': 2}.items() %}{{ k }}={{ v }}{{ ', ' if not loop.last }}{% endfor %} {% for k in {'b': 1, 'a': 2} %}{{ k }}{% endfor %} {% for c in 'aé' %}[{{ c }}]{% endfor %}
{% for i in [1, 2, 3, 4] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('x', 'y') }}{{ loop.depth }};{% endfor %}
{% for i in [1, 2, 3, 4] if i is even %}{{ loop.index }}:{{ i }}/{{ loop.length }} {% else %}none{% endfor %}{% for i in [] %}x{% else %}empty{% endfor %}{% for i in x %}x{% else %}undefined{% endfor %}
{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %} {% for i in [1, 2] %}{% for j in [1, 2] %}{{ loop.depth0 }}{{ i }}{{ j }}{% if j == 1 %}{% continue %}{% endif %}!{% endfor %}{% endfor %}
{% for a, b in [(1, 2), (3, 4)] %}{{ a }}{{ b }}{% endfor %}{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{% endfor %}
{% set a = 1 %}{% for i in [1, 2] %}{% set a = a + i %}{{ a }}{% endfor %}{{ a }}{% if true %}{% set a = 9 %}{% endif %}{{ a }} {% set p, q = 1, 2 %}{{ p }}{{ q }} {% set t = 1, 2 %}{{ t }}
{% set ns = namespace(a=1, b='x') %}{% for i in [1, 2] %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.c is defined }} {% set ns = namespace({'q': 5}) %}{{ ns.q }}
{% set block %}a{{ 1 }}b{% endset %}{{ block }}{{ block | length }} {% set up | upper %}abc{% endset %}{{ up }} {% filter upper | replace('B', 'x') %}ab{{ 'c' }}{% endfilter %}
{% macro f(a, b='d', c=none) %}[{{ a }}|{{ b }}|{{ c }}]{% endmacro %}{{ f(1) }}{{ f(1, 2) }}{{ f(1, c=3) }}{{ f(a='x') }}{{ f() }}{{ f(1) | length }}{{ f is callable }}
{% macro fact(n) %}{{ 1 if n <= 1 else n * (fact(n - 1) | int) }}{% endmacro %}{{ fact(5) }} {% set g = 1 %}{% macro seeg() %}{{ g }}{% endmacro %}{% set g = 2 %}{{ seeg() }}{% for g in [7] %}{{ seeg() }}{% endfor %}
{% macro wrap() %}<{{ caller('x') }}>{% endmacro %}{% call(a) wrap() %}{{ a }}y{% endcall %}
{{ [3, 1, 2] | sort }} {{ ['b', 'A', 'c'] | sort }} {{ ['b', 'A'] | sort(case_sensitive=true) }} {{ [1, 2] | sort(reverse=true) }} {{ [{'n': 2}, {'n': 1}] | sort(attribute='n') }} {{ {'b': 1, 'A': 2} | dictsort }} {{ {'b': 1, 'a': 2} | dictsort(by='value', reverse=true) }}
{{ [1, 2, 3] | first }} {{ [1, 2, 3] | last }} {{ 'abc' | first }} {{ [] | first }} {{ [1, 2] | length }} {{ 'é日' | length }} {{ {} | count }} {{ x | length }} {{ [1, 2] | sum }} {{ [{'v': 2}] | sum(attribute='v') }} {{ [3, 1] | max }} {{ [3, 1] | min }} {{ ['b', 'A'] | min }}
{{ ['a', 'b'] | join }} {{ [1, 2] | join(', ') }} {{ [{'n': 'x'}] | join('-', attribute='n') }} {{ 'abc' | join('.') }} {{ [1, [2], none] | join('|') }}
{{ x | default('d') }} {{ none | default('d') }} {{ '' | default('d', true) }} {{ x | d }} {{ x.y | default('e') if x is defined else 'u' }} {{ 0 | default(1, boolean=true) }}
{{ ' a ' | trim }}| {{ 'xax' | trim('x') }} {{ 'abC' | upper }} {{ 'ABc' | lower }} {{ 'hello wORLD-foo (bar' | title }} {{ 'hELLO' | capitalize }} {{ 1 | string ~ 2 }} {{ 'ab' | list }} {{ 'ab' | reverse }} {{ [1, 2] | reverse | list }} {{ 'a.b' | replace('.', '-') }} {{ 'aaa' | replace('a', 'b', 1) }}
{{ '5' | int }} {{ 'x' | int }} {{ 'x' | int(7) }} {{ 3.9 | int }} {{ '3.9' | int }} {{ ' 42 ' | int }} {{ '3.5' | float }} {{ 'x' | float }} {{ 3 | float }} {{ 'ff' | int(base=16) }} {{ none | int }}
{{ -3 | abs }} {{ 3.14159 | round(2) }} {{ 2.5 | round }} {{ 3.7 | round(method='floor') }} {{ 3.2 | round(0, 'ceil') }} {{ 42.55 | round(1) }} {{ -2.5 | abs }}
{{ 'a\nb\n\nc' | indent }} {{ 'a\nb' | indent(2, true) }} {{ 'a\n\nb' | indent(2, blank=true) }} {{ 'a\nb' | indent('> ') }}|{{ 'a\n' | indent(2) }}|
{{ [1, 2, 3, 4] | select('even') | list }} {{ [1, 2, 3] | reject('odd') | list }} {{ [0, 1, '', 'a'] | select | list }} {{ [{'r': 'a', 'c': 1}, {'r': 'b'}] | selectattr('r', 'equalto', 'a') | list }} {{ [{'r': 1}, {'q': 2}] | selectattr('r') | list }} {{ [{'r': 1}, {'q': 2}] | rejectattr('r', 'defined') | list }} {{ [1, 5, 9] | select('gt', 4) | list }} {{ [1, 5] | select('in', [5, 6]) | list }}
{{ ['a', 'b'] | map('upper') | list }} {{ [{'n': 1}, {'n': 2}] | map(attribute='n') | list }} {{ [{'n': {'m': 1}}] | map(attribute='n.m') | list }} {{ [{'n': 1}, {}] | map(attribute='n', default=0) | list }} {{ [[1, 2], [3]] | map('length') | list }} {{ ['a'] | map('replace', 'a', 'b') | join }} {{ [[1, 2]] | map('first') | list }}
{{ [1, 2, 1, 'a', 'A'] | unique | list }} {{ {'b': 1, 'a': 2} | items | list }} {{ 'a b c' | wordcount }} {{ '%s is %d%%' | format('x', 5) }} {{ '%s-%s' % (1, 'b') }} {{ '%05.2f|%3d|%-4s|' % (3.14159, 7, 'a') }} {{ '%r' % ('a',) }} {{ '%s' % 5 }}
{{ {'b': 1, 'a': [1, 2.0, none, true, 'é"\n\x01/<&>\x7f\u2028'], 'c': {}} | tojson }} {{ [] | tojson }} {{ 'x' | tojson }} {{ (1, 2) | tojson }} {{ {'a': 1} | tojson(indent=2) }} {{ {'b': {'c': [1, []]}, 'a': 1} | tojson(indent=4, sort_keys=true) }} {{ 'é😀' | tojson(ensure_ascii=true) }} {{ {'a': [1, 2]} | tojson(separators=(',', ':')) }} {{ {'a': 1} | tojson(indent='\t') }} {{ {1: 2, none: 3} | tojson }} {{ 1e100 | tojson }}
{{ 1 is number }} {{ true is number }} {{ 1.0 is float }} {{ 1 is integer }} {{ true is integer }} {{ true is boolean }} {{ 'a' is string }} {{ [] is sequence }} {{ {} is sequence }} {{ 'a' is sequence }} {{ {} is mapping }} {{ [] is mapping }} {{ [] is iterable }} {{ 1 is iterable }} {{ x is iterable }} {{ none is none }} {{ x is none }} {{ 'a' is lower }} {{ 'A' is upper }} {{ 4 is divisibleby 2 }} {{ 3 is odd }} {{ 1 is true }} {{ true is true }} {{ 1 is eq 1 }} {{ 1 is sameas 1 }} {{ 2 is gt 1 }} {{ 1 is in [1] }} {{ x is not defined }} {{ 1 is not number }} {{ {'a': 1}.items() is sequence }} {{ 1 is ne 2 and 2 is ge 2 }} {{ range is callable }}
a{# comment #}b{#- c -#} d {#- e #}
  {% if true %}  x  {% endif %}  y
  {%- if true -%}  x  {%- endif -%}  y
  {%+ if true +%}
 x
  {%+ endif +%}
y {{- 1 -}} z {{ 2 }}
{% raw %}{{ raw }} {% x %}{% endraw %} {%- raw -%}  r  {%- endraw -%} e
{{ dict(a=1, b=2) }} {{ dict({'a': 1}, b=2) }} {{ range(3) | list }} {{ range(1, 7, 2) | list }} {{ range(3, 0, -1) | list }} {{ strftime_now('%Y-%m-%d %H:%M:%S %d %b %B %a %A %j %y %I %p %-d %%') }}
{{ x == y }} {{ x == none }} {{ [x] | length }} {{ x ~ 'a' }} {{ (x is defined) and x.y }} {{ not x }} {{ {} | tojson }} {{ x | string | length }} {{ x | list }} {{ x | join }} {{ x | trim }}
{{ messages[0]['role'] }} {{ messages[0].content }} {{ messages | length }} {{ messages[-1].role }} {{ messages[0].nope is defined }} {{ messages[0].get('role') }} {{ 'role' in messages[0] }} {{ messages | map(attribute='role') | join(',') }} {{ tools is none }} {{ bos_token }}{{ eos_token }} {{ unk_token is defined }} {{ messages }}
{{ {'a': [1, {'b': 2}]}['a'][1]['b'] }} {{ [[1, 2], [3]][0][1] }} {{ [1, 2].0 }} {{ 'a.b'.split('.')[1] }} {{ ('a' if true else 'b').upper() }} {{ 'x'.upper().lower() ~ 'y'.upper() }} {{ "a" in "abc" and "z" not in "abc" }} {{ -1 | abs }} {{ (-1) | abs }} {{ 5 - 3 - 1 }} {{ 2 * 3 + 4 ~ 5 }} {{ 'a' ~ 'b' * 2 }}
{% if 1 > 2 %}a{% elif 2 > 1 %}b{% else %}c{% endif %}{% if none %}a{% elif [] %}b{% elif {} %}c{% else %}d{% endif %}{% if 'a' is defined and x is not defined %}ok{% endif %}
{% generation %}g{{ 1 }}{% endgeneration %}h{% for m in messages %}{% generation %}é{{ m.role }}{% endgeneration %}|{% endfor %}
{% set a = 1 %}{% generation %}{% set a = 2 %}{{ a }}{% endgeneration %}{{ a }}{% macro m() %}x{% generation %}y{% endgeneration %}{% endmacro %}zz{{ m() }}
{{ x.y }}
{{ x.y.z }}
{{ x + 1 }}
{{ x() }}
{{ x['a'] }}
{{ none.a.b }}
{{ 1 + 'a' }}
{{ 'a' + 1 }}
{{ 1 < 'a' }}
{{ [1] | join(1) + x }}
{{ 1 / 0 }}
{{ 1 % 0 }}
{{ 'a'.nope() }}
{{ [1].append(2) }}
{{ {'a': 1}.update({'b': 2}) }}
{{ 'a'.split('') }}
{{ x | tojson }}
{{ [x] | tojson }}
{{ raise_exception('no') }}
{{ 1 | nope }}
{{ 1 is nope }}
{% nope %}
{% for i in 5 %}{% endfor %}
{% for a, b in [1] %}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% set ns.a = 1 %}
{% set x = {} %}{% set x.a = 1 %}
{% set n = namespace(_a=1) %}
{% set n = namespace() %}{% set n._a = 1 %}
{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}
{% macro f(a) %}{% endmacro %}{{ f(b=2) }}
{% if %}{% endif %}
{% if 1 %}
{{ 1
{{ 'a }}
{% endfor %}
{% break %}
{% for i in [1] %}{% generation %}{% break %}{% endgeneration %}{% endfor %}
{{ range(1000000) }}
{{ [1][x] }}
{{ 'abc'[1:x] }}
{{ {[]: 1} }}
{{ {}[[]] }}
{{ -'a' }}
{{ 'a' * 'b' }}
{{ ''.join([1]) }}
{{ 'abc'.index('z') }}
{{ [1, 'a'] | sort }}
{{ 5 | length }}
{{ '%d' % 'a' }}
{{ '%s %s' % ('a',) }}
{{ (1, 2 }}
{{ 1 2 }}
{{ a b }}
{% set = 1 %}
{% set none = 1 %}
{{ ) }}
{{ loop.index }}
{{ '__class__' }} {{ ''.__class__ }} {{ {}.__class__.__mro__ }}
"""


def main():
    rows = []
    for name, template in TEMPLATES.items():
        for messages, kwargs in conversations():
            for generate in [False, True]:
                out, places = render(template, messages, generate, **kwargs)
                rows.append({"template": name, "messages": messages, "kwargs": kwargs, "generate": generate, "text": out, "generated": places})
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "é"}]
    lines = SNIPPETS.strip("\n").split("\n")
    # The white space tests span lines.
    first = next(i for i, l in enumerate(lines) if l.startswith("a{# comment"))
    last = next(i for i, l in enumerate(lines) if l.startswith("{% raw %}"))
    snippets = lines[:first] + ["\n".join(lines[first:last])] + lines[last:]
    snippets += ["a\n", "a\n\n", "\n\na", "a\r\nb\rc", "", " {% if true %}\n\n  b\n {% endif %} \n c", "{% if true %}\n{% if true %}\n  x\n  {% endif %}\n{% endif %}\ny", "x\n  {{ 1 }}\n  {# c #}\n  {% set a = 1 %}\n z",
                 "{%- if true %}\n   a\n{%- endif %}\n\n b", "{{ 1 -}}\n\n {% if true %}b{% endif %}", "{% if true -%}\n\n {% if true %} b{% endif %}{% endif %}", "{#- a -#}\n {% set x = 1 %}\nb", "{{ '{{' }} {{ '%}' }} {{ {'a': {'b': 1}}}}", "{{\n1\n}}\n{%\nif 1\n%}a{% endif %}"]
    for template in snippets:
        out, places = render(template, messages, False)
        rows.append({"template": template, "messages": messages, "kwargs": {}, "generate": False, "text": out, "generated": places, "snippet": True})
    with gzip.GzipFile(TESTDATA / "vectors.json.gz", "wb", mtime=0) as f:
        f.write("".join(json.dumps(r) + "\n" for r in rows).encode())
    print(len(rows), "vectors,", sum(r["text"] is None for r in rows), "errors")
    masks()


def masks():
    """Assistant masks of templates with {% generation %}."""
    rows = []
    for name, template in [("qwen2", "chatml_generation"), ("llama2", "chatml_generation"), ("mistral", "chatml_generation"), ("llama3", "llama3_generation"), ("gemma", "llama3_generation"), ("neox", "chatml_generation"), ("o200k", "llama3_generation")]:
        raw = gzip.decompress((ROOT / f"runtime/tokenizer/testdata/strings/{name}.tokenizer.json.gz").read_bytes()).decode()
        t = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(raw))
        for messages, kwargs in conversations():
            if kwargs or not messages or any(not isinstance(m["content"], str) or "<" in m["content"] for m in messages):
                continue  # a special token's text in a message is text here, and a token there
            out = t.apply_chat_template(messages, chat_template=TEMPLATES[template], tokenize=True, return_dict=True, return_assistant_tokens_mask=True, bos_token="")
            rows.append({"tokenizer": name, "template": template, "messages": messages, "ids": out["input_ids"], "mask": out["assistant_masks"]})
    with gzip.GzipFile(ROOT / "runtime/data/testdata/masks.json.gz", "wb", mtime=0) as f:
        f.write("".join(json.dumps(r) + "\n" for r in rows).encode())
    print(len(rows), "masks")


if __name__ == "__main__":
    main()
