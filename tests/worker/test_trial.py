"""Templates that never end, or never fit, are caught before anybody waits for them."""

import pytest

from edgechat.errors import TemplateInvalid
from edgechat.worker.trial import Candidate, Trial
from tests.prompt.families import FAMILIES


def try_out(source: str) -> None:
    with Trial() as trial:
        trial.of(Candidate(source))


@pytest.mark.parametrize("name", FAMILIES)
def test_ordinary_templates_pass(name: str) -> None:
    try_out(FAMILIES[name].template)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{{ 'x' * 10**9 }}", "MB|MemoryError"),
        ("{{ messages[0].content * 10**9 }}", "MB|MemoryError"),
        ("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "takes more than"),
        ("{% for a in range(90000) %}{{ 'x' * 20 }}{% endfor %}", "characters of a few words"),
        ("{% for m in messages %}", "does not compile"),
        ("{{ raise_exception('never') }}", "never"),
        ("{{ nothing.at.all }}", "failed"),
    ],
    ids=lambda value: value[:40],
)
def test_others_are_refused_in_one_line(source: str, why: str) -> None:
    with pytest.raises(TemplateInvalid, match=why) as caught:
        try_out(source)
    assert "\n" not in str(caught.value)
