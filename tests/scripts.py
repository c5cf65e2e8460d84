"""Scripts of the fake engine as models on disk."""

import json
from typing import Any

from edgechat.hub.publish import publish as take_in
from edgechat.hub.source import File, Manifest
from edgechat.hub.store import Store, Stored
from edgechat.tune.choice import Candidate
from edgechat.tune.quality import Quality
from edgechat.tune.record import Counts, Records, Tuned, fingerprint
from edgechat.tune.speed import Speed


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
        return take_in(store, stage, manifest, source, beside=name if beside else None)
    finally:
        stage.leave()


def tuned(store: Store, model: Stored, file: Stored, threads: int = 1, **more: Any) -> Records:
    """What a tuning leaves that chose `file` for `model`."""
    baseline = Candidate("Q5_0/Q8_0", 1, Speed(40, 20), Quality(0.0, 0.0, 1.0, 384), True)
    chosen = Candidate("IQ4_NL/IQ4_NL", 1, Speed(80, 40), Quality(0.05, 0.002, 0.9, 384), True)
    counts = Counts(threads, threads, 64, flash=True)
    records = Records(store.models.parent)
    records.write(
        Tuned(
            model=model.sha256,
            machine=fingerprint(),
            quality="balanced",
            source=model.name,
            baseline=baseline,
            chosen=chosen,
            candidates=(chosen,),
            counts=counts,
            file=file.name,
            sha256=file.sha256,
            seconds=100.0,
            **more,
        )
    )
    return records
