r"""The letter of a multiple choice, A to J, in a text. Knows no other rule for answers, and no model.

The first of these that there is; no letter where two are joined as the answer ("A or C", "B and D"):

1. the last sentence that names the answer: "the answer is B", "Answer: (b)", "答案是B", "Die Antwort lautet B", "B is correct"
2. a letter that begins the text: "B.", "(B) because", "b)", or alone on the first line
3. the last sentence that decides: "I choose B", "it must be B", "so B"
4. a letter that begins the last line, or is alone there
5. the only letter of "option B", "choice B"; the only letter in brackets; the only letter of the last sentence with one:
   without those that the text calls wrong

A and I are words as well: they count where the line or the sentence ends after them, or a reason follows. 2 and 4 do not
take from a list of the choices. docs/answer-rules.md has the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_OPEN = (
    r"(?:[\s*_`'\"“”‘’「『«»„>$(\[{（［【<]|\\\(|\\\[|\\(?:text|textbf|mathrm|mathbf|mathit|boxed|fbox)\s*\{|\\[, ])"
)
_CLOSE = r"(?:[*_`'\"“”‘’」』»$)\]}）］】>]|\\\)|\\\])"
_AFTER = r"(?![A-Za-z0-9_À-ɏ]|['’][A-Za-z]|-\w|[+#])"  # a letter alone, also before Chinese and Japanese
_STOP = r"[.,;:!?。，；：、！？…।<]"
_FOLLOWS = r"(?:because|since|as|due|given|which|while|but|with|and|or|is|et|und|oder|è|es|est|ist)\b"
_A_ENDS = rf"(?=[*]*[)\]}}）］】]|{_CLOSE}*[^\S\n]*(?:$|\n|{_STOP}|[-–—=\\]|{_FOLLOWS}|[^\x00-\x7f]))"
_I_ENDS = rf"(?={_CLOSE}*[^\S\n]*(?:$|\n|[.;:!?。，；：、！？…<]|,?\s*(?:because|since|as)\b|[^\x00-\x7f])|[*]*[)\]}}）］】$*])"
_CAPITAL = rf"(?:[B-HJ]{_AFTER}|A{_AFTER}{_A_ENDS}|I{_AFTER}{_I_ENDS})"
_LETTER = rf"{_OPEN}{{0,12}}+(?P<letter>{_CAPITAL}|[a-j](?=[)\]）}}]|\.?{_CLOSE}*\s*(?:\n|$)))"

_STRONG = (
    r"(?i:\b(?:answer|antwort|lösung|réponse|reponse|respuesta|risposta|resposta|antwoord|odpowiedź|odpowiedz|cevap|svaret|"
    r"svar|jawaban(?:nya)?|ответ)(?![^\W_]))|答案|正解|答え|回答|解答|정답|답|(?i:đáp án)|الإجابة|الجواب|उत्तर"
)
_WEAK = (
    r"(?i:\b(?:choice|option|selection|response|solution)(?![^\W_]))|选项|選項"  # need "is" or ":" before the letter
)
_LINK = (  # what may stand between the noun and the letter
    r"(?i:(?:is|was|are|be|should|must|would|will|has|to|likely|most|correct|right|best|probably|therefore|thus|so|clearly|"
    r"definitely|simply|indeed|option|choice|letter|number|answer|the|here|my|final|one|ist|lautet|wäre|buchstabe|richtige|"
    r"antwort|est|la|le|réponse|lettre|bonne|es|opción|opcion|correcta|correcte|letra|risposta|opzione|corretta|giusta|"
    r"lettera|è|é|é\s+(?-i:a)|opção|alternativa|correta|certa|het|juiste|antwoord|adalah|là|đúng|to|är|doğru)(?![^\W_]))"
    r"|应该|應該|应当|应为|應為|就是|选择|選擇|选项|選項|是|为|為|選|选|项|項|は|が|은|는|هي|هو|है|[:：=\-–—→⇒]"
    r"|\\(?:implies|rightarrow)"
)
_ABOUT = r"(?:\s+(?:to|for|of)\s+(?:[\w']+\s+){1,8}?(?=(?:is|should|must|would)\b))?"
_BETWEEN = rf"(?P<between>(?:{_OPEN}{{1,12}}+|{_LINK}|[)\]}}）】.]){{0,14}}?)"
_NAMED = re.compile(rf"(?:{_STRONG}|(?P<weak>{_WEAK})){_ABOUT}{_BETWEEN}{_LETTER}")
_CALLED = re.compile(  # "B is correct"
    rf"(?:^|(?<=[\s(*\"“])){_OPEN}{{0,4}}+(?P<letter>[A-J]){_AFTER}{_CLOSE}{{0,4}}(?:\s+(?i:is|would\s+be|seems|ist|est|es|è|é)\s+"
    r"(?i:(?:the|la|le|die)\s+)?(?i:(?:most|clearly|definitely|only)\s+)?"
    r"(?i:correct|right|best|answer|true|richtig|korrekt|correcta?|correcte|corretta|correta|bonne)\b"
    r"|\s*(?:正确|正確|是正确|是对的|是對的|が正解|が正しい))",
    re.MULTILINE,
)
_DECIDED = re.compile(
    r"(?:(?i:\b(?:choose|pick|select|vote\s+for|go(?:es|ing)?\s+with|conclude(?:\s+(?:that\s+it\s+is|with))?|"
    r"(?:it|this|that)(?:\s+is|'s|\s+must\s+be|\s+should\s+be|\s+has\s+to\s+be)|must\s+be|so|therefore|thus|hence|"
    r"leaves(?:\s+us\s+with)?|leaving|only|(?:best|correct|right)(?:\s+one)?\s+is)(?![^\W_]),?)|(?:故选|故選|应选|應選|选择|選擇|所以选|选|選)[:：]?)"
    rf"(?:\s+(?i:option|choice|answer|letter|only))?{_LETTER}"
)
_BEGINS = re.compile(
    rf"#*{_OPEN}{{0,12}}+(?P<letter>[A-J]{_AFTER}(?:{_CLOSE}{{1,4}}|{_CLOSE}{{0,4}}(?:[.:)）、;。；：，]|,(?<!I,)|\s[-–—]\s|\s*(?:\n|$)))"
    rf"|[a-j](?:[)）\]}}]|{_CLOSE}{{0,4}}\.?{_CLOSE}{{0,4}}\s*(?:\n|$)|[.:]\s))"
)
_JOINED = re.compile(
    rf"{_CLOSE}*\s*(?:[,/&、]|or\b|and\b|und\b|oder\b|ou\b|et\b|或|和|及)\s*(?:(?:or|and|option|choice|answer)\s+)*{_OPEN}{{0,4}}+"
    rf"(?:[A-J]{_AFTER}|[a-j](?=\)))(?={_CLOSE}*\s*(?:$|{_STOP}|(?:or|and|are)\b))"
)
_WRONG = re.compile(
    r"(?i:\b(?:not|isn't|isn’t|aren't|wrong|incorrect|false|never|neither|nor|eliminat\w+|ruled?\s+out|excluded?|cannot|can't|"
    r"unlike|rather\s+than|instead\s+of|trap|distractor|falsch|nicht|faux|fausse|incorrecta|sbagliat[ao])\b)|不|错|錯|误"
)
_CALLED_WRONG = re.compile(
    rf"{_CLOSE}*,?\s*(?:is|was|are|seems|would\s+be|can(?:not|'t)?|ist|est|es)\s*(?:also\s+|clearly\s+|be\s+)?(?:{_WRONG.pattern})"
)
_NAMES = re.compile(  # "vitamin C" is no answer
    r"(?i:vitamin|plan|hepatitis|figure|fig\.|table|part|step|group|section|appendix|type|grade|class|points?|line|angle|side|"
    r"vertex|variable|event|matrix|set|school|team|person|player|company|city|train|case|series|note|key|of|programming in)\s+$"
)
_REFUSAL = re.compile(
    r"\W*(?:I\s+(?:do\s?n[o'’]t|can\s?n?[o'’]?t|am\s+(?:not|unable))|unknown\b|none\b|not sure\b)", re.IGNORECASE
)
_LISTED = re.compile(r"^[^\S\n]*\(?[A-Ja-j][.):]\s.*|^[^\S\n]*(?i:option|choice)\s+[A-J][.):].*", re.MULTILINE)
_SENTENCE = re.compile(r"\n|(?<=[.!?。！？])(?=\s|[^\x00-\x7f])")
_ALONE = re.compile(rf"(?<![\w'’.-])(?<![=+/^<>]\s)({_CAPITAL})(?!\s*[=+/^>])")
_NONE = re.compile(r"\b(?:none|neither|not)\b[^.\n]*$", re.IGNORECASE)
_WIDE = {0xFF21 + i: chr(65 + i) for i in range(10)} | {0xFF41 + i: chr(97 + i) for i in range(10)}


def letter(text: str) -> str | None:
    """The letter that the text gives as its answer, as a capital; None if it gives none, or more than one."""
    text = text.translate(_WIDE)
    named = [m for m in _NAMED.finditer(text) if not m["weak"] or re.search(rf"(?:{_LINK})", m["between"])]
    called = [m for m in _CALLED.finditer(text) if not _NONE.search(text[max(0, m.start() - 80) : m.start()])]
    found = _last(text, [*named, *called])
    listed = len(set(re.findall(r"^[^\S\n]*\(?([A-Ja-j])[.):]\s", text, re.MULTILINE))) > 1
    if found is None and not listed and (m := _BEGINS.match(text.lstrip())):
        found = _one(text.lstrip(), m)
    if found is None:
        found = _last(text, list(_DECIDED.finditer(text)))
    if found is None:
        found = _on_last_line(text, listed)
    if found is None:
        found = _only(text, listed)
    return found or None


def letter_in_box(inside: str) -> str | None:
    r"""The letter of what was in a `\boxed{}`: `B`, `(B)`, `\text{B}`, `B. 5`, `(B) Paris`, `Answer: B`; else None."""
    text = re.sub(r"\\(?:text|textbf|mathrm|mathbf|textit)\s*\{([^{}]*)\}", r"\1", inside.translate(_WIDE))
    text = re.sub(r"\\[ ,;]|~", " ", text).strip().strip("$").strip()
    m = re.fullmatch(
        r"(?i:(?:option|choice|answer)\s*:?\s*)?(?:\(([A-Ja-j])\)|([A-Ja-j])(?=$|[.):]))[.):]?(\s*)(.*)",
        text,
        re.DOTALL,
    )
    if not m or (m[4] and re.match(rf"(?:or|and|,|/|&)?\s*\(?[A-J]\)?{_AFTER}\s*(?:$|[.,)])", m[4])):
        return None
    return (m[1] or m[2]).upper()


def _letter(m: re.Match[str]) -> str:
    return m["letter"][0].upper()


def _one(text: str, m: re.Match[str]) -> str:
    """The letter of a match; "" where another is joined to it, or it is no answer."""
    at = m.start("letter") + 1
    return "" if _JOINED.match(text, at) or _REFUSAL.match(text, at) else _letter(m)


def _last(text: str, matches: Iterable[re.Match[str]]) -> str | None:
    """The letter of the last match that is not called wrong; "" where two are joined."""
    kept = [m for m in matches if not _CALLED_WRONG.match(text, m.start("letter") + 1)]
    return _one(text, max(kept, key=lambda m: m.start("letter"))) if kept else None


def _on_last_line(text: str, listed: bool) -> str | None:
    line = text.strip().rsplit("\n", 1)[-1].strip()
    alone = re.fullmatch(rf"{_OPEN}{{0,12}}+([A-J]|[a-j](?=[.)]|\W*$)){_CLOSE}{{0,8}}[.。]?{_CLOSE}{{0,8}}", line)
    if alone:
        return alone[1].upper()
    m = None if listed else _BEGINS.match(line)
    return _one(line, m) if m and not _WRONG.search(line) else None


def _only(text: str, listed: bool) -> str | None:
    """The only letter after "option", else in brackets, else of the last sentence that has one."""
    kept = _LISTED.sub("", text) if listed else text
    sentences = [s for s in _SENTENCE.split(kept) if not re.search(r"\bnone\b", s, re.IGNORECASE)]
    clauses = [[c for c in re.split(r"[,;，；]", s) if not _WRONG.search(c)] for s in sentences]
    for pattern in (r"(?i:\b(?:option|choice)\s+)\(?([A-J])(?![\w'])", r"[(（]([A-Ja-j])[)）]"):
        letters = {x.upper() for cs in clauses for c in cs for x in re.findall(pattern, c)}
        if letters:
            return letters.pop() if len(letters) == 1 else ""
    for sentence in reversed(clauses):
        found = {m[1] for c in sentence for m in _ALONE.finditer(c) if not _NAMES.search(c[: m.start()])}
        if letters := found - {"I"}:
            return letters.pop() if len(letters) == 1 else ""
    return None
