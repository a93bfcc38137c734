# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"
"""Device code of batch norm in Triton, which has no types; batch_norm_cuda.py launches it and says what a line is.

A tile is ROWS lines by COLUMNS values; the channel of a value is its column modulo the number of channels, so that a
tile's parameters are one vector, and the same compiled kernel serves every width.
"""

import triton
import triton.language as tl

ROWS: tl.constexpr = tl.constexpr(32)
COLUMNS: tl.constexpr = tl.constexpr(128)


@triton.jit
def _tile(line, total, width):
    """Places of a tile's values and which of them there are."""
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    at = (line + tl.arange(0, ROWS)).to(tl.int64)[:, None] * width + column[None, :]
    return at, (at < total) & (column < width)[None, :]


@triton.jit
def _channel(channels):
    """Channel of each column of this program's tiles."""
    return (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)) % channels


@triton.jit
def _store_sums(first, second, first_tile, second_tile, width):
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    at = tl.program_id(0) * width + column
    tl.store(first + at, tl.sum(first_tile, 0), column < width)
    tl.store(second + at, tl.sum(second_tile, 0), column < width)


@triton.jit(do_not_specialize=["tiles"])
def column_sums(x, reference, sums, squares, total, width, channels, tiles):
    """Sums over `tiles` tiles of x - reference, channel by channel, and of its square; (programs, width) each."""
    centre = tl.load(reference + _channel(channels))[None, :]
    sum_tile = tl.zeros((ROWS, COLUMNS), tl.float32)
    square_tile = tl.zeros((ROWS, COLUMNS), tl.float32)
    line = tl.program_id(0) * tiles * ROWS
    for _ in range(tiles):
        at, there = _tile(line, total, width)
        off = tl.where(there, tl.load(x + at, there, 0.0).to(tl.float32) - centre, 0.0)
        sum_tile += off
        square_tile += off * off
        line += ROWS
    _store_sums(sums, squares, sum_tile, square_tile, width)


@triton.jit
def _totals(first, second, channel, channels, parts, PARTS: tl.constexpr):
    """Column sums (parts, channels) of two arrays."""
    total1 = tl.zeros_like(channel).to(tl.float32)
    total2 = tl.zeros_like(channel).to(tl.float32)
    for start in range(0, parts, PARTS):
        part = start + tl.arange(0, PARTS)
        at = part[:, None] * channels + channel[None, :]
        there = (part < parts)[:, None] & (channel < channels)[None, :]
        total1 += tl.sum(tl.load(first + at, there, 0.0), 0)
        total2 += tl.sum(tl.load(second + at, there, 0.0), 0)
    return total1, total2


