"""llama.cpp: its low-level API in llama_cpp, and ggml's functions in the same libraries.

Knows files, models, contexts and tokens. Does not know mixtures, prompts or policies.

    bindings       the libraries, their log, tensor types     devices      what it computes on
    header         a GGUF's header, before loading            weights      a loaded model
    architectures  what a header means for mixtures           context      sequences, batches, logits
    tokenizer      text and token ids                         template     chat templates
    memory         what a context takes, and what is free     overlay      rows written over nodes of the graph
    lora           adapters of a loaded model                 rpc          other machines
    thinking_tags  how families of models think          pace         threads where the machine is busy
"""
