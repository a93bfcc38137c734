# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"
"""Device code of the augmentation in Triton, which has no types; mscl/pretrain/augment_cuda.py launches it.

Every clip has a row of parameters: FLIP, JITTER, GREY, BLUR (0 or 1), the order of the four adjustments, the place of
contrast among them, their factors for each frame (4, T), the weights of the blur. A pixel is computed from its bytes to
its result in registers.
"""

import triton
import triton.language as tl


@triton.jit
def _luma(r, g, b):
    return r * 0.2989 + g * 0.587 + b * 0.114


@triton.jit
def _unit(x):
    return tl.minimum(tl.maximum(x, 0.0), 1.0)


@triton.jit
def _adjusted(operation, factor, mean, r, g, b):
    """Brightness 0, contrast 1, saturation 2 or hue 3, as in colour_jitter.py."""
    if operation < 3:
        other = tl.zeros_like(r)
        if operation == 1:
            other += mean
        if operation == 2:
            other += _luma(r, g, b)
        r = _unit(r * factor + other * (1 - factor))
        g = _unit(g * factor + other * (1 - factor))
        b = _unit(b * factor + other * (1 - factor))
    else:
        value = tl.maximum(tl.maximum(r, g), b)
        low = tl.minimum(tl.minimum(r, g), b)
        chroma = value - low
        is_red = r == value
        is_green = (g == value) & (r != value)
        sixths = tl.where(is_red, g - b, tl.where(is_green, b - r, r - g)) / tl.maximum(chroma, 1e-12)
        sixths += tl.where(is_red, 0.0, tl.where(is_green, 2.0, 4.0)) + factor * 6.0
        sixths -= tl.floor(sixths / 6.0) * 6.0
        r = low + _unit(tl.abs(sixths - 3.0) - 1.0) * chroma
        g = low + _unit(2.0 - tl.abs(sixths - 2.0)) * chroma
        b = low + _unit(2.0 - tl.abs(sixths - 4.0)) * chroma
    return r, g, b


@triton.jit
def frame_means(source, parameters, means, width_parameters, frames, pixels, BLOCK: tl.constexpr):
    """Mean luma of every frame as contrast finds it, after the adjustments before it; one program a frame."""
    clip, frame = tl.program_id(0) // frames, tl.program_id(0) % frames
    row = parameters + clip * width_parameters
    if tl.load(row + 1) > 0:
        base = source + tl.program_id(0).to(tl.int64) * pixels * 3
        contrast = tl.load(row + 8)
        total = tl.zeros((BLOCK,), tl.float32)
        for start in range(0, pixels, BLOCK):
            at = start + tl.arange(0, BLOCK)
            there = at < pixels
            r = tl.load(base + at * 3, there, 0).to(tl.float32) / 255.0
            g = tl.load(base + at * 3 + 1, there, 0).to(tl.float32) / 255.0
            b = tl.load(base + at * 3 + 2, there, 0).to(tl.float32) / 255.0
            for place in tl.static_range(3):
                if place < contrast:
                    operation = tl.load(row + 4 + place).to(tl.int32)
                    factor = tl.load(row + 9 + operation * frames + frame)
                    r, g, b = _adjusted(operation, factor, 0.0, r, g, b)
            total += tl.where(there, _luma(r, g, b), 0.0)
        tl.store(means + tl.program_id(0), tl.sum(total) / pixels)


@triton.jit
def colours(source, parameters, means, target, width_parameters, frames, pixels, width, BLOCK: tl.constexpr):
    """Flip, jitter and grey of (B, T, H, W, 3) bytes; (B, 3, T, H, W), standardised where no blur follows."""
    clip, frame = tl.program_id(0) // frames, tl.program_id(0) % frames
    row = parameters + clip * width_parameters
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = at < pixels
    x = at % width
    seen = at - x + tl.where(tl.load(row) > 0, width - 1 - x, x)
    base = source + tl.program_id(0).to(tl.int64) * pixels * 3
    r = tl.load(base + seen * 3, there, 0).to(tl.float32) / 255.0
    g = tl.load(base + seen * 3 + 1, there, 0).to(tl.float32) / 255.0
    b = tl.load(base + seen * 3 + 2, there, 0).to(tl.float32) / 255.0
    if tl.load(row + 1) > 0:
        mean = tl.load(means + tl.program_id(0))
        for place in tl.static_range(4):
            operation = tl.load(row + 4 + place).to(tl.int32)
            factor = tl.load(row + 9 + operation * frames + frame)
            r, g, b = _adjusted(operation, factor, mean, r, g, b)
    if tl.load(row + 2) > 0:
        r = _luma(r, g, b)
        g = r
        b = r
    if tl.load(row + 3) == 0:
        r = (r - 0.485) / 0.229
        g = (g - 0.456) / 0.224
        b = (b - 0.406) / 0.225
    out = target + (clip.to(tl.int64) * 3 * frames + frame) * pixels + at
    tl.store(out, r, there)
    tl.store(out + frames * pixels, g, there)
    tl.store(out + 2 * frames * pixels, b, there)


