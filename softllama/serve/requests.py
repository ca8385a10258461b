"""The bodies of requests: OpenAI's fields that can be understood, and our own block. What is unknown is ignored.

Knows names, types and ranges of fields. Does not know what they lead to.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from softllama.base.arguments import SEEDS

Token = Annotated[int, Field(ge=0, lt=2**31)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Seed = Annotated[int, Field(lt=SEEDS)]
Think = Literal["auto", "on", "off", "prompt"]
MOST_CHOICES = 128


def _none_is_default(value: Any) -> Any:
    """Clients send null for what they leave out."""
    return False if value is None else value


Flag = Annotated[bool, BeforeValidator(_none_is_default)]


class Body(BaseModel):
    """A JSON object whose unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class Vector(Body):
    """A mixture as numbers: some ids with their weights, a whole vector over the vocabulary, or one in an .npy file."""

    ids: list[Token] | None = Field(default=None, max_length=1 << 20)
    weights: list[Number] | None = Field(default=None, max_length=1 << 20)
    vector: list[Number] | None = Field(default=None, max_length=1 << 20)
    npy: str | None = Field(default=None, description="the bytes of an .npy file, in base64")


Mixtures = dict[str, str | dict[str, Number] | Vector]


class Given(Body):
    """One position that an earlier generation fed: a token, or a mixture with its readout (the heaviest, if not said)."""

    id: Token | None = None
    ids: list[Token] | None = None
    weights: list[Number] | None = None
    readout: Token | None = None


class Prefix(Body):
    """What was fed after the prompt so far; the answer goes on from there."""

    items: list[Given] = Field(default_factory=list, max_length=1 << 17)


class Block(Body):
    """How the thinking is decoded: the field "softllama" of a request.

    policy, answer_policy: as in `softllama policies`. think: a truth value, or auto, on, off, prompt. mixtures: by the
    names of the slots in the last message or the prompt. trace: "steps" adds every step to the answer, "record" the
    lines of a trace file, which hold more of each step.
    """

    policy: str | None = None
    answer_policy: str | None = None
    where: Literal["thinking", "everywhere"] | None = None
    think: bool | Think | None = None
    think_budget: int | None = Field(default=None, ge=0)
    think_tags: str | None = None
    mixtures: Mixtures | None = None
    signed: Flag = False
    normalize: Flag = False
    split: Literal["first", "last", "mean"] | None = None
    on_loop: Literal["warn", "stop", "hard"] | None = None
    date: str | None = None
    trace: Literal["steps", "record"] | None = None
    prefix: Prefix | None = None


class StreamOptions(Body):
    """What a stream has beside the answer."""

    include_usage: Flag = False


class Sampling(Body):
    """The fields that chat and text completions share."""

    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=0)
    stop: str | list[str] | None = None
    seed: Seed | None = None
    n: int | None = Field(default=None, ge=1, le=MOST_CHOICES)
    stream: Flag = False
    stream_options: StreamOptions | None = None
    temperature: Number | None = Field(default=None, ge=0, le=1e6)
    top_p: Number | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=-1, le=2**31)
    min_p: Number | None = Field(default=None, ge=0, le=1)
    repetition_penalty: Number | None = Field(default=None, gt=0, le=1e3)
    repeat_penalty: Number | None = Field(default=None, gt=0, le=1e3)
    frequency_penalty: Number | None = Field(default=None, ge=-100, le=100)
    presence_penalty: Number | None = Field(default=None, ge=-100, le=100)
    softllama: Block = Block()


class TextPart(Body):
    """A part of a message's content. Only text can be read."""

    type: str = "text"
    text: str | None = None


class Message(Body):
    """A message of a chat."""

    role: str
    content: str | list[TextPart] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    name: str | None = None


class TemplateVariables(Body):
    """What a chat template is told."""

    enable_thinking: bool | None = None


class ResponseFormat(Body):
    """The form of an answer; only plain text can be had."""

    type: str = "text"


class ChatRequest(Sampling):
    """POST /v1/chat/completions"""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=0)
    logprobs: Flag = False
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    reasoning_effort: str | None = None
    thinking_token_budget: int | None = Field(default=None, ge=0)
    chat_template_kwargs: TemplateVariables | None = None
    response_format: ResponseFormat | None = None


class CompletionRequest(Sampling):
    """POST /v1/completions"""

    prompt: str | list[Token] | list[str] | list[list[Token]]
    echo: Flag = False
    logprobs: Annotated[int | None, Field(ge=0, le=20)] = None
    suffix: str | None = None


class TokenizeRequest(Body):
    """POST /tokenize. add_special: put the vocabulary's BOS before. parse_special: read "<|im_end|>" as a token.

    content and add_special are llama-server's names, prompt and add_special_tokens those of vLLM.
    """

    model: str | None = None
    content: str | None = None
    prompt: str | None = None
    add_special: Flag = False
    add_special_tokens: Flag = False
    parse_special: bool = True
    with_pieces: Flag = False


class DetokenizeRequest(Body):
    """POST /detokenize"""

    model: str | None = None
    tokens: list[Token]


class ProbeRequest(Body):
    """POST /v1/softllama/probe"""

    prompt: str | None = None
    mixtures: Mixtures | str
    chat: Flag = False
    system: str | None = None
    top: int = Field(default=10, ge=1, le=200)
    signed: Flag = False
    normalize: Flag = False
    split: Literal["first", "last", "mean"] | None = None
    watch: str | None = None


class SweepRequest(ProbeRequest):
    """POST /v1/softllama/sweep"""

    points: int = Field(default=21, ge=2, le=501)


class ScoreRequest(Body):
    """POST /v1/softllama/score. continuation: text that goes on from the prompt, several of them, or ids."""

    prompt: str | list[Token]
    continuation: str | list[Token] | list[str]
    mixtures: Mixtures | None = None
    signed: Flag = False
    normalize: Flag = False
    split: Literal["first", "last", "mean"] | None = None
    top: int = Field(default=0, ge=0, le=20)


class LensRequest(ProbeRequest):
    """POST /v1/softllama/lens"""
