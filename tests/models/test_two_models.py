"""Two real models in one keeper: under one memory number, at the same time, each as itself."""

import asyncio
from pathlib import Path

import pytest

from edgechat.engine.llama.memory import Forecast
from edgechat.hub.store import Hold
from edgechat.letters import Load
from edgechat.models.keeper import Keeper
from edgechat.models.resident import Wanted
from edgechat.types import Delta, Done, GenRequest, Message, Sampling


def wanted(path: Path) -> Wanted:
    return Wanted(path.stem, Load("llama_cpp", str(path), 512, 1), Forecast(path), lambda: Hold([path]))


async def answer(keeper: Keeper, model: Wanted) -> str:
    question = GenRequest((Message.of("user", "Name a colour."),), Sampling(temperature=0), max_tokens=12)
    events = [event async for event in keeper.stream(model, question)]
    assert isinstance(events[-1], Done), events[-1]
    return "".join(event.text for event in events if isinstance(event, Delta))


@pytest.mark.model
async def test_two_real_models_answer_beside_each_other_and_in_turns(smollm2: Path, qwen: Path) -> None:
    small, large = wanted(smollm2), wanted(qwen)
    alone = large.forecast.plan(512, 1 << 40).memory
    keeper = Keeper(alone + small.forecast.plan(512, 1 << 40).memory, 2)
    try:
        async with asyncio.timeout(300):
            beside = await asyncio.gather(answer(keeper, small), answer(keeper, large))
            assert all(beside)
            assert {tenant.name for tenant in keeper.pool.tenants} == {small.name, large.name}
            assert sum(tenant.bytes for tenant in keeper.pool.tenants) <= keeper.pool.memory
            await keeper.unload(small.name)
            await keeper.unload(large.name)
            keeper.pool.memory = alone  # now there is room for one
            for model in (large, small, large):
                assert await answer(keeper, model)
                assert keeper.resident(model.name) is not None
            assert [tenant.name for tenant in keeper.pool.tenants] == [large.name]
    finally:
        await keeper.close()
