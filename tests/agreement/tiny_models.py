"""Small models of several architectures, with random weights, made on the spot."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORDS = (
    "attention is all you need the transformer relies on without recurrence dropout removes units at random during "
    "training batch normalization a technique that of and to in gradients reach early layers deep network residual "
    "connections let query passage what how many"
).split()
PROMPTS = {"query": "query: ", "passage": "passage: "}
WINDOW = 64


def make(
    directory: Path, pooling: str = "mean", *, dense: Any = None, prompts: bool = False, normalize: bool = False
) -> Path:
    """Writes a BERT of two layers as sentence-transformers saves it; `dense` is an activation of torch."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(len(pooling) + bool(dense))
    letters = [chr(letter) for letter in range(33, 127)]
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = dict.fromkeys([*marks, *letters, *(f"##{letter}" for letter in letters), *WORDS])
    ids = {word: number for number, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=WINDOW,
    )  # fmt: skip
    bare = directory / "bare"
    config = BertConfig(
        vocab_size=len(ids), hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
        max_position_embeddings=WINDOW,
    )  # fmt: skip
    BertModel(config).save_pretrained(bare)
    fast.save_pretrained(bare)
    stages = [Transformer(str(bare), max_seq_length=WINDOW), Pooling(48, pooling)]
    if dense is not None:
        stages.append(Dense(48, 20, activation_function=dense))
    if normalize:
        stages.append(Normalize())
    model = SentenceTransformer(modules=stages, device="cpu", prompts=PROMPTS if prompts else None)
    path = directory / "model"
    model.save(str(path), create_model_card=False)
    return path


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def sentences(count: int) -> Sequence[str]:
    """Texts of many lengths, all different."""
    return [
        " ".join([WORDS[(number * step) % len(WORDS)] for step in range(1, 2 + number % 70)] + [str(number)])
        for number in range(count)
    ]
