"""What can be asked for: the default model, every other one on disk, and the aliases that point at them.

Requests ask on the event loop: no file is opened for them that is the same as before. Small ones are known by their
stamps (process/cached.py); a header takes a tenth of a second, so what it says is kept by the file's hash, and `learn`
reads it in a thread before somebody asks.
"""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from edgechat import registry
from edgechat.engine.base import Forecast
from edgechat.errors import ModelError, ModelNotFound
from edgechat.hub.catalog import Catalog
from edgechat.hub.store import Hold, Store, Stored
from edgechat.letters import Load
from edgechat.models import projectors
from edgechat.models.projectors import Projector
from edgechat.models.resident import Wanted
from edgechat.settings import Settings
from edgechat.tune.letters import ENGINE as TUNED_ENGINE
from edgechat.tune.record import Records, Tuned, fingerprint
from edgechat.types import ModelInfo, Sampling, Served


class Library:
    """The models of one server, by name."""

    def __init__(self, settings: Settings, store: Store, catalog: Catalog) -> None:
        self.settings = settings
        self.store = store
        self.catalog = catalog
        self.records = Records(settings.home)
        self.default: Stored | None = None  # once it is known; it may lie outside the store
        self._forecasts: dict[str, Forecast] = {}  # by SHA-256
        self._unreadable: set[str] = set()  # the same
        self._machine: str | None = None  # its fingerprint, as it was when last looked at

    def find(self, name: str | None) -> Stored | None:
        """The model called `name`, or that an alias of that name points at; None and "" are the default."""
        if not name:
            name = self.default.name if self.default else ""
        name = self.settings.aliases.get(name, name)
        if self.default is not None and self.default.pulled is None and name == self.default.name:
            return self.default  # it lies outside the store
        return self.store.find(name) or self.store.by_reference(name)

    def get(self, name: str) -> Stored:
        """The same. Raises ModelNotFound, which says what there is."""
        stored = self.find(name)
        if stored is None:
            raise self.missing(name, self.names())
        return stored

    def missing(self, name: str, names: Iterable[str]) -> ModelNotFound:
        """What is said where no model is called `name`, and these are."""
        known = self.catalog.find(name)
        hint = f"get it with `edgechat pull {name}`." if known else f"there is {', '.join(names) or 'none'}."
        return ModelNotFound(f"no model {name!r} is here; {hint}", "model")

    def names(self) -> list[str]:
        """Everything that can be asked for: the default, the others, the aliases."""
        names = [self.default.name] if self.default and self.find(None) else []
        names += [stored.name for stored in self.store.list() if stored.name not in names]
        return names + [alias for alias in self.settings.aliases if alias not in names and self.find(alias)]

    def tuned(self, stored: Stored) -> tuple[Tuned, Stored] | None:
        """What tuning found for `stored` on this machine, and the file it chose, if that is here."""
        if self.settings.engine != TUNED_ENGINE:
            return None
        self._machine = self._machine or fingerprint()
        return self.records.serving(stored, self.store, self._machine)

    def file(self, stored: Stored) -> Stored:
        """What is loaded for `stored`: the file that tuning chose, or itself."""
        tuned = self.tuned(stored)
        return tuned[1] if tuned else stored

    async def learn(self) -> None:
        """Read beside the loop what requests ask for: headers that were not read yet, what this machine is by now.

        What cannot be read is passed over.
        """
        await asyncio.to_thread(self._learn)

    def _learn(self) -> None:
        self._machine = fingerprint() if self.settings.engine == TUNED_ENGINE else None
        for stored in [*self.store.list(), *([self.default] if self.default else [])]:
            if stored.sha256 not in self._unreadable:
                try:
                    self.forecast(stored)
                except ModelError:
                    self._unreadable.add(stored.sha256)

    def forecast(self, stored: Stored) -> Forecast:
        """What is known of the file. Raises ModelFileInvalid."""
        found = self._forecasts.get(stored.sha256)
        if found is None:
            make = registry.load(registry.FORECASTS, self.settings.engine, "engine")
            found = self._forecasts[stored.sha256] = make(stored.path)
        return found

    def projector(self, stored: Stored) -> Projector | None:
        """What lets `stored` see: the user's own, for the default model, else what came with it.

        Raises ModelFileInvalid and ModelUnsupported for the user's own.
        """
        if self.settings.engine not in registry.EYES:
            return None
        if self.settings.projector and self.default is not None and stored.name == self.default.name:
            return projectors.read(self.settings.projector, stored.path)
        return projectors.of(stored.path, (*self.file(stored).companions, *stored.companions))

    def planned(self, stored: Stored) -> Forecast:
        """As `forecast`, of what is loaded for `stored`, with its projector."""
        forecast, projector = self.forecast(self.file(stored)), self.projector(stored)
        return forecast if projector is None else projectors.Forecast(forecast, projector)

    def served(self, stored: Stored, info: ModelInfo | None, digest: str | None = None) -> Served:
        """`stored` as clients see it; loaded as `info` from the file with that `digest`. Raises ModelFileInvalid."""
        entry = self.catalog.find(stored.name)
        tuned = self.tuned(stored)
        file = tuned[1] if tuned else stored
        known = info or self.planned(stored).describe(self.settings.context)
        return Served(
            name=stored.name,
            sha256=digest or file.sha256,
            recipe=tuned[0].chosen.recipe if tuned and digest in (None, file.sha256) else known.recipe,
            sampling=entry.sampling if entry else Sampling(),
            info=known,
            since=_since(stored),
            loaded=info is not None,
            size=file.size,
        )

    def wanted(self, stored: Stored) -> Wanted:
        """How `stored` is loaded. The default stays; the others go when nobody asks."""
        settings, tuned, entry = self.settings, self.tuned(stored), self.catalog.find(stored.name)
        file = tuned[1] if tuned else stored
        counts = tuned[0].counts if tuned and not settings.threads else None
        forecast, projector = self.planned(stored), self.projector(stored)
        default = self.default is not None and stored.name == self.default.name
        context = settings.context
        if context and not default:  # --context was meant for the default: another one may know less
            context = forecast.describe(context).context
        load = Load(
            engine=settings.engine,
            path=str(file.path),
            context=context,
            threads=0,
            decode_threads=counts.decode_threads if counts else 0,
            prefill_threads=counts.prefill_threads if counts else 0,
            ubatch=tuned[0].counts.slice if tuned else 0,
            flash=tuned[0].counts.flash if tuned else True,
            queue=settings.queue,
            thinking=entry.thinking if entry else None,
            digest=file.sha256,
            projector=str(projector.path) if projector else "",
            projector_digest=projector.digest if projector else "",
            projector_bytes=projector.bytes if projector else 0,
            projector_patch=projector.patch if projector else 0,
            shelf=str(prefixes(settings.home)),
            shelf_bytes=int(settings.prefix_bytes),
        )

        def take() -> Hold:
            self.store.ensure(file)
            return self.store.hold(file)

        wanted = Wanted(stored.name, load, forecast, take, check=lambda: self.store.ensure(file))
        return wanted if default else wanted._replace(keep=settings.keep_alive)


def prefixes(home: Path) -> Path:
    """Where workers keep what they have read already."""
    return home / "prefixes"


def named(served: Served, name: str) -> Served:
    """The same model under an alias."""
    return msgspec.structs.replace(served, name=name)


def sampled(defaults: Sampling, **given: Any) -> Sampling:
    """`defaults`, the model's own, with what a request gives; None is not given.

    Temperature 0 means the most likely token: then a default repetition penalty does not bend it.
    """
    if given.get("temperature") == 0:
        defaults = msgspec.structs.replace(defaults, repetition_penalty=1.0)
    return msgspec.structs.replace(defaults, **{name: value for name, value in given.items() if value is not None})


def _since(stored: Stored) -> int:
    """When the model came, in Unix time: when it was pulled, or its file last written; 0 where that is gone."""
    if stored.pulled:
        return int(datetime.fromisoformat(stored.pulled).timestamp())
    try:
        return int(stored.path.stat().st_mtime)
    except OSError:
        return 0
