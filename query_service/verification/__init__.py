"""Whether an answer's sentences are supported by the evidence, contradicted or neither, and why."""
