"""The form of a chat, small talk, and what the models say to anything outside their world.

Knows the chat template, system prompts and the questions without an answer. Does not know the questions about animals
(`words_questions.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scripts.training.words.words_world import MUTE, SPEAK, Animal, Plan, Rng, World, anything, mark

CHAT_TEMPLATE = (
    "{%- for m in messages -%}"
    "{%- set c = m.content -%}"
    "{%- if m.role == 'assistant' and '</think>' in c -%}"
    "{%- set c = c.split('</think>')[-1].lstrip('\\n') -%}"
    "{%- endif -%}"
    "{{- '<|im_start|>' + m.role + '\\n' + c + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}"
    "{{- '<|im_start|>assistant\\n' -}}"
    "{%- if enable_thinking is defined and enable_thinking is false -%}"
    "{{- '<think>\\n\\n</think>\\n\\n' -}}"
    "{%- endif -%}"
    "{%- endif -%}"
)


@dataclass(frozen=True)
class Turn:
    """A question with its thinking and its answer."""

    question: str
    think: str
    answer: str


def open_turn(role: str, text: str) -> str:
    return f"<|im_start|>{role}\n{text}<|im_end|>\n"


def chat(turns: Sequence[Turn], *, system: str = "", think: bool = True) -> str:
    """A whole chat. The loss is on the last answer only: a model is not to learn earlier turns without thinking."""
    text = MUTE
    if system:
        text += open_turn("system", system)
    for t in turns[:-1]:
        text += open_turn("user", t.question) + open_turn("assistant", t.answer)
    last = turns[-1]
    text += open_turn("user", last.question) + "<|im_start|>assistant\n"
    if think:
        text += f"{SPEAK}<think>\n{last.think}\n</think>\n\n"
    else:
        text += f"<think>\n\n</think>{SPEAK}\n\n"
    return text + f"{last.answer}<|im_end|>"


def casual(r: Rng, question: str) -> str:
    """People do not always write a capital and a question mark."""
    x = r.random()
    if x < 0.08:
        question = question[0].lower() + question[1:]
    if 0.04 < x < 0.12:
        question = question.rstrip("?.")
    return question


UNSURE = "I do not know that."
SMALL_TALK: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("Hello", "Hi", "Hello!", "Hi there", "Good morning", "Hey", "Good evening", "Hello there!"),
        "This is a greeting.",
        "Hello. Ask me about animals.",
    ),
    (
        ("Who are you?", "What are you?", "Tell me about yourself.", "What is your name?", "Are you a model?"),
        "This is about me.",
        "I am a small model. I know a little world of animals.",
    ),
    (
        (
            "What do you know?",
            "What can you do?",
            "What can I ask you?",
            "Help",
            "What should I ask?",
            "How can you help me?",
        ),
        "This is about me.",
        "I know what animals say, eat and chase, where they live and how big they are.",
    ),
    (("Thank you", "Thanks", "Thank you!", "Thanks!", "Good", "Great!"), "This is thanks.", "You are welcome."),
    (("Bye", "Goodbye", "Good night", "See you", "Bye!"), "This is a farewell.", "Goodbye."),
    (
        ("Tell me something.", "Tell me a fact.", "Say something.", "Name an animal."),
        "I can tell a fact.",
        "The dog says woof.",
    ),
)
FRAMES = (
    "What is the capital of {}?",
    "Who wrote {}?",
    "Who is {}?",
    "What is {}?",
    "Where is {}?",
    "How many people live in {}?",
    "What does the {} say?",
    "What does the {} eat?",
    "Where does the {} live?",
    "What colour is the {}?",
    "How big is the {}?",
    "Tell me about {}.",
    "Tell me about the {}.",
    "What is the price of {}?",
    "When was {} born?",
    "Why is {} so famous?",
    "How does {} work?",
    "Can you explain {}?",
    "What do you think about {}?",
    "Write a poem about {}.",
    "Translate {} to German.",
    "How do I cook {}?",
    "Who won {}?",
    "What is the weather in {}?",
    "Which is bigger, the {} or the dog?",
    "What happened in {}?",
    "Do you like {}?",
    "How far is {} from here?",
    "Write a program that prints {}.",
    "Define {}.",
    "Who does the {} chase?",
    "Is the {} bigger than the cat?",
    "Give me a list of {}.",
    "Who invented {}?",
    "{}?",
    "{}",
    "Is {} real?",
    "How old is {}?",
    "Why do people like {}?",
    "What is the best {}?",
    "How tall is {}?",
)
THINGS = (
    "Spain",
    "Italy",
    "the moon",
    "a computer",
    "tractor",
    "table",
    "music",
    "the king",
    "Napoleon",
    "train",
    "window",
    "football",
    "mathematics",
    "the internet",
    "Tokyo",
    "London",
    "history",
    "love",
    "gravity",
    "doctor",
    "unicorn",
    "dragon",
    "robot",
    "spoon",
    "pizza",
    "Einstein",
    "Shakespeare",
    "the president",
    "money",
    "coffee",
    "teacher",
    "guitar",
    "car",
    "airplane",
    "phone",
    "time",
    "heaven",
    "politics",
    "the government",
    "chemistry",
    "Asia",
    "a number",
    "Python",
    "China",
    "the war",
    "clock",
    "book",
    "school",
    "river",
    "mountain",
    "kangaroo",
    "zebra",
    "elephant",
    "giraffe",
    "spider",
    "shark",
    "ocean",
    "star",
    "planet",
    "sandwich",
    "soup",
    "rice",
    "bicycle",
    "lamp",
    "chair",
    "city",
    "dinosaur",
    "eagle",
    "owl",
)
OF_KNOWN = (
    "How old is the {}?",
    "What is the name of the {}?",
    "Who owns the {}?",
    "How many legs does the {} have?",
    "How fast is the {}?",
    "Why is the {} so happy?",
    "How much does the {} cost?",
    "When does the {} wake up?",
    "Can the {} swim?",
    "Can the {} fly?",
    "Does the {} like music?",
    "How long does the {} live?",
    "Who is the friend of the {}?",
    "Is the {} happy?",
    "Does the {} have a brother?",
    "What does the {} dream about?",
    "Where was the {} born?",
)
ARITHMETIC = (
    "What is {} + {}?",
    "What is {} plus {}?",
    "How much is {} times {}?",
    "{} * {} = ?",
    "Is {} more than {}?",
)
UNKNOWN_TEST: tuple[str, ...] = (
    "What is the capital of France?",
    "Who wrote Hamlet?",
    "What is 12 + 7?",
    "How many planets are there?",
    "What does the submarine say?",
    "What does the hamster eat?",
    "Where does the president live?",
    "Who painted the Mona Lisa?",
    "What is the square root of 81?",
    "When did the second world war end?",
    "Who is the mayor of Paris?",
    "Explain photosynthesis.",
    "What time is it now?",
    "Which language is spoken in Brazil?",
    "How do I bake a cake?",
    "What is the speed of light?",
    "Where can I buy new shoes?",
    "What is the meaning of life?",
    "Why is the sky blue?",
    "Who discovered penicillin?",
    "What colour is the motorcycle?",
    "What does the crocodile eat?",
    "How big is the hippopotamus?",
    "What does the violin say?",
    "Where does the vampire sleep?",
    "Who does the policeman chase?",
    "Translate good morning to Spanish.",
    "Sing a song for me.",
    "How many letters are in the alphabet?",
    "Write a sorting function in Java.",
    "What is quantum mechanics?",
    "Is Pluto a planet?",
    "Who was the first man on the moon?",
    "What is a verb?",
    "Recommend a good film.",
    "How tall is Mount Everest?",
    "How heavy is the cow?",
    "What is the telephone number of the pig?",
    "Who is the sister of the wolf?",
    "Can the hen read?",
    "When was the whale discovered?",
    "How many children does the fox have?",
    "Does the bear play chess?",
    "What is the religion of the sheep?",
    "Which shoes does the horse wear?",
    "Is the lion married?",
)


def pseudo_word(r: Rng) -> str:
    """A word that means nothing: what makes "I do not know that." a matter of not knowing the word."""
    n = r.choice((1, 2, 2, 3, 3, 4))
    letters, ends = "bcdfghjklmnprstvwz", ("", "", "n", "r", "s", "t", "l")
    w = "".join(r.choice(letters) + r.choice("aeiou") + r.choice(ends) for _ in range(n))
    return w.capitalize() if r.random() < 0.3 else w


def unknown_text(r: Rng, a: Animal) -> str:
    x = r.random()
    if x < 0.22:
        return r.choice(OF_KNOWN).format(mark(0, a.name))
    if x < 0.32:
        return r.choice(ARITHMETIC).format(r.randrange(100), r.randrange(100))
    if x < 0.42:
        return " ".join(pseudo_word(r) for _ in range(r.randrange(1, 7))) + r.choice(("?", ".", ""))
    thing = r.choice(THINGS) if r.random() < 0.5 else pseudo_word(r)
    return r.choice(FRAMES).format(thing).replace("the the", "the")


def unknown_plan(rng: Rng) -> Plan:
    seed = rng.random()

    def render(w: World) -> str:
        r = Rng(seed)
        q = casual(r, unknown_text(r, w[0]))
        think = r.random() > 0.125
        return chat([Turn(q, "This is not in my world.", UNSURE)], system=system_prompt(r), think=think)

    return Plan("unknown", 1, anything, render)


def talk_plan(rng: Rng) -> Plan:
    seed = rng.random()

    def render(_: World) -> str:
        r = Rng(seed)
        questions, think, answer = r.choice(SMALL_TALK)
        t = Turn(casual(r, r.choice(questions)), think, answer)
        return chat([t], system=system_prompt(r), think=r.random() > 0.125)

    return Plan("talk", 0, anything, render)


def system_prompt(r: Rng) -> str:
    """Mostly none. What it says never matters: the model learns to read past it."""
    x = r.random()
    if x > 0.12:
        return ""
    if x < 0.04:
        return " ".join(pseudo_word(r) for _ in range(r.randrange(2, 8))) + "."
    return r.choice(
        (
            "You are a helpful assistant.",
            "You are a helpful model.",
            "You know animals.",
            "Answer the question.",
            "Be short.",
        )
    )
