"""What is taken from a ModelScope listing, and what the SDK's errors mean."""

import errno
import inspect
from dataclasses import dataclass

import modelscope_hub.errors
import pytest
import requests

from edgechat.errors import (
    ConfigError,
    EdgechatError,
    HashMismatch,
    HubUnreachable,
    NoSpace,
    NotOnHub,
    StorageError,
    UnsafeListing,
)
from edgechat.hub.modelscope import ERRORS, MAX_ROWS, check, choose, translate
from edgechat.hub.reference import Repo

REPO = Repo("Qwen", "Tiny-GGUF")


@dataclass
class Listed:
    """One row."""

    path: str
    size: int = 100
    sha256: str | None = "0" * 64
    type: str = "blob"


def rows(*paths: str) -> list[Listed]:
    return [Listed(path) for path in paths]


def asked(file: str) -> Repo:
    return Repo(REPO.owner, REPO.name, file=file)


def test_the_named_file_is_chosen() -> None:
    listing = rows("a-q8_0.gguf", "a-q4_k_m.gguf", "sub/b.gguf")
    assert choose(listing, asked("sub/b.gguf")) is listing[2]


def test_without_a_name_it_is_the_q4_k_m() -> None:
    listing = rows("README.md", "a-q8_0.gguf", "a-Q4_K_M.gguf")
    assert choose(listing, REPO) is listing[2]


def test_without_a_q4_k_m_it_is_the_only_one() -> None:
    listing = rows("README.md", "a-q8_0.GGUF")
    assert choose(listing, REPO) is listing[1]


@pytest.mark.parametrize("listing", [rows("a-q8_0.gguf", "a-f16.gguf"), rows("a-q4_k_m.gguf", "b-q4_k_m.gguf")])
def test_several_are_listed(listing: list[Listed]) -> None:
    with pytest.raises(ConfigError, match=r"say which file, as in modelscope:Qwen/Tiny-GGUF:a-.*; there is: a-.*, "):
        choose(listing, REPO)


def test_a_file_that_is_gone_lists_what_is_there() -> None:
    with pytest.raises(NotOnHub, match=r"no such file; there is: a\.gguf, b\.gguf"):
        choose(rows("b.gguf", "a.gguf"), asked("c.gguf"))


def test_a_file_without_bytes_is_not_chosen() -> None:
    with pytest.raises(UnsafeListing, match="with 0 bytes"):
        choose([Listed("a.gguf", size=0)], REPO)


def test_none_is_said() -> None:
    with pytest.raises(NotOnHub, match=r"has no \.gguf file"):
        choose(rows("README.md", "model.safetensors"), REPO)


@pytest.mark.parametrize("file", [None, "m-q4_k_m-00001-of-00002.gguf"])
def test_a_split_model_is_refused_for_now(file: str | None) -> None:
    listing = rows("m-q4_k_m-00001-of-00002.gguf", "m-q4_k_m-00002-of-00002.gguf")
    with pytest.raises(ConfigError, match="split models are not wired yet"):
        choose(listing, Repo("Qwen", "Tiny-GGUF", file=file))


def test_only_files_remain_of_a_listing() -> None:
    listing = [Listed("sub", type="tree"), Listed("sub/a.gguf")]
    assert check(listing, "x") == listing[1:]


def test_an_empty_listing_is_no_success() -> None:
    with pytest.raises(NotOnHub, match="no such revision"):
        check([], "x")


@pytest.mark.parametrize(
    "path", ["../../.ssh/authorized_keys", "/etc/cron.d/x", "a\\..\\b", "C:\\x", "x.gguf\n", "", "a/../b"]
)
def test_one_bad_row_spoils_the_listing(path: str) -> None:
    with pytest.raises(UnsafeListing, match="no safe path"):
        check(rows("good.gguf", path), "x")


def test_a_name_twice_spoils_the_listing() -> None:
    with pytest.raises(UnsafeListing, match="twice"):
        check(rows("a.gguf", "a.gguf"), "x")


def test_ten_thousand_rows_are_too_many() -> None:
    check(rows(*(f"{i}.gguf" for i in range(MAX_ROWS))), "x")
    with pytest.raises(UnsafeListing, match="10000 files"):
        check(rows(*(f"{i}.gguf" for i in range(10_000))), "x")


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
