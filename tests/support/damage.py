"""Damaged GGUF files, made on purpose: a file and a number give the same damage each time.

Three kinds of damage, mixed: bytes (flips, noise, cuts), lies (one field of the header overwritten in place, so that the
rest may no longer fit), and edits (the file written anew with a key or tensor changed, so that all counts and offsets
fit and only the meaning is wrong). Knows the container, not what llama.cpp makes of it.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace

SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
STRING, ARRAY = 8, 9
U32, F32, BOOL, U64 = 4, 6, 7, 10

# keys that architectures read, for adding one that the file does not have; {a} is the architecture
KEYS = (
    "context_length", "embedding_length", "embedding_length_out", "block_count", "leading_dense_block_count",
    "feed_forward_length", "expert_feed_forward_length", "expert_shared_feed_forward_length", "expert_count",
    "expert_used_count", "expert_shared_count", "expert_group_count", "expert_group_used_count", "expert_weights_scale",
    "expert_weights_norm", "expert_gating_func", "moe_every_n_layers", "nextn_predict_layers", "n_deepstack_layers",
    "pooling_type", "logit_scale", "embedding_scale", "residual_scale", "attn_logit_softcapping",
    "final_logit_softcapping", "router_logit_softcapping", "swin_norm", "rescale_every_n_layers", "time_mix_extra_dim",
    "time_decay_extra_dim", "token_shift_count", "interleave_moe_layer_step", "full_attention_interval",
    "use_parallel_residual", "tensor_data_layout", "decoder_start_token_id", "vocab_size", "attention.head_count",
    "attention.head_count_kv", "attention.max_alibi_bias", "attention.clamp_kqv", "attention.key_length",
    "attention.value_length", "attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon",
    "attention.group_norm_epsilon", "attention.group_norm_groups", "attention.causal", "attention.q_lora_rank",
    "attention.kv_lora_rank", "attention.relative_buckets_count", "attention.sliding_window",
    "attention.sliding_window_pattern", "attention.scale", "attention.output_scale", "attention.temperature_length",
    "attention.temperature_scale", "attention.key_length_mla", "attention.value_length_mla", "attention.key_length_swa",
    "attention.value_length_swa", "attention.shared_kv_layers", "rope.dimension_count", "rope.dimension_sections",
    "rope.freq_base", "rope.freq_base_swa", "rope.scale_linear", "rope.scaling.type", "rope.scaling.factor",
    "rope.scaling.attn_factor", "rope.scaling.original_context_length", "rope.scaling.finetuned",
    "rope.scaling.yarn_log_multiplier", "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow", "ssm.conv_kernel",
    "ssm.inner_size", "ssm.state_size", "ssm.time_step_rank", "ssm.group_count", "ssm.dt_b_c_rms", "wkv.head_size",
    "shortconv.l_cache", "altup.num_inputs", "altup.active_idx", "embedding_length_per_layer_input", "xielu.alpha_p",
    "classifier.output_labels",
)  # fmt: skip
TOKEN_KEYS = (
    "bos_token_id", "eos_token_id", "eot_token_id", "eom_token_id", "unknown_token_id", "seperator_token_id",
    "padding_token_id", "mask_token_id", "fim_pre_token_id", "add_bos_token", "add_eos_token", "add_space_prefix",
    "remove_extra_whitespaces", "precompiled_charsmap", "token_type_count", "prefix_token_id",
)  # fmt: skip
OTHER_KEYS = (
    "general.alignment",
    "general.type",
    "general.file_type",
    "split.count",
    "split.no",
    "split.tensors.count",
)
ARCHITECTURES = (
    "llama", "llama4", "deci", "falcon", "grok", "gpt2", "gptj", "gptneox", "mpt", "baichuan", "starcoder", "refact",
    "bloom", "stablelm", "qwen", "qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen3moe", "qwen3next", "phi2", "phi3", "plamo",
    "plamo2", "codeshell", "orion", "internlm2", "minicpm", "minicpm3", "gemma", "gemma2", "gemma3", "gemma3n", "starcoder2",
    "rwkv6", "rwkv7", "arwkv7", "mamba", "mamba2", "jamba", "xverse", "command-r", "cohere2", "dbrx", "olmo", "olmo2",
    "olmoe", "openelm", "arctic", "deepseek", "deepseek2", "chatglm", "glm4", "glm4moe", "bitnet", "t5", "t5encoder", "jais",
    "nemotron", "nemotron_h", "exaone", "exaone4", "granite", "granitemoe", "granitehybrid", "chameleon", "plm",
    "bailingmoe", "dots1", "arcee", "ernie4_5", "hunyuan-moe", "hunyuan-dense", "smollm3", "gpt-oss", "lfm2", "lfm2moe",
    "dream", "smallthinker", "llada", "seed_oss", "apertus", "minimax-m2", "cogvlm", "pangu-embedded", "bert", "clip", "",
    "no such",
)  # fmt: skip
PRE_TOKENIZERS = ("default", "llama-bpe", "gpt-2", "qwen2", "deepseek-llm", "falcon", "gpt-4o", "tekken", "no such", "")
TOKENIZERS = ("llama", "gpt2", "bert", "t5", "rwkv", "plamo2", "none", "no_vocab", "no such", "")
TYPES = (*range(45), 255, 1 << 30, -1)  # of tensors
SIZES = (
    0, 1, 2, 3, 4, 5, 7, 8, 16, 31, 32, 33, 48, 63, 64, 65, 127, 128, 255, 256, 257, 511, 512, 513, 1000, 1024, 4096, 65535,
    65536, 1 << 20, (1 << 24) - 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, 1 << 59, 1 << 61, (1 << 62) + 1,
    (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 31,
)  # fmt: skip
FLOATS = (
    0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-5, 1e-30, 1e-45, 1e10, 1e30, 3.4e38, -3.4e38, float("nan"), float("inf"),
    -float("inf"), 10000.0, 1e300, 5e-324,
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A key of the metadata. raw: the value's bytes as they stand in the file, for an array its items'."""

    key: bytes
    kind: int
    raw: bytes = b""
    item: int = 0
    items: tuple[bytes, ...] = ()

    def bytes(self) -> bytes:
        out = text(self.key) + struct.pack("<i", self.kind)
        if self.kind == STRING:
            return out + text(self.raw)
        if self.kind != ARRAY:
            return out + self.raw
        parts = [text(i) for i in self.items] if self.item == STRING else self.items
        return out + struct.pack("<iQ", self.item, len(self.items)) + b"".join(parts)


