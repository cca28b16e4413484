/* Max pooling over windows of 2x2, of one image. */

#ifndef POOL_H
#define POOL_H

#include "vectors.h"

INLINE Vector larger(Vector a, Vector b) { return where((Mask)(a > b) | (Mask)(a != a), a, b); }

/* Goes over the channels of a pixel: `c` where a vector begins, `n` its lanes. Vectors may overlap. */
#define FOR_EACH_CHANNEL(channels, ...)                                                                                \
    if ((channels) < LANES) {                                                                                          \
        const long c = 0, n = (channels);                                                                              \
        __VA_ARGS__                                                                                                    \
    } else                                                                                                             \
        for (long next = 0; next < (channels); next += LANES) {                                                        \
            enum { n = LANES };                                                                                        \
            const long c = next + LANES <= (channels) ? next : (channels) - LANES;                                     \
            __VA_ARGS__                                                                                                \
        }

static void max_pool(const float *x, float *y, long height, long width, long channels) {
    const long row = width * channels;
    for (long r = 0; r < height / 2; r++)
        for (long w = 0; w < width / 2; w++, y += channels) {
            const float *corner = x + 2 * r * row + 2 * w * channels;
            FOR_EACH_CHANNEL(channels, {
                const Vector upper = larger(load_part(corner + c, n), load_part(corner + channels + c, n));
                const Vector lower = larger(load_part(corner + row + c, n), load_part(corner + row + channels + c, n));
                store_part(y + c, larger(upper, lower), n);
            })
        }
}

/* The gradient goes to the first of equals, as torch's does. */
static void max_pool_gradient(const float *x, const float *dy, float *dx, long height, long width, long channels) {
    const long row = width * channels;
    if (height % 2 || width % 2) memset(dx, 0, height * row * sizeof(float));
    for (long r = 0; r < height / 2; r++)
        for (long w = 0; w < width / 2; w++, dy += channels) {
            const long corner = 2 * r * row + 2 * w * channels;
            FOR_EACH_CHANNEL(channels, {
                const long places[] = {corner + c, corner + channels + c, corner + row + c, corner + row + channels + c};
                const Vector value[] = {load_part(x + places[0], n), load_part(x + places[1], n),
                                        load_part(x + places[2], n), load_part(x + places[3], n)};
                const Vector most = larger(larger(value[0], value[1]), larger(value[2], value[3]));
                Mask left = ~(Mask){0};
                for (int i = 0; i < 4; i++) {
                    const Mask here = left & (Mask)(value[i] == most);
                    store_part(dx + places[i], only(here, load_part(dy + c, n)), n);
                    left &= ~here;
                }
            })
        }
}

#endif
