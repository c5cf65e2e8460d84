"""Make the greedy reference answers that tests/engine/test_reference.py holds edgechat to. Run once, by hand:

    python tests/reference/make.py .models/smollm2-135m-instruct.gguf > tests/reference/smollm2-135m-instruct.json

They come from llama.cpp alone, through its C API: the template rendered by jinja2 as it stands in the file, tokens with
control tokens parsed, the likeliest token, one after the other. Nothing of the package edgechat takes part.
"""

import ctypes
import json
import os
import sys
from collections.abc import Iterator

from jinja2 import Environment

from edgechat_engine import lib
from edgechat_engine.library import function

CHATS = [
    [("user", "What is the capital of France? One word.")],
    [("system", "You answer in one short sentence."), ("user", "Why is the sky blue?")],
    [("user", "Hello!"), ("assistant", "Hello! How can I help?"), ("user", "Write a haiku about rain.")],
    [("user", "用中文介绍一下你自己。")],
    [("user", "def fib(n):\n    # complete this\n")],
]
TOKENS, LONGEST = 2048, 48  # of the context, of an answer
P = ctypes.c_void_p


class Llama:
    """A model, alone in its context."""

    def __init__(self, path: str) -> None:
        lib.llama_backend_init()
        self.model = lib.llama_model_load_from_file(os.fsencode(path), lib.llama_model_default_params())
        self.vocabulary = lib.llama_model_get_vocab(self.model)
        parameters = lib.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = TOKENS
        parameters.n_threads = parameters.n_threads_batch = 2
        self.context = lib.llama_init_from_model(self.model, parameters)
        self.template = function("llama_model_chat_template", ctypes.c_char_p, P, ctypes.c_char_p)(self.model, None)

    def special(self, name: str) -> tuple[int, str]:
        """(id, text) of the vocabulary's `bos` or `eos`."""
        token = function(f"llama_vocab_{name}", ctypes.c_int32, P)(self.vocabulary)
        return token, lib.llama_vocab_get_text(self.vocabulary, token).decode()

    def prompt(self, turns: list[dict[str, str]]) -> list[int]:
        texts = {f"{name}_token": self.special(name)[1] for name in ("bos", "eos")}
        template = Environment(trim_blocks=True, lstrip_blocks=True).from_string(self.template.decode())
        data = template.render(messages=turns, add_generation_prompt=True, **texts).encode()
        ids = (lib.llama_token * TOKENS)()
        return ids[: lib.llama_tokenize(self.vocabulary, data, len(data), ids, TOKENS, False, True)]

    def answer(self, prompt: list[int]) -> Iterator[int]:
        """The likeliest tokens after `prompt`."""
        eos, _ = self.special("eos")
        count = lib.llama_vocab_n_tokens(self.vocabulary)
        lib.llama_memory_clear(lib.llama_get_memory(self.context), True)
        one = function("llama_batch_get_one", type(lib.llama_batch_init(0, 0, 0)), P, ctypes.c_int32)
        tokens = prompt
        for _ in range(LONGEST):
            held = (lib.llama_token * len(tokens))(*tokens)
            assert lib.llama_decode(self.context, one(held, len(tokens))) == 0
            logits = lib.llama_get_logits_ith(self.context, -1)
            token = max(range(count), key=logits.__getitem__)
            if token == eos:
                break
            yield token
            tokens = [token]


def main() -> None:
    llama = Llama(sys.argv[1])
    cases = []
    for chat in CHATS:
        prompt = llama.prompt([{"role": role, "content": content} for role, content in chat])
        cases.append({"messages": chat, "prompt": prompt, "answer": list(llama.answer(prompt))})
    json.dump(cases, sys.stdout)


if __name__ == "__main__":
    main()
