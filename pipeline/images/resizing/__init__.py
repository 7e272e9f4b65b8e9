"""Resizes pictures to the model's square, with Pillow's arithmetic and in an order of passes that hanclip fixes.

`squash` is what the others call. It uses Pillow until enough pixels came to pay for `kernels`, which compiles the code
that `assembly` writes and gives the same bytes several times as fast; `factors` has the numbers that both passes need.
"""
