"""Trains and publishes a tiny model of every family and of what varies in a checkpoint: see README.md beside it.

    publish.py TRAINER SHARDS LLAMA_CPP DIR
"""
import json
import os
import subprocess
import sys

import vocabularies

# vLLM has kernels for heads of 32 dimensions and more.
LLAMA = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
             max_position_embeddings=256, initializer_range=0.15)
QWEN2 = {k: v for k, v in LLAMA.items() if k != "head_dim"} | dict(hidden_size=128)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
GPT2 = dict(n_embd=64, n_layer=2, n_head=2, n_positions=128, initializer_range=0.15)
NEOX = dict(hidden_size=64, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2, rotary_pct=0.5, max_position_embeddings=256, initializer_range=0.15)
TIED, UNTIED = dict(tie_word_embeddings=True), dict(tie_word_embeddings=False)

# folder: model_type and config.json, what the run has besides, the vocabulary (None: trained here)
CASES = {
    "llama": ("llama", LLAMA | UNTIED | dict(rope_scaling=LLAMA3), {}, None),
    "llama-tied": ("llama", LLAMA | TIED, {}, None),
    "llama-biases": ("llama", LLAMA | UNTIED | dict(attention_bias=True, mlp_bias=True, rope_theta=500000.0), {}, None),
    "llama-linear": ("llama", LLAMA | UNTIED | dict(rope_scaling=dict(rope_type="linear", factor=2.5)), {}, None),
    "llama-yarn": ("llama", LLAMA | UNTIED | dict(rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64)), {}, None),
    "llama-bfloat16": ("llama", LLAMA | UNTIED, {"precision": "bfloat16"}, None),
    "llama-lora": ("llama", LLAMA | TIED, {"lora": {"rank": 4, "alpha": 8}}, None),
    "llama-shards": ("llama", LLAMA | UNTIED, {}, None),
    "llama-vocabulary": ("llama", LLAMA | TIED, {}, "llama-bpe"),
    "mistral": ("mistral", LLAMA | UNTIED | dict(sliding_window=None), {}, None),
    "mistral-tied": ("mistral", LLAMA | TIED, {}, None),
    "mistral-vocabulary": ("mistral", LLAMA | UNTIED, {}, "llama-spm"),
    "mistral-window": ("mistral", LLAMA | UNTIED | dict(sliding_window=5), {}, None),
    "qwen2": ("qwen2", QWEN2 | UNTIED, {}, None),
    "qwen2-tied": ("qwen2", QWEN2 | TIED, {}, None),
    "qwen2-vocabulary": ("qwen2", QWEN2 | TIED | dict(vocab_size=151936), {}, "qwen2"),
    "qwen2-window": ("qwen2", QWEN2 | TIED | dict(use_sliding_window=True, sliding_window=4, max_window_layers=0), {}, None),
    "qwen3": ("qwen3", LLAMA | UNTIED, {}, None),
    "qwen3-tied": ("qwen3", LLAMA | TIED, {}, None),
    "gpt2": ("gpt2", GPT2, {}, None),
    "gpt2-untied": ("gpt2", GPT2 | UNTIED, {}, None),
    "gpt2-shards": ("gpt2", GPT2, {}, None),
    "gpt2-vocabulary": ("gpt2", GPT2, {}, "gpt-2"),
    "gpt_neox": ("gpt_neox", NEOX, {}, None),
    "gpt_neox-tied": ("gpt_neox", NEOX | TIED, {}, None),
    "gpt_neox-bfloat16": ("gpt_neox", NEOX | dict(use_parallel_residual=False), {"precision": "bfloat16"}, None),
    "gpt_neox-vocabulary": ("gpt_neox", NEOX, {}, "gpt-neox"),
}
SCORES = ["llama", "mistral", "qwen2", "qwen3", "gpt2", "gpt_neox"]  # whose reward models are folder-score


def train(trainer, folder, name, method, model, text, **training):
    path = f"{folder}/{name}.json"  # JSON is YAML
    with open(path, "w") as f:
        json.dump({
            "version": 1, "name": name, **method, "seed": 1, "model": model, "output": {"uri": f"file://{folder}/{name}"}, "checkpoint": {"everySteps": 0},
            "data": {"train": [{"uri": f"file://{text}"}], "maxLength": 64},
            "training": {"maxSteps": 3, "batchSize": 8, "learningRate": 0.01, **training}}, f)
    subprocess.run([*trainer, path], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main(trainer, shards, llama_cpp, folder):
    os.makedirs(folder)
    text, ranked = f"{folder}/text.jsonl", f"{folder}/ranked.jsonl"
    with open(text, "w") as f, open(ranked, "w") as g:
        for i in range(200):
            question, answers = {"role": "user", "content": f"What is {i} doubled?"}, [{"role": "assistant", "content": f"It's {2 * i + k}."} for k in (0, 1)]
            f.write(json.dumps({"messages": [question, answers[0]]}) + "\n")
            g.write(json.dumps({"prompt": question["content"], "chosen": answers[0]["content"], "rejected": answers[1]["content"]}) + "\n")
    trainer = [trainer, "train", "--config"]
    for name, (family, init, training, vocabulary) in CASES.items():
        tokenizer = {"train": {"vocabSize": 300}}
        if vocabulary:
            tokenizer = {"uri": "file://" + vocabularies.write(llama_cpp, vocabulary, f"{folder}/tokenizers")}
        model = {"init": dict(init, model_type=family), "tokenizer": tokenizer}
        if "lora" in training:  # adapters go on a checkpoint
            model = {"uri": f"file://{folder}/llama-tied"}
        train([shards] if name.endswith("-shards") else trainer, folder, name, {"method": "SFT"}, model, text, **training)
        print(name, sorted(os.listdir(f"{folder}/{name}")))
    for name in SCORES:
        train(trainer, folder, name + "-score", {"method": "RewardModel", "objective": {"type": "KWise"}}, {"uri": f"file://{folder}/{name}"}, ranked)


if __name__ == "__main__":
    main(*sys.argv[1:])
