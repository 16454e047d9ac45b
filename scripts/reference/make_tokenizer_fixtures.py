#!/usr/bin/env python3
"""Makes tests/fixtures/tokenizer/: odd lines and the tokens that transformers makes of them.

    python3 -m venv env && env/bin/pip install -r scripts/reference/requirements.txt
    env/bin/python scripts/reference/make_tokenizer_fixtures.py --minilm FOLDER

FOLDER holds tokenizer.json and tokenizer_config.json of sentence-transformers/all-MiniLM-L6-v2.

`lines.json` is a list of 500 odd lines. `cut.json` is MiniLM's tokenizer.json with the first 6,000
tokens of its vocabulary, numbered anew, without the unused ones; every single character is among
them. `bpe.json` is a byte-level BPE tokenizer as RoBERTa's, trained on the lines.

`cut-expected.json`, `bpe-expected.json` and `minilm-expected.json` (of the whole vocabulary) hold
what transformers makes of the lines, cut to `max_tokens`, without padding: `single` is a list of
ids for every line; `pairs` is one for every line with the next one behind it, the last line having
the first. `single_types` and `pair_types` are the types of these tokens, a digit a token.
`single_longer` and `pairs_longer` count what was cut. All files are ASCII: characters that change
how others are shown are escaped.
"""

import argparse
import hashlib
import json
import logging
import pathlib
import shutil
import tempfile
import unicodedata

import tokenizers
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

OUT = pathlib.Path(__file__).resolve().parent.parent.parent / "tests/fixtures/tokenizer"
LINES, TOKENS, BPE_TOKENS, MAX_TOKENS = 500, 6000, 900, 64

EMPTY = ["", " ", "   ", "\t", "\n", "\r\n", " \t \n ", "\u00a0", "\u3000\u3000", "\u200b", "\ufeff"]

PLAIN = [
    "a masterpiece, plain and simple.",
    "The film is so bad it isn't even funny; I left after twenty minutes.",
    "NO!!! NOT AGAIN???",
    "he'll've'd it, y'all; rock'n'roll -- 'tis o'clock",
    "hyphen-ated, under_scored, slash/ed, back\\slashed, dotted.word, co:lon",
    "one  two   three    four\tfive\nsix\r\nseven\vnine\ften",
    " leading and trailing ",
    "CamelCaseWords and SHOUTING and mIxEd",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    "(parentheses) [brackets] {braces} <angles> \"quotes\" 'single' `ticks`",
    "end…", "wait... what?!", "¿qué? ¡sí!", "«guillemets» „low” ‚single’ ‹small›",
    "em—dash, en–dash, minus−sign, hyphen‐mark, non‑breaking‑hyphen, bar―line",
]  # fmt: skip

NUMBERS = [
    "0", "42", "3.14159", "-17", "+1", "1,000,000.00", "1e-10", "0x1F600", "7/10", "100%", "$9.99",
    "€5", "£1,234", "¥500", "₹99", "₿1", "№ 5", "12:34:56", "2024-02-29T23:59:60Z", "1st 2nd 3rd 4th",
    "½ ¾ ⅓", "x² + y³ = z⁴", "H₂O", "Ⅷ ⅻ ⅿ", "①②③⑳", "٠١٢٣٤٥٦٧٨٩", "०१२३", "一二三四", "１２３４５",
    "𝟏𝟐𝟑 𝟘𝟙", "3,14", "1'000", "(555) 010-0199", "192.0.2.1", "2001:db8::1",
    "314159265358979323846264338327950288419716939937510",
]  # fmt: skip

ADDRESSES = [
    "https://example.org/path/to?query=1&other=two#part", "www.example.com", "user.name+tag@example.org",
    "ftp://user:word@host:21/%7Efolder/file%20name.txt", "@handle #hashtag #CamelTag", "C:\\Users\\name",
    "/usr/share/doc/*.gz", "~/.config/file", "http://例え.テスト/パス", "mailto:a@b.c", "file:///etc/hosts",
]  # fmt: skip

