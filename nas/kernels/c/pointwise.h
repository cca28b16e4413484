/* 1x1 convolutions: products of a tall matrix, (pixels, channels), with a small one. */

#ifndef POINTWISE_H
#define POINTWISE_H

#include "vectors.h"

#define MOST_VECTORS 3 /* of a row of the output in registers at once */
#define MOST_ROWS 8

/* out[r][c] (+)= sum over k of a[r * a_row + k * a_step] * b[k][c], for `rows` rows and `vectors` vectors of columns. */
INLINE void multiply_tile(const float *a, long a_row, long a_step, const float *b, long b_row, float *out,
                          long out_row, long depth, const int rows, const int vectors, const int adds) {
    Vector sum[MOST_ROWS][MOST_VECTORS]; /* of constant size, or they would be no registers */
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) sum[r][v] = adds ? load(out + r * out_row + v * LANES) : (Vector){0};
    for (long k = 0; k < depth; k++) {
        Vector right[MOST_VECTORS];
        for (int v = 0; v < vectors; v++) right[v] = load(b + k * b_row + v * LANES);
        for (int r = 0; r < rows; r++) {
            const Vector left = filled(a[r * a_row + k * a_step]);
            for (int v = 0; v < vectors; v++) sum[r][v] += left * right[v];
        }
    }
    for (int r = 0; r < rows; r++) /* in this order: what reaches behind a row is written again by the next */
        for (int v = 0; v < vectors; v++) store(out + r * out_row + v * LANES, sum[r][v]);
}

INLINE void multiply_rows(const float *a, long a_row, long a_step, const float *b, long b_row, float *out,
                          long out_row, long rows, long depth, const int vectors, const int adds) {
    enum { SUMS = 12 }; /* at once: as many as registers hold and as hide the latency */
    const int most = vectors == 1 ? MOST_ROWS : SUMS / vectors;
    long r = 0;
    for (; r + most <= rows; r += most)
        multiply_tile(a + r * a_row, a_row, a_step, b, b_row, out + r * out_row, out_row, depth, most, vectors, adds);
    switch (rows - r) { /* the rest in one piece too: one row alone would wait for each of its sums */
#define REST(n)                                                                                                        \
    case n:                                                                                                            \
        if (n < most)                                                                                                  \
            multiply_tile(a + r * a_row, a_row, a_step, b, b_row, out + r * out_row, out_row, depth, n, vectors, adds); \
        break;
        REST(1) REST(2) REST(3) REST(4) REST(5) REST(6) REST(7)
#undef REST
    }
}

/* out (rows, columns) (+)= a b, with b's rows `b_row` apart and whole vectors of columns computed: what is behind
 * `columns` is overwritten by the next row, so that up to a vector behind the last is written too. */
INLINE void multiply(const float *a, long a_row, long a_step, const float *b, long b_row, float *out, long out_row,
                     long rows, long columns, long depth, const int adds) {
    /* The last columns come first, for the same reason. */
    long vectors = whole_vectors(columns) / LANES;
    while (vectors > 0) {
        const long now = vectors % MOST_VECTORS ? vectors % MOST_VECTORS : MOST_VECTORS;
        vectors -= now;
        const float *b_now = b + vectors * LANES;
        float *out_now = out + vectors * LANES;
        if (now == 1) multiply_rows(a, a_row, a_step, b_now, b_row, out_now, out_row, rows, depth, 1, adds);
        else if (now == 2) multiply_rows(a, a_row, a_step, b_now, b_row, out_now, out_row, rows, depth, 2, adds);
        else multiply_rows(a, a_row, a_step, b_now, b_row, out_now, out_row, rows, depth, 3, adds);
    }
}

/* y (pixels, to) = x (pixels, from) times `weight` (from, to in whole vectors). Writes up to a vector behind y. */
static void pointwise(const float *x, const float *weight, float *y, long pixels, long from, long to) {
    multiply(x, from, 1, weight, whole_vectors(to), y, to, pixels, to, from, 0);
}

/* sums (to, from in whole vectors) += dy^T x. Reads up to a vector behind x. */
static void pointwise_weight_gradient(const float *x, const float *dy, float *sums, long pixels, long from, long to) {
    multiply(dy, 1, to, x, from, sums, whole_vectors(from), to, from, pixels, 1);
}

#endif
