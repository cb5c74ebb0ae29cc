"""A linear-chain conditional random field over tags: loss, best path, and probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipelines.spans import illegal_tags

# Finite, so that a forbidden gold path has a large loss instead of an infinite one.
FORBIDDEN = -1e4


class LinearChainCRF(nn.Module):
    """Scores whole tag sequences (Lafferty et al. 2001; Lample et al. 2016, section 2.2).

        score(x, y) = start[y_1] + sum_t emissions[t, y_t]
                      + sum_t transitions[y_{t-1}, y_t] + end[y_T]
        p(y | x) = exp(score(x, y) - log Z(x)),   log Z(x) = log sum_y' exp(score(x, y'))

    All methods take emissions of shape (B, T, C) and a mask of shape (B, T), true where there is a
    tag. Masked positions are skipped wherever they are: padding on either side, special tokens,
    further pieces of a word. A row without any tag has the empty sequence, of score 0.

    Args:
        num_tags: C.
        tags: their names in BIO, in order of their ids: paths that BIO forbids are then ruled out.
    """

    allowed_first: Tensor
    allowed_following: Tensor

    def __init__(self, num_tags: int, *, tags: Sequence[str] | None = None):
        super().__init__()
        self.start = nn.Parameter(torch.zeros(num_tags))  # (C,)
        self.transitions = nn.Parameter(torch.zeros(num_tags, num_tags))  # (C, C), row to column
        self.end = nn.Parameter(torch.zeros(num_tags))  # (C,)
        all_first = torch.ones(num_tags, dtype=torch.bool)
        all_following = torch.ones(num_tags, num_tags, dtype=torch.bool)
        self.register_buffer("allowed_first", all_first)
        self.register_buffer("allowed_following", all_following)
        self.allow(tags)

    def allow(self, tags: Sequence[str] | None) -> None:
        """Rules out the paths that BIO forbids between tags; without tags, none."""
        first, following = bio_rules(tags) if tags else (torch.tensor(True), torch.tensor(True))
        self.allowed_first.copy_(first)
        self.allowed_following.copy_(following)

    def forward(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Negative log-likelihood -log p(y | x) of the tags (B, T) of each row, of shape (B,)."""
        return self.log_partition(emissions, mask) - self.score(emissions, tags, mask)

    def score(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """The score of the tags (B, T) of each row, of shape (B,); masked tags are ignored."""
        emissions, mask, order = _left_aligned(emissions, mask)
        tags = tags.gather(1, order).masked_fill(~mask, 0)  # (B, T)
        start, transitions, end = self._weights(emissions)
        emitted = emissions.gather(2, tags[..., None])[..., 0]  # (B, T)
        moved = transitions[tags[:, :-1], tags[:, 1:]]  # (B, T - 1)
        inner = (emitted * mask).sum(1) + (moved * mask[:, 1:]).sum(1)  # (B,)
        last_position = (mask.sum(1, keepdim=True) - 1).clamp(min=0)  # (B, 1)
        last = tags.gather(1, last_position)[:, 0]  # (B,)
        return inner + (start[tags[:, 0]] + end[last]) * mask[:, 0]

    def log_partition(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """log Z(x) of each row by the forward algorithm, of shape (B,)."""
        emissions, mask, _ = _left_aligned(emissions, mask)
        start, transitions, end = self._weights(emissions)
        alpha = start + emissions[:, 0]  # (B, C)
        for t in range(1, emissions.shape[1]):
            # alpha_t[j] = emissions[t, j] + log sum_i exp(alpha_{t-1}[i] + transitions[i, j])
            paths = alpha[:, :, None] + transitions  # (B, C, C)
            step = emissions[:, t] + torch.logsumexp(paths, dim=1)  # (B, C)
            alpha = torch.where(mask[:, t, None], step, alpha)
        return torch.logsumexp(alpha + end, dim=1) * mask[:, 0]

    @torch.no_grad()
    def viterbi(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """The tag sequence of the highest score, of shape (B, T); 0 where masked."""
        emissions, mask, order = _left_aligned(emissions, mask)
        start, transitions, end = self._weights(emissions)
        best = start + emissions[:, 0]  # (B, C)
        stay = torch.arange(len(start), device=best.device).expand_as(best)
        backpointers = []
        for t in range(1, emissions.shape[1]):
            runs = mask[:, t, None]
            step, before = (best[:, :, None] + transitions).max(dim=1)  # (B, C)
            best = torch.where(runs, step + emissions[:, t], best)
            backpointers.append(torch.where(runs, before, stay))
        tag = (best + end).argmax(dim=1)  # (B,)
        path = [tag]
        for before in reversed(backpointers):
            tag = before.gather(1, tag[:, None])[:, 0]
            path.append(tag)
        tags = torch.stack(path[::-1], dim=1) * mask  # (B, T)
        return torch.zeros_like(tags).scatter(1, order, tags)

    def marginals(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """p(y_t = c | x), of shape (B, T, C); 0 where masked.

        The result of the forward-backward algorithm is the gradient of log Z with respect to the
        emissions (Eisner 2016, "Inside-outside and forward-backward algorithms are just backprop",
        section 5).
        """
        with torch.inference_mode(False), torch.enable_grad():
            emissions = emissions.detach().clone().requires_grad_()
            log_partition = self.log_partition(emissions, mask.clone()).sum()
            [gradient] = torch.autograd.grad(log_partition, emissions)
        return gradient.detach()

    def _weights(self, emissions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Start (C,), transitions (C, C) and end (C,), forbidden ones ruled out."""
        start = self.start.masked_fill(~self.allowed_first, FORBIDDEN)
        transitions = self.transitions.masked_fill(~self.allowed_following, FORBIDDEN)
        dtype = emissions.dtype
        return start.to(dtype), transitions.to(dtype), self.end.to(dtype)


def bio_rules(tags: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Which tags BIO allows first, (C,), and after which, (C, C) from row to column."""
    first = [not illegal_tags([tag]) for tag in tags]
    following = [[_may_follow(before, tag) for tag in tags] for before in tags]
    return torch.tensor(first), torch.tensor(following)


def _may_follow(before: str, tag: str) -> bool:
    # `before` may be illegal at the start itself; only a fault at position 1 counts here.
    return all(position != 1 for position, _ in illegal_tags([before, tag]))


def _left_aligned(emissions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Emissions and mask with unmasked positions moved to the left, and their origins (B, T)."""
    mask = mask.bool()
    order = (~mask).int().argsort(dim=1, stable=True)  # (B, T)
    moved = emissions.gather(1, order[..., None].expand_as(emissions))  # (B, T, C)
    return moved, mask.gather(1, order), order