@dataclass(frozen=True)
class Info:
    """A tensor: name, dimensions in ggml's order, type, and its bytes up to the next tensor."""

    name: bytes
    dims: tuple[int, ...]
    kind: int
    data: bytes


@dataclass(frozen=True)
class Field:
    """A number or text in the header: where it lies, and what it is."""

    at: int
    n: int
    form: str  # of struct; "s" for text
    what: str


@dataclass
class File:
    """A GGUF file taken apart. fields: by what they are (a size, a value, ...)."""

    version: int
    entries: list[Entry]
    infos: list[Info]
    header_end: int = 0
    fields: dict[str, list[Field]] = field(default_factory=dict)

    @property
    def arch(self) -> str:
        found = next((e.raw for e in self.entries if e.key == b"general.architecture"), b"")
        return found.decode("utf-8", "replace")

    def bytes(self) -> bytes:
        """The file written anew: all counts and offsets fit."""
        alignment = 32
        out = [b"GGUF", struct.pack("<IQQ", self.version, len(self.infos), len(self.entries))]
        out += [e.bytes() for e in self.entries]
        data: list[bytes] = []
        at = 0
        for i in self.infos:
            dims = struct.pack(f"<I{len(i.dims)}Q", len(i.dims), *(d % (1 << 64) for d in i.dims))
            out.append(text(i.name) + dims + struct.pack("<iQ", i.kind, at))
            data.append(i.data + bytes(-len(i.data) % alignment))
            at += len(data[-1])
        head = b"".join(out)
        return head + bytes(-len(head) % alignment) + b"".join(data)


