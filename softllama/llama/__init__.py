"""The only package that touches llama_cpp: its low-level API, and ggml's functions in the same libraries.

binding.py    the libraries, their log, their devices     header.py   a GGUF's header, before anything is loaded
weights.py    a loaded model                              context.py  sequences, batches, logits
tokenizer.py  text and token ids
"""
