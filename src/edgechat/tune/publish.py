"""The chosen file becomes a model of the store, with its lineage: listed, verified and removed like any other."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from edgechat.errors import ConfigError
from edgechat.hub.publish import publish as take_in
from edgechat.hub.source import File, Manifest
from edgechat.hub.store import Store
from edgechat.hub.stored import Stored
from edgechat.process.disk import writing


async def publish(model: Stored, recipe: str, paths: Sequence[Path], store: Store) -> Stored:
    """Take the files at `paths` into the store: `model` in `recipe`, and what belongs to it. Raises StorageError."""
    return await asyncio.to_thread(_publish, model, recipe, paths, store)


def _publish(model: Stored, recipe: str, paths: Sequence[Path], store: Store) -> Stored:
    source = f"{model.name} in {recipe}"
    name = f"{model.name}-{recipe.replace('/', '-').lower()}"
    files = tuple(File(path.name) for path in paths)
    manifest = Manifest(name, source, "", files, model.licence, made_from=source)
    stage = store.stage(source)
    if not stage.take():
        raise ConfigError(f"{source} is being made by another process already.")
    try:
        with writing(stage.root):
            stage.begin(manifest)
            for path in paths:
                path.replace(stage.files / path.name)
        return take_in(store, stage, manifest, source)
    finally:
        stage.leave()
