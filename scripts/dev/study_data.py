"""Write the held-out problems that `softllama study thinking` asks: softllama/study/data/sums.jsonl and words.jsonl.

    python scripts/dev/study_data.py            # the files are the same at every run

Knows which side of a split is the test side (`sums_task`, `words_world`); knows no model.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository: `scripts` and `tests` are packages there

from scripts.training.sums import sums_task
from scripts.training.words import words_corpus as corpus

FOLDER = Path(__file__).resolve().parents[2] / "softllama" / "study" / "data"
SUMS, WORDS = 300, 50  # problems; questions of each kind that has to be thought about


def sums() -> list[dict[str, object]]:
    """Problems of the shipped setting's test split."""
    problems = sums_task.MAIN.held_out("test", SUMS)
    answers = sums_task.solve(sums_task.MAIN, problems)
    return [
        {"question": " ".join(map(str, p)), "answer": str(a)}
        for p, a in zip(problems.tolist(), answers.tolist(), strict=True)
    ]


def words() -> list[dict[str, object]]:
    """Held-out questions whose answer has to be worked out, in turn of their kinds."""
    kinds = []
    for kind in corpus.THINKING:
        rng = random.Random(f"study {kind}")
        found: dict[str, dict[str, object]] = {}
        while len(found) < WORDS:
            plan = corpus.QUESTION_KINDS[kind][0](rng, True)
            world = corpus.draw_world(rng, plan)
            if world is None or plan.messages is None or plan.answers is None:
                continue
            ((_, question),) = plan.messages(world)
            found.setdefault(question, {"question": question, "answer": sorted(plan.answers(world)), "kind": kind})
        kinds.append(list(found.values()))
    return [record for group in zip(*kinds, strict=True) for record in group]


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, records in (("sums", sums()), ("words", words())):
        text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
        (FOLDER / f"{name}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
