"""A hybrid model's worker is killed while it shelves cells and checkpoints: the next life serves nothing wrong.

Each life's answers are held to a fresh engine's, by log probabilities.
"""

import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

from tests import tiny

ROOT = Path(__file__).resolve().parents[2]
KILLS = 200 if os.environ.get("EDGECHAT_TORTURE") else 5
ANSWERS = 8  # at most, of one life
LONGEST_S = 0.2  # from the last answer that is read to the kill


def life(model: Path, folder: Path, dice: random.Random) -> list[tuple[str, int]]:
    """What each answer was until the kill."""
    command = [sys.executable, "-m", "tests.engine.shelving", str(model), str(folder), str(dice.randrange(1 << 30))]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found: list[tuple[str, int]] = []
    for _ in range(dice.randrange(1, ANSWERS)):
        line = process.stdout.readline()
        assert line, "it ended by itself"
        found.append(json.loads(line))
    threading.Event().wait(dice.uniform(0, LONGEST_S))
    process.kill()
    process.communicate()
    return found


def test_whatever_a_kill_leaves_on_the_shelf_nothing_wrong_is_served(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    dice, model = random.Random(seed), tiny.model(tmp_path / "m.gguf", "qwen35")
    lives = [life(model, tmp_path / "shelf", dice) for _ in range(KILLS)]
    answers = [answer for one in lives for answer in one]
    print(f"seed {seed}: {len(answers)} answers over {KILLS} kills")
    assert [wrong for wrong, _ in answers if wrong] == []
    assert any(cached for _, cached in (one[0] for one in lives[1:])), "no life found what another one had read"
