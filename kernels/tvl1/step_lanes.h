// One row of an iteration by hand, for the lanes of whoever includes this inside its target and namespace (lanes.h).
//
// The loop is short of registers and of room to look ahead, not of arithmetic: p of a block follows in the turn after its u, so
// that the two chains of latencies overlap. It was 1.4 times as fast as what the compiler makes of the plain loop.

// u of a row, then p of the row above it. Returns the summed squared change of u where MEASURE.
template <bool MEASURE, bool EDGED>
INLINE float step_blocks(const RowPair &r, Step s, int columns) {
    const Lanes l_t = all(s.l_t), theta = all(s.theta), t = all(s.t), t_edge = all(s.t / EDGE_STEPS);
    Lanes change = all(0), p11_before = all(0), p21_before = all(0);

    struct Block {  // what p of the row above needs to know of a block
        Lanes u, v, up_u, up_v, up_p12, up_p22;
    };
    auto primal = [&](ptrdiff_t x) __attribute__((always_inline)) {
        const Lanes ix = load(r.ix + x), iy = load(r.iy + x), old_u = load(r.u + x), old_v = load(r.v + x);
        const Lanes p11 = load(r.p11 + x), p21 = load(r.p21 + x);
        Block b;
        b.up_u = load(r.up_u + x), b.up_v = load(r.up_v + x);
        b.up_p12 = load(r.up_p12 + x), b.up_p22 = load(r.up_p22 + x);
        const Lanes rho = load(r.rc + x) + ix * old_u + iy * old_v;
        const Lanes d = clamp(rho * load(r.ig + x), l_t);
        b.u = old_u + theta * ((p11 - before(p11_before, p11, r.p11 + x)) + (load(r.p12 + x) - b.up_p12)) - d * ix;
        b.v = old_v + theta * ((p21 - before(p21_before, p21, r.p21 + x)) + (load(r.p22 + x) - b.up_p22)) - d * iy;
        p11_before = p11, p21_before = p21;
        if (MEASURE) {
            const Lanes du = b.u - old_u, dv = b.v - old_v;
            change += load(r.counts + x) * (du * du + dv * dv);
        }
        store(r.u + x, b.u), store(r.v + x, b.v);
        return b;
    };
    auto dual = [&](ptrdiff_t x, const Block &b, Lanes right_u, Lanes right_v) __attribute__((always_inline)) {
        const Lanes u1x = right_u - b.up_u, u1y = b.u - b.up_u, u2x = right_v - b.up_v, u2y = b.v - b.up_v;
        const Lanes weight = EDGED ? t + t_edge * load(r.up_edge + x) : t;
        const Lanes r1 = inverse(all(1) + weight * root(u1x * u1x + u1y * u1y));
        const Lanes r2 = inverse(all(1) + weight * root(u2x * u2x + u2y * u2y));
        store(r.up_p11 + x, (load(r.up_p11 + x) + t * u1x) * r1), store(r.up_p12 + x, (b.up_p12 + t * u1y) * r1);
        store(r.up_p21 + x, (load(r.up_p21 + x) + t * u2x) * r2), store(r.up_p22 + x, (b.up_p22 + t * u2y) * r2);
    };

    Block last = primal(0);
    ptrdiff_t x = 0;
    while ((x += COUNT) < columns) {
        const Block next = primal(x);
        dual(x - COUNT, last, after(last.up_u, next.up_u, r.up_u + x - COUNT), after(last.up_v, next.up_v, r.up_v + x - COUNT));
        last = next;
    }
    x -= COUNT;
    dual(x, last, load(r.up_u + x + 1), load(r.up_v + x + 1));
    return MEASURE ? sum(change) : 0;
}

const InnerRow inner_row{step_blocks<false, true>, step_blocks<true, true>, step_blocks<false, false>, step_blocks<true, false>, COUNT};
