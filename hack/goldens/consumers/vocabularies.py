"""Writes the tokenizer.json of real models, from the vocabularies that llama.cpp has for its own tests and the components of hack/goldens/tokenizer."""
import json
import os
import sys

from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers.convert_slow_tokenizer import generate_merges

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4  # gguf's token types


def read(llama_cpp, name):
    sys.path.insert(1, f"{llama_cpp}/gguf-py")
    import gguf

    fields = gguf.GGUFReader(f"{llama_cpp}/models/ggml-vocab-{name}.gguf").fields
    get = lambda key: fields["tokenizer.ggml." + key].contents() if "tokenizer.ggml." + key in fields else None
    return get("tokens"), get("token_type"), get("merges"), get("scores")


def split(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def sentence_piece(folder, tokens, types, scores):
    """Writes tokenizer.model, which alone has the scores."""
    m = sentencepiece_model_pb2.ModelProto()
    m.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.BPE
    m.trainer_spec.byte_fallback, m.trainer_spec.vocab_size = True, len(tokens)
    m.normalizer_spec.name, m.normalizer_spec.remove_extra_whitespaces = "identity", False
    for token, kind, score in zip(tokens, types, scores):
        m.pieces.add(piece=token, type=kind, score=score)
    with open(f"{folder}/tokenizer.model", "wb") as f:
        f.write(m.SerializeToString())


def begins(token, id):
    return processors.TemplateProcessing(single=f"{token} $A", pair=f"{token} $A {token}:1 $B:1", special_tokens=[(token, id)])


def write(llama_cpp, name, folder):
    folder = os.path.join(folder, name)
    tokens, types, merges, scores = read(llama_cpp, name)
    vocab = {t: i for i, t in enumerate(tokens)}
    os.makedirs(folder, exist_ok=True)
    if name == "llama-spm":
        sentence_piece(folder, tokens, types, scores)
        special = ["<unk>", "<s>", "</s>"]
        pairs = generate_merges(vocab, {t: s for t, s, kind in zip(tokens, scores, types) if kind == NORMAL}, skip_tokens=special)
        t = Tokenizer(models.BPE(vocab=vocab, merges=pairs, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
        t.post_processor = begins("<s>", 1)
        t.add_special_tokens([AddedToken(s, normalized=False) for s in special])
        config = dict(tokenizer_class="LlamaTokenizer", bos_token="<s>", eos_token="</s>", unk_token="<unk>", add_bos_token=True, add_eos_token=False, legacy=False)
    else:
        own = {t: i for t, i in vocab.items() if not t.startswith("[PAD")}  # which stand for rows without a token
        t = Tokenizer(models.BPE(vocab=own, merges=[tuple(m.split(" ")) for m in merges], ignore_merges=name == "llama-bpe"))
        t.pre_tokenizer = {"llama-bpe": split(LLAMA3), "qwen2": split(QWEN2)}.get(name, pre_tokenizers.ByteLevel(add_prefix_space=False))
        t.decoder = decoders.ByteLevel()
        if name in ("qwen2", "gpt-neox"):
            t.normalizer = normalizers.NFC()
        for i, (token, kind) in enumerate(zip(tokens, types)):
            if kind in (CONTROL, USER_DEFINED) and token in own:
                add = t.add_special_tokens if kind == CONTROL else t.add_tokens
                add([AddedToken(token, normalized=kind == USER_DEFINED, special=kind == CONTROL)])
                assert t.token_to_id(token) == i, (token, i)
        t.post_processor = processors.ByteLevel(trim_offsets=False)
        config = {
            "gpt-2": dict(bos_token="<|endoftext|>", eos_token="<|endoftext|>"),
            "gpt-neox": dict(bos_token="<|endoftext|>", eos_token="<|endoftext|>"),
            "qwen2": dict(eos_token="<|endoftext|>", pad_token="<|endoftext|>"),
            "llama-bpe": dict(bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>"),
        }[name] | {"tokenizer_class": "PreTrainedTokenizerFast"}
        if name == "llama-bpe":
            t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), begins("<|begin_of_text|>", 128000)])
    t.save(f"{folder}/tokenizer.json")
    with open(f"{folder}/tokenizer_config.json", "w") as f:
        json.dump(config, f)
    return folder
