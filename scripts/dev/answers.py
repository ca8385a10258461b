"""Put the results of `softllama study all` into docs/answers.md, between its markers.

    softllama study all -o answers
    softllama study all -m SmolLM2-135M-Instruct-Q4_1.gguf -o answers/smollm2
    softllama study all -m qwen2.5-coder-0.5b-instruct-q4_k_m.gguf --quick -o answers/qwen
    softllama study adapter -m SmolLM2-135M-Instruct-Q4_1.gguf --lora mix.lora.gguf -o answers/smollm2
    python scripts/bench/thinking_gain.py answers/gain -m SmolLM2-135M-Instruct-Q4_1.gguf --lora mix.lora.gguf
    python scripts/dev/answers.py answers

What has not run is left as it is. The text between `<!-- NAME -->` and `<!-- end -->` is replaced by the sentences of the
study NAME, the tables of `<!-- NAME: table, table -->` by those. Knows Markdown and the studies' JSON.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from softllama.report.data import below_text, cell_text
from softllama.vectors.statistics import Estimate

PAGE = Path(__file__).resolve().parents[2] / "docs" / "answers.md"
NAN = float("nan")


def cell(value: Any, floor: float = 0.0) -> str:
    """A cell as the studies' own tables show it. floor: the noise floor of its column."""
    number = value["value"] if isinstance(value, dict) else value
    if isinstance(number, int | float) and abs(number) < floor:
        return below_text(floor)
    if isinstance(value, dict):
        ends = [NAN if value[k] is None else value[k] for k in ("value", "low", "high")]
        return cell_text(Estimate(*ends, value["n"]))
    return cell_text(value).replace("|", "\\|")


def tables(report: dict[str, Any], names: list[str]) -> str:
    out = []
    for t in report["results"]["tables"]:
        if t["name"] in names and t["rows"]:
            head = [h.replace("|", "\\|").strip() for h in t["rows"][0]]
            rows = [
                "| " + " | ".join(cell(c, t.get("floors", {}).get(k, 0.0)) for k, c in r.items()) + " |"
                for r in t["rows"]
            ]
            lines = [
                f"**{t['title']}.** {t['note']}".strip(),
                "",
                "| " + " | ".join(head) + " |",
                "|---" * len(head) + "|",
            ]
            out.append("\n".join([*lines, *rows]))
    return "\n\n".join(out)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "answers")

    def fill(m: re.Match[str]) -> str:
        file = folder / f"{m[1]}.json"
        if not file.is_file():
            return m[0]
        report = json.loads(file.read_text(encoding="utf-8"))
        names = [n.strip() for n in (m[2] or "").split(",") if n.strip()]
        text = tables(report, names) if names else "\n".join(f"- {a}" for a in report["results"]["answer"])
        return f"<!-- {m[1]}{':' + m[2] if m[2] else ''} -->\n\n{text}\n\n<!-- end -->"

    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(
        re.sub(r"<!-- ([a-z0-9/-]+)(?::([a-z, -]+))? -->\n.*?<!-- end -->", fill, page, flags=re.S), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
