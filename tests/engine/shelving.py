"""One life of many: a tiny hybrid model that is asked, and shelves what it read, until it is killed.

python -m tests.engine.shelving MODEL FOLDER SEED      prints of each answer what is wrong with it, and what was cached
"""

import itertools
import json
import random
import sys
from pathlib import Path

from tests.engine.family import Life, difference, turns, words


def main(model: Path, folder: Path, seed: int) -> None:
    dice, life, reference = random.Random(seed), Life(model, folder), Life(model)
    for _ in itertools.count():
        request = turns(*(words(dice.randrange(3)) for _ in range(dice.choice([1, 3, 5]))))
        scores, cached = life.ask(request)[0]
        reference.forget()
        print(json.dumps([difference(scores, reference.ask(request)[0][0]), cached]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
