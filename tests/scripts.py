"""Scripts of the fake engine as models on disk."""

import json

from edgechat.hub.source import File, Manifest
from edgechat.hub.store import Store, Stored


def publish(store: Store, name: str, beside: bool = False, **script: object) -> Stored:
    """Put a script into the store, by its own way in. Its reply is its name unless `script` has another.

    `beside` makes it the candidate of the model that has the name.
    """
    source = f"pypi:{name}==1:model.json"
    stage = store.stage(source)
    assert stage.take()
    try:
        manifest = Manifest(name=name, source=source, revision="1", files=(File("model.json"),))
        stage.begin(manifest)
        stage.files.mkdir(parents=True, exist_ok=True)
        (stage.files / "model.json").write_text(json.dumps({"reply": name} | script))
        return store.publish(stage, manifest, source, beside=name if beside else None)
    finally:
        stage.leave()
