"""llama.cpp's own options for memory, batches and the loading of files, under its names. Values are checked by llama/runtime.py."""

from softllama.cli.options import shared_option

NAMES = ("cache_type_k", "cache_type_v", "flash_attn", "n_batch", "n_ubatch", "no_mmap", "mlock", "numa")
_TYPES = "f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0 or iq4_nl"
OPTIONS = [
    shared_option(
        "--cache-type-k",
        other_names=["-ctk"],
        default="f16",
        metavar="TYPE",
        help=f"Keep the keys of the KV cache as {_TYPES}. Default: f16.",
    ),
    shared_option(
        "--cache-type-v",
        other_names=["-ctv"],
        default="f16",
        metavar="TYPE",
        help="The same for its values; types below f16 need flash attention. Default: f16.",
    ),
    shared_option(
        "--flash-attn",
        other_names=["-fa"],
        default="auto",
        metavar="WHEN",
        help="Flash attention: on, off, or auto for llama.cpp's choice. Default: auto.",
    ),
    shared_option(
        "--n-batch",
        other_names=["-b", "--batch-size"],
        type=int,
        metavar="N",
        help="Positions of a prompt that llama.cpp is given at once. Default: 512.",
    ),
    shared_option(
        "--n-ubatch",
        other_names=["-ub", "--ubatch-size"],
        type=int,
        metavar="N",
        help="Positions of them that it computes at once. Default: all.",
    ),
    shared_option("--no-mmap", is_flag=True, help="Read the file into memory, and do not map it."),
    shared_option("--mlock", is_flag=True, help="Keep the model in memory, and let it not be swapped out."),
    shared_option(
        "--numa",
        metavar="STRATEGY",
        help="For machines with several memory nodes: distribute, isolate or numactl.",
    ),
]