@triton.jit(do_not_specialize=["rows", "parts"])
def moments(
    sums,  # (parts, channels) of x - running_mean
    squares,
    mean,
    inverse_std,
    running_mean,
    running_variance,
    counted,  # int64, batches so far
    rows,
    channels,
    parts,
    momentum,
    eps,
    PARTS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Mean and 1/std of the batch; running statistics and the count of batches go on."""
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    there = channel < channels
    of_sums, of_squares = _totals(sums, squares, channel, channels, parts, PARTS)
    reference = tl.load(running_mean + channel, there, 0.0)
    shift = of_sums / rows
    variance = tl.maximum(of_squares / rows - shift * shift, 0.0)
    tl.store(mean + channel, reference + shift, there)
    tl.store(inverse_std + channel, 1.0 / tl.sqrt(variance + eps), there)
    before = tl.load(running_variance + channel, there, 0.0)
    unbiased = variance * (rows / (rows - 1.0))
    tl.store(running_mean + channel, reference + momentum * shift, there)
    tl.store(running_variance + channel, before + momentum * (unbiased - before), there)
    if tl.program_id(0) == 0:
        tl.store(counted, tl.load(counted) + 1)


@triton.jit
def normalised(
    x, added, y, mean, inverse_std, weight, bias, total, width, channels, ADDED: tl.constexpr, RECTIFIED: tl.constexpr
):
    """y = (x - mean) / std * weight + bias [+ added] [rectified]."""
    at, there = _tile(tl.program_id(0) * ROWS, total, width)
    channel = _channel(channels)
    scale = tl.load(inverse_std + channel) * tl.load(weight + channel)
    offset = tl.load(bias + channel) - tl.load(mean + channel) * scale
    value = tl.load(x + at, there, 0.0).to(tl.float32) * scale[None, :] + offset[None, :]
    if ADDED:
        value += tl.load(added + at, there, 0.0).to(tl.float32)
    if RECTIFIED:
        value = tl.maximum(value, 0.0)
    tl.store(y + at, value, there)


@triton.jit
def _gradient(dy, y, at, there, whitened, weight, bias, ADDED: tl.constexpr, RECTIFIED: tl.constexpr):
    """Gradient before the rectifier: what came out is read where something was added, else made again."""
    gradient = tl.load(dy + at, there, 0.0).to(tl.float32)
    if RECTIFIED:
        seen = tl.load(y + at, there, 0.0).to(tl.float32) if ADDED else whitened * weight[None, :] + bias[None, :]
        gradient = tl.where(seen > 0, gradient, 0.0)
    return gradient


@triton.jit(do_not_specialize=["tiles"])
def gradient_sums(
    dy,
    x,
    y,
    mean,
    inverse_std,
    weight,
    bias,
    sums,
    products,
    total,
    width,
    channels,
    tiles,
    ADDED: tl.constexpr,
    RECTIFIED: tl.constexpr,
):
    """Sums over `tiles` tiles of the gradient, and of it times the whitened input; (programs, width) each."""
    channel = _channel(channels)
    centre, scale = tl.load(mean + channel)[None, :], tl.load(inverse_std + channel)[None, :]
    w, b = tl.load(weight + channel), tl.load(bias + channel)
    sum_tile = tl.zeros((ROWS, COLUMNS), tl.float32)
    product_tile = tl.zeros((ROWS, COLUMNS), tl.float32)
    line = tl.program_id(0) * tiles * ROWS
    for _ in range(tiles):
        at, there = _tile(line, total, width)
        whitened = (tl.load(x + at, there, 0.0).to(tl.float32) - centre) * scale
        gradient = _gradient(dy, y, at, there, whitened, w, b, ADDED, RECTIFIED)
        sum_tile += gradient
        product_tile += gradient * whitened
        line += ROWS
    _store_sums(sums, products, sum_tile, product_tile, width)


@triton.jit(do_not_specialize=["parts"])
def gradient_totals(sums, products, dbias, dweight, channels, parts, PARTS: tl.constexpr, CHANNELS: tl.constexpr):
    """Gradients of bias and weight, from the sums (parts, channels)."""
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    of_sums, of_products = _totals(sums, products, channel, channels, parts, PARTS)
    tl.store(dbias + channel, of_sums, channel < channels)
    tl.store(dweight + channel, of_products, channel < channels)


@triton.jit(do_not_specialize=["rows"])
def input_gradient(
    dy,
    x,
    y,
    mean,
    inverse_std,
    weight,
    bias,
    dbias,
    dweight,
    dx,
    dadded,
    rows,
    total,
    width,
    channels,
    ADDED: tl.constexpr,
    RECTIFIED: tl.constexpr,
):
    """Gradients of x and, if a rectifier came after it, of what was added."""
    at, there = _tile(tl.program_id(0) * ROWS, total, width)
    channel = _channel(channels)
    scale, w, b = tl.load(inverse_std + channel), tl.load(weight + channel), tl.load(bias + channel)
    whitened = (tl.load(x + at, there, 0.0).to(tl.float32) - tl.load(mean + channel)[None, :]) * scale[None, :]
    gradient = _gradient(dy, y, at, there, whitened, w, b, ADDED, RECTIFIED)
    if ADDED and RECTIFIED:
        tl.store(dadded + at, gradient, there)
    mean_gradient = (tl.load(dbias + channel) / rows)[None, :]
    mean_product = (tl.load(dweight + channel) / rows)[None, :]
    tl.store(dx + at, (w * scale)[None, :] * (gradient - mean_gradient - whitened * mean_product), there)
