"""What the SDK's errors mean."""

import errno
import inspect

import modelscope_hub.errors
import pytest
import requests

from edgechat.errors import EdgechatError, HashMismatch, HubUnreachable, NoSpace, NotOnHub, StorageError
from edgechat.hub.modelscope import ERRORS, translate


def sdk_errors() -> list[type[Exception]]:
    """Every error class that the SDK can raise."""
    found = {value for value in vars(modelscope_hub.errors).values() if inspect.isclass(value)}
    return sorted((kind for kind in found if issubclass(kind, Exception)), key=lambda kind: kind.__name__)


def test_the_table_has_a_meaning_for_every_error_of_the_sdk() -> None:
    assert len(sdk_errors()) > 15
    for kind in sdk_errors():
        ours = translate(kind("secret detail\nsecond line"), "modelscope:Qwen/Tiny-GGUF")
        assert type(ours) is not EdgechatError
        assert "in the SDK" not in str(ours), f"{kind.__name__} has no line of its own"
        assert "\n" not in str(ours)
        assert "secret" not in str(ours)


def test_the_table_names_only_what_exists() -> None:
    known = {kind.__name__ for kind in sdk_errors()} | {"RequestException", "ValueError", "TypeError", "AttributeError"}
    assert set(ERRORS) <= known


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (modelscope_hub.errors.NotFoundError("x"), NotOnHub),
        (modelscope_hub.errors.ServerError("x"), HubUnreachable),
        (modelscope_hub.errors.RequestTimeoutError("x"), HubUnreachable),
        (modelscope_hub.errors.FileIntegrityError("x"), HashMismatch),
        (modelscope_hub.errors.FileSizeMismatchError("x"), HashMismatch),
        (requests.exceptions.JSONDecodeError("x", "", 0), HubUnreachable),
        (requests.ConnectionError("x"), HubUnreachable),
        (OSError(errno.ENOSPC, "No space left on device"), NoSpace),
        (OSError(errno.EROFS, "Read-only file system"), StorageError),
    ],
)
def test_errors_become_ours(error: Exception, ours: type[EdgechatError]) -> None:
    assert type(translate(error, "x")) is ours


def test_errors_that_were_raised_from_each_other_come_to_an_end() -> None:
    one, other = ValueError("one"), KeyError("other")
    one.__cause__, other.__cause__ = other, one
    assert "x" in str(translate(one, "x"))