@triton.jit
def blurred(
    source,
    parameters,
    target,
    width_parameters,
    frames,
    height,
    width,
    SIZE: tl.constexpr,
    ALONG_ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One direction of the blur, borders reflected; the one along rows comes second and standardises."""
    clip = tl.program_id(0) // (3 * frames)
    channel = tl.program_id(0) // frames % 3
    row = parameters + clip * width_parameters
    if tl.load(row + 3) > 0:
        pixels = height * width
        at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        there = at < pixels
        x = at % width
        y = at // width
        base = tl.program_id(0).to(tl.int64) * pixels
        total = tl.zeros((BLOCK,), tl.float32)
        for tap in tl.static_range(SIZE):
            if ALONG_ROWS:
                place = tl.abs(x + tap - SIZE // 2)
                place = y * width + tl.where(place >= width, 2 * (width - 1) - place, place)
            else:
                place = tl.abs(y + tap - SIZE // 2)
                place = tl.where(place >= height, 2 * (height - 1) - place, place) * width + x
            weight = tl.load(row + 9 + 4 * frames + tap)
            total += weight * tl.load(source + base + place, there, 0.0)
        if ALONG_ROWS:
            mean = tl.where(channel == 0, 0.485, tl.where(channel == 1, 0.456, 0.406))
            deviation = tl.where(channel == 0, 0.229, tl.where(channel == 1, 0.224, 0.225))
            total = (total - mean) / deviation
        tl.store(target + base + at, total, there)


@triton.jit
def _angle(y, x):
    """atan2, to a few units in the last place of float32 (the polynomial of Cephes' atanf)."""
    ax, ay = tl.abs(x), tl.abs(y)
    low, high = tl.minimum(ax, ay), tl.maximum(tl.maximum(ax, ay), 1e-30)
    steep = low > 0.41421356 * high
    t = tl.where(steep, (low - high) / (low + high), low / high)
    z = t * t
    p = ((8.05374449538e-2 * z - 1.38776856032e-1) * z + 1.99777106478e-1) * z - 3.33329491539e-1
    angle = p * z * t + t + tl.where(steep, 0.7853981633974483, 0.0)
    angle = tl.where(ay > ax, 1.5707963267948966 - angle, angle)
    angle = tl.where(x < 0, 3.141592653589793 - angle, angle)
    return tl.where(y > 0, angle, -angle)


@triton.jit
def _paint(u, v, missing, step, target, plane, at, there):
    """kernels/colour.py: floor(255 colour) / 255 of one normalised vector a pixel, into three planes."""
    position = (_angle(-v, -u) / 3.141592653589793 + 1.0) * 27.0
    index = tl.minimum(tl.maximum(position.to(tl.int32), 0), 54)
    fraction = position - index.to(tl.float32)
    radius = tl.sqrt(u * u + v * v)
    for channel in tl.static_range(3):
        lost = tl.load(missing + channel * 55 + index, there, 0.0)
        lost += fraction * tl.load(step + channel * 55 + index, there, 0.0)
        painted = tl.where(radius <= 1.0, 255.0 - radius * lost, 0.75 * (255.0 - lost))
        painted = tl.minimum(tl.maximum(tl.floor(painted), 0.0), 255.0) / 255.0
        tl.store(target + channel * plane + at, painted, there)


@triton.jit
def flow_colours(
    flow,
    parameters,
    missing,
    step,
    plain,
    rotated,
    fields,
    pixels,
    width,
    ROTATED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Pictures of (B, F, H, W, 2), plain and turned; `parameters` (B, 3): flip, cosine and sine of the angle."""
    clip, field = tl.program_id(0) // fields, tl.program_id(0) % fields
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = at < pixels
    x = at % width
    flip = tl.load(parameters + clip * 3) > 0
    seen = at - x + tl.where(flip, width - 1 - x, x)
    base = flow + tl.program_id(0).to(tl.int64) * pixels * 2
    u = tl.load(base + seen * 2, there, 0.0)
    v = tl.load(base + seen * 2 + 1, there, 0.0)
    first = (clip.to(tl.int64) * 3 * fields + field) * pixels
    sign = tl.where(flip, -1.0, 1.0)
    _paint(u * sign, v, missing, step, plain + first, fields * pixels, at, there)
    if ROTATED:
        cosine = tl.load(parameters + clip * 3 + 1)
        sine = tl.load(parameters + clip * 3 + 2)
        _paint(
            (cosine * u - sine * v) * sign,
            sine * u + cosine * v,
            missing,
            step,
            rotated + first,
            fields * pixels,
            at,
            there,
        )
