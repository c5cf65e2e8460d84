"""A tokenizer of transformers as every engine's: plain text in, bytes out, control tokens apart."""

import re
from functools import cache
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
SPACE = "▁"  # for a space, in vocabularies without bytes


class Vocabulary:
    """`Tokenizer` of types.py. Reading it is safe from any thread."""

    def __init__(self, tokenizer: Any, model: Any) -> None:
        """`model` tells how many ids there are (more than words, often) and which of them end an answer."""
        self.bos: int | None = tokenizer.bos_token_id if _begins_with_bos(tokenizer) else None
        self._backend = tokenizer.backend_tokenizer  # its settings last until `tokenizer` itself is called again
        self._backend.encode_special_tokens = True  # a control token in what people write is text
        self._backend.no_truncation()
        self._backend.no_padding()
        added = self._backend.get_added_tokens_decoder()
        self.size = int(model.config.vocab_size)
        self.specials = {one.content: id for id, one in added.items() if one.special}
        self.added = {one.content: id for id, one in added.items() if not one.special}
        self._ends = _ends(tokenizer, model)
        self._pieces = self._all_pieces()

    def _all_pieces(self) -> list[bytes]:
        """What each id stands for. Nothing for control tokens, and for ids beyond the last word."""
        pieces = [b""] * self.size
        by_bytes = '"ByteLevel"' in self._backend.to_str().partition('"decoder"')[2]
        for word, id in self._backend.get_vocab(with_added_tokens=False).items():
            pieces[id] = _by_letter(word) if by_bytes else _by_word(word)
        for word, id in self.added.items():
            pieces[id] = word.encode()
        for id in self.specials.values():
            pieces[id] = b""
        return pieces

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    def piece(self, token: int) -> bytes:
        return self._pieces[token]

    def is_end(self, token: int) -> bool:
        return token in self._ends


def _begins_with_bos(tokenizer: Any) -> bool:
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def _ends(tokenizer: Any, model: Any) -> set[int]:
    """Tokens after which nothing follows, by everyone who has a say in it."""
    told = [tokenizer.eos_token_id, model.config.eos_token_id, model.generation_config.eos_token_id]
    return {id for one in told for id in (one if isinstance(one, list) else [one]) if id is not None}


def _by_letter(word: str) -> bytes:
    """A word of a vocabulary in which a printable letter stands for each byte."""
    letters = _letters()
    return bytes(letters[char] for char in word) if all(char in letters for char in word) else word.encode()


@cache
def _letters() -> dict[str, int]:
    """The byte of each letter, as byte-level BPE has it: itself if printable, else a letter from 256 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + n): byte for n, byte in enumerate(others)}


def _by_word(word: str) -> bytes:
    found = _BYTE.fullmatch(word)
    return bytes([int(found[1], 16)]) if found else word.replace(SPACE, " ").encode()
