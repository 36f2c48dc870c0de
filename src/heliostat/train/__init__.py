"""Training of language models from start to finish: `heliostat train`.

`text` makes blocks of token ids, `tokenizer` trains byte-level BPE, `decoder` is the model as modules with gradients,
`loop` takes the steps and keeps checkpoints, `language_model` and `fine_tune` put these together, `lora` has adapters
over a frozen base, `export` and `merge` write GGUF files. What only runs models is `heliostat.llm`.
"""
