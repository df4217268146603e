"""A thin layer over the bindings that `componentize-py` generates: what Python authors of Tenon
plugins would otherwise write again in each plugin.

- `columns`: a batch's columns as Python lists, and back;
- `answer`: errors in the contract's words, tracebacks in the host's log.

`columns` imports nothing of the bindings, so a plugin's logic can be tested under plain Python.
"""
