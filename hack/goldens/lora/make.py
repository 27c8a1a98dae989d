"""Writes the reference vectors of LoRA for runtime/model: see README.md beside it."""
import json
import pathlib
import sys

import peft
import torch
import transformers

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "model"))
import llama

CASES = {
    "gqa-tied": dict(r=3, lora_alpha=6),
    "mha-untied-bias": dict(r=2, lora_alpha=5, use_rslora=True, target_modules="all-linear"),
}


def adapt(model, options):
    torch.manual_seed(2)
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **options)).double()
    with torch.no_grad():  # B is 0 at first, and with it the gradient of A
        for _, p in trained(model):
            p.normal_(0, 0.3)
            p.copy_(p.float())
    return model


def trained(model):
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def saved(model, of=lambda p: p):
    """By the names that PEFT saves: without that of the adapter."""
    return {name.replace(".default", ""): llama.packed(of(p)) for name, p in trained(model)}


def steps(model, batch):
    params = [p for _, p in trained(model)]
    adamw = torch.optim.AdamW(params, lr=llama.LR, betas=llama.BETAS, eps=llama.EPS, weight_decay=llama.DECAY)
    losses, norms = [], []
    for _ in range(10):
        adamw.zero_grad()
        _, loss = llama.forward(model.base_model.model, batch)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(params, llama.CLIP).item())
        losses.append(loss.item())
        adamw.step()
    return losses, norms


def main(folder):
    batch = llama.make_batch()
    llama.full_precision()
    for name, options in CASES.items():
        base = json.load(open(f"{folder}/llama-{name}.json"))
        model = llama.build(llama.CASES[name], torch.float64)
        logits, _ = llama.forward(model, batch)
        assert torch.allclose(logits, unpacked(base["logits"]), atol=1e-12), "not llama.py's model"
        model = adapt(model, options)
        o = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}}
        config = model.peft_config["default"]
        o["config"] = {k: getattr(config, k) for k in ("r", "lora_alpha", "use_rslora")}
        o["config"]["target_modules"] = options.get("target_modules")
        o["modules"] = sorted(config.target_modules)
        o["weights"] = saved(model)
        logits, loss = llama.forward(model.base_model.model, batch)
        loss.backward()
        o["logits"], o["loss"] = llama.packed(logits), loss.item()
        o["gradients"] = saved(model, lambda p: p.grad)
        o["losses"], o["norms"] = steps(model, batch)
        o["trained"] = saved(model)
        merged = model.merge_and_unload()
        o["merged"] = {k: llama.packed(p) for k, p in merged.named_parameters() if k.endswith("_proj.weight")}
        with open(f"{folder}/lora-{name}.json", "w") as f:
            json.dump(o, f, indent=1, sort_keys=True)
            f.write("\n")


def save(folder):
    """A base and adapters on it as they come from a hub, with PEFT's own settings: a language model's and a scorer's."""
    for task, kind, options in (("CAUSAL_LM", transformers.LlamaForCausalLM, {}),
                                ("SEQ_CLS", transformers.LlamaForSequenceClassification, {"target_modules": "all-linear", "use_rslora": True})):
        torch.manual_seed(3)
        base = transformers.LlamaForCausalLM(transformers.LlamaConfig(**llama.SIZES, **llama.CASES["gqa-tied"]))
        base.save_pretrained(f"{folder}/base")
        config = transformers.LlamaConfig.from_pretrained(f"{folder}/base", num_labels=1, attn_implementation="eager")
        model = peft.get_peft_model(kind.from_pretrained(f"{folder}/base", config=config), peft.LoraConfig(task_type=task, r=3, lora_alpha=5, **options))
        with torch.no_grad():
            for _, p in trained(model):
                p.normal_(0, 0.3)
        into = f"{folder}/{task.lower()}"
        model.save_pretrained(into)
        pathlib.Path(into, "README.md").unlink()
        tokens = llama.make_batch()["tokens"][:1]
        hidden = model.base_model.model.model(input_ids=tokens)[0]
        head = model.base_model.model.lm_head if task == "CAUSAL_LM" else model.base_model.model.score
        with open(f"{into}/output.json", "w") as f:
            json.dump({"tokens": tokens[0].tolist(), "output": llama.packed(head(hidden))}, f)


def unpacked(stored):
    import base64
    import numpy
    return torch.from_numpy(numpy.frombuffer(base64.b64decode(stored["data"])).reshape(stored["shape"]).copy())


if __name__ == "__main__":
    main(sys.argv[1])
    save(sys.argv[2])
