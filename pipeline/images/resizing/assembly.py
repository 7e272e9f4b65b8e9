"""Writes the two functions of the fast resize in LLVM's assembly language, which is the same for every processor.

Out: a module with `blend` and `across`. They are short loops over vectors of 16 bytes:

- `blend` makes rows from rows: each output row is a sum of input rows times their factors. This is the vertical pass.
- `across` is the horizontal pass. It turns 16 rows at a time by a quarter, so that the columns become rows in the
  cache, blends these, and turns the result back.

A row is any number of bytes from 16 on; the last vector of a row overlaps the one before. Sums are exact in 32 bits as
in Pillow: a factor has 22 fractional bits, a pixel 8 bits, and the factors of a sum add up to 1.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.images.resizing.factors import BITS

#: Bytes of a vector: rows have at least as many, and so many rows are turned at a time.
LANES = 16

_HALF = 1 << (BITS - 1)
_ROUNDS = LANES.bit_length() - 1
_BYTES, _SUMS = f"<{LANES} x i8>", f"<{LANES} x i32>"


def module() -> str:
    """The text of the module."""
    return "\n".join([_DECLARED, _BLEND, *_turn(), _ACROSS])


_DECLARED = f"""
declare i64 @llvm.umin.i64(i64, i64)
declare {_SUMS} @llvm.smax.v{LANES}i32({_SUMS}, {_SUMS})
declare {_SUMS} @llvm.smin.v{LANES}i32({_SUMS}, {_SUMS})
"""

#: out[row] = clip((0.5 + sum(in[first[row] + tap] * factor[row][tap])) >> BITS) for `rows` rows of `width` bytes.
_BLEND = f"""
define void @blend(ptr noalias %out, ptr noalias %in, ptr noalias %bounds, ptr noalias %factors, i64 %rows, i64 %taps,
                   i64 %in_stride, i64 %out_stride, i64 %width) {{
entry:
  %last = sub i64 %width, {LANES}
  br label %row
row:
  %at = phi i64 [0, %entry], [%next_row, %row_end]
  %bound = getelementptr <2 x i32>, ptr %bounds, i64 %at
  %bound_count = getelementptr i32, ptr %bound, i64 1
  %first_32 = load i32, ptr %bound
  %count_32 = load i32, ptr %bound_count
  %first = zext i32 %first_32 to i64
  %count = zext i32 %count_32 to i64
  %in_offset = mul i64 %first, %in_stride
  %in_row = getelementptr i8, ptr %in, i64 %in_offset
  %out_offset = mul i64 %at, %out_stride
  %out_row = getelementptr i8, ptr %out, i64 %out_offset
  %factors_offset = mul i64 %at, %taps
  %row_factors = getelementptr i32, ptr %factors, i64 %factors_offset
  br label %part
part:
  %wanted = phi i64 [0, %row], [%next_part, %part_end]
  %start = call i64 @llvm.umin.i64(i64 %wanted, i64 %last)
  %column = getelementptr i8, ptr %in_row, i64 %start
  br label %tap
tap:
  %number = phi i64 [0, %part], [%next_tap, %tap]
  %sum = phi {_SUMS} [splat (i32 {_HALF}), %part], [%added, %tap]
  %tap_offset = mul i64 %number, %in_stride
  %pixels_at = getelementptr i8, ptr %column, i64 %tap_offset
  %pixels_8 = load {_BYTES}, ptr %pixels_at, align 1
  %pixels = zext {_BYTES} %pixels_8 to {_SUMS}
  %factor_at = getelementptr i32, ptr %row_factors, i64 %number
  %factor = load i32, ptr %factor_at
  %factor_lane = insertelement {_SUMS} poison, i32 %factor, i64 0
  %factor_lanes = shufflevector {_SUMS} %factor_lane, {_SUMS} poison, {_SUMS} zeroinitializer
  %product = mul {_SUMS} %pixels, %factor_lanes
  %added = add {_SUMS} %sum, %product
  %next_tap = add i64 %number, 1
  %more_taps = icmp ult i64 %next_tap, %count
  br i1 %more_taps, label %tap, label %part_end
part_end:
  %shifted = ashr {_SUMS} %added, splat (i32 {BITS})
  %not_below = call {_SUMS} @llvm.smax.v{LANES}i32({_SUMS} %shifted, {_SUMS} zeroinitializer)
  %clipped = call {_SUMS} @llvm.smin.v{LANES}i32({_SUMS} %not_below, {_SUMS} splat (i32 255))
  %rounded = trunc {_SUMS} %clipped to {_BYTES}
  %out_at = getelementptr i8, ptr %out_row, i64 %start
  store {_BYTES} %rounded, ptr %out_at, align 1
  %next_part = add i64 %wanted, {LANES}
  %more_parts = icmp ult i64 %next_part, %width
  br i1 %more_parts, label %part, label %row_end
row_end:
  %next_row = add i64 %at, 1
  %more_rows = icmp ult i64 %next_row, %rows
  br i1 %more_rows, label %row, label %done
done:
  ret void
}}
"""

#: The horizontal pass of `rows` rows, at least `LANES`; `out_channels` of the `in_channels` bytes of a pixel are kept.
_ACROSS = f"""
define void @across(ptr %out, ptr %in, ptr %scratch, ptr %bounds, ptr %factors, i64 %pixels, i64 %taps, i64 %rows,
                    i64 %in_width, i64 %in_channels, i64 %out_channels) {{
entry:
  %last = sub i64 %rows, {LANES}
  %in_pixel = mul i64 %in_channels, {LANES}
  %out_pixel = mul i64 %out_channels, {LANES}
  %out_width = mul i64 %pixels, %out_channels
  %turned_bytes = mul i64 %in_width, {LANES}
  %blended = getelementptr i8, ptr %scratch, i64 %turned_bytes
  br label %group
group:
  %wanted = phi i64 [0, %entry], [%next, %group]
  %row = call i64 @llvm.umin.i64(i64 %wanted, i64 %last)
  %in_offset = mul i64 %row, %in_width
  %in_rows = getelementptr i8, ptr %in, i64 %in_offset
  call void @turn(ptr %scratch, ptr %in_rows, i64 %in_width, i64 1, i64 {LANES}, i64 {LANES}, i64 %in_width)
  call void @blend(ptr %blended, ptr %scratch, ptr %bounds, ptr %factors, i64 %pixels, i64 %taps,
                   i64 %in_pixel, i64 %out_pixel, i64 %out_pixel)
  %out_offset = mul i64 %row, %out_width
  %out_rows = getelementptr i8, ptr %out, i64 %out_offset
  call void @turn(ptr %out_rows, ptr %blended, i64 {LANES}, i64 {LANES}, i64 %out_width, i64 1, i64 %out_width)
  %next = add i64 %wanted, {LANES}
  %more = icmp ult i64 %next, %rows
  br i1 %more, label %group, label %done
done:
  ret void
}}
"""


def _turn() -> Iterator[str]:
    """Transposes squares of LANES x LANES bytes, one after the other along `width`.

    Strides lie between the vectors of a square, steps between one square's and the next's, for each byte of `width`.
    """
    yield f"""
