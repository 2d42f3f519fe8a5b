"""The shop of swap.py: tests' catalogue, a table of vectors that changes, one page a product."""