HTML = [
    "<p>A <b>bold</b> film.<br /><br />Really.</p>", "&amp; &lt;b&gt; &quot;x&quot; &#39;y&#39; &nbsp;",
    "<a href=\"https://example.org\" class='x'>link</a>", "<!-- a comment --><![CDATA[x]]>",
    "{\"key\": [1, 2.5, null, true]}", "if (a<b && c>=d) { return !x ^ ~y | z; }", "**bold** _it_ `code`",
    "\\frac{1}{2} \\alpha_{i}^{2}", "a\\nb\\tc", "SELECT * FROM t WHERE x = 'y';--", "$ rm -- -x | wc -l",
]  # fmt: skip

SPECIAL = [
    "[SEP]", "[CLS]", "[MASK]", "[PAD]", "[UNK]", "a [SEP] b", "a[SEP]b", "[CLS][SEP]", "[sep] [Mask]",
    "[ SEP ]", "fill the [MASK].", "[MASK][MASK] [MASK]", " [SEP] ", "[PAD] [PAD] x", "##ing", "## s", "x##y",
    "[unused0] [unused99]", "<s>", "</s>", "<s>a</s>", "<pad>", "<mask> it", "<unk>", "<|endoftext|>",
    "[SEP]é", "[[SEP]]", "é[MASK]\u0301", "[SEP\u200b]",
]  # fmt: skip

EMOJI = [
    "😀", "😀😀😀", "good 👍 bad 👎", "👍🏻 👍🏼 👍🏽 👍🏾 👍🏿", "👨‍👩‍👧‍👦", "👩🏽‍🚀 in space", "🏳️‍🌈", "🏴‍☠️",
    "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "🇧🇷🇯🇵", "🇧", "❤️ ❤ ❤︎", "☺️☺", "1️⃣2️⃣ #️⃣ *️⃣", "👁️‍🗨️", "🧑🏿‍🤝‍🧑🏻", "🤷🏼‍♀️", "‍", "👩‍", "️",
    "🎬🍿⭐️⭐️⭐️", "word🎬word", "🎬word🎬", ":-) ;-) :( <3 xD ^_^ ¯\\_(ツ)_/¯ (╯°□°）╯︵ ┻━┻", "🫠🪿🩷",
    "🀄🂡🃏", "⌚⏰☎️", "©️ ®️ ™️", "⚢⚣♈♓", "🟥🟦⬛⬜",
]  # fmt: skip

SCRIPTS = [
    "映画はとても面白かったです。", "これは「傑作」だ！", "カタカナ ｶﾀｶﾅ ひらがな", "这部电影很好看，强烈推荐。",
    "電影不好看", "我爱the电影2遍", "中文 with English 混合 text", "한국어 영화는 훌륭했다", "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "𠀀𠮷野家 𪚥", "﨑 豈 更 車", "々〆〇〻", "ㄅㄆㄇ", "ﾊﾟﾊﾞ", "株式会社㈱㍿", "Ｆｕｌｌ ｗｉｄｔｈ！",
    "فيلم رائع جداً!", "هذا فِيلْمٌ جَمِيلٌ", "لا إله ﷲ ﷺ", "آن فیلم خوب بود؟", "یہ فلم اچھی ہے۔", "הסרט היה נהדר.",
    "הַסֶּרֶט הָיָה נֶהְדָּר", "עברית and English עברית", "abc العربية 123 def", "Фильм был отличный!", "ЁЖИК ёжик Йод",
    "Їжак ґанок", "Η ταινία ήταν υπέροχη.", "ΣΊΣΥΦΟΣ σίσυφος ΑΣ ας", "ἄνθρωπος ᾳ ᾼ", "फ़िल्म बहुत अच्छी थी।",
    "ক্ষুদ্র বাংলা", "தமிழ் திரைப்படம்", "తెలుగు సినిమా", "ಕನ್ನಡ", "മലയാളം", "ਪੰਜਾਬੀ", "ગુજરાતી", "සිංහල",
    "ภาพยนตร์เรื่องนี้ดีมาก", "ກິນເຂົ້າ", "မြန်မာ", "ភាសាខ្មែរ", "བོད་སྐད།", "ქართული ფილმი", "Հայերեն", "አማርኛ ፊልም።",
    "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ", "ᠮᠣᠩᠭᠣᠯ", "ⲙⲉⲧ", "ᚠᚢᚦᚨᚱᚲ", "𐌰𐌱𐌲", "𓀀𓂀", "𒀀𒁀", "ߒߞߏ", "ⵜⴰⵎⴰⵣⵉⵖⵜ",
]  # fmt: skip