define void @turn(ptr noalias %out, ptr noalias %in, i64 %in_stride, i64 %in_step, i64 %out_stride, i64 %out_step,
                  i64 %width) {{
entry:
  %last = sub i64 %width, {LANES}
  br label %square
square:
  %wanted = phi i64 [0, %entry], [%next, %square]
  %start = call i64 @llvm.umin.i64(i64 %wanted, i64 %last)
  %in_offset = mul i64 %start, %in_step
  %out_offset = mul i64 %start, %out_step
  %in_square = getelementptr i8, ptr %in, i64 %in_offset
  %out_square = getelementptr i8, ptr %out, i64 %out_offset"""
    for row in range(LANES):
        yield f"  %in_row_{row} = mul i64 %in_stride, {row}"
        yield f"  %from_{row} = getelementptr i8, ptr %in_square, i64 %in_row_{row}"
        yield f"  %v0_{row} = load {_BYTES}, ptr %from_{row}, align 1"
    yield from _interleaved()
    for row in range(LANES):
        yield f"  %out_row_{row} = mul i64 %out_stride, {row}"
        yield f"  %to_{row} = getelementptr i8, ptr %out_square, i64 %out_row_{row}"
        yield f"  store {_BYTES} %v{_ROUNDS}_{row}, ptr %to_{row}, align 1"
    yield f"""  %next = add i64 %wanted, {LANES}
  %more = icmp ult i64 %next, %width
  br i1 %more, label %square, label %done
done:
  ret void
}}
"""


def _interleaved() -> Iterator[str]:
    """Interleaves the first half of the vectors %v0_* with the second, four times: that turns a square of 16 x 16."""
    for step in range(_ROUNDS):
        for pair in range(LANES // 2):
            halves = f"{_BYTES} %v{step}_{pair}, {_BYTES} %v{step}_{pair + LANES // 2}"
            for half in (0, 1):
                lanes = ", ".join(f"i32 {(half * LANES + lane) // 2 + LANES * (lane % 2)}" for lane in range(LANES))
                yield f"  %v{step + 1}_{2 * pair + half} = shufflevector {halves}, <{LANES} x i32> <{lanes}>"
