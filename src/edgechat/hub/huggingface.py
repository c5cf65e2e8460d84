"""Models from Hugging Face, or a mirror that speaks its routes, by the real client. Runs in the child process only.

Needs the extra: pip install '.[hf]'. As with ModelScope's SDK, the client only lists and transfers: it gets a
home of its own, the plain transfer (its native one goes past every rule of this process), and a token for the hub only.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgechat.errors import ConfigError, EdgechatError, HubError, HubUnreachable, NotOnHub
from edgechat.hub.choice import check, choose, manifest_of
from edgechat.hub.reference import Repo, is_safe_path, parse
from edgechat.hub.source import Manifest
from edgechat.process.disk import writing

OWN_HOST = "huggingface.co"
_FORCED = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
}
_PROPOSED = {"HF_HUB_DOWNLOAD_TIMEOUT": "30", "HF_HUB_ETAG_TIMEOUT": "10"}

# The client's errors, by class name, and what each means here. The nearest class in an error's ancestry counts.
ERRORS: dict[str, tuple[type[EdgechatError], str]] = {
    "GatedRepoError": (NotOnHub, "its publisher wants an agreement first: accept it there, and set HF_TOKEN"),
    "RepositoryNotFoundError": (NotOnHub, "there is no such repository, or it is private: HF_TOKEN may help"),
    "RevisionNotFoundError": (NotOnHub, "there is no such revision"),
    "EntryNotFoundError": (NotOnHub, "there is no such file"),
    "HFValidationError": (NotOnHub, "the hub does not know what to make of it"),
    "LocalEntryNotFoundError": (HubUnreachable, "the hub stopped answering; pull again, it goes on where it stopped"),
    "HfHubHTTPError": (HubUnreachable, "the hub answers with an error; try again later"),
    "HTTPError": (HubUnreachable, "the connection broke; pull again, it goes on where it stopped"),
    "ValueError": (HubUnreachable, "the hub does not answer as a hub does"),
    "TypeError": (HubUnreachable, "the hub does not answer as a hub does"),
    "KeyError": (HubUnreachable, "the hub does not answer as a hub does"),
}


@dataclass
class _Row:
    path: str
    size: int
    sha256: str | None
    type: str = "file"


class HuggingFace:
    """One hub. `scratch` is a folder for what the client writes beside the models."""

    def __init__(self, endpoint: str, scratch: str) -> None:
        self._endpoint = endpoint
        self._home = Path(scratch) / "hf"
        self._token = None if urlsplit(endpoint).hostname == OWN_HOST else False

    def resolve(self, reference: Repo) -> Manifest:
        """List the repository at its commit of now, check every row, choose the model's."""
        with _translated(str(reference)):
            hub = self._library().HfApi(endpoint=self._endpoint, token=self._token)
            info = hub.model_info(reference.id, revision=reference.revision, files_metadata=True)
            rows = [
                _Row(one.rfilename, one.size or 0, one.lfs.sha256 if one.lfs else None) for one in info.siblings or ()
            ]
            licence = info.card_data.get("license") if info.card_data else None
        chosen = choose(check(rows, str(reference)), reference)
        return manifest_of(chosen, reference, str(info.sha), licence if isinstance(licence, str) else None)

    def fetch(self, manifest: Manifest, staging: Path) -> None:
        """Transfer what is missing, as it was at the manifest's commit."""
        repo = parse(manifest.source)
        assert isinstance(repo, Repo)
        for file in manifest.files:
            assert is_safe_path(file.path)
            with _translated(manifest.source), writing(staging):
                self._library().hf_hub_download(
                    repo.id,
                    file.path,
                    revision=manifest.revision,
                    local_dir=staging,
                    endpoint=self._endpoint,
                    token=self._token,
                )

    def _library(self) -> Any:
        """The client, imported only now: it reads its environment while it is imported."""
        os.environ.update(_FORCED, HF_HOME=str(self._home))
        for name, value in _PROPOSED.items():
            os.environ.setdefault(name, value)
        try:
            import huggingface_hub
        except ImportError:
            raise ConfigError("hf: needs Hugging Face's client: pip install '.[hf]' in edgechat's folder.") from None
        return huggingface_hub


@contextmanager
def _translated(reference: str) -> Iterator[None]:
    """Foreign errors become ours at this border; what the disk refuses is left to `writing`."""
    try:
        yield
    except (EdgechatError, OSError) as error:
        if isinstance(error, OSError) and any(kind.__name__ in ERRORS for kind in type(error).__mro__):
            raise translate(error, reference) from error
        raise
    except Exception as error:
        raise translate(error, reference) from error


def translate(error: Exception, reference: str) -> EdgechatError:
    """Our error for one of the client's, by the table."""
    for ancestor in type(error).__mro__:
        if ancestor.__name__ in ERRORS:
            kind, reason = ERRORS[ancestor.__name__]
            return kind(f"{reference}: {reason}.")
    return HubError(f"{reference}: {type(error).__name__} in Hugging Face's client.")
