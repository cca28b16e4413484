/* What is done to each number of a map by itself: norm, activation, dropout; forward and backward.
 *
 * A map is a flat run of numbers in which channels repeat. Channels are few and rarely a multiple of the vector length;
 * hence per-channel values are repeated to a period that is a multiple of both. */

#ifndef ELEMENTWISE_H
#define ELEMENTWISE_H

#include "vectors.h"

enum { NONE, RELU, LEAKY_RELU, HARDSWISH, SILU };

#define LEAST_VECTORS 8 /* of a period: a sum waits for the one before it, a period ago */

/* What happens to each number between a convolution and the next layer. Tables are as long as the period. */
typedef struct {
    long channels, period;
    int activation, activation_first;
    uint32_t drop_below, seed;  /* random words below the first drop their element */
    float kept_scale;           /* what dropout multiplies the others by */
    float *scale, *offset;      /* of the norm: its output is input * scale + offset */
    float *mean;                /* of the norm's input; what its sums are taken around */
    float *slope, *constant;    /* of the norm's gradient: scale * gradient + slope * input + constant */
    float *sum, *product;       /* sums of a function that adds up */
} Elementwise;

static long period_of(long channels) {
    long period = channels;
    while (period % LANES || period < LEAST_VECTORS * LANES) period += channels;
    return period;
}

/* A counter-based random word: the finalizer of MurmurHash3 (Appleby), whose bits pass the avalanche test. */
INLINE Words random_words(uint32_t seed, Words counter) {
    Words h = counter * 0x9e3779b9u ^ seed;
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    return h ^ h >> 16;
}

/* What dropout makes of the elements from `index` on, or of their gradient. */
INLINE Vector kept(const Elementwise *e, Vector v, uint32_t index, const int drops) {
    if (!drops) return v;
    const Mask dropped = (Mask)(random_words(e->seed, lane_numbers() + index) < e->drop_below);
    return v * only(~dropped, filled(e->kept_scale));
}

