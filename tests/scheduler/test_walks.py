"""Schemas on real vocabularies, with a model at its worst: of what may come next, any token is as likely as any other.

Whatever is said ends in JSON that another implementation (jsonschema) accepts, closed legally where it is cut off.
`make test` takes a sample of the 200 schemas; EDGECHAT_TORTURE=1 takes all.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from edgechat.engine.llama.engine import Vocabulary
from edgechat.scheduler.constrain import Constrainer
from edgechat.types import GenRequest, Message
from tests.schemas import schema_number
from tests.vocabularies import vocabulary_of

TORTURE = bool(os.environ.get("EDGECHAT_TORTURE"))
SCHEMAS = 200 if TORTURE else 30
ASK = Message.of("user", "x")

pytestmark = pytest.mark.model


@pytest.fixture(scope="module", params=["smollm2", "qwen"])
def vocabulary(request: pytest.FixtureRequest) -> Iterator[Vocabulary]:
    path: Path = request.getfixturevalue(request.param)
    with vocabulary_of(path) as found:
        yield found


def test_whatever_is_drawn_follows_the_schema(vocabulary: Vocabulary) -> None:
    constrainer = Constrainer(vocabulary)
    for seed in range(SCHEMAS):
        schema = schema_number(seed)
        said = walked(constrainer, vocabulary, json.dumps(schema), seed, most=80 if seed % 4 else 20)
        jsonschema.validate(json.loads(said), schema)


def walked(constrainer: Constrainer, vocabulary: Vocabulary, schema: str, seed: int, most: int) -> str:
    """An answer of at most `most` tokens drawn without a model, and what closes it."""
    grammar = constrainer.grammar(GenRequest((ASK,), schema=schema), thinks=False, may_think=False)
    assert grammar is not None
    dice, said = np.random.default_rng(seed), bytearray()
    for _ in range(most):
        if grammar.complete:
            break
        allowed = np.unpackbits(np.frombuffer(grammar.mask(), np.uint8), bitorder="little")[: vocabulary.size]
        token = int(dice.choice(np.flatnonzero(allowed)))
        if vocabulary.is_end(token):
            break
        said += vocabulary.piece(token)
        grammar.accept(token)
        assert not grammar.failure
    said += b"".join(map(vocabulary.piece, grammar.closing()))
    return said.decode()
