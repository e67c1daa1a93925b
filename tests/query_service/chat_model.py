"""A language model made on the spot that always answers the same: a real Llama whose weights are a chain of tokens."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

_CERTAIN = 1000.0  # logit of the next token of the chain, at any temperature from 0 to 2


def make(directory: Path, pieces: Sequence[str]) -> Path:
    """Writes a model whose answer to any chat is `pieces` joined, each a token of its own and all different."""
    tokenizer = _tokenizer(pieces)
    chain = tokenizer.convert_tokens_to_ids(["<answer>", *pieces, "</s>"])
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=8192, bos_token_id=None, eos_token_id=chain[-1], pad_token_id=chain[-1],
        tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1.0 if "norm" in name else 0.0)
        # Layers of zeros add nothing: what comes next depends on the last token alone.
        for place, (token, following) in enumerate(itertools.pairwise(chain)):
            model.model.embed_tokens.weight[token, place] = 1.0
            model.lm_head.weight[following, place] = _CERTAIN
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def _tokenizer(pieces: Sequence[str]) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = {token: number for number, token in enumerate(["</s>", "<answer>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=tokens, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>", additional_special_tokens=["<answer>"]
    )
    fast.add_tokens([AddedToken(piece, normalized=False) for piece in pieces])
    chat = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    fast.chat_template = f"{chat}<answer>"
    return fast
