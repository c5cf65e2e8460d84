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
    "llama-3": Family(
        _LLAMA3,
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        bos="<|begin_of_text|>",
    ),
    "gemma": Family(_GEMMA, ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), bos="<bos>"),
    "mistral": Family(_MISTRAL, ("<s>", "</s>", "[INST]", "[/INST]"), bos="<s>"),
}
