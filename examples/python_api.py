"""Tuning from Python, step by step: the caller has the loop.

    python examples/python_api.py
"""

import numpy as np

from seqtutor import Objective, Rewarder, Sampler, TuneConfig, Tutor, load_domain, load_model

domain, prior = load_domain("molecules"), load_model("molecules")
objective = Objective.parse("qed:1,sa<=3", domain)
tutor = Tutor(domain, prior, Rewarder(domain, objective), TuneConfig(steps=2, batch=16, beta=0.05, seed=1))
while tutor.done < tutor.config.steps:
    figures = tutor.step()  # experience, rewards, an update, control of the KL
    print(f"step {figures['step']}: reward {figures['reward']:.3f}, KL {figures['kl']:.3f} nats a sequence")

smiles = ["".join(tokens) for tokens in Sampler(tutor.policy, seed=2).sample(20)]
print("mean QED of what it writes now:", np.nanmean(domain.rule("qed")(smiles)).round(2))
tutor.policy.save("tuned.safetensors")  # seqtutor generate molecules --model tuned.safetensors
