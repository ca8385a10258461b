"""softllama as a model of lm-evaluation-harness: log-likelihoods by `score`, generations under any policy.

    lm_eval --model softllama --model_args pretrained=model.gguf,policy=soft_thinking,streams=8 --tasks gsm8k
    python -m softllama.integrations.lm_eval --model softllama ...     versions that look at no entry points
    lm_eval.simple_evaluate(model=SoftLlamaLM("model.gguf"), tasks=[...])

A policy acts where text is generated. A log-likelihood is the model's own, whatever the policy is: tokens go in and out.
Knows the harness's requests. Does not know its tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lm_eval import utils
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model

from softllama.api import Model, load
from softllama.errors import UsageError
from softllama.generation import loop
from softllama.generation.options import GenerationOptions
from softllama.generation.prepare import prepare
from softllama.generation.run import record
from softllama.generation.scoring import start_token

NAME = "softllama"
MAX_TOKENS = 256  # where a task names no limit


class SoftLlamaLM(TemplateLM):  # type: ignore[misc]
    """A GGUF model for the harness.

    Args:
        pretrained: The model, as -m names it, or one that is loaded.
        policy: How text is generated; ";" stands for a comma, as model_args are cut at commas. None for greedy decoding, or for
            sampling where a task asks for it.
        streams: Generations side by side in one context.
        think, think_budget: As in `generate`, for prompts in the chat template.
        max_gen_toks: Tokens of a generation where a task names no limit.
        n_ctx, n_gpu_layers, n_threads: As in `load`.

    The harness's own batch_size, max_batch_size and device are accepted and have no meaning.
    """

    def __init__(
        self,
        pretrained: str | Model | None = None,
        *,
        policy: str | None = None,
        streams: int = 1,
        think: str = "auto",
        think_budget: int | None = None,
        max_gen_toks: int = MAX_TOKENS,
        seed: int = 0,
        n_ctx: int | None = None,
        n_gpu_layers: int | None = None,
        n_threads: int | None = None,
        batch_size: Any = None,
        max_batch_size: Any = None,
        device: Any = None,
    ) -> None:
        super().__init__()
        if isinstance(pretrained, Model):
            self.model = pretrained
        else:
            self.model = load(pretrained, n_ctx=n_ctx, n_gpu_layers=n_gpu_layers, n_threads=n_threads)
        if not isinstance(streams, int) or streams < 1:
            raise UsageError(f"streams must be 1 or more, not {streams!r}", "streams=8")
        self.policy = None if policy is None else policy.replace(";", ",")
        self.streams, self.max_gen_toks, self.seed = streams, max_gen_toks, seed
        self.think, self.think_budget = think, think_budget
        self._chats: dict[str, list[dict[str, str]]] = {}  # what a rendered chat was made of
        self._options(None, {}, {})  # a policy that is none is an error now

    # ---- tokens

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        eos = self.model.tokenizer.eos
        return start_token(self.model) if eos is None else eos

    @property
    def prefix_token_id(self) -> int:
        """What a text without a context follows: the BOS, else the end of a text."""
        return start_token(self.model)

    @property
    def max_length(self) -> int:
        """Positions of a context."""
        return self.model.n_ctx

    @property
    def tokenizer_name(self) -> str:
        """For the harness's cache of requests: they are text here, and differ with the chat template."""
        return self.model.name.replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids of a text, after the BOS where the vocabulary has it so and it is not there yet."""
        return self.model.tokenize(string, bos=add_special_tokens is not False)

    # ---- log-likelihoods

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        """ln p of each continuation, and whether greedy decoding would write it."""
        scores = self.model.score_pairs([(r[1], r[2]) for r in requests])
        results = [(s.logprob, s.is_greedy) for s in scores]
        for request, result in zip(requests, results, strict=True):
            if request[0] is not None:
                self.cache_hook.add_partial("loglikelihood", request[0], result)
        return results

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """ln p of whole texts, in the harness's own windows, so that results compare with those of its other models."""
        results = []
        for (text,) in (r.args for r in requests):
            windows = utils.get_rolling_token_windows(
                token_list=self.tok_encode(text, add_special_tokens=False),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            pairs = [utils.make_disjoint_window(w) for w in windows]
            total = sum(s.logprob for s in self.model.score_pairs(pairs))
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), total)
            results.append(total)
        return results

    # ---- generations

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A chat as text, in the model's own template. `generate_until` knows it again, and lets thinking begin as it should."""
        text = self.model.chat_template.render(chat_history, generation=add_generation_prompt)
        if add_generation_prompt:
            self._chats[text] = [dict(m) for m in chat_history]
        return text

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template's source, for the harness's record."""
        return self.model.chat_template.source if chat_template else None

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """The answers: what follows the thinking, if there is any, up to one of the strings of `until`."""
        todo = []
        for i, (context, keywords) in enumerate(r.args for r in requests):
            chat = self._chats.get(context)
            prompt = context if chat is None else chat
            todo.append(prepare(self.model, prompt, self._options(chat, dict(keywords), {"seed": self.seed}), label=i))
        answers = {}
        for g in self._finished(todo):
            answers[int(str(g.label))] = record(self.model, g).answer
        for i, r in enumerate(requests):
            self.cache_hook.add_partial("generate_until", r.args, answers[i])
        return [answers[i] for i in range(len(requests))]

    def _finished(self, generations: Sequence[Any]) -> Iterator[Any]:
        for _ in loop.run(self.model, generations, at_once=self.streams, n_ctx=self.model.n_ctx_given):
            pass
        yield from generations

    def _options(self, chat: Any, asked: Mapping[str, Any], more: Mapping[str, Any]) -> GenerationOptions:
        """The options of a request. Without a policy, the task says whether to sample."""
        until = asked.get("until") or ()
        policy = self.policy
        if policy is None:
            temperature = float(asked.get("temperature") or 0.0)
            sampled = asked.get("do_sample", temperature > 0) and temperature > 0
            policy = f"sample:temperature={temperature:g}" if sampled else "greedy"
        return GenerationOptions.of(
            {
                "policy": policy,
                "max_tokens": int(asked.get("max_gen_toks") or asked.get("max_tokens") or self.max_gen_toks),
                "stop": (until,) if isinstance(until, str) else tuple(s for s in until if s),
                "chat": chat is not None,
                "think": self.think if chat is not None else "auto",
                "think_budget": self.think_budget if chat is not None else None,
                **more,
            }
        )


def register() -> None:
    """Make --model softllama known to versions of the harness that look at no entry points. Safe to call twice."""
    import lm_eval.models  # noqa: F401  # the others first: the harness loads them only where none is there
    from lm_eval.api import registry

    if NAME not in registry.MODEL_REGISTRY:
        register_model(NAME)(SoftLlamaLM)


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    register()
    cli_evaluate()
