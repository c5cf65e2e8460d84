from edgechat.models.poison import REFUSED_S, REMEMBERED_S, Breaker, content_of
from edgechat.types import GenRequest, Message, Sampling


def request(text: str, **more: object) -> GenRequest:
    return GenRequest((Message.of("user", text),), **more)  # type: ignore[arg-type]


BAD, GOOD = content_of(request("bad")), content_of(request("good"))


def test_the_second_death_refuses_it_for_a_while() -> None:
    breaker = Breaker()
    breaker.died({BAD}, 10)
    assert breaker.refused_s(BAD, 11) == 0
    breaker.died({BAD}, 20)
    assert breaker.refused_s(BAD, 21) == REFUSED_S - 1
    assert breaker.refused_s(GOOD, 21) == 0
    assert breaker.refused_s(BAD, 20 + REFUSED_S) == 0


def test_after_the_while_one_more_death_is_enough() -> None:
    breaker = Breaker()
    for now in (0, 10, 20 + REFUSED_S):
        breaker.died({BAD}, now)
    assert breaker.refused_s(BAD, 21 + REFUSED_S) > 0


def test_who_was_merely_there_is_cleared_by_an_answer() -> None:
    breaker = Breaker()
    breaker.died({BAD, GOOD}, 10)
    breaker.answered(GOOD)
    breaker.died({BAD, GOOD}, 20)
    assert breaker.refused_s(BAD, 21) > 0
    assert breaker.refused_s(GOOD, 21) == 0


def test_deaths_long_past_do_not_count() -> None:
    breaker = Breaker()
    breaker.died({BAD}, 0)
    breaker.died({BAD}, REMEMBERED_S)
    assert breaker.refused_s(BAD, REMEMBERED_S + 1) == 0


def test_the_same_content_is_the_same_whoever_asks() -> None:
    assert content_of(request("bad", client="a", realm="r", background=True, purpose="title")) == BAD
    assert content_of(request("bad", sampling=Sampling(temperature=0))) != BAD
