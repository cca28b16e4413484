/* Vectors of floats as GCC and Clang know them on every machine: they split those that are too long. */

#ifndef VECTORS_H
#define VECTORS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif
#define INLINE static inline __attribute__((always_inline))

/* Loads and stores need no alignment. */
typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t Mask __attribute__((vector_size(4 * LANES), aligned(4), may_alias)); /* all bits of a lane or none */
typedef uint32_t Words __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE Vector load(const float *from) { return *(const Vector *)from; }
INLINE void store(float *to, Vector v) { *(Vector *)to = v; }

/* The first `count` lanes alone; LANES of them where `count` is that. */
INLINE Vector load_part(const float *from, long count) {
    if (count == LANES) return load(from);
    Vector v = {0};
    memcpy(&v, from, count * sizeof(float));
    return v;
}

INLINE void store_part(float *to, Vector v, long count) {
    if (count == LANES) store(to, v);
    else memcpy(to, &v, count * sizeof(float));
}

INLINE Vector filled(float value) { return value - (Vector){0}; }
INLINE Vector only(Mask mask, Vector v) { return (Vector)(mask & (Mask)v); }
INLINE Vector where(Mask mask, Vector a, Vector b) { return (Vector)((mask & (Mask)a) | (~mask & (Mask)b)); }

INLINE Words lane_numbers(void) {
    Words numbers;
    for (int i = 0; i < LANES; i++) numbers[i] = i;
    return numbers;
}

INLINE long whole_vectors(long count) { return (count + LANES - 1) / LANES * LANES; }

/* Room for `count` floats and for what a vector may reach behind them; NULL where there is no memory. */
static float *reserve(long count) { return aligned_alloc(64, (count + 2 * LANES + 15) / 16 * 64); }

static float *zeros(long count) {
    float *all = reserve(count);
    return all ? memset(all, 0, (count + LANES) * sizeof(float)) : NULL;
}

#endif
