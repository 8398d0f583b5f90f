"""The output layer and its cross-entropy as one operation, where the layer itself is not trained.

The gradient at the hidden states is known as soon as the logits are: it is computed beside the loss, in
their place, some positions at a time. So a batch never has all its logits at once, let alone three times as
torch's own operations do. After Liger-Kernel's fused linear cross-entropy (arXiv:2410.10989), in plain torch.
"""

from typing import Any

import torch
from torch.nn import functional

_LOGITS = 2**24
"""At once: 64 MiB in fp32."""


class HeadLoss(torch.autograd.Function):  # type: ignore[misc]
    """Summed cross-entropy in nats of hidden states (n, width) through a frozen weight (vocabulary, width)
    against targets (n): a scalar in fp32."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        at_once = max(1, _LOGITS // len(weight))
        loss = hidden.new_zeros((), dtype=torch.float32)
        gradients = []
        for some, wanted in zip(hidden.split(at_once), targets.split(at_once), strict=True):
            logits = (some.to(weight.dtype) @ weight.t()).float()
            of_target = wanted[:, None]
            logits -= logits.amax(dim=-1, keepdim=True)
            loss -= logits.gather(1, of_target).sum()
            sums = logits.exp_().sum(dim=-1, keepdim=True)
            loss += sums.log().sum()
            if ctx.needs_input_grad[0]:
                ones = torch.ones_like(of_target, dtype=logits.dtype)
                logits.div_(sums).scatter_add_(1, of_target, -ones)
                gradients.append((logits.to(weight.dtype) @ weight).to(hidden.dtype))
        if gradients:
            ctx.save_for_backward(torch.cat(gradients))
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        [of_hidden] = ctx.saved_tensors
        return of_hidden * gradients[0], None, None


def head_loss_sum(head: Any, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Summed cross-entropy of hidden states (n, width) by an output layer, against targets (n); a scalar."""
    if type(head) is torch.nn.Linear and head.bias is None and not head.weight.requires_grad:
        loss: torch.Tensor = HeadLoss.apply(hidden, head.weight, targets)
        return loss
    return functional.cross_entropy(head(hidden).float(), targets, reduction="sum")
