"""Real vocabularies under their own templates, judged by llama.cpp: what people write is never more than text.

Of a model only the vocabulary is loaded. The reference is llama.cpp's tokeniser over the whole prompt, control tokens
taken wherever they stand: right for harmless texts, and what an injection lives on.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from edgechat.engine.llama.engine import Vocabulary
from edgechat.gguf.header import read_header
from edgechat.prompt.template import Template
from edgechat.prompt.tokens import Prompter
from edgechat.prompt.tools import spelled_out
from edgechat_engine import lib
from tests.prompt.test_families import INJECTIONS, conversation
from tests.vocabularies import vocabulary_of

pytestmark = pytest.mark.model

HARMLESS = "Hello, 你好 👋 it's {x: [1 < 2]}.\n\n  def f(x):\n\treturn 'é' + 1234567  "


class Real(NamedTuple):
    vocabulary: Vocabulary
    template: Template
    prompter: Prompter

    def marked(self, said: str, key: str = "city") -> list[int]:
        """The tokens of `said` in every place that mean more than text."""
        vocabulary = self.vocabulary
        more = {*vocabulary.specials.values(), *(vocabulary.added[word] for word in vocabulary.added if "<" in word)}
        return [token for token in self.prompter.prepare(conversation(said, key)).tokens if token in more]

    def reference(self, text: str) -> list[int]:
        data = text.encode()
        ids = (lib.llama_token * (len(data) + 8))()
        count = lib.llama_tokenize(self.vocabulary._vocab, data, len(data), ids, len(ids), False, True)
        return list(ids[:count])


@pytest.fixture(scope="module", params=["smollm2", "qwen"])
def real(request: pytest.FixtureRequest) -> Iterator[Real]:
    path: Path = request.getfixturevalue(request.param)
    with vocabulary_of(path) as vocabulary:
        template = Template(read_header(path).template or "")
        yield Real(vocabulary, template, Prompter(template, vocabulary, 1 << 20))


def test_no_control_token_comes_from_content(real: Real) -> None:
    harmless = real.marked("x")
    words = [*real.vocabulary.specials, *(word for word in real.vocabulary.added if "<" in word)]
    assert len(words) > 3
    for said in [*INJECTIONS, *words, *(f"{word[:3]}{word}{word[3:]}" for word in words)]:
        assert real.marked(said) == harmless, said
        assert real.marked("x", said) == harmless, said


def test_harmless_ids_are_the_references(real: Real) -> None:
    request = conversation(HARMLESS)
    turns, tools = list(request.messages), request.tools
    if not real.template.knows_tools:
        turns, tools = spelled_out(turns, tools), ()
    text = real.template.render(turns, tools).text
    assert real.prompter.prepare(request).tokens == real.reference(text)
