"""TRL's own loss code, without its trainers' models: methods called on trainers made without __init__, and the
parts of PPOTrainer.train that are arithmetic, cut out of it and run on given tensors."""
import inspect
import textwrap
from types import SimpleNamespace

import torch
from trl import CPOTrainer, DPOTrainer, KTOTrainer, ORPOTrainer, PPOTrainer, RewardTrainer
from trl.trainer import ppo_trainer


def bare(trainer, **attributes):
    t = object.__new__(trainer)
    accelerator = SimpleNamespace(device="cpu", gather_for_metrics=lambda x: x)
    t.__dict__.update(attributes, accelerator=accelerator)
    return t


def dpo(kind, beta, label_smoothing, policy, reference):
    """Losses and rewards, each [pairs], of logps (chosen, rejected)."""
    t = bare(DPOTrainer, loss_type=kind, beta=beta, label_smoothing=label_smoothing, reference_free=False,
             f_divergence_type="reverse_kl")
    return t.dpo_loss(*policy, *reference)


def kto(beta, desirable, undesirable, kl, policy, reference):
    """Losses [2 n], rewards [n] twice. kl is the estimate before it is clamped."""
    t = bare(KTOTrainer, loss_type="kto", beta=beta, desirable_weight=desirable, undesirable_weight=undesirable,
             calculate_KL=True)
    estimate = torch.tensor([kl], dtype=policy[0].dtype)
    return t.kto_loss(*policy, estimate, *reference, torch.zeros_like(estimate))[:3]


def cpo(kind, beta, policy, gamma=0.0):
    """The preference part alone: losses and rewards, each [pairs]."""
    return bare(CPOTrainer, loss_type=kind, beta=beta, simpo_gamma=gamma, label_smoothing=0.0).cpo_loss(*policy)


def odds_ratio(weight, policy):
    """weight log sigmoid(log odds ratio), rewards, of mean log-probabilities."""
    return bare(ORPOTrainer, beta=weight).odds_ratio_loss(*policy)[:3]


def reward(better, worse):
    """The mean over pairs of scores."""
    t = bare(RewardTrainer, args=SimpleNamespace(center_rewards_coefficient=None))
    inputs = dict(input_ids_chosen=better, input_ids_rejected=worse, attention_mask_chosen=None,
                  attention_mask_rejected=None)
    return t.compute_loss(lambda input_ids, **_: {"logits": input_ids}, inputs)


def part(first, last):
    """The lines of PPOTrainer.train from the one that has `first` to the first then that has `last`."""
    lines = inspect.getsource(PPOTrainer.train).splitlines()
    start = next(i for i, line in enumerate(lines) if first in line)
    end = next(i for i in range(start, len(lines)) if last in lines[i])
    return compile(textwrap.dedent("\n".join(lines[start:end + 1])), f"PPOTrainer.train: {first}", "exec")


ESTIMATE = part("# 4. compute rewards", "returns = advantages + values")
WHITEN = part("advantages = masked_whiten(", ")")
CLIPPED = part("vpredclipped = torch.clamp(", "pg_loss = masked_mean(")


def ppo(args, lengths, logps, old_logps, ref_logps, values, old_values, scores, whiten):
    """PPOTrainer's variables after its steps 4 and 6 and its losses. Tensors are padded [responses, tokens], 0 where
    padding is. Unlike TRL, whose score comes one token later where there is room, it is at the last token, and so
    that token is the last whose value counts."""
    last = torch.tensor(lengths) - 1
    padding = torch.arange(logps.shape[1]) > last.unsqueeze(1)
    v = vars(ppo_trainer) | dict(
        args=args, scores=scores, logprobs=old_logps, ref_logprobs=ref_logps, values=old_values, responses=logps,
        sequence_lengths=last, sequence_lengths_p1=last, padding_mask=padding, padding_mask_p1=padding,
        micro_batch_inds=slice(None))
    with torch.no_grad():
        exec(ESTIMATE, v)
        if whiten:
            exec(WHITEN, v)
    v |= dict(vpred=values, new_logprobs=logps, mb_logprobs=old_logps, mb_values=old_values, mb_return=v["returns"],
              mb_advantage=v["advantages"])
    exec(CLIPPED, v)
    return SimpleNamespace(**{k: v[k] for k in ("rewards", "advantages", "returns", "pg_loss", "vf_loss")})
