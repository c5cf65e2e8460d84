"""What every engine's tokenizer can do, and the questions that it answers alone."""

from collections.abc import Sequence
from typing import Protocol

from edgechat.errors import InvalidRequest
from edgechat.types import Answered, Detokenize, Tokenize


class Tokenizer(Protocol):
    """Text to token ids and back to bytes, as the model's vocabulary has it."""

    def encode(self, text: str) -> list[int]:
        """Ids of `text` taken as plain content: no control token comes out, none is added."""
        ...

    def piece(self, token: int) -> bytes:
        """The bytes a token stands for; control tokens stand for none. May be part of a character."""
        ...

    @property
    def specials(self) -> dict[str, int]:
        """Every control token by its text."""
        ...

    @property
    def added(self) -> dict[str, int]:
        """Tokens by their text that were added to the vocabulary for a purpose, and yet are found in plain content."""
        ...

    @property
    def size(self) -> int:
        """Tokens of the vocabulary: ids go from 0 to size - 1."""
        ...

    @property
    def bos(self) -> int | None:
        """The token a prompt must begin with, where the vocabulary asks for one."""
        ...

    def is_end(self, token: int) -> bool:
        """Whether the model ends its turn with this token."""
        ...


def look_up(tokenizer: Tokenizer, question: Tokenize | Detokenize) -> Answered:
    """The tokens of a text, or the text of tokens. Raises InvalidRequest for tokens that the vocabulary has not."""
    if isinstance(question, Tokenize):
        return Answered(tokens=tuple(tokenizer.encode(question.text)))
    check_ids(tokenizer, question.tokens, "tokens")
    return Answered(text=b"".join(map(tokenizer.piece, question.tokens)).decode(errors="replace"))


def check_ids(tokenizer: Tokenizer, tokens: Sequence[int], param: str) -> None:
    """Raise InvalidRequest, naming `param`, for a token that is none: a library may end the process over it."""
    outside = next((token for token in tokens if not 0 <= token < tokenizer.size), None)
    if outside is not None:
        raise InvalidRequest(f"{param} has token {outside}; the model's go from 0 to {tokenizer.size - 1}.", param)
