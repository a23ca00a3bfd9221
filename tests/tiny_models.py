"""Makes a tiny model with random weights of each family that runs in the process, and what llama.cpp does with it.

    python3 tiny_models.py TEXT FOLDER

TEXT is the file from which the vocabularies are learned. For each family it writes FAMILY.gguf and FAMILY.json: the
tokens of hard texts, of conversations, and greedy replies with their probabilities. Packages: gguf, numpy, pyyaml,
requests, sentencepiece, tqdm, xllamacpp.
"""

import collections
import io
import json
import sys
import urllib.request
from pathlib import Path

import gguf
import numpy
import sentencepiece
import xllamacpp

TEXTS = [
    "Hello, world!", " leading", "  two leading", "trailing ", "two  inner   spaces", " ", "  ", "   ", " " * 9, "\t", "a\tb \t c",
    "\n", "\n\n", "\n\n\n\n", " \n ", "a\nb\n\nc\n\n\nd", "a\r\nb", "the state of the Union", "thestateoftheunion", "1,234.50 and 007",
    "naïve café Ångström", "Привет, как дела?", "你好,世界", "日本語", "😀", "a😀b 👨‍👩‍👧‍👦", "e\u0301", "x\u200by", "\ufeffBOM", "\u00a0",
    "\u0000\u0001", "\u007f\u0085", "\U0010ffff", "\ufffd", "▁", "▁the▁", "<0x41>", "<0xFF>", "<s>", "</s>", "a</s>b", "<unk>",
    "<start_of_turn>user\nx<end_of_turn>", "<|end|>", "<|user|>\n", "<|im_end|>", "[INST] x [/INST]", "<table><td>1</td></table>", "<bos",
    "<unused7>", "camelCaseAndPascalCase", "ABCdef GHI's don't DON'T we'll", "Ǆabc ǅ ʰx", "x/y//z\n/a", "end.\n\nNew", "!!!???...", "a" * 80,
    "12345678", "٣٤٥ ④ Ⅳ", "fn main() {\n    let x = 1;\n}\n", "{\"tone\": \"positive\", \"n\": [1, 2]}", "",
]

CHATS = [
    [("user", "Hi")],
    [("user", "  spaces and\n\nline breaks \n")],
    [("system", "Answer in one word."), ("user", "What is the state of the Union?")],
    [("user", "One"), ("assistant", "Two"), ("user", "Three 😀")],
    [("system", "Be brief."), ("user", "One"), ("assistant", "Two"), ("user", "Three")],
]

PROMPTS = [
    "The Constitution charges the President to give to the Congress information of the state of the Union, and to recommend measures.",
    "x", " The war, the trade and the treaty:\n\n1. ", "Привет 😀 2024",
]

# How the published templates of the families are built, in short: the roles, what they refuse, and how they trim.
GEMMA = """{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}
    {%- set first = messages[0]['content'] + '\\n\\n' -%}{%- set rest = messages[1:] -%}
{%- else -%}
    {%- set first = '' -%}{%- set rest = messages -%}
{%- endif -%}
{%- for message in rest -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\\n' + (first if loop.first else '') + (message['content'] | trim) + '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}"""
PHI3 = """{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}\
{% elif message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}\
{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"""
MISTRAL = """{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}\
{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}\
{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"""
PHI4 = """{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"""

UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 2, 3, 4, 5, 6


def pieces(writer, text, special, user_defined, add_space_prefix):
    """A SentencePiece vocabulary that was learned from the text."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text.splitlines()), model_writer=model, model_type="bpe", vocab_size=600, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=0.999, max_sentence_length=1 << 16,
        allow_whitespace_only_pieces=True, split_digits=True, control_symbols=special, user_defined_symbols=user_defined,
        num_threads=1, minloglevel=2,
    )
    learned = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    tokens, scores, types = [], [], []
    for id in range(learned.get_piece_size()):
        kinds = [(learned.is_unknown, UNKNOWN), (learned.is_control, CONTROL), (learned.is_unused, UNUSED), (learned.is_byte, BYTE)]
        kind = next((kind for test, kind in kinds if test(id)), 1)
        piece = learned.id_to_piece(id)
        if piece in user_defined:
            # As llama.cpp's converter does.
            kind, piece = USER_DEFINED, piece.replace("▁", " ")
        tokens.append(piece)
        scores.append(learned.get_score(id))
        types.append(kind)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(learned.bos_id())
    writer.add_eos_token_id(learned.eos_id())
    writer.add_unk_token_id(learned.unk_id())
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(add_space_prefix)
    return len(tokens)


def letters():
    """The letters by which byte-level vocabularies write bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return {byte: chr(byte if byte in plain else next(others)) for byte in range(256)}


