from edgechat.scheduler.answer import Answer
from edgechat.scheduler.queue import Queue
from edgechat.types import GenRequest, Message


def answer(id: int) -> Answer:
    return Answer(id, GenRequest((Message("user", "x"),)), [1, 2], now=0.0)


def test_first_come_first_served_with_places() -> None:
    queue = Queue()
    assert [queue.push(answer(id)) for id in (5, 3, 9)] == [1, 2, 3]
    assert [(place, one.id) for place, one in queue.places()] == [(1, 5), (2, 3), (3, 9)]
    assert queue.remove(3)
    assert not queue.remove(3)
    assert [one.id for one in (queue.pop(), queue.pop()) if one] == [5, 9]
    assert queue.pop() is None
    assert len(queue) == 0
