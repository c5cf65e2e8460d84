"""What every engine's tokenizer can do."""

from typing import Protocol


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