def merges(writer, text, pre, special):
    """A byte-level vocabulary whose merges cross words: how a text is cut before merging shows in its tokens."""
    names = letters()
    word = [names[byte] for byte in text.encode()]
    merged = []
    for _ in range(250):
        pair = max(collections.Counter(zip(word, word[1:])).items(), key=lambda found: (found[1], found[0]))[0]
        merged.append(" ".join(pair))
        shorter, at = [], 0
        while at < len(word):
            step = 2 if tuple(word[at : at + 2]) == pair else 1
            shorter.append("".join(word[at : at + step]))
            at += step
        word = shorter
    tokens = [*names.values(), *(pair.replace(" ", "") for pair in merged)]
    types = [1] * len(tokens) + [CONTROL] * len(special)
    tokens += special
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merged)
    writer.add_bos_token_id(tokens.index(special[0]))
    writer.add_eos_token_id(tokens.index(special[0]))
    writer.add_add_bos_token(False)
    return len(tokens)


class Model:
    """A file in the making; the arguments are what the families differ in."""

    def __init__(self, path, arch, name, *, layers, width, heads, shared, head, inner, context, seed):
        self.writer = gguf.GGUFWriter(path, arch)
        self.random = numpy.random.default_rng(seed)
        self.layers, self.width, self.head, self.inner = layers, width, head, inner
        self.asking, self.answering = heads * head, shared * head
        self.writer.add_name(name)
        self.writer.add_context_length(context)
        self.writer.add_embedding_length(width)
        self.writer.add_block_count(layers)
        self.writer.add_feed_forward_length(inner)
        self.writer.add_head_count(heads)
        self.writer.add_head_count_kv(shared)
        self.writer.add_key_length(head)
        self.writer.add_value_length(head)
        self.writer.add_layer_norm_rms_eps(1e-6)

    def matrix(self, name, rows, columns):
        """In 32 bits, so that llama.cpp rounds nothing, but with numbers that 8 bits hold exactly."""
        numbers = self.random.standard_normal((rows, columns)).astype(numpy.float32) / columns**0.5
        kind = gguf.GGMLQuantizationType.Q8_0
        self.writer.add_tensor(name + ".weight", gguf.quants.dequantize(gguf.quants.quantize(numbers, kind), kind))

    def vector(self, name, numbers):
        self.writer.add_tensor(name + ".weight", numpy.asarray(numbers, dtype=numpy.float32))

    def norm(self, name, length, middle=1.0):
        self.vector(name, middle + 0.3 * self.random.standard_normal(length))

    def weights(self, vocabulary, *, fused=False, gemma=False):
        self.matrix("token_embd", vocabulary, self.width)
        if not gemma:
            self.matrix("output", vocabulary, self.width)
        self.norm("output_norm", self.width)
        for i in range(self.layers):
            layer = f"blk.{i}."
            self.norm(layer + "attn_norm", self.width)
            self.norm(layer + "ffn_norm", self.width)
            if fused:
                self.matrix(layer + "attn_qkv", self.asking + 2 * self.answering, self.width)
                self.matrix(layer + "ffn_up", 2 * self.inner, self.width)
            else:
                self.matrix(layer + "attn_q", self.asking, self.width)
                self.matrix(layer + "attn_k", self.answering, self.width)
                self.matrix(layer + "attn_v", self.answering, self.width)
                self.matrix(layer + "ffn_gate", self.inner, self.width)
                self.matrix(layer + "ffn_up", self.inner, self.width)
            self.matrix(layer + "attn_output", self.width, self.asking)
            self.matrix(layer + "ffn_down", self.width, self.inner)
            if gemma:
                self.norm(layer + "attn_q_norm", self.head)
                self.norm(layer + "attn_k_norm", self.head)
                self.norm(layer + "post_attention_norm", self.width, 3.0)
                self.norm(layer + "post_ffw_norm", self.width, 3.0)

    def close(self):
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()


def gemma3(path, text):
    """Windows shorter than the prompts, in all layers but the sixth; the head is the embedding."""
    model = Model(path, "gemma3", "tiny gemma", layers=8, width=96, heads=4, shared=1, head=32, inner=160, context=512, seed=1)
    model.writer.add_sliding_window(12)
    model.writer.add_rope_freq_base(1_000_000.0)
    model.writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    model.writer.add_rope_scaling_factor(8.0)
    runs = ["\n" * n for n in range(2, 6)] + ["▁" * n for n in range(2, 6)] + ["\t\t"]
    vocabulary = pieces(model.writer, text, ["<start_of_turn>", "<end_of_turn>"], [*runs, "<table>", "</td>"], False)
    model.writer.add_chat_template(GEMMA)
    model.weights(vocabulary, gemma=True)
    model.close()


