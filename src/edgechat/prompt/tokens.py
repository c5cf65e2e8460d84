"""A rendered prompt to token ids: control tokens come from the template's own text only.

The prompt is split at the control tokens that lie wholly in template text; everything between two of them is tokenised
whole, as plain content, so that harmless conversations get the same ids as with the reference tokeniser.
"""

import re
from collections.abc import Iterator, Sequence

from edgechat.errors import ContextLengthExceeded
from edgechat.prompt.template import Prompt, Template
from edgechat.types import Message, Tokenizer


class Prompter:
    """Turns conversations into token ids for one model. Safe to call from several threads."""

    def __init__(self, template: Template, tokenizer: Tokenizer, context: int) -> None:
        self._template = template
        self._tokenizer = tokenizer
        self._context = context
        longest_first = sorted(tokenizer.specials, key=len, reverse=True)
        self._specials = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the prompt for the next assistant turn.

        Raises ContextLengthExceeded when they leave no room for one token of answer, naming both numbers.
        """
        ids = list(self._ids(self._template.render(messages)))
        bos = self._tokenizer.bos
        if bos is not None and ids[:1] != [bos]:
            ids.insert(0, bos)
        if len(ids) >= self._context:
            raise ContextLengthExceeded(
                f"the conversation has {len(ids)} tokens, this model's context here is {self._context} "
                "including the answer: send less, or serve it with a larger --context.",
                "messages",
            )
        return ids

    def _ids(self, prompt: Prompt) -> Iterator[int]:
        at = 0
        for found in self._specials.finditer(prompt.text):
            if any(start < found.end() and found.start() < end for start, end in prompt.contents):
                continue
            if at < found.start():
                yield from self._tokenizer.encode(prompt.text[at : found.start()])
            yield self._tokenizer.specials[found.group()]
            at = found.end()
        if at < len(prompt.text):
            yield from self._tokenizer.encode(prompt.text[at:])
