// Packed differences of flow codes: the fast path of storage/flow_store/packing.py, which says what they are and is the oracle.
// One byte a pixel, u in the low and v in the high half; an escaped difference is in neither and follows in a list.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

namespace {

constexpr int GROUP = 8;              // pixels that are looked at together
constexpr int BIAS = 8;               // a half byte is the difference + 8; 0 says that it is escaped
constexpr uint16_t ESCAPE_BIAS = 128; // so that the high bytes of escapes are mostly zero
constexpr uint64_t ONES = 0x0101010101010101u, SEVENS = 0x7777777777777777u;

typedef uint8_t u8x8 __attribute__((vector_size(8)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));

const u16x8 LANE = {0, 1, 2, 3, 4, 5, 6, 7};

// The eight bytes at `from`, the first of them lowest.
inline uint64_t load(const uint8_t *from) {
    uint64_t bytes;
    std::memcpy(&bytes, from, GROUP);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    bytes = __builtin_bswap64(bytes);
#endif
    return bytes;
}

// The highest bit of each of the 16 half bytes that is 0.
inline uint64_t escaped(uint64_t bytes) { return ~(((bytes & SEVENS) + SEVENS) | bytes | SEVENS); }

inline void add(uint16_t *codes, u16x8 differences) {
    u16x8 row;
    std::memcpy(&row, codes, sizeof row);
    row += differences;
    std::memcpy(codes, &row, sizeof row);
}

struct Escapes {  // all low bytes, then all high bytes
    const uint8_t *low, *high;
    size_t count, next = 0;
    bool missing = false;
    uint16_t take() {
        if (next == count) {
            missing = true;
            return 0;
        }
        const uint16_t value = (uint16_t)(low[next] | high[next] << 8);
        ++next;
        return (uint16_t)(value - ESCAPE_BIAS);
    }
};

// One component of a row: the codes above, to which the sums of the differences along the row are added.
struct Line {
    uint16_t *codes, sum = 0;

    // Eight half bytes, each in a byte. Their sums are one multiplication: none of them exceeds 8 * 15.
    void add_group(uint64_t halves) {
        uint64_t sums = halves * ONES;
        const uint16_t total = (uint16_t)(sums >> 56);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        sums = __builtin_bswap64(sums);
#endif
        u8x8 parts;
        std::memcpy(&parts, &sums, sizeof parts);
        add(codes, __builtin_convertvector(parts, u16x8) + (sum - BIAS * LANE - BIAS));
        sum = (uint16_t)(sum + total - BIAS * GROUP);
    }

    // Adds to the last of the eight codes, from `lane` on.
    void correct(int lane, uint16_t by) {
        add(codes, (u16x8)(LANE >= (uint16_t)lane) & by);
        sum = (uint16_t)(sum + by);
    }
};

inline void unpack_row(const uint8_t *packed, int width, uint16_t *u, uint16_t *v, Escapes &escapes) {
    Line lines[2] = {{u}, {v}};
    int x = 0;
    for (; x + GROUP <= width; x += GROUP) {
        const uint64_t bytes = load(packed + x);
        lines[0].add_group(bytes & (ONES * 15));
        lines[1].add_group(bytes >> 4 & (ONES * 15));
        for (uint64_t bits = escaped(bytes); bits; bits &= bits - 1) {
            const int half = __builtin_ctzll(bits) / 4;  // it counted as -BIAS
            lines[half % 2].correct(half / 2, (uint16_t)(escapes.take() + BIAS));
        }
        lines[0].codes += GROUP, lines[1].codes += GROUP;
    }
    for (; x < width; ++x)
        for (Line &line : lines) {
            const int half = &line == lines ? packed[x] & 15 : packed[x] >> 4;
            *line.codes++ += line.sum = (uint16_t)(line.sum + (half ? half - BIAS : escapes.take()));
        }
}

inline uint8_t half(int16_t difference) {
    return difference > -BIAS && difference < BIAS ? (uint8_t)(difference + BIAS) : 0;
}

}  // namespace

