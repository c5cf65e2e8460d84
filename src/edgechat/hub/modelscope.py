"""Models from ModelScope, or any server that speaks its routes, by the real SDK. Runs in the child process only.

The SDK lists and transfers. It is not trusted with anything else: it joins listed paths unchecked, takes an empty
listing for success, compares hashes by case, keeps a session id and reads pickled credentials from the home folder.
So it gets a home of its own, one checked file at a time, and every byte's size and hash beforehand.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgechat.errors import (
    EdgechatError,
    HashMismatch,
    HubError,
    HubUnreachable,
    NoSpace,
    NotOnHub,
    StorageError,
    UnsafeListing,
)
from edgechat.hub.choice import check, choose, manifest_of
from edgechat.hub.reference import Repo, is_safe_path, parse
from edgechat.hub.source import Manifest
from edgechat.process.disk import is_full

# Privacy is set, whatever the environment says; patience is only proposed.
_FORCED = {
    "MODELSCOPE_DOWNLOAD_INTRA_CLOUD": "false",  # else it follows an address that the server names
    "MODELSCOPE_DOWNLOAD_FILE_LOCK": "false",  # the store has its own
    "TQDM_DISABLE": "1",
}
_PROPOSED = {
    "MODELSCOPE_LOG_LEVEL": "WARNING",
    "MODELSCOPE_DOWNLOAD_TOTAL_TIMEOUT": "86400",
    "MODELSCOPE_API_CONNECT_TIMEOUT": "5",
    "MODELSCOPE_REPO_TREE_PAGE_TIMEOUT_SECONDS": "8",
    "MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS": "2",
}
_REMOVED = ("MODELSCOPE_DOMAIN", "MODELSCOPE_CLOUD_ENVIRONMENT", "MODELSCOPE_CLOUD_USERNAME")

# The SDK's errors, by class name, and what each means here. The nearest class in an error's ancestry counts.
ERRORS: dict[str, tuple[type[EdgechatError], str]] = {
    "NotExistError": (NotOnHub, "there is no such repository, revision or file"),
    "PermissionDeniedError": (NotOnHub, "it is private; set MODELSCOPE_API_TOKEN if you may read it"),
    "AuthenticationError": (NotOnHub, "the hub does not accept MODELSCOPE_API_TOKEN"),
    "InvalidParameter": (NotOnHub, "the hub does not know what to make of it"),
    "RateLimitError": (HubUnreachable, "the hub asks for a pause; try again later"),
    "QuotaExceededError": (HubUnreachable, "the hub's quota is used up; try again later"),
    "ServerError": (HubUnreachable, "the hub answers that it is broken; try again later"),
    "APIError": (HubUnreachable, "the hub answers with an error"),
    "RequestTimeoutError": (HubUnreachable, "the hub stopped answering; pull again, it goes on where it stopped"),
    "NetworkError": (HubUnreachable, "the connection broke; pull again, it goes on where it stopped"),
    "RequestException": (HubUnreachable, "the hub does not answer as a hub does"),
    "ValueError": (HubUnreachable, "the hub does not answer as a hub does"),
    "TypeError": (HubUnreachable, "the hub does not answer as a hub does"),
    "AttributeError": (HubUnreachable, "the hub does not answer as a hub does"),
    "FileSizeMismatchError": (HashMismatch, "the hub sends another number of bytes than it should; they were deleted"),
    "FileIntegrityError": (HashMismatch, "the hub sends other bytes than the pinned ones; they were deleted"),
    "CacheError": (StorageError, "the staging folder cannot be written"),
    "StorageError": (HubUnreachable, "the transfer failed; pull again, it goes on where it stopped"),
    "NotSupportedError": (HubError, "the SDK does not support it"),
    "HubError": (HubError, "the SDK failed"),
}


class ModelScope:
    """One ModelScope hub. `scratch` is a folder for what the SDK writes beside the models.

    Only with a `token` that is not empty may the hub see the one that the environment holds.
    """

    def __init__(self, endpoint: str, scratch: str, token: str = "") -> None:
        self._endpoint = endpoint
        self._removed = _REMOVED if token else (*_REMOVED, "MODELSCOPE_API_TOKEN")
        self._home = Path(scratch) / "sdk"

    def resolve(self, reference: Repo) -> Manifest:
        """List the repository, check every row, choose the model's."""
        with _translated(str(reference)):
            rows = self._api().list_repo_files(reference.id, "model", revision=reference.revision)
        return manifest_of(choose(check(rows, str(reference)), reference), reference, reference.revision)

    def fetch(self, manifest: Manifest, staging: Path) -> None:
        """Transfer what is missing. A part that is there is continued."""
        repo = parse(manifest.source)
        assert isinstance(repo, Repo)
        for file in manifest.files:
            if not is_safe_path(file.path):
                raise UnsafeListing(f"{manifest.source}: {file.path!r} is no safe path.")
            if file.sha256 is None:  # nothing would tell whether the two parts are of one version
                (staging / f"{file.path}.incomplete").unlink(missing_ok=True)
            with _translated(manifest.source):
                self._api().download_file(
                    repo.id,
                    "model",
                    file.path,
                    revision=manifest.revision,
                    local_dir=staging,
                    expected_sha256=file.sha256,
                    file_size=file.size,
                )

    def _api(self) -> Any:
        """The SDK, imported only now: it reads most of its environment while it is imported."""
        shutil.rmtree(self._home / "credentials", ignore_errors=True)  # its session id would follow the user
        for name in self._removed:
            os.environ.pop(name, None)
        os.environ.update(_FORCED, MODELSCOPE_HOME=str(self._home), MODELSCOPE_CACHE=str(self._home))
        for name, value in _PROPOSED.items():
            os.environ.setdefault(name, value)
        from modelscope_hub import HubApi

        return HubApi(endpoint=self._endpoint)


@contextmanager
def _translated(reference: str) -> Iterator[None]:
    """Foreign errors become ours at this border."""
    try:
        yield
    except EdgechatError:
        raise
    except Exception as error:
        raise translate(error, reference) from error


def translate(error: Exception, reference: str) -> EdgechatError:
    """Our error for one of the SDK's: the one of ours that it wraps, or by the table."""
    inner: BaseException | None = error
    seen: set[int] = set()  # the SDK raises some errors from each other
    while inner is not None and id(inner) not in seen:
        if isinstance(inner, EdgechatError):
            return type(inner)(f"{reference}: {inner}")
        seen.add(id(inner))
        inner = inner.__cause__ or inner.__context__
    if isinstance(error, OSError) and is_full(error):
        return NoSpace(f"{reference}: the disk is full. Free some space and pull again; it goes on where it stopped.")
    for ancestor in type(error).__mro__:
        if ancestor.__name__ in ERRORS:
            kind, reason = ERRORS[ancestor.__name__]
            return kind(f"{reference}: {reason}.")
    if isinstance(error, OSError):
        return StorageError(f"{reference}: the staging folder cannot be written: {error.strerror or error}.")
    return HubError(f"{reference}: {type(error).__name__} in the SDK.")
