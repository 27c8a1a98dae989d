#!/usr/bin/env python3
"""Times training steps of a randomly initialised model in TRL, on random tokens: what `trainer bench` times, with the same flags.

bfloat16 is TRL's bf16=True: float32 weights under autocast, as here. A pair is half a sequence length of prompt and as much of each response.
Prints one JSON line like that of `trainer bench --json`, with the versions. Tokens count a pair's prompt once, as there.
"""
import argparse
import copy
import json
import resource
import statistics
import subprocess
import tempfile
import time

import datasets
import torch
import transformers
import trl
from tokenizers import Tokenizer, models, pre_tokenizers


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument("--init", required=True, help="a config.json")
    p.add_argument("--method", default="SFT", choices=["SFT", "DPO"])
    p.add_argument("--precision", default="bfloat16", choices=["float32", "bfloat16"])
    p.add_argument("--seq-len", type=int, default=1024)
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--micro-batch", type=int, default=0)
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--warm-up", type=int, default=3)
    p.add_argument("--activation-checkpointing", action="store_true")
    p.add_argument("--device", default="cpu")
    return p.parse_args()


def memory(device):
    """Bytes that the device says are taken; of this process, on a CPU, the most so far."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    index = device.partition(":")[2] or "0"
    out = subprocess.run(["nvidia-smi", "--id=" + index, "--query-gpu=memory.used", "--format=csv,noheader,nounits"], capture_output=True, text=True, check=True)
    return int(out.stdout) << 20


class Clock(transformers.TrainerCallback):
    def __init__(self):
        self.seconds, self.last = [], None

    def now(self):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def on_train_begin(self, *_, **__):
        self.last = self.now()

    def on_step_end(self, *_, **__):
        now = self.now()
        self.seconds.append(now - self.last)
        self.last = now


def main():
    a = arguments()
    micro = a.micro_batch or a.batch
    before = memory(a.device)
    torch.manual_seed(1)
    with open(a.init) as f:
        fields = json.load(f)
    config = transformers.AutoConfig.for_model(fields.pop("model_type"), **fields)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    # Words are tokens: DPOTrainer wants texts.
    vocabulary = {f"t{i}": i for i in range(config.vocab_size)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="t0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="t1", pad_token="t2", unk_token="t0")

    def ids(n):
        return torch.randint(3, config.vocab_size, (n,)).tolist()

    def text(n):
        return " ".join(f"t{i}" for i in ids(n))

    half, examples = a.seq_len // 2, a.batch * (a.warm_up + a.steps)
    common = dict(
        output_dir=tempfile.mkdtemp(), max_steps=a.warm_up + a.steps, per_device_train_batch_size=micro, gradient_accumulation_steps=a.batch // micro,
        gradient_checkpointing=a.activation_checkpointing, bf16=a.precision == "bfloat16", max_length=a.seq_len, max_grad_norm=1.0,
        logging_strategy="no", save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=a.device == "cpu",
    )
    clock = Clock()
    if a.method == "SFT":
        dataset = datasets.Dataset.from_list([{"input_ids": ids(a.seq_len)} for _ in range(examples)])
        trainer = trl.SFTTrainer(model=model, args=trl.SFTConfig(**common), train_dataset=dataset, processing_class=tokenizer, callbacks=[clock])
        tokens = a.batch * a.seq_len
    else:
        # The end token is the trainer's.
        pairs = [{"prompt": text(half), "chosen": " " + text(half - 1), "rejected": " " + text(half - 1)} for _ in range(examples)]
        dataset = datasets.Dataset.from_list(pairs)
        # A reference of its own: TRL would look for the model under a name.
        trainer = trl.DPOTrainer(model=model, ref_model=copy.deepcopy(model), args=trl.DPOConfig(**common), train_dataset=dataset, processing_class=tokenizer, callbacks=[clock])
        tokens = a.batch * 3 * half
    trainer.train()
    timed = clock.seconds[a.warm_up :]
    step = statistics.median(timed)
    print(json.dumps({
        "method": a.method, "precision": a.precision, "device": a.device if a.device == "cpu" else torch.cuda.get_device_name(a.device),
        "parameters": model.num_parameters(), "seqLen": a.seq_len, "batch": a.batch, "microBatch": micro, "steps": a.steps,
        "secondsPerStep": step, "fastest": min(timed), "tokensPerSecond": tokens / step, "peakMemoryBytes": memory(a.device) - before,
        "trl": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__,
    }))


main()
