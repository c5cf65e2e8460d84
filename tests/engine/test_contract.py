"""What every engine promises, held over every entry of the registry."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgechat import registry
from edgechat.engine.base import Engine, Slice
from edgechat.engine.fake import Fake
from edgechat.errors import EngineFailed, ModelFileInvalid
from edgechat.types import Loading, Sampling
from tests import tiny

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore::FutureWarning:transformers")

GREEDY = Sampling(temperature=0)


RECURRENT = "with a running state"


@pytest.fixture(
    params=[
        *(pytest.param(name, marks=pytest.mark.model if name != "fake" else ()) for name in registry.ENGINES),
        f"fake {RECURRENT}",
        f"llama_cpp {RECURRENT}",
    ]
)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    name, _, kind = request.param.partition(" ")
    if name == "fake":
        path = tmp_path / "script.json"
        path.write_text('{"checkpoints": 8}' if kind else "{}")
    elif kind:
        path = tiny.model(tmp_path / "tiny.gguf", "qwen35")
    else:
        path = request.getfixturevalue("smollm2_folder" if name == "transformers" else "smollm2")
    stages: list[Loading] = []
    engine: Engine = registry.load(registry.ENGINES, name, "engine")(path, 512, 0, 2, stages.append)
    assert stages
    assert engine.info.context == 512
    yield engine
    engine.close()


def continue_greedily(engine: Engine, prompt: list[int], cut: int, count: int = 8) -> list[int]:
    """`count` tokens after `prompt`, which is fed in slices of `cut`."""
    return continued(engine, prompt, cut, GREEDY, count)


def continued(engine: Engine, prompt: list[int], cut: int, sampling: Sampling, count: int = 8) -> list[int]:
    engine.trim(0)
    sampler = engine.sampler(sampling)
    drawn: list[int] = []
    for at in range(0, len(prompt), cut):
        last = at + cut >= len(prompt)
        (token,) = engine.step([Slice(0, at, prompt[at : at + cut], sampler if last else None)])
        assert (token is None) is not last
        drawn += [token] if token is not None else []
    while len(drawn) < count:
        (token,) = engine.step([Slice(0, len(prompt) + len(drawn) - 1, drawn[-1:], sampler)])
        assert token is not None
        drawn.append(token)
    return drawn


def prompt_of(engine: Engine, text: str = "Once upon a time, there was a little girl") -> list[int]:
    return engine.tokenizer.encode(text)


def test_text_survives_the_tokenizer(engine: Engine) -> None:
    text = "Hello 你好 👋 <|im_end|>\n\tdef f(x):"
    ids = engine.tokenizer.encode(text)
    assert b"".join(engine.tokenizer.piece(token) for token in ids).decode().strip() == text
    assert not set(ids) & set(engine.tokenizer.specials.values())


def test_control_tokens_have_names_and_no_text(engine: Engine) -> None:
    specials = engine.tokenizer.specials
    assert "<|im_end|>" in specials
    assert engine.tokenizer.is_end(specials["<|im_end|>"])
    assert engine.tokenizer.piece(specials["<|im_end|>"]) == b""
    assert not engine.tokenizer.is_end(engine.tokenizer.encode("a")[0])


def test_the_same_prompt_gives_the_same_tokens(engine: Engine) -> None:
    prompt = prompt_of(engine)
    assert continue_greedily(engine, prompt, len(prompt)) == continue_greedily(engine, prompt, len(prompt))


def test_a_trimmed_sequence_goes_on_as_a_fresh_one(engine: Engine) -> None:
    """A running state cannot be stepped back."""
    prompt = prompt_of(engine)
    fresh = continue_greedily(engine, prompt, len(prompt))
    continue_greedily(engine, [*prompt, *engine.tokenizer.encode(" who was very bad")], 64)
    if engine.cuts == "checkpoints":
        with pytest.raises(EngineFailed):
            engine.trim(0, len(prompt) - 1)
        engine.trim(0)
        return
    engine.trim(0, len(prompt) - 1)
    sampler = engine.sampler(GREEDY)
    (first,) = engine.step([Slice(0, len(prompt) - 1, prompt[-1:], sampler)])
    assert first == fresh[0]


def test_a_seed_makes_a_draw_repeatable(engine: Engine) -> None:
    """Another seed draws something else, unless the engine has nothing to draw: the fake one recites."""
    prompt = prompt_of(engine)
    once, again, other = (
        continued(engine, prompt, len(prompt), Sampling(temperature=1.5, top_p=1, top_k=0, seed=seed))
        for seed in (1, 1, 2)
    )
    assert once == again
    assert (once == other) == isinstance(engine, Fake)


def next_token(engine: Engine, seq: int, at: int, token: int) -> int | None:
    sampler = engine.sampler(GREEDY)
    (drawn,) = engine.step([Slice(seq, at, [token], sampler)])
    return drawn


def fresh_but_for_the_last(engine: Engine, prompt: list[int]) -> list[int]:
    """What `prompt` is continued with; sequence 0 holds all of it but the last token."""
    fresh = continue_greedily(engine, prompt, len(prompt), 1)
    engine.trim(0)
    engine.step([Slice(0, 0, prompt[:-1])])
    return fresh


def test_a_branch_goes_on_as_the_original(engine: Engine) -> None:
    """From the middle of a sequence that has gone on: with its running state of then, where it has one."""
    prompt = prompt_of(engine)
    fresh = fresh_but_for_the_last(engine, prompt)
    checkpoint = engine.checkpoint(0) if engine.cuts == "checkpoints" else None
    further = engine.tokenizer.encode(" who was very bad")
    engine.step([Slice(0, len(prompt) - 1, further[:-1])])
    engine.share(0, 3, 0, len(prompt) - 1, checkpoint)
    assert next_token(engine, 3, len(prompt) - 1, prompt[-1]) == fresh[0]
    alone = next_token(engine, 0, len(prompt) + len(further) - 2, further[-1])
    assert alone == continue_greedily(engine, [*prompt[:-1], *further], 64, 1)[0]  # unharmed
    engine.trim(3)


def test_a_common_middle_is_shared_again(engine: Engine) -> None:
    """Two read the same at once; then one holds its beginning in the cells of the other, and its own end."""
    prompt = prompt_of(engine)
    fresh = fresh_but_for_the_last(engine, prompt)
    engine.step([Slice(3, 0, prompt[:-1])])
    state, middle = engine.checkpoint(3) if engine.cuts == "checkpoints" else None, len(prompt) // 2
    engine.trim(3, 0, middle)
    engine.share(0, 3, 0, middle, state)
    engine.trim(0)
    assert next_token(engine, 3, len(prompt) - 1, prompt[-1]) == fresh[0]
    engine.trim(3)


def test_what_goes_on_from_another_places_state_is_no_answer(engine: Engine) -> None:
    if engine.cuts == "anywhere":
        with pytest.raises(EngineFailed):
            engine.checkpoint(0)
        return
    prompt = prompt_of(engine)
    engine.step([Slice(0, 0, prompt)])
    engine.share(0, 3, 0, len(prompt) - 1)
    with pytest.raises(EngineFailed):
        next_token(engine, 3, len(prompt) - 1, prompt[-1])
    for seq in (0, 3):
        engine.trim(seq)


def test_a_shared_beginning_goes_on_as_the_original(engine: Engine) -> None:
    prompt = prompt_of(engine)
    fresh = fresh_but_for_the_last(engine, prompt)
    engine.share(0, 3, 0, len(prompt) - 1)
    engine.trim(0)  # the cells live on in the other sequence
    assert next_token(engine, 3, len(prompt) - 1, prompt[-1]) == fresh[0]
    engine.trim(3)


def test_a_saved_sequence_goes_on_as_the_original(engine: Engine) -> None:
    prompt = prompt_of(engine)
    fresh = fresh_but_for_the_last(engine, prompt)
    state = engine.save(0)
    engine.trim(0)
    assert engine.restore(5, state)
    assert next_token(engine, 5, len(prompt) - 1, prompt[-1]) == fresh[0]
    engine.trim(5)


@pytest.mark.parametrize("kind", ["foreign", "cut off"])
def test_a_state_that_is_none_is_refused_and_leaves_nothing(engine: Engine, kind: str) -> None:
    prompt = prompt_of(engine)
    fresh = continue_greedily(engine, prompt, len(prompt), 1)
    state = engine.save(0)
    assert not engine.restore(4, b"not a state" if kind == "foreign" else state[: len(state) - 2])
    engine.trim(4)
    engine.step([Slice(4, 0, prompt[:-1])])
    assert next_token(engine, 4, len(prompt) - 1, prompt[-1]) == fresh[0]
    engine.trim(4)


def test_what_is_not_there_is_not_shared_in_silence(engine: Engine) -> None:
    """At once, or by the step that goes on from it."""
    prompt = prompt_of(engine)
    continue_greedily(engine, prompt, len(prompt), 1)
    with pytest.raises(EngineFailed):
        engine.share(0, 6, 0, len(prompt) + 5)
        next_token(engine, 6, len(prompt) + 5, prompt[-1])
    engine.trim(6)
    assert next_token(engine, 6, 0, prompt[0]) is not None


def test_to_forget_all_works_whatever_there_is(engine: Engine) -> None:
    for _ in range(2):
        engine.trim(7)
    engine.step([Slice(7, 0, prompt_of(engine))])
    engine.trim(7, 0, None)
    assert next_token(engine, 7, 0, prompt_of(engine)[0]) is not None
    engine.trim(7)


def test_company_does_not_change_whose_token_it_is(engine: Engine) -> None:
    """Two different prompts in one batch, sequence by sequence: each gets its own continuation."""
    first, second = prompt_of(engine, "Once upon a time"), prompt_of(engine, "The capital of France is")
    alone = [continue_greedily(engine, prompt, len(prompt), 1)[0] for prompt in (first, second)]
    engine.trim(0)
    samplers = [engine.sampler(GREEDY), engine.sampler(GREEDY)]
    together = engine.step([Slice(1, 0, first, samplers[0]), Slice(2, 0, second, samplers[1])])
    assert together == alone
    for seq in (1, 2):
        engine.trim(seq)


def test_a_file_that_is_no_model_is_refused(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "page.gguf"
    path.write_text("<!doctype html>")
    with pytest.raises(ModelFileInvalid) as caught:
        type(engine)(path, 512, 0, 2, lambda _: None)  # type: ignore[call-arg]
    assert "\n" not in str(caught.value)
