"""Make the greedy reference answers that tests/engine/test_reference.py holds edgechat to. Run once, by hand:

    python tests/reference/make.py .models/smollm2-135m-instruct.gguf > tests/reference/smollm2-135m-instruct.json

They come from llama-cpp-python's own high-level class: its rendering of the template, its tokeniser call with control
tokens parsed, its sampler, its loop. Nothing of edgechat takes part.
"""

import json
import sys

from llama_cpp import Llama
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

CHATS = [
    [("user", "What is the capital of France? One word.")],
    [("system", "You answer in one short sentence."), ("user", "Why is the sky blue?")],
    [("user", "Hello!"), ("assistant", "Hello! How can I help?"), ("user", "Write a haiku about rain.")],
    [("user", "用中文介绍一下你自己。")],
    [("user", "def fib(n):\n    # complete this\n")],
]


def main() -> None:
    llama = Llama(sys.argv[1], n_ctx=2048, n_threads=2, verbose=False, logits_all=False, seed=1)
    names = {
        key: llama._model.token_get_text(id) for key, id in (("bos", llama.token_bos()), ("eos", llama.token_eos()))
    }
    formatter = Jinja2ChatFormatter(llama.metadata["tokenizer.chat_template"], names["eos"], names["bos"])
    cases = []
    for chat in CHATS:
        turns = [{"role": role, "content": content} for role, content in chat]
        text = formatter(messages=turns).prompt
        prompt = llama.tokenize(text.encode(), add_bos=False, special=True)
        answer: list[int] = []
        llama.reset()
        for token in llama.generate(prompt, temp=0.0, repeat_penalty=1.0):
            if token == llama.token_eos():
                break
            answer.append(token)
            if len(answer) == 48:
                break
        cases.append({"messages": chat, "prompt": prompt, "answer": answer})
    json.dump(cases, sys.stdout)


if __name__ == "__main__":
    main()
