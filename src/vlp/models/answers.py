"""A head that answers questions: read at the pooled state, and at a mask in the place of the question's end.

The pooled state is where matching reads whether a statement is true; the mask is where masked text reads which word is
hidden. A question ends in [SEP], which no one reads: in its place stands [MASK], so that no text grows by a token.

Source: reading at a mask, Schick & Schütze 2021, https://arxiv.org/abs/2001.07676
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp.models.features import Fused


def hide_end(input_ids: Tensor, attention_mask: Tensor, mask_id: int) -> Tensor:
    """Token ids [N, L] with ``mask_id`` in the place of each text's last token."""
    return input_ids.scatter(1, attention_mask.sum(1, keepdim=True) - 1, mask_id)


class AnswerHead(nn.Module):
    """One logit an answer.

    Args:
        width: D of the fused features.
        answers: K.
        has_tokens: of the fusion block; without fused tokens there is no place for a mask to be read at.
    """

    def __init__(self, width: int, answers: int, *, has_tokens: bool) -> None:
        super().__init__()
        self.pooled = nn.Linear(width, answers)
        self.masked = MaskedAnswer(width, answers) if has_tokens else None

    def forward(self, fused: Fused, attention_mask: Tensor) -> Tensor:
        """Logits float32 [N, K] of questions whose end is hidden."""
        return self.read(fused, attention_mask)[0]

    def read(self, fused: Fused, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the states behind them: the pooled one [N, D]; [N, 2 D] with the mask's where it is read."""
        logits = self.pooled(fused.pooled).float()
        if self.masked is None:
            return logits, fused.pooled
        assert fused.tokens is not None
        last = attention_mask.sum(1, keepdim=True) - 1
        place = last[:, :, None].expand(-1, -1, fused.tokens.shape[2])
        state = fused.tokens.gather(1, place).squeeze(1)
        return logits + self.masked(state).float(), torch.cat([fused.pooled, state], dim=1)


class MaskedAnswer(nn.Module):
    """What a masked-text head is, with answers for words: dense, GELU, norm, decoder."""

    def __init__(self, width: int, answers: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.decoder = nn.Linear(width, answers)

    def take_over(self, head: dict[str, Tensor], answer_ids: list[list[int]]) -> None:
        """Copy a masked-text head; an answer's row is the mean of its tokens', and as it was where it has none."""
        own = {name: value for name, value in head.items() if not name.startswith("decoder.")}
        self.load_state_dict(own, strict=False)
        for number, ids in enumerate(answer_ids):
            if ids:
                self.decoder.weight[number] = head["decoder.weight"][ids].mean(0)
                self.decoder.bias[number] = head["decoder.bias"][ids].mean()

    def forward(self, state: Tensor) -> Tensor:
        """[N, D] → [N, K]."""
        return self.decoder(self.norm(F.gelu(self.dense(state))))
