import asyncio

from edgechat.runs.log import Delta, Done, Log, Prefill, Reasoning, name, payload


async def test_neighbours_are_one_event_under_the_last_number() -> None:
    log = Log()
    for event in (Prefill(1, 9), Prefill(9, 9), Reasoning("hm"), Delta("a"), Delta("b"), Delta("c"), Done("stop")):
        log.append(event)
    assert log.since(0) == [(2, Prefill(9, 9)), (3, Reasoning("hm")), (6, Delta("abc")), (7, Done("stop"))]
    assert log.since(4) == [(6, Delta("bc")), (7, Done("stop"))]
    assert log.since(99) == []
    assert (log.text(), log.text(Reasoning)) == ("abc", "hm")
    assert (name(Delta("x")), payload(Delta("x"))) == ("delta", {"t": "x"})


async def test_readers_at_any_pace_get_the_same_text() -> None:
    log = Log()

    async def read(after: int, pause: float) -> str:
        text = ""
        async for _, event in log.follow(after):
            text += event.t if isinstance(event, Delta) else ""
            await asyncio.sleep(pause)
        return text

    async def write() -> None:
        for number in range(50):
            log.append(Delta(f"{number} "))
            await asyncio.sleep(0.002)
        log.append(Done("stop"))

    whole = "".join(f"{number} " for number in range(50))
    _, *texts = await asyncio.gather(write(), read(0, 0), read(0, 0.05), read(10, 0))
    assert texts == [whole, whole, whole.partition("9 ")[2]]
    assert await read(0, 0) == whole
