"""Converts what publish.py published with llama.cpp's converter, and compares what llama.cpp computes with ours: see README.md beside it.

    llamacpp.py LOGITS LLAMA_CPP DIR [CASE...]
"""
import json
import subprocess
import sys
import urllib.request

import tokenizers
import torch
import transformers
import xllamacpp

import publish

# The converter knows a tokenizer by a hash of its ids, so none that was trained here; they have GPT-2's pre-tokenizer.
NAMED = """import sys; sys.path.insert(0, sys.argv.pop(1)); import convert_hf_to_gguf as c
from conversion import TextModel; TextModel.get_vocab_base_pre = lambda *_: "gpt-2"; c.main()"""
# What llama.cpp does not have: it computes without the windows, and does not load the last.
LACKING = ["mistral-window", "qwen2-window", "gpt_neox-tied"]
TEXTS = [
    "", " ", "a  b", "Hello, world!", "It's we'll they'RE I'D don't", "12345678 3.14159", "func main() {\n\tfmt.Println(\"hi\")\n}\n", "   \n\n  x \n",
    "naïve café ﬁne", "日本語のテキスト、中文。", "Привет, мир! Ελληνικά עברית العربية हिन्दी ไทย", "👍🏽 👨‍👩‍👧‍👦 🇩🇪", "...!?—–“quoted”", "<|endoftext|>", "        x     y",
]
CHAT = [{"role": "user", "content": "What is 2 doubled?"}, {"role": "assistant", "content": "It's 4."}, {"role": "user", "content": "And 4?"}]


def run(*command):
    return subprocess.run(command, capture_output=True, text=True)


def convert(llama_cpp, folder, trained):
    """Says how the converter took the tokenizer."""
    options = [folder, "--outtype", "f32", "--outfile", folder + ".gguf"]
    out = run(sys.executable, f"{llama_cpp}/convert_hf_to_gguf.py", *options)
    if out.returncode == 0:
        return "tokenizer recognised"
    assert trained and "BPE pre-tokenizer was not recognized" in out.stderr, out.stderr
    out = run(sys.executable, "-c", NAMED, llama_cpp, *options)
    assert out.returncode == 0, out.stderr
    return "tokenizer named gpt-2"


def serve(path):
    p = xllamacpp.CommonParams()
    p.model.path, p.n_ctx, p.n_parallel, p.n_gpu_layers, p.warmup, p.verbosity, p.fit_params = path, 128, 1, 0, False, 0, False
    p.cache_type_k = p.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32  # not the default, 16 bits
    p.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(p)

    def post(path, **body):
        request = urllib.request.Request(server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request))

    return post


def compare(logits, folder, post):
    ours = torch.tensor(json.loads(subprocess.run([logits, folder], check=True, capture_output=True).stdout)).view(12, -1).log_softmax(-1)
    vocab, off = ours.shape[1], 0
    lengths = range(1, 13) if vocab < 1000 else [12]
    for n in lengths:
        # The log-probabilities are before the bias, which has it choose a whole character: it gives none for a part of one.
        out = post("/completion", prompt=list(range(1, n + 1)), n_predict=1, n_probs=vocab, temperature=0, logit_bias=[[5, 1000]], cache_prompt=False)
        theirs = torch.full([vocab], float("nan"))
        for token in out["completion_probabilities"][0]["top_logprobs"]:
            theirs[token["id"]] = token["logprob"]
        off = max(off, (theirs - ours[n - 1]).abs().max().item())
    tokenizer = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")

    def tokenize(text):
        return post("/tokenize", content=text, add_special=True, parse_special=True)["tokens"]

    for text in TEXTS:
        assert tokenize(text) == tokenizer.encode(text).ids, text
    chat = transformers.AutoTokenizer.from_pretrained(folder).apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    assert tokenize(post("/apply-template", messages=CHAT)["prompt"]) == tokenizer.encode(chat, add_special_tokens=False).ids
    assert off < (1e-2 if "gpt" in folder.rpartition("/")[2] else 1e-4), off  # its GELU is a table of 16 bits
    return f"{vocab} log-probabilities of {len(lengths)} tokens off by at most {off:.1e}, token ids of {len(TEXTS)} texts and a conversation the same"


def main(logits, llama_cpp, folder, *cases):
    transformers.logging.set_verbosity_error()
    for name in cases or (c for c in publish.CASES if c not in LACKING):
        how = convert(llama_cpp, f"{folder}/{name}", publish.CASES[name][3] is None)
        print(f"{name}: {how}, {compare(logits, f'{folder}/{name}', serve(f'{folder}/{name}.gguf'))}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
