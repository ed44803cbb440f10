"""A small Qwen2 in plain torch: RMS norm, rotary positions, grouped queries with bias, SwiGLU, tied embeddings.

Source of the architecture: the Qwen2 technical report (arXiv 2407.10671), in the layout that llama.cpp calls `qwen2`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of a model; `hidden` is a multiple of `heads`, `heads` one of `kv_heads`, every size one of 32."""

    vocabulary: int
    hidden: int = 192
    layers: int = 6
    heads: int = 6
    kv_heads: int = 2
    feed_forward: int = 512
    context: int = 512
    rope_base: float = 10_000.0
    epsilon: float = 1e-6

    @property
    def head(self) -> int:
        """The width of one attention head."""
        return self.hidden // self.heads


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn queries or keys (batch, heads, time, head) by their positions (RoFormer, arXiv 2104.09864)."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


class Block(nn.Module):
    """One layer: attention, then the feed-forward part."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.attn_norm = nn.RMSNorm(shape.hidden, eps=shape.epsilon)
        self.attn_q = nn.Linear(shape.hidden, shape.hidden)
        self.attn_k = nn.Linear(shape.hidden, shape.kv_heads * shape.head)
        self.attn_v = nn.Linear(shape.hidden, shape.kv_heads * shape.head)
        self.attn_output = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.ffn_norm = nn.RMSNorm(shape.hidden, eps=shape.epsilon)
        self.ffn_gate = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.ffn_up = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.ffn_down = nn.Linear(shape.feed_forward, shape.hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Map (batch, time, hidden) to the same."""
        batch, time, _ = x.shape
        shape, normed = self.shape, self.attn_norm(x)

        def heads(projected: Tensor, count: int) -> Tensor:
            return projected.view(batch, time, count, shape.head).transpose(1, 2)

        queries = rotate(heads(self.attn_q(normed), shape.heads), cos, sin)
        keys = rotate(heads(self.attn_k(normed), shape.kv_heads), cos, sin)
        values = heads(self.attn_v(normed), shape.kv_heads)
        seen = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)
        x = x + self.attn_output(seen.transpose(1, 2).reshape(batch, time, -1))
        normed = self.ffn_norm(x)
        return x + self.ffn_down(functional.silu(self.ffn_gate(normed)) * self.ffn_up(normed))


class Qwen2(nn.Module):
    """The whole model; its parameters carry the names that they have in a GGUF file."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.hidden)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = nn.RMSNorm(shape.hidden, eps=shape.epsilon)
        steps = torch.arange(0, shape.head, 2).float() / shape.head
        angles = torch.outer(torch.arange(shape.context).float(), shape.rope_base**-steps)
        angles = torch.cat((angles, angles), -1)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                into_residual = name.endswith(("attn_output.weight", "ffn_down.weight"))
                scale = 0.02 / math.sqrt(2 * shape.layers) if into_residual else 0.02
                nn.init.normal_(parameter, std=scale)

    def forward(self, ids: Tensor) -> Tensor:
        """Map token ids (batch, time) to hidden states (batch, time, hidden)."""
        x = self.token_embd(ids)
        time = ids.shape[1]
        for block in self.blk:
            x = block(x, self.cos[:time], self.sin[:time])
        normed: Tensor = self.output_norm(x)
        return normed

    def loss(self, ids: Tensor, weights: Tensor) -> Tensor:
        """Return the weighted cross-entropy in nats of predicting each next token (batch, time)."""
        hidden, targets, shares = self(ids[:, :-1]), ids[:, 1:], weights[:, 1:]
        counted = shares > 0
        logits = hidden[counted] @ self.token_embd.weight.T
        nats = functional.cross_entropy(logits, targets[counted], reduction="none")
        return (nats * shares[counted]).sum() / shares[counted].sum()
