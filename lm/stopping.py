"""Stop strings: does a completion's newest token complete a text that ends it?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


class StopStrings:
    """Looks at the text of a row's last tokens, and only where the newest could be the end of a stop string."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> None:
        self.tokenizer, self.texts = tokenizer, texts
        # Every token adds at least a byte of text; a few more, for one may begin before the stop string does.
        self.tail = max((len(text.encode()) for text in texts), default=0) + 4
        self.last = {text[-1] for text in texts} | {"\ufffd"}  # what stands for a character that is not whole
        self.may_end: dict[int, bool] = {}

    def ended(self, tokens: "torch.Tensor") -> "torch.Tensor":
        """(B, T) tokens so far -> (B,) whether the last one completes a stop string."""
        import torch

        over = torch.zeros(len(tokens), dtype=torch.bool)
        for row, token in enumerate(tokens[:, -1].tolist()):
            if self._may_end(token):
                tail = self.tokenizer.decode(tokens[row, -self.tail :].tolist(), skip_special_tokens=True)
                over[row] = any(text in tail for text in self.texts)
        return over.to(tokens.device)

    def _may_end(self, token: int) -> bool:
        if token not in self.may_end:
            self.may_end[token] = any(c in self.last for c in self.tokenizer.decode([token]))
        return self.may_end[token]
