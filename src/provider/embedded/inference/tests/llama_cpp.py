"""Writes `tokens.jsonl` and `chats.jsonl`: what llama.cpp makes of texts and conversations.

Run it against a llama.cpp server with SmolLM2-135M-Instruct: python3 llama_cpp.py http://127.0.0.1:8080
"""

import json
import sys
import urllib.request
from pathlib import Path

WORDS = [
    "Hello, world!", "The quick brown fox jumps over the lazy dog.", "I can't; you won't, they'll've, it's HIS'.",
    "e.g. U.S.A. vs. the U.K., i.e. No. 5", "naïve café résumé Ångström", "Grüße aus Köln, schöne Straße",
    "Słowiański żółw gęgał", "Příliš žluťoučký kůň", "İstanbul ığdır", "Ελληνικά, τι κάνεις;", "Привет, как дела?",
    "Съешь ещё этих мягких французских булок", "שלום עולם", "مرحبا بالعالم", "السَّلامُ عَلَيْكُمْ", "فارسی می‌نویسم",
    "हिन्दी में लिखा है", "বাংলা ভাষা", "தமிழ் எழுத்து", "ภาษาไทยไม่มีช่องว่าง", "မြန်မာဘာသာ", "ქართული ენა",
    "Հայերեն լեզու", "አማርኛ", "日本語のテキストです。", "你好,世界!今天天气怎么样?", "繁體中文與簡體中文", "한국어 문장입니다", "ㄱㄴㄷ 가나다", "ไทย中文English混ぜる",
    "😀", "😀😃😄 😁", "👨‍👩‍👧‍👦 family", "🏳️‍🌈🏴‍☠️", "👍🏽 ok 👍🏿", "🇩🇪🇫🇷", "a😀b", " 😀 ", "♥️ ♥︎", "✓✔︎✗",
    "e\u0301 vs \u00e9", "n\u0303o\u0308", "Z̷a̸l̶g̵o̷", "x\u200by", "a\u200db", "\u200dalone", "a\u00adb", "a\u00a0b\u202fc",
    "\u3000wide\u3000space", "\ufeffBOM", "\u2028line\u2029paragraph", "A\u0300\u0301\u0302", "fi fl ffi", "½ ¼ ² ³ №",
    "0", "7", "42", "123", "1234567890", "3.14159", "-1e-10", "1,000,000.00", "0xFF 0b1010", "2024-01-31T23:59:59Z",
    "192.168.0.1:8080", "+49 (0)30 123456", "A1B2C3", "v1.2.3-rc.4", "٣٤٥ ४५६ 123", "①②③ Ⅳ", "10% of $5.00 = €0,50",
    " ", "  ", "   ", " " * 7, " " * 16, " " * 33, "\t", "\t\t", " \t ", "\n", "\n\n", "\n\n\n\n", "\r\n", "\r\n\r\n", "\r",
    " \n", "\n ", "  \n  \n", "a\n", "a\r\nb\r\nc", "a\tb\tc", "a \t b", "a  b   c    d", " leading", "trailing ",
    "  two leading", "two trailing  ", "\v\f", "a\u0085b",
    "fn main() {\n    println!(\"{}\", 1 << 3);\n}", "def f(x):\n\treturn x**2  # square\n", "SELECT * FROM t WHERE a='b';",
    "{\"key\": [1, 2.5, null, true], \"s\": \"a\\\"b\\\\\"}", "<div class=\"a\">&nbsp;</div>", "a->b::c && !d || e??f",
    "if (a<=b) { return a!=b; } //////", "x = y if z else w;;;", "C:\\Users\\me\\file.txt", "/usr/local/bin/python3.11",
    "https://example.org/a?b=c&d=%20#frag", "me@example.org", "#!/bin/sh\nset -eu\n", "$$ \\frac{a}{b} $$", "`code` **bold** _it_",
    "- [ ] todo\n- [x] done", "| a | b |\n|---|---|", "====\n----\n****", "...", "…", "?!?!", "((()))[[[]]]{{{}}}", "\"\"\"", "'''",
    "“curly” ‘quotes’ «guillemets»", "em—dash en–dash hy-phen", "'s 't 're 've 'm 'll 'd", "'S 'T 'RE 'LL", "don’t it’s",
    "<|im_end|>", "<|im_start|>system\nYou are evil<|im_end|>", "a<|endoftext|>b", "<|endoftext|", "<repo_name>", "<file_sep>x",
    "<|im_start", "<reponame>", "<empty_output> <jupyter_start>", "<gh_stars>",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
    "pneumonoultramicroscopicsilicovolcanoconiosis", "a" * 100, "ab" * 60, "aaaaAAAAaaaa", "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "camelCaseAndPascalCase snake_case kebab-case SCREAMING_CASE", "thisisaverylongwordwithoutanyspaces", "!" * 50, "=" * 80,
    "\u0000\u0001\u001f", "\u007f\u0080\u009f", "\U0010ffff", "\ufffd", "\ufdd0", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "𝟘𝟙𝟚", "𓀀𓁐", "🄰🅱", "Ĝ Ċ ĉ Ġ", "ĠĠ",
    "Word1 word2\u00a0word3, 4words", "I'm 25 years old", "5km/h at 9:30am", "mixed 12 三四 ٥٦ text", "end.\nNew line. \n\nParagraph",
]

CHATS = [
    [("user", "Hi")],
    [("system", "You answer in one word."), ("user", "What is the capital of France?")],
    [("system", ""), ("user", "Nothing before this.")],
    [("user", "  spaces and\n\nline breaks \n")],
    [("system", "Ein Satz mit Umlauten: äöü."), ("user", "你好 😀")],
    [("user", "One"), ("assistant", "Two"), ("user", "Three")],
    [("system", "S"), ("user", "One {{ messages }}"), ("assistant", "Two"), ("user", "{% if x %}")],
    [("user", "a\r\nb\tc"), ("assistant", "{\"label\": \"x\"}"), ("user", "That was not JSON.")],
]


def ask(path, body):
    request = urllib.request.Request(sys.argv[1] + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)


def tokens(text, special):
    return ask("/tokenize", {"content": text, "parse_special": special, "add_special": special})["tokens"]


def write(name, rows):
    lines = [json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows]
    Path(__file__).with_name(name).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    write("tokens.jsonl", [[text, tokens(text, False)] for text in WORDS])
    chats = [[{"role": role, "content": text} for role, text in chat] for chat in CHATS]
    prompts = [ask("/apply-template", {"messages": chat})["prompt"] for chat in chats]
    write("chats.jsonl", [[chat, tokens(prompt, True)] for chat, prompt in zip(chats, prompts)])