extern "C" const char *packing_sources() { return SOURCES; }  // setup.py says it

// Packs int16 codes (2, height, width) into `packed`, which has room for 5 bytes a pixel. Returns the bytes written,
// or 0 where there is no memory.
extern "C" CLONES size_t packing_pack(const int16_t *codes, int height, int width, uint8_t *packed) try {
    const size_t pixels = (size_t)height * width;
    std::vector<uint16_t> differences(4 * (size_t)width), escapes;
    uint16_t *const down_u = differences.data(), *const down_v = down_u + width;
    int16_t *const u = (int16_t *)(down_v + width), *const v = u + width;
    for (int y = 0; y < height; ++y) {
        const int16_t *row_u = codes + (size_t)y * width, *row_v = row_u + pixels;
        for (int x = 0; x < width; ++x) down_u[x] = (uint16_t)row_u[x], down_v[x] = (uint16_t)row_v[x];
        if (y)
            for (int x = 0; x < width; ++x) {
                down_u[x] = (uint16_t)(down_u[x] - (uint16_t)row_u[x - width]);
                down_v[x] = (uint16_t)(down_v[x] - (uint16_t)row_v[x - width]);
            }
        u[0] = (int16_t)down_u[0], v[0] = (int16_t)down_v[0];
        for (int x = 1; x < width; ++x) {
            u[x] = (int16_t)(down_u[x] - down_u[x - 1]);
            v[x] = (int16_t)(down_v[x] - down_v[x - 1]);
        }
        uint8_t *const to = packed + (size_t)y * width;
        for (int x = 0; x < width; ++x) to[x] = (uint8_t)(half(u[x]) | half(v[x]) << 4);
        for (int x = 0; x < width; ++x) {
            if (x + GROUP <= width) {
                if (!escaped(load(to + x))) {
                    x += GROUP - 1;
                    continue;
                }
            }
            if (!(to[x] & 15)) escapes.push_back((uint16_t)((uint16_t)u[x] + ESCAPE_BIAS));
            if (!(to[x] >> 4)) escapes.push_back((uint16_t)((uint16_t)v[x] + ESCAPE_BIAS));
        }
    }
    uint8_t *const low = packed + pixels, *const high = low + escapes.size();
    for (size_t i = 0; i < escapes.size(); ++i) low[i] = (uint8_t)escapes[i], high[i] = (uint8_t)(escapes[i] >> 8);
    return pixels + 2 * escapes.size();
} catch (const std::bad_alloc &) {
    return 0;
}

// Unpacks rows [top, top + rows) and columns [left, left + columns) of a field of `height` x `width` px into `out`,
// float32 (rows, columns, 2), each code times `scale`; `line` is scratch of 2 * width codes.
// Returns 0, or 1 where the list of escapes is too short or, seen when the last row is read, too long.
extern "C" CLONES int packing_unpack(const uint8_t *packed, size_t nbytes, int height, int width, int top, int left,
                                     int rows, int columns, float scale, uint16_t *line, float *out) {
    const size_t pixels = (size_t)height * width;
    if (nbytes < pixels || (nbytes - pixels) % 2) return 1;
    const size_t count = (nbytes - pixels) / 2;
    Escapes escapes{packed + pixels, packed + pixels + count, count};
    uint16_t *const u = line, *const v = line + width;
    std::memset(line, 0, 4 * (size_t)width);
    for (int y = 0; y < top + rows; ++y) {
        unpack_row(packed + (size_t)y * width, width, u, v, escapes);
        if (y < top) continue;
        float *const to = out + (size_t)(y - top) * columns * 2;
        for (size_t x = 0; x < (size_t)columns; ++x) {
            to[2 * x] = scale * (float)(int16_t)u[left + x];
            to[2 * x + 1] = scale * (float)(int16_t)v[left + x];
        }
    }
    return escapes.missing || (top + rows == height && escapes.next != count);
}