/* e to the x, to 2 in the last place: 2 to a whole power times a polynomial in what is left (Cephes, expf). */
INLINE Vector exponential(Vector x) {
    x = where((Mask)(x < -87.0f), filled(-87.0f), where((Mask)(x > 88.0f), filled(88.0f), x));
    const Vector rounder = filled(12582912.0f);  /* 1.5 * 2^23: a float has no digits behind the point there */
    const Vector whole = (x * 1.44269504f + rounder) - rounder;
    const Vector r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    Vector p = filled(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (Vector)((__builtin_convertvector(whole, Mask) + 127) << 23);
}

/* What is no number stays none, here and in every other function: the loss must tell. */
INLINE Vector activated(Vector x, const int activation) {
    switch (activation) {
        case RELU: return only(~(Mask)(x < 0.0f), x);
        case LEAKY_RELU: return where((Mask)(x > 0.0f), x, 0.01f * x);
        case HARDSWISH: {
            const Vector middle = where((Mask)(x >= 3.0f), x, x * (x + 3.0f) * (1.0f / 6.0f));
            return only(~(Mask)(x <= -3.0f), middle);
        }
        case SILU: return x / (1.0f + exponential(-x));
        default: return x;
    }
}

/* `gradient` times the slope of the activation at `x`. */
INLINE Vector times_slope(Vector gradient, Vector x, const int activation) {
    switch (activation) {
        case RELU: return only((Mask)(x > 0.0f), gradient);
        case LEAKY_RELU: return where((Mask)(x > 0.0f), gradient, 0.01f * gradient);
        case HARDSWISH: {
            const Vector middle = where((Mask)(x > 3.0f), filled(1.0f), x * (1.0f / 3.0f) + 0.5f);
            return gradient * only(~(Mask)(x < -3.0f), middle);
        }
        case SILU: {
            const Vector sigmoid = 1.0f / (1.0f + exponential(-x));
            return gradient * (sigmoid * (1.0f + x * (1.0f - sigmoid)));
        }
        default: return gradient;
    }
}

/* Goes over `count` numbers, a whole number of pixels from the start of an image on: in the body, `n` lanes from `at` of
 * the map and from `i` of the tables. In order, since what fetches memory ahead of its use expects that. */
#define FOR_EACH_VECTOR(e, count, ...)                                                                                 \
    do {                                                                                                               \
        const long period = (e)->period, whole = (count) / period * period;                                            \
        for (long first = 0; first < whole; first += period)                                                           \
            for (long i = 0; i < period; i += LANES) {                                                                 \
                enum { n = LANES };                                                                                    \
                const long at = first + i;                                                                             \
                __VA_ARGS__                                                                                            \
            }                                                                                                          \
        for (long i = 0; whole + i < (count); i += LANES) {                                                            \
            const long at = whole + i, n = (count) - at < LANES ? (count) - at : LANES;                                \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    } while (0)

/* y: the next layer's input. */
INLINE void normalize_as(const Elementwise *e, const float *x, float *y, long start, long count, const int before,
                         const int behind, const int drops) {
    const float *const scale = e->scale, *const offset = e->offset;
    FOR_EACH_VECTOR(e, count, {
        const Vector u = activated(load_part(x + at, n), before);
        const Vector value = activated(u * load(scale + i) + load(offset + i), behind);
        store_part(y + at, kept(e, value, (uint32_t)(start + at), drops), n);
    });
}

INLINE void add_to(float *sum, Vector v) { store(sum, load(sum) + v); }

/* Adds the norm's input and its square, around the mean, to `sum` and `product`. */
INLINE void add_moments_as(const Elementwise *e, const float *x, long count, const int before) {
    const float *const mean = e->mean;
    float *const sum = e->sum, *const product = e->product;
    FOR_EACH_VECTOR(e, count, {
        Vector d = activated(load_part(x + at, n), before) - load(mean + i);
        if (n < LANES) d = only((Mask)lane_numbers() < (int32_t)n, d);
        add_to(sum + i, d);
        add_to(product + i, d * d);
    });
}

/* g: the gradient at the norm's output, of that of the next layer's input. Adds it, and its product with the norm's
 * input around its mean, to `sum` and `product`. */
INLINE void pull_as(const Elementwise *e, const float *x, const float *dy, float *g, long start, long count,
                    const int before, const int behind, const int drops) {
    const float *const scale = e->scale, *const offset = e->offset, *const mean = e->mean;
    float *const sum = e->sum, *const product = e->product;
    FOR_EACH_VECTOR(e, count, {
        const Vector u = activated(load_part(x + at, n), before);
        Vector d = kept(e, load_part(dy + at, n), (uint32_t)(start + at), drops);
        d = times_slope(d, u * load(scale + i) + load(offset + i), behind);
        store_part(g + at, d, n);
        add_to(sum + i, d);
        add_to(product + i, d * (u - load(mean + i)));
    });
}

/* dx: the gradient at the convolution's output, of that at the norm's output. */
INLINE void pull_norm_as(const Elementwise *e, const float *x, const float *g, float *dx, long count,
                         const int before) {
    const float *const scale = e->scale, *const slope = e->slope, *const constant = e->constant;
    FOR_EACH_VECTOR(e, count, {
        const Vector value = load_part(x + at, n), u = activated(value, before);
        const Vector d = load(scale + i) * load_part(g + at, n) + load(slope + i) * u + load(constant + i);
        store_part(dx + at, times_slope(d, value, before), n);
    });
}

/* One copy of the loops for each activation and each place of it, with and without dropout: a choice made inside them
 * would cost the vectors. `call` sees BEFORE, BEHIND and DROPS as constants. */
#define WITH(before, behind, call)                                                                                     \
    {                                                                                                                  \
        enum { BEFORE = before, BEHIND = behind };                                                                     \
        if (e->drop_below) { enum { DROPS = 1 }; call; }                                                               \
        else { enum { DROPS = 0 }; call; }                                                                             \
        break;                                                                                                         \
    }
#define FOR_EACH_KIND(call)                                                                                            \
    switch (e->activation_first ? -e->activation : e->activation) {                                                    \
        case -RELU: WITH(RELU, NONE, call)                                                                             \
        case -LEAKY_RELU: WITH(LEAKY_RELU, NONE, call)                                                                 \
        case -HARDSWISH: WITH(HARDSWISH, NONE, call)                                                                   \
        case -SILU: WITH(SILU, NONE, call)                                                                             \
        case RELU: WITH(NONE, RELU, call)                                                                              \
        case LEAKY_RELU: WITH(NONE, LEAKY_RELU, call)                                                                  \
        case HARDSWISH: WITH(NONE, HARDSWISH, call)                                                                    \
        case SILU: WITH(NONE, SILU, call)                                                                              \
        default: WITH(NONE, NONE, call)                                                                                \
    }
#define FOR_EACH_FIRST(call)                                                                                           \
    switch (e->activation_first ? e->activation : NONE) {                                                              \
        case RELU: { enum { BEFORE = RELU }; call; break; }                                                            \
        case LEAKY_RELU: { enum { BEFORE = LEAKY_RELU }; call; break; }                                                \
        case HARDSWISH: { enum { BEFORE = HARDSWISH }; call; break; }                                                  \
        case SILU: { enum { BEFORE = SILU }; call; break; }                                                            \
        default: { enum { BEFORE = NONE }; call; }                                                                     \
    }

static void normalize(const Elementwise *e, const float *x, float *y, long start, long count) {
    FOR_EACH_KIND(normalize_as(e, x, y, start, count, BEFORE, BEHIND, DROPS))
}
static void add_moments(const Elementwise *e, const float *x, long count) {
    FOR_EACH_FIRST(add_moments_as(e, x, count, BEFORE))
}
static void pull(const Elementwise *e, const float *x, const float *dy, float *g, long start, long count) {
    FOR_EACH_KIND(pull_as(e, x, dy, g, start, count, BEFORE, BEHIND, DROPS))
}
static void pull_norm(const Elementwise *e, const float *x, const float *g, float *dx, long count) {
    FOR_EACH_FIRST(pull_norm_as(e, x, g, dx, count, BEFORE))
}

/* Adds the sums to one double for each channel and sets them to 0. */
static void flush(const Elementwise *e, double *sum, double *product) {
    for (long i = 0; i < e->period; i += e->channels)
        for (long c = 0; c < e->channels; c++) {
            sum[c] += e->sum[i + c], product[c] += e->product[i + c];
            e->sum[i + c] = e->product[i + c] = 0.0f;
        }
}

#endif