ACCENTS = [
    "Émigrés in São Paulo", "naïve café, Ångström, Łódź, Dvořák", "über größte Straße ẞ ß", "İstanbul ıssız Iğdır",
    "Tiếng Việt rất hay, đúng vậy", "ǅ ǆ Ǆ ĳ Ĳ ŉ ŀ", "ﬁlm ﬂow ﬀ ﬃ ﬄ ﬅ", "Ørsted æsir œuvre þorn ðat", "ñ Ñ ç Ç ğ Ğ ş Ș ț",
    "Ǖ ṩ ḝ ộ ṻ", "Å Å K Ω", "ſtop ſſ", "ÀÉÎÕÜ àéîõü", "crème brûlée à la façon", "Škoda žluťoučký kůň",
    "pâté naïveté résumé", "Zoë, Chloë & Renée", "ʻOkina Hawaiʻi ʼn", "ɐɟɪʃʒ ˈfʊəɹ ɪpiˈeɪ", "ＡＢＣ ａｂｃ",
]  # fmt: skip

MARKS = [
    "Z͑ͫ̓a̴l̷g̸o̶ t̷e̷x̷t̷", "a\u0301\u0302\u0303\u0304\u0305", "\u0301", " \u0301 ", "a\u0301", "\u0301a", "e\u0301\u0301",
    "o\u0323\u0302", "o\u0302\u0323", "a\u20dd b\u20e3", "\u05b0\u05b1", "\u064b\u064c\u0651", "\u0c3e", "\u094d", "i\u0307",
    "\u1e9b\u0323", "q\u0307\u0323", "\u0344", "\u1fed", "d\u0307\u0323",
]  # fmt: skip

SYMBOLS = [
    "∀x∈ℝ: ∃y≤x², ∑ᵢ∫∂f√∞≠≈", "→ ← ↑ ↓ ⇒ ⇔ ⟶", "♠♥♦♣ ♩♪♫ ☃☂★☆✓✗", "░▒▓█ ─│┌┐└┘ ╔═╗", "⠓⠑⠇⠇⠕", "𝕏 𝓯𝓾𝓷 𝔣𝔲𝔫 𝖇𝖔𝖑𝖉 𝚖𝚘𝚗𝚘", "ⓐⓑⓒ ⒜⒝",
    "℃ ℉ Å µ μ Ω Ω ℓ ℵ ™ ℠", "§ ¶ † ‡ • ‣ ※ ⁂", "¤ ¢ ƒ ₩ ₪ ₫ ₺", "° ′ ″ ‴ ‰ ‱", "ªº¹²³", "𝄞𝄢", "˙ˊˋ˘¨´¸˛", "^`~¬¦", "❝❞❛❜",
]  # fmt: skip

LONG = [
    "a" * 99, "a" * 100, "a" * 101, "antidisestablishmentarianism" * 8, "é" * 100, "é" * 101, "e\u0301" * 60,
    "映" * 80, "😀" * 70, "😀" * 101, "x" * 30 + " " + "y" * 150 + " z", "un" * 50 + "s", "-" * 100, "." * 70, "ab " * 90,
    "no no no " * 30, "[MASK]" * 70, "looooooooooooool " * 20, "1234567890" * 11, "ا" * 101, "\u200b".join("zero width"), "0" * 100,
    "the quick brown fox jumps over the lazy dog " * 8,
]  # fmt: skip

