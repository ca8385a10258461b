"""Is softllama sound here (doctor), and how fast is it (bench)?

doctor      findings, one at a time, from a child process
install     what doctor looks at in the installation and the machine      (machine: what the system reports about itself)
model       what doctor looks at in a model                               (measures, exactness: its numbers)
reporter    from a check to findings
view        how findings look in a terminal
bench       times beside llama.cpp's own loop                             (llama_loop: that loop)
bench_view  how they look in a terminal

Knows everything below. Does not know the command line.
"""