def phi3(path, text):
    """One matrix for queries, keys and values; a part of each head turns; the turns of long contexts differ."""
    model = Model(path, "phi3", "tiny phi-3", layers=6, width=128, heads=4, shared=2, head=32, inner=160, context=1024, seed=2)
    model.writer.add_rope_dimension_count(24)
    model.writer.add_rope_freq_base(10_000.0)
    model.writer.add_rope_scaling_orig_ctx_len(256)
    model.writer.add_rope_scaling_attn_factors(1.19)
    model.vector("rope_factors_short", 1 + 0.1 * numpy.arange(12))
    model.vector("rope_factors_long", 1 + numpy.arange(12))
    special = ["<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"]
    vocabulary = pieces(model.writer, text, special, [], True)
    model.writer.add_chat_template(PHI3)
    model.weights(vocabulary, fused=True)
    model.close()


def mistral(path, text):
    model = Model(path, "llama", "tiny mistral", layers=6, width=96, heads=6, shared=2, head=16, inner=160, context=512, seed=3)
    model.writer.add_rope_dimension_count(16)
    model.writer.add_rope_freq_base(1_000_000.0)
    vocabulary = pieces(model.writer, text, [], [], True)
    model.writer.add_chat_template(MISTRAL)
    model.weights(vocabulary)
    model.close()


def byte_level(arch, pre, seed):
    def write(path, text):
        model = Model(path, arch, f"tiny {pre}", layers=6, width=128, heads=4, shared=2, head=32, inner=160, context=512, seed=seed)
        special = ["<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"]
        vocabulary = merges(model.writer, text, pre, special)
        model.writer.add_rope_dimension_count(24 if arch == "phi3" else 32)
        model.writer.add_chat_template(PHI4)
        model.weights(vocabulary, fused=arch == "phi3")
        model.close()

    return write


# Each with the contexts in which llama.cpp is asked.
FAMILIES = {
    "gemma3": (gemma3, [512]),
    "phi3": (phi3, [256, 1024]),
    "mistral": (mistral, [512]),
    "phi4-mini": (byte_level("phi3", "gpt-4o", 4), [512]),
    "phi4": (byte_level("phi3", "dbrx", 5), [512]),
    "nemo": (byte_level("llama", "tekken", 6), [512]),
}


class Server:
    def __init__(self, path, context):
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.port = 0
        params.n_parallel = 1
        params.n_ctx = context
        params.cpuparams.n_threads = 1
        params.cpuparams_batch.n_threads = 1
        params.use_jinja = True
        params.cache_prompt = False
        params.warmup = False
        params.cache_type_k = xllamacpp.ggml_type.GGML_TYPE_F32
        params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        self.server = xllamacpp.Server(params)

    def ask(self, path, body):
        url = self.server.listening_address + path
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)

    def tokens(self, text, special):
        return self.ask("/tokenize", {"content": text, "parse_special": special, "add_special": special})["tokens"]

    def reply(self, prompt):
        """One token at a time: of several, llama.cpp leaves out the probabilities where a character is not complete."""
        tokens, likely = [], []
        for _ in range(24):
            body = {"prompt": prompt + tokens, "n_predict": 1, "temperature": 0, "n_probs": 5, "return_tokens": True}
            reply = self.ask("/completion", {**body, "ignore_eos": True, "cache_prompt": False})
            tokens += reply["tokens"]
            steps = reply.get("completion_probabilities") or [{"top_logprobs": []}]
            likely.append([[top["id"], top["logprob"]] for top in steps[0]["top_logprobs"]])
        return {"prompt": prompt, "tokens": tokens, "likely": likely}


def reference(path, contexts):
    servers = [Server(path, context) for context in contexts]
    chats = [[{"role": role, "content": text} for role, text in chat] for chat in CHATS]
    server = servers[0]
    prompts = [server.ask("/apply-template", {"messages": chat})["prompt"] for chat in chats]
    inputs = [server.tokens(text, False) for text in PROMPTS]
    return {
        "texts": [[text, server.tokens(text, False)] for text in TEXTS],
        "chats": [[chat, server.tokens(prompt, True)] for chat, prompt in zip(chats, prompts)],
        "replies": [
            {"context": context, **server.reply(prompt)} for context, server in zip(contexts, servers) for prompt in inputs
        ],
    }


def main():
    text, folder = Path(sys.argv[1]).read_text(encoding="utf-8"), Path(sys.argv[2])
    for name, (write, contexts) in FAMILIES.items():
        path = folder / f"{name}.gguf"
        write(path, text)
        found = reference(path, contexts)
        (folder / f"{name}.json").write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
