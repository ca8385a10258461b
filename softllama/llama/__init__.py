"""The only package that touches llama_cpp: its low-level API, and ggml's functions in the same libraries.

binding.py    the libraries, their log, their devices     header.py   a GGUF's header, before anything is loaded
architectures.py  what a header tells about a model       weights.py  a loaded model
context.py    sequences, batches, logits                  tokenizer.py  text and token ids
"""
