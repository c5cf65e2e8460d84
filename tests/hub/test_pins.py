"""What the catalogue knows of a file wins over what a hub lists; what it does not know, the hub tells."""

import pytest

from edgechat.errors import HashMismatch
from edgechat.hub.source import File, Manifest
from edgechat.hub.transfer import _pin

OURS, OTHERS = "a" * 64, "b" * 64
MANIFEST = Manifest("m", "modelscope:A/m", "main", ())


@pytest.mark.parametrize(
    ("listed", "pin", "found"),
    [
        (File("m", 5, OURS), File("m", None, OURS), File("m", 5, OURS)),
        (File("m", 5, None), File("m", None, OURS), File("m", 5, OURS)),
        (File("m", None, None), File("m", 5, OURS), File("m", 5, OURS)),
        (File("m", 5, OURS), None, File("m", 5, OURS)),
    ],
)
def test_a_pin_fills_what_the_hub_leaves_open(listed: File, pin: File | None, found: File) -> None:
    assert _pin(listed, pin, MANIFEST) == found


@pytest.mark.parametrize(
    ("listed", "pin"), [(File("m", 5, OTHERS), File("m", None, OURS)), (File("m", 6, OURS), File("m", 5, OURS))]
)
def test_a_hub_that_contradicts_a_pin_is_not_fetched_from(listed: File, pin: File) -> None:
    with pytest.raises(HashMismatch, match="Nothing was fetched"):
        _pin(listed, pin, MANIFEST)
