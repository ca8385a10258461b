"""Words, frames and questions of the study of adapters. Data, and how it becomes cases for a model.

None of the words and none of the frames is among those that `softllama adapt` trains with: they are held out for every adapter that
it makes. Does not know what is measured on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from softllama.engine.engine import Engine
from softllama.study import inputs, sizes
from softllama.study.inputs import Case

_CLASSES = {
    "country": "Iceland Nepal Algeria Syria Lebanon Jamaica Panama Somalia Zimbabwe Wales Bangladesh Afghanistan Croatia Serbia "
    "Bulgaria Uganda Mongolia Malaysia Philippines Lithuania Kuwait Cambodia Taiwan Texas California",
    "city": "Prague Warsaw Lisbon Oslo Stockholm Helsinki Budapest Munich Hamburg Milan Naples Geneva Manchester Montreal "
    "Melbourne Manila Baghdad Tehran Havana Nairobi Detroit Dallas",
    "animal": "lamb goose bull kitten puppy lizard hawk pigeon seal squid crab lobster worm beetle mosquito leopard panda bat hen",
    "job": "tailor architect dentist butcher hunter knight monk bishop journalist editor photographer musician composer mechanic "
    "clerk spy detective athlete",
    "food": "spinach mushroom cabbage pepper vinegar yogurt mustard lettuce bean pear cherry mango pineapple strawberry cookie "
    "sandwich ham sausage shrimp rum",
    "object": "chair bottle bowl basket bag letter coin ring hat coat shoe belt blanket candle window door bridge tent sword bow "
    "ball doll kite",
    "quality": "big fast rich strong hard long wet open dark early high good true young new clean full thick deep wide loud heavy",
    "language": "French German Spanish Italian Latin Arabic Chinese Japanese Russian Turkish Polish Dutch Greek",
}
_FRAMES = {
    "The capital city of {} is called": "country",
    "The official language of {} is": "country",
    "A person who comes from {} is a": "country",
    "She lives in {}, which is a city in": "city",
    "The best known building in {} is the": "city",
    "Children are afraid of the {} because it": "animal",
    "A {} can": "animal",
    "The {} spent the whole day with his": "job",
    "As a {}, she often has to": "job",
    "A plate of {} with": "food",
    "The recipe says that the {} must be": "food",
    "You can use a {} to": "object",
    "He picked up the {} and": "object",
    "The opposite of {} is": "quality",
    "A thing that is very {} is a": "quality",
    "The word for water in {} is": "language",
    "People speak {} in": "language",
}
FRAMES = {frame: tuple(_CLASSES[name].split()) for frame, name in _FRAMES.items()}
SAME = {  # pairs of which the frame says the same
    "The opposite of {} is": ("big large", "fast quick", "hard difficult", "rich wealthy", "wide broad"),
    "You can use a {} to": ("bag sack", "coat jacket", "hat cap", "candle torch"),
    "The official language of {} is": ("America USA", "Holland Netherlands", "Burma Myanmar"),
}

_FACTS = {  # question -> what it asks about, and the answer; the wrong choices are other questions' answers
    "The capital of {} is": "France Paris|Germany Berlin|Italy Rome|Spain Madrid|Japan Tokyo|Russia Moscow|Austria Vienna|"
    "Greece Athens|Egypt Cairo|China Beijing|England London|Ireland Dublin|Poland Warsaw|Portugal Lisbon|Norway Oslo|"
    "Sweden Stockholm|Cuba Havana|Peru Lima|Iran Tehran|Iraq Baghdad",
    "The opposite of {} is": "big small|hot cold|up down|left right|black white|good bad|fast slow|old new|rich poor|strong weak|"
    "hard soft|open closed|high low|long short|wet dry|north south|early late|full empty|true false|happy sad",
    "The month after {} is": "January February|February March|March April|April May|May June|June July|July August|"
    "August September|September October|October November|November December",
    "The plural of {} is": "man men|child children|foot feet|tooth teeth|mouse mice|woman women|goose geese|leaf leaves|"
    "knife knives|wolf wolves",
    "The past tense of {} is": "go went|see saw|eat ate|run ran|take took|give gave|come came|write wrote|buy bought|think thought|"
    "find found|make made",
    "A baby {} is called a": "dog puppy|cat kitten|cow calf|horse foal|sheep lamb|bear cub|hen chick|goat kid",
    "The color of {} is": "grass green|blood red|snow white|coal black|chocolate brown|the sky blue|a lemon yellow",
}
CHOICES = 4


@dataclass(frozen=True)
class Choice:
    """A question with several answers to choose from: the first is right."""

    question: str
    answers: tuple[str, ...]


def cases(model: Engine, seed: int, pairs: int, controls: int, frames: int | None = None) -> list[Case]:
    """Held-out pairs in held-out frames, and the controls of the mixing study. On the small world, that study's own cases.

    Args:
        model: The model, which must have the words as single tokens.
        seed: Of the pairs and of the controls.
        pairs, controls: Pairs of words, and controls of each kind, in each frame.
        frames: How many of the frames, evenly over all of them; None for all.
    """
    return inputs.cases(model, seed, pairs, controls, dict(sizes.spread(list(FRAMES.items()), frames)), SAME)


def groups(model: Engine, frames: Sequence[str], n: int, seed: int) -> list[tuple[str, list[int]]]:
    """For each frame, n of its words as token ids in a random order; frames of fewer words are left out."""
    out = []
    for k, frame in enumerate(dict.fromkeys(frames)):
        words = FRAMES.get(frame, inputs.ANIMALS if inputs.is_words(model) else ())
        encoded = inputs.encode(model, frame)
        ids = dict.fromkeys(i for w in words if (i := inputs.token(model, encoded, w)) is not None)
        if len(ids) >= n:
            out.append((frame, [list(ids)[i] for i in np.random.default_rng([seed, 21, k]).permutation(len(ids))[:n]]))
    return out


def choices(seed: int) -> list[Choice]:
    """The multiple-choice questions: a right answer and three that are right elsewhere."""
    rng = np.random.default_rng([seed, 22])
    out = []
    for frame, text in _FACTS.items():
        facts = [tuple(fact.rsplit(" ", 1)) for fact in text.split("|")]
        for about, right in facts:
            others = [a for _, a in facts if a != right]
            wrong = [others[i] for i in rng.permutation(len(others))[: CHOICES - 1]]
            out.append(Choice(frame.replace("{}", about), (right, *wrong)))
    return out