def text(raw: bytes) -> bytes:
    return struct.pack("<Q", len(raw)) + raw


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.fields = data, 24, dict[str, list[Field]]()

    def number(self, form: str, what: str) -> int:
        (value,) = struct.unpack_from(form, self.data, self.at)
        self._note(struct.calcsize(form), form, what)
        return int(value) if value == value and abs(value) != float("inf") else 0

    def text(self, what: str) -> bytes:
        n = self.number("<Q", f"length of {what}")
        if n > len(self.data) - self.at:
            raise ValueError("a text beyond the end")
        self._note(n, "s", what)
        return self.data[self.at - n : self.at]

    def raw(self, kind: int, what: str) -> bytes:
        if kind not in SCALARS:
            raise ValueError("an unknown type")
        start = self.at
        self.number(SCALARS[kind], what)
        return self.data[start : self.at]

    def _note(self, n: int, form: str, what: str) -> None:
        self.fields.setdefault(what, []).append(Field(self.at, n, form, what))
        self.at += n


def take_apart(data: bytes) -> File:
    """Raises ValueError or struct.error for what is not a whole GGUF."""
    if data[:4] != b"GGUF":
        raise ValueError("no GGUF")
    version, n_tensors, n_kv = struct.unpack_from("<IQQ", data, 4)
    if n_tensors > 10_000 or n_kv > 10_000:
        raise ValueError("too many")
    r = _Reader(data)
    r.fields["counts"] = [Field(8, 8, "<Q", "counts"), Field(16, 8, "<Q", "counts"), Field(4, 4, "<I", "counts")]
    entries = [_entry(r) for _ in range(n_kv)]
    raw = [_info(r) for _ in range(n_tensors)]
    end = r.at
    base = -(-end // 32) * 32
    infos = []
    for i, (name, dims, kind, offset) in enumerate(raw):
        stop = raw[i + 1][3] if i + 1 < n_tensors else len(data) - base
        infos.append(Info(name, dims, kind, data[base + offset : base + stop]))
    return File(version, entries, infos, end, r.fields)


def _entry(r: _Reader) -> Entry:
    key, kind = r.text("key"), r.number("<i", "type of value")
    if kind == STRING:
        return Entry(key, kind, r.text("text value"))
    if kind != ARRAY:
        return Entry(key, kind, r.raw(kind, "value"))
    item, n = r.number("<i", "type of items"), r.number("<Q", "length of array")
    if n > 1 << 20:
        raise ValueError("too long")
    what = "text in array" if item == STRING else "number in array"
    items = [r.text(what) if item == STRING else r.raw(item, what) for _ in range(n)]
    return Entry(key, kind, item=item, items=tuple(items))


def _info(r: _Reader) -> tuple[bytes, tuple[int, ...], int, int]:
    name, n = r.text("tensor name"), r.number("<I", "number of dimensions")
    if n > 8:
        raise ValueError("too many dimensions")
    dims = tuple(r.number("<Q", "dimension") for _ in range(n))
    return name, dims, r.number("<i", "tensor type"), r.number("<Q", "offset")


# ---- damage ----------------------------------------------------------------------------------------------------------

Damaged = tuple[bytes, str]


def damage(data: bytes, seed: str) -> Damaged:
    """The data with one to four faults, and what they are. The same for the same seed, on every machine."""
    rng = random.Random(seed)
    notes = []
    for _ in range(rng.choice((1, 1, 1, 1, 2, 2, 3, 4))):
        try:
            whole = take_apart(data)
        except (ValueError, struct.error):
            whole = None
        made = None
        while made is None:
            kind = rng.random()
            if whole is None or kind < 0.15:
                made = rng.choice(_BYTES)(rng, data, whole.header_end if whole else len(data))
            elif kind < 0.5:
                made = _lie(rng, data, whole)
            else:
                made = rng.choice(_EDITS)(rng, whole)
        data, note = made
        notes.append(note)
    return data, "; ".join(notes)


def _flip(rng: random.Random, data: bytes, end: int) -> Damaged:
    b = bytearray(data)
    stop = rng.choice((end, end, end, len(data)))
    places = sorted(rng.randrange(stop) for _ in range(rng.choice((1, 1, 2, 8, 64)))) if stop else []
    for at in places:
        b[at] ^= 1 << rng.randrange(8)
    return bytes(b), f"bits flipped at {places[:8]}"


def _noise(rng: random.Random, data: bytes, end: int) -> Damaged:
    stop = rng.choice((end, len(data)))
    at = rng.randrange(max(1, stop))
    n = rng.choice((1, 2, 4, 8, 32, 500, 5000))
    new = rng.choice((rng.randbytes(n), bytes(n), b"\xff" * n, b"\x7f" * n))[: len(data) - at]
    return data[:at] + new + data[at + len(new) :], f"{len(new)} bytes of noise at {at}"


def _cut(rng: random.Random, data: bytes, end: int) -> Damaged:
    n = rng.choice(
        (rng.randrange(max(1, end)), rng.randrange(max(1, len(data))), max(0, len(data) - rng.randrange(1, 200)))
    )
    return data[:n], f"cut to {n} bytes"


def _longer(rng: random.Random, data: bytes, end: int) -> Damaged:
    n = rng.choice((1, 31, 32, 100, 100_000))
    return data + rng.choice((bytes(n), rng.randbytes(n), data[:n])), f"{n} bytes behind the end"


def _shift(rng: random.Random, data: bytes, end: int) -> Damaged:
    at, n = rng.randrange(max(1, end)), rng.choice((1, 4, 8, 32))
    if rng.random() < 0.5:
        return data[:at] + data[at + n :], f"{n} bytes lost at {at}"
    return data[:at] + rng.randbytes(n) + data[at:], f"{n} bytes put in at {at}"


_BYTES: tuple[Callable[[random.Random, bytes, int], Damaged], ...] = (
    _flip,
    _flip,
    _noise,
    _noise,
    _cut,
    _longer,
    _shift,
)


def _lie(rng: random.Random, data: bytes, f: File) -> Damaged | None:
    what = rng.choice(sorted(f.fields))
    place = rng.choice(f.fields[what])
    if place.form == "s":
        if not place.n:
            return None
        old = data[place.at : place.at + place.n]
        new = bytearray(old)
        for _ in range(rng.choice((1, 1, 3))):
            new[rng.randrange(place.n)] = rng.choice((0, 255, 32, rng.randrange(256), 0xC3))
        return data[: place.at] + bytes(new) + data[place.at + place.n :], f"{what} {old[:40]!r} is {bytes(new)[:40]!r}"
    raw = data[place.at : place.at + place.n]
    new_raw = scalar(rng, place.form, raw)
    return data[: place.at] + new_raw + data[
        place.at + place.n :
    ], f"{what} at {place.at}: {raw.hex()} is {new_raw.hex()}"


def scalar(rng: random.Random, form: str, old: bytes) -> bytes:
    """A number of that form that is likely to do harm; old: the one in its place."""
    n = struct.calcsize(form)
    if form in ("<f", "<d"):
        value = rng.choice(FLOATS)
        return old[: n - 1] + bytes([rng.randrange(256)]) if rng.random() < 0.2 else _pack_float(form, value)
    was = int.from_bytes(old, "little")
    value = rng.choice(
        (rng.choice(SIZES), was + 1, was - 1, was * 2, was // 2, was * 3, was ^ 1 << rng.randrange(8 * n), -was)
    )
    return (value % (1 << 8 * n)).to_bytes(n, "little")


def _pack_float(form: str, value: float) -> bytes:
    try:
        return struct.pack(form, value)
    except OverflowError:
        return struct.pack(form, float("inf"))


def _random_entry(rng: random.Random, key: bytes) -> Entry:
    kind = rng.choice((U32, U32, U32, 5, U64, F32, BOOL, STRING, ARRAY, 0))
    if kind == STRING:
        return Entry(
            key, kind, rng.choice((b"", b"linear", b"yarn", b"none", b"longrope", b"x" * 1000, b"\xff\0a", b"model"))
        )
    if kind == ARRAY:
        item = rng.choice((U32, 5, F32, BOOL, STRING))
        n = rng.choice((0, 1, 2, 3, 4, 5, 8, 512, 513, 1000))
        one = b"a" if item == STRING else b""
        items = [one or scalar(rng, SCALARS[item], bytes(4)) for _ in range(n)]
        return Entry(key, kind, item=item, items=tuple(i[:1] if item == BOOL else i for i in items))
    return Entry(key, kind, scalar(rng, SCALARS[kind], bytes(8)[: struct.calcsize(SCALARS[kind])]))


def _entry_anew(rng: random.Random, f: File) -> Damaged | None:
    """A key that says something else, of the same type or of another."""
    i = rng.randrange(len(f.entries)) if f.entries else -1
    if i < 0:
        return None
    e = f.entries[i]
    if rng.random() < 0.3:
        new = _random_entry(rng, e.key)
    elif e.kind == STRING:
        new = replace(
            e, raw=rng.choice((b"", e.raw[:-1], e.raw * 2, b"\xff\xfe", b"a\0b", b"{{ messages }}", b"x" * 100_000))
        )
    elif e.kind == ARRAY:
        new = _array_anew(rng, e)
    else:
        new = replace(e, raw=scalar(rng, SCALARS[e.kind], e.raw))
    return _with(f, [*f.entries[:i], new, *f.entries[i + 1 :]]), f"{_name(e)} = {_name(new, True)}"


def _array_anew(rng: random.Random, e: Entry) -> Entry:
    items = list(e.items)
    how = rng.randrange(6)
    if how == 0:
        items = items[: rng.randrange(len(items) + 1)]
    elif how == 1:
        items = items + items[: rng.choice((1, 5, 100))]
    elif how == 2 and items:
        items = [items[0]] * len(items)
    elif how == 3:
        rng.shuffle(items)
    elif items:
        for _ in range(rng.choice((1, 1, 5, 50))):
            j = rng.randrange(len(items))
            if e.item == STRING:
                items[j] = rng.choice(
                    (b"", items[j] + b"x", b"\xff", b"\xe2\x96\x81", b" ", b"a b", rng.choice(items), b"a\0")
                )
            else:
                items[j] = scalar(rng, SCALARS[e.item], items[j])
    return replace(e, items=tuple(items))


def _entry_gone(rng: random.Random, f: File) -> Damaged | None:
    if not f.entries:
        return None
    i = rng.randrange(len(f.entries))
    return _with(f, f.entries[:i] + f.entries[i + 1 :]), f"{_name(f.entries[i])} is gone"


def _entry_new(rng: random.Random, f: File) -> Damaged | None:
    key = rng.choice(
        (f"{f.arch}.{rng.choice(KEYS)}", f"{f.arch}.{rng.choice(KEYS)}", f"{f.arch}.{rng.choice(KEYS)}",
         f"tokenizer.ggml.{rng.choice(TOKEN_KEYS)}", rng.choice(OTHER_KEYS))
    ).encode()  # fmt: skip
    new = _random_entry(rng, key)
    rest = [e for e in f.entries if e.key != key or rng.random() < 0.1]  # seldom: the key twice
    return _with(f, [*rest, new]), f"new: {_name(new, True)}"


def _other_name(rng: random.Random, f: File) -> Damaged | None:
    """Another architecture (its keys renamed, most times) or another tokenizer."""
    if rng.random() < 0.4:
        key = rng.choice((b"tokenizer.ggml.model", b"tokenizer.ggml.pre"))
        value = rng.choice(TOKENIZERS if key.endswith(b"model") else PRE_TOKENIZERS).encode()
        return _with(f, [*(e for e in f.entries if e.key != key), Entry(key, STRING, value)]), f"{key!r} = {value!r}"
    new = rng.choice(ARCHITECTURES)
    entries = []
    rename = rng.random() < 0.9
    for e in f.entries:
        if e.key == b"general.architecture":
            entries.append(replace(e, raw=new.encode()))
        elif rename and e.key.startswith(f.arch.encode() + b"."):
            entries.append(replace(e, key=new.encode() + e.key[len(f.arch.encode()) :]))
        else:
            entries.append(e)
    return _with(f, entries), f"architecture {f.arch} is {new!r}"


def _tensor_gone(rng: random.Random, f: File) -> Damaged | None:
    if not f.infos:
        return None
    i = rng.randrange(len(f.infos))
    return replace(f, infos=f.infos[:i] + f.infos[i + 1 :]).bytes(), f"tensor {f.infos[i].name!r} is gone"


def _tensor_anew(rng: random.Random, f: File) -> Damaged | None:
    """A tensor of another name, type or shape, whose bytes may or may not be enough."""
    if not f.infos:
        return None
    i = rng.randrange(len(f.infos))
    t = f.infos[i]
    how = rng.randrange(6)
    if how == 0:
        new = replace(t, name=rng.choice((rng.choice(f.infos).name, t.name + b"x", b"", b"n" * 100, b"output.weight")))
    elif how == 1:
        new = replace(t, kind=rng.choice(TYPES))
    elif how == 2:
        new = replace(t, dims=tuple(rng.sample(t.dims, len(t.dims))))
    elif how == 3:
        new = replace(t, dims=(*t.dims, rng.choice((1, 1, 2)))[:5])
    elif how == 4 and t.dims:
        j = rng.randrange(len(t.dims))
        dims = [rng.choice((d, d + 1, d * 2, d // 2, rng.choice(SIZES))) if k == j else d for k, d in enumerate(t.dims)]
        n = 4
        for d in dims:
            n *= d
        new = replace(t, dims=tuple(dims), data=(t.data * 5)[:n] if n <= len(t.data) * 5 else t.data)
    else:
        new = replace(
            t, data=rng.choice((b"", t.data[: len(t.data) // 2], t.data * 2, b"\xff" * len(t.data), bytes(len(t.data))))
        )
    was, now = (f"{x.name[:40]!r} {x.dims} {x.kind} of {len(x.data)} bytes" for x in (t, new))
    note = f"tensor {was} is {now}"
    return replace(f, infos=[*f.infos[:i], new, *f.infos[i + 1 :]]).bytes(), note


def _tensors_mixed(rng: random.Random, f: File) -> Damaged | None:
    if len(f.infos) < 2:
        return None
    i, j = rng.sample(range(len(f.infos)), 2)
    infos = list(f.infos)
    if rng.random() < 0.5:
        infos[i], infos[j] = replace(infos[i], name=infos[j].name), replace(infos[j], name=infos[i].name)
        return replace(f, infos=infos).bytes(), f"tensors {infos[i].name!r} and {infos[j].name!r} have changed names"
    name = infos[i].name + rng.choice((b".bias", b"_2")) if rng.random() < 0.3 else _sibling(rng, infos[i].name)
    return replace(f, infos=[*infos, replace(infos[i], name=name)]).bytes(), f"another tensor {name!r}"


def _sibling(rng: random.Random, name: bytes) -> bytes:
    """The name of an optional tensor near this one."""
    layer, _, _ = name.rpartition(b".attn")
    part = rng.choice((b"attn_q.bias", b"attn_q_norm.weight", b"attn_qkv.weight", b"attn_sinks", b"ffn_gate_inp.weight",
                       b"ffn_up.bias", b"rope_freqs.weight", b"attn_output.bias", b"ffn_gate_exps.weight"))  # fmt: skip
    return (layer + b"." if layer else b"blk.0.") + part


_EDITS: tuple[Callable[[random.Random, File], Damaged | None], ...] = (
    _entry_anew, _entry_anew, _entry_anew, _entry_new, _entry_new, _entry_gone, _other_name, _tensor_gone, _tensor_anew,
    _tensor_anew, _tensors_mixed,
)  # fmt: skip


def _with(f: File, entries: list[Entry]) -> bytes:
    return replace(f, entries=entries).bytes()


def _name(e: Entry, value: bool = False) -> str:
    key = e.key.decode("utf-8", "replace")
    if not value:
        return key
    if e.kind == ARRAY:
        return f"{key} of {len(e.items)} items of type {e.item}"
    if e.kind == STRING:
        return f"{key} {e.raw[:30]!r} ({len(e.raw)} bytes)"
    return f"{key} {struct.unpack(SCALARS[e.kind], e.raw)[0]} of type {e.kind}"