INVISIBLE = [0xAD, 0x34F, 0x61C, 0x115F, 0x17B4, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F)]
INVISIBLE += [*range(0x2060, 0x2065), *range(0x2066, 0x206A), 0x3164, 0xFE0F, 0xFEFF, 0xFFF9, 0xE0001, 0xE0020]
SPACES = [0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
# Private use, unassigned, non-characters, and object replacement and replacement characters.
STRANGE = [0xE000, 0xF8FF, 0xF0000, 0x378, 0xFDD0, 0xFFFE, 0xFFFF, 0x10FFFF, 0xFFFC, 0xFFFD]
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" + "¡§«·»¿–—‘’“”†‡•…‰′※、。「」『』〜！？｡؟،।"


def lines():
    """The same list on every call: the lines above, then combinations of their parts."""
    listed = EMPTY + PLAIN + NUMBERS + ADDRESSES + HTML + SPECIAL + EMOJI + SCRIPTS + SYMBOLS + MARKS + LONG
    for text in ACCENTS:
        listed += [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    controls = [*range(0x20), *range(0x7F, 0xA0)]
    listed += [f"a{chr(c)}b {chr(c)} c" for c in controls]
    listed += [f"in{chr(c)}side {chr(c)}" for c in INVISIBLE + SPACES + STRANGE]
    listed += [PUNCTUATION[i : i + 2] for i in range(0, len(PUNCTUATION), 2)]
    listed = list(dict.fromkeys(listed))
    short = [text for text in listed if 0 < len(text) < 40]
    between = ["", " ", "-", ", ", "\u200b", "\u00a0", "/"]
    number = 0
    while len(listed) < LINES:
        parts = [short[(number * step + start) % len(short)] for step, start in ((37, 0), (101, 5))]
        listed.append(between[number % len(between)].join(parts))
        number += 1
    return listed[:LINES]


def cut(tokenizer):
    """The tokenizer's JSON with a part of its vocabulary, most frequent first as BERT's has it."""
    content = json.loads(json.dumps(tokenizer))
    vocabulary = content["model"]["vocab"]
    special = {token["content"] for token in content["added_tokens"]}
    ordered = sorted(vocabulary, key=vocabulary.get)
    letters = [t for t in ordered if len(t.removeprefix("##")) == 1]
    first = set(special) | set(letters)
    for token in ordered:
        if len(first) < TOKENS and not token.startswith("[unused"):
            first.add(token)
    numbers = {t: i for i, t in enumerate(t for t in ordered if t in first)}
    content["model"]["vocab"] = numbers
    for token in content["added_tokens"]:
        token["id"] = numbers[token["content"]]
    for token in content["post_processor"]["special_tokens"].values():
        token["ids"] = [numbers[t] for t in token["tokens"]]
    return content


def bpe(texts):
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=BPE_TOKENS,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=special,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return json.loads(tokenizer.to_str())


def expected(tokenizer, texts):
    out = {
        "max_tokens": MAX_TOKENS,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
    }
    following = texts[1:] + texts[:1]
    for name, types, given in (
        ("single", "single_types", (texts,)),
        ("pairs", "pair_types", (texts, following)),
    ):
        found = tokenizer(
            *given, truncation=True, max_length=MAX_TOKENS, padding=False, return_token_type_ids=True
        )
        whole = tokenizer(*given, truncation=False, padding=False)["input_ids"]
        out[name] = found["input_ids"]
        out[types] = ["".join(map(str, one)) for one in found["token_type_ids"]]
        out[f"{name}_longer"] = sum(len(ids) > MAX_TOKENS for ids in whole)
    return out


def write(name, value):
    """Writes one entry per line, so that changes are readable."""
    compact = lambda v: json.dumps(v, ensure_ascii=True, separators=(",", ":"))
    if isinstance(value, list):
        text = "[\n" + ",\n".join(map(compact, value)) + "\n]\n"
    else:
        text = "{\n" + ",\n".join(f"{compact(k)}:{compact(v)}" for k, v in value.items()) + "\n}\n"
    (OUT / name).write_text(text, encoding="ascii")
    print(f"{name}: {len(text):,} bytes")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minilm", required=True, type=pathlib.Path)
    options = parser.parse_args()
    # Otherwise transformers warns about each text with more tokens than the model takes.
    logging.getLogger("transformers").setLevel(logging.ERROR)
    OUT.mkdir(parents=True, exist_ok=True)
    texts = lines()
    write("lines.json", texts)
    source = (options.minilm / "tokenizer.json").read_bytes()
    write("cut.json", cut(json.loads(source)))
    write("bpe.json", bpe(texts))
    whole = expected(AutoTokenizer.from_pretrained(options.minilm), texts)
    write("minilm-expected.json", {"sha256": hashlib.sha256(source).hexdigest()} | whole)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(OUT / "cut.json", f"{folder}/tokenizer.json")
        shutil.copy(options.minilm / "tokenizer_config.json", folder)
        write("cut-expected.json", expected(AutoTokenizer.from_pretrained(folder), texts))
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    own = PreTrainedTokenizerFast(tokenizer_file=str(OUT / "bpe.json"), **names)
    write("bpe-expected.json", expected(own, texts))


if __name__ == "__main__":
    main()
