"""What is expected of each chat template in llama.cpp's collection (models/templates), by the name of its file.

The templates are not kept here: `scripts/dev/templates.py FOLDER` gets them. A template that thinks has a `Thinks`, one that
does not a text that says why.
"""

from __future__ import annotations

from dataclasses import dataclass

KEPT = "the template keeps it"
DROPPED = "the template gets it, and drops it"
LEFT_OUT = "the template does not ask for it, so it is left out"
OWN = "the template's own way"
PREFILLED = "a closed block is prefilled"


@dataclass(frozen=True)
class Thinks:
    """How a template's generation prompt leaves the thinking state.

    Attributes:
        family: the beginning of its family's `models`.
        on: what the prompt ends in with --think auto and on; it is then inside a thinking block.
        off: what it ends in with --think off; it is then not.
        how: how thinking is switched off.
        history: what becomes of the thinking of earlier answers.
    """

    family: str
    on: str
    off: str
    how: str
    history: str


THINK = "DeepSeek-R1, DeepSeek-V3.1, Qwen3"
LINE, EMPTY = "<think>\n", "<think>\n\n</think>\n\n"
NO_BLOCK = "it does not think"
TABLE: dict[str, Thinks | str] = {
    "Apertus-8B-Instruct": Thinks(
        "Apertus", "<|assistant_start|><|inner_prefix|>", "<|assistant_start|>", OWN, LEFT_OUT
    ),
    "Apriel-1.6-15b-Thinker-fixed": Thinks(
        "Apriel 1.6",
        "<|begin_assistant|>\nHere are my reasoning steps:\n",
        "Here are my reasoning steps:\n[BEGIN FINAL RESPONSE]\n\n",
        PREFILLED,
        DROPPED,
    ),
    "Bielik-11B-v3.0-Instruct": Thinks(THINK, f"assistant\n{LINE}", "<|im_start|>assistant\n", OWN, KEPT),
    "ByteDance-Seed-OSS": Thinks(
        "Seed-OSS",
        "assistant\n<seed:think>\n",
        "so I will directly start answering the question.</seed:cot_budget_reflect>\n</seed:think>",
        OWN,
        KEPT,
    ),
    "Cohere2MoE": Thinks(
        "Command R7B",
        "<|CHATBOT_TOKEN|><|START_THINKING|>",
        "<|START_THINKING|><|END_THINKING|>",
        PREFILLED,
        KEPT,
    ),
    "CohereForAI-c4ai-command-r-plus-tool_use": NO_BLOCK,
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": Thinks(
        "Command R7B", "<|CHATBOT_TOKEN|><|START_THINKING|>", "<|START_THINKING|><|END_THINKING|>", OWN, DROPPED
    ),
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": Thinks(
        THINK, f"<｜Assistant｜>{LINE}", "<think>\n</think>\n\n", PREFILLED, LEFT_OUT
    ),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": Thinks(
        THINK, f"<｜Assistant｜>{LINE}", "<think>\n</think>", OWN, LEFT_OUT
    ),
    "deepseek-ai-DeepSeek-V3.1": Thinks(
        THINK, "<｜Assistant｜><think>", "<｜Assistant｜><think></think>", OWN, LEFT_OUT
    ),
    "deepseek-ai-DeepSeek-V3.2": Thinks(
        THINK, "<｜Assistant｜><think>", "<｜Assistant｜><think></think>", OWN, DROPPED
    ),
    "deepseek-ai-DeepSeek-V4-Flash-0731": Thinks(
        THINK, "<｜Assistant｜><think>", "<｜Assistant｜></think>", OWN, DROPPED
    ),
    "deepseek-ai-DeepSeek-V4": Thinks(THINK, "<｜Assistant｜><think>", "<｜Assistant｜></think>", OWN, DROPPED),
    "fireworks-ai-llama-3-firefunction-v2": NO_BLOCK,
    "GigaChat3-10B-A1.8B": NO_BLOCK,
    "GigaChat3.1-10B-A1.8B": NO_BLOCK,
    "GLM-4.6": Thinks(THINK, f"<|assistant|>{LINE}", "/nothink<|assistant|>\n<think></think>", OWN, DROPPED),
    "GLM-4.7-Flash": Thinks(THINK, "<|assistant|><think>", "<|assistant|></think>", OWN, DROPPED),
    "google-gemma-2-2b-it": NO_BLOCK,
    "google-gemma-4-31B-it-interleaved": Thinks(
        "Gemma 4", "<|turn>model\n<|channel>thought\n", "<|turn>model\n<|channel>thought\n<channel|>", OWN, DROPPED
    ),
    "google-gemma-4-31B-it": Thinks(
        "Gemma 4", "<|turn>model\n<|channel>thought\n", "<|turn>model\n<|channel>thought\n<channel|>", OWN, DROPPED
    ),
    "HuggingFaceTB-SmolLM3-3B": Thinks(THINK, f"assistant\n{LINE}", "<think>\n\n</think>\n", OWN, LEFT_OUT),
    "ibm-granite-granite-3.3-2B-Instruct": Thinks(
        "Granite 3.3", f"assistant<|end_of_role|>{LINE}", "assistant<|end_of_role|>", OWN, LEFT_OUT
    ),
    "ibm-granite-granite-4.0": NO_BLOCK,
    "ibm-granite-granite-4.1": NO_BLOCK,
    "inclusionai-ling-3.0-flash": Thinks(THINK, "ASSISTANT</role>\n<think>", "<think></think>", OWN, KEPT),
    "Kimi-K2-Instruct": NO_BLOCK,
    "Kimi-K2-Thinking": Thinks(THINK, f"<|im_middle|>{LINE}", f"<|im_middle|>{EMPTY}", PREFILLED, DROPPED),
    "Kimi-K3": Thinks("Kimi K3", "<|open|>think<|sep|>", "<|open|>response<|sep|>", OWN, KEPT),
    "LFM2-8B-A1B": NO_BLOCK,
    "LFM2.5-8B-A1B": Thinks(THINK, f"assistant\n{LINE}", f"assistant\n{EMPTY}", PREFILLED, LEFT_OUT),
    "LFM2.5-Instruct": "unknown: it drops thinking from earlier answers, and models that do not think share it",
    "llama-cpp-deepseek-r1": Thinks(THINK, f"<｜Assistant｜>{LINE}", "<think>\n</think>\n\n", PREFILLED, LEFT_OUT),
    "llama-cpp-rwkv-world": Thinks(THINK, "Assistant: <think>", "Assistant: <think>\n</think>", OWN, LEFT_OUT),
    "meetkai-functionary-medium-v3.1": NO_BLOCK,
    "meetkai-functionary-medium-v3.2": NO_BLOCK,
    "meta-llama-Llama-3.1-8B-Instruct": NO_BLOCK,
    "meta-llama-Llama-3.2-3B-Instruct": NO_BLOCK,
    "meta-llama-Llama-3.3-70B-Instruct": NO_BLOCK,
    "microsoft-Phi-3.5-mini-instruct": NO_BLOCK,
    "MiMo-VL": "unknown: the model thinks, and its template says nothing of it",
    "MiniMax-M1": "unknown: the model thinks, and its template says nothing of it",
    "MiniMax-M2": Thinks(THINK, f"ai\n{LINE}", "<think>\n</think>\n\n", PREFILLED, DROPPED),
    "MiniMax-M3": Thinks("MiniMax-M3", "ai\n<mm:think>", "ai\n</mm:think>", OWN, KEPT),
    "Mistral-Small-3.2-24B-Instruct-2506": NO_BLOCK,
    "mistralai-Ministral-3-14B-Reasoning-2512": Thinks(
        "Magistral", "[/INST][THINK]", "[/INST][THINK][/THINK]", PREFILLED, LEFT_OUT
    ),
    "mistralai-Mistral-Nemo-Instruct-2407": NO_BLOCK,
    "moonshotai-Kimi-K2": NO_BLOCK,
    "muse-glimmer": Thinks(
        "Muse Glimmer",
        "<|start|>assistant to=self<|message|>",
        "<|start|>assistant to=user<|message|>",
        PREFILLED,
        KEPT,
    ),
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": NO_BLOCK,
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": NO_BLOCK,
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": Thinks(THINK, f"assistant\n{LINE}", "<think></think>", OWN, DROPPED),
    "NVIDIA-Nemotron-Nano-v2": Thinks(THINK, f"Assistant\n{LINE}", "<think>\n</think>\n\n", PREFILLED, LEFT_OUT),
    "openai-gpt-oss-120b": Thinks(
        "gpt-oss",
        "<|start|>assistant<|channel|>analysis<|message|>",
        "<|start|>assistant<|channel|>final<|message|>",
        PREFILLED,
        LEFT_OUT,
    ),
    "openbmb-MiniCPM5-1B": Thinks(THINK, f"assistant\n{LINE}", f"assistant\n{EMPTY}", OWN, DROPPED),
    "poolside-Laguna-S-2.1": Thinks(THINK, "<assistant><think>", "<assistant></think>", OWN, KEPT),
    "poolside-Laguna-XS-2.1": Thinks(THINK, "<assistant>\n<think>", "<assistant>\n</think>", OWN, KEPT),
    "poolside-Laguna-XS.2": Thinks(THINK, "<assistant>\n<think>", "<assistant>\n</think>", OWN, KEPT),
    "Qwen-Qwen2.5-7B-Instruct": NO_BLOCK,
    "Qwen-Qwen3-0.6B": Thinks(THINK, f"assistant\n{LINE}", f"assistant\n{EMPTY}", OWN, DROPPED),
    "Qwen-QwQ-32B": Thinks(THINK, f"assistant\n{LINE}", "<think>\n</think>", OWN, LEFT_OUT),
    "Qwen3-Coder": "it does not think, though its vocabulary has the tags",
    "Qwen3.5-4B": Thinks(THINK, f"assistant\n{LINE}", f"assistant\n{EMPTY}", OWN, DROPPED),
    "Reka-Edge": Thinks(THINK, f"assistant: {LINE}", "assistant:", OWN, DROPPED),
    "Spark2.5": Thinks(THINK, "<|Bot|><think>", "<|Bot|></think>", OWN, KEPT),
    "stepfun-ai-Step-3.5-Flash": Thinks(THINK, f"assistant\n{LINE}", "<think>\n</think>\n\n", PREFILLED, DROPPED),
    "StepFun3.5-Flash": Thinks(THINK, f"assistant\n{LINE}", "<think>\n</think>\n\n", PREFILLED, DROPPED),
    "tencent-Hy3": Thinks("Hy3", "<think:opensource>", "<think:opensource></think:opensource>", OWN, DROPPED),
    "unsloth-Apriel-1.5": Thinks(
        "Apriel 1.5",
        "<|assistant|>\nHere are my reasoning steps:\n",
        "Here are my reasoning steps:\n\n[BEGIN FINAL RESPONSE]\n\n",
        PREFILLED,
        LEFT_OUT,
    ),
    "unsloth-mistral-Devstral-Small-2507": NO_BLOCK,
    "upstage-Solar-Open-100B": Thinks(
        "Solar Open",
        "<|begin|>assistant<|think|>",
        "<|think|><|end|><|begin|>assistant<|content|>",
        PREFILLED,
        LEFT_OUT,
    ),
}
