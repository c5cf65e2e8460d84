"""Chat templates of the families of models that people bring, written out in short: same turns, same control tokens."""

from typing import NamedTuple


class Family(NamedTuple):
    """A template with the control tokens of its vocabulary, and words that are tokens but not control tokens."""

    template: str
    specials: tuple[str, ...]
    added: tuple[str, ...] = ()
    bos: str | None = None


_CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_QWEN1_5 = """\
{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
{{ '<|im_start|>system\nYou are a helpful assistant<|im_end|>\n' }}{% endif %}\
{{ '<|im_start|>' + message['role'] + '\n' + message['content'] }}\
{% if (loop.last and add_generation_prompt) or not loop.last %}{{ '<|im_end|>' + '\n' }}{% endif %}{% endfor %}\
{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}{{ '<|im_start|>assistant\n' }}{% endif %}"""
_QWEN2_5 = """\
{%- set first = messages[0] %}
{{- '<|im_start|>system\n' + (first.content if first.role == 'system' else 'You are a helpful assistant.') }}
{%- if tools %}
    {{- '\n\n# Tools\n<tools>' }}{% for tool in tools %}{{ '\n' }}{{ tool | tojson }}{% endfor %}
    {{- '\n</tools>\nAnswer with <tool_call>\n{"name": <name>, "arguments": <object>}\n</tool_call>' }}
{%- endif %}
{{- '<|im_end|>\n' }}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- '<|im_start|>user\n<tool_response>\n' + message.content + '\n</tool_response><|im_end|>\n' }}
    {%- elif message.role != 'system' %}
        {{- '<|im_start|>' + message.role + '\n' + message.content }}
        {%- for call in message.tool_calls or [] %}
            {{- '\n<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson }}{{ '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""
_QWEN3 = (
    _QWEN2_5.replace(
        "message.role + '\\n' + message.content }}",
        "message.role + '\\n' }}\n"
        "        {%- if message.role == 'assistant' and '</think>' in message.content %}\n"
        "            {{- message.content.split('</think>')[-1].lstrip('\\n') }}\n"
        "        {%- else %}{{ message.content }}{% endif %}",
    )
    + "{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
)
_QWEN3_5 = """\
{%- set first = messages[0] %}
{%- if tools %}
    {{- '<|im_start|>system\n# Tools\n<tools>' }}{% for tool in tools %}{{ '\n' }}{{ tool | tojson }}{% endfor %}
    {{- '\n</tools>\nAnswer with <tool_call>\n<function=name>\n<parameter=key>\nvalue\n</parameter>\n</function>' }}
    {{- '\n</tool_call>' }}
    {%- if first.role == 'system' %}{{ '\n\n' + first.content | trim }}{% endif %}{{ '<|im_end|>\n' }}
{%- elif first.role == 'system' %}{{ '<|im_start|>system\n' + first.content | trim + '<|im_end|>\n' }}{% endif %}
{%- set ns = namespace(asked=-1) %}
{%- for message in messages %}{% if message.role == 'user' %}{% set ns.asked = loop.index0 %}{% endif %}{% endfor %}
{%- if ns.asked < 0 %}{{ raise_exception('No user query found in messages.') }}{% endif %}
{%- for message in messages %}
    {%- if message.role == 'system' %}
        {%- if not loop.first %}{{ raise_exception('System message must be at the beginning.') }}{% endif %}
    {%- elif message.role == 'tool' %}
        {{- '<|im_start|>user\n<tool_response>\n' + message.content + '\n</tool_response><|im_end|>\n' }}
    {%- elif message.role == 'user' %}{{ '<|im_start|>user\n' + message.content | trim + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>assistant\n' }}
        {%- if loop.index0 > ns.asked and message.reasoning_content %}
            {{- '<think>\n' + message.reasoning_content + '\n</think>\n\n' }}
        {%- endif %}
        {{- message.content | trim }}
        {%- for call in message.tool_calls or [] %}
            {{- '\n\n<tool_call>\n<function=' + call.function.name + '>\n' }}
            {%- for key, value in call.function.arguments | items %}
                {{- '<parameter=' + key + '>\n' }}
                {%- set is_plain = value is string or value is number or value is boolean %}
                {{- value | string if is_plain else value | tojson }}
                {{- '\n</parameter>\n' }}
            {%- endfor %}
            {{- '</function>\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n<think>\n' }}
    {%- if enable_thinking is not defined or enable_thinking is not true %}{{ '\n</think>\n\n' }}{% endif %}
{%- endif %}"""
_SMOLLM3 = """\
{%- if messages[0].role == 'system' %}{{ '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}{% endif %}
{%- for message in messages %}
    {%- if message.role == 'user' %}{{ '<|im_start|>user\n' + message.content + '<|im_end|>\n' }}
    {%- elif message.role == 'assistant' %}
        {%- generation %}{{ '<|im_start|>assistant\n' + message.content + '<|im_end|>\n' }}{% endgeneration %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}{% if not enable_thinking %}{{ '<think>\n\n</think>\n' }}{% endif %}
{%- endif %}"""
_LLAMA3 = """\
{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""
_GEMMA = """\
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for message in messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate') }}
    {%- endif %}
    {{- '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' }}
    {{- message['content'] | trim + '<end_of_turn>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""
_MISTRAL = """\
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set rest = messages[1:] %}
{%- else %}{% set system = none %}{% set rest = messages %}{% endif %}
{%- for message in rest %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate user/assistant') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {{- '[INST] ' }}{% if loop.last and system %}{{ system + '\n\n' }}{% endif %}
        {{- message['content'] + '[/INST]' }}
    {%- else %}{{ ' ' + message['content'] + eos_token }}{% endif %}
{%- endfor %}"""

_MARKUP = ("<tool_call>", "</tool_call>", "<think>", "</think>")
FAMILIES = {
    "chatml": Family(
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        _CHATML,
    ),
    "qwen1.5": Family(_QWEN1_5, _CHATML),
    "qwen2.5": Family(_QWEN2_5, _CHATML, _MARKUP[:2]),
    "qwen3": Family(_QWEN3, _CHATML, _MARKUP),
    "qwen3.5": Family(_QWEN3_5, _CHATML, _MARKUP),
    "smollm3": Family(_SMOLLM3, _CHATML, _MARKUP[2:]),
    "llama-3": Family(
        _LLAMA3,
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        bos="<|begin_of_text|>",
    ),
    "gemma": Family(_GEMMA, ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), bos="<bos>"),
    "mistral": Family(_MISTRAL, ("<s>", "</s>", "[INST]", "[/INST]"), bos="<s>"),
}
