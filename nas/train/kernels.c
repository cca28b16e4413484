/* What costs most in training tiny networks on a CPU, beside dense convolutions: batch norm with the activation and the
 * dropout around it, depthwise convolutions, max pooling. Forward and backward, float, channels last, one thread.
 *
 * Maps are (images, height, width, channels), so a map is a flat run of numbers in which channels repeat. Channels are
 * few and rarely a multiple of the vector length; hence per-channel values are repeated to a period that is a multiple
 * of both, and every loop runs over whole periods of contiguous numbers, which the compiler turns into full vectors.
 *
 * Compiled on first use by cpu_kernels.py, which also says what each function computes. Each returns 0, or NO_MEMORY
 * where it found none for its working space; its results are not to be used then. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16              /* floats of the widest vectors; others divide it */
#define LONGEST_SUM 512       /* periods added up in float before they go to double */
#define INLINE static inline __attribute__((always_inline))

enum { NO_MEMORY = 1 };
enum { NONE, RELU, LEAKY_RELU, HARDSWISH, SILU };

static long smallest_period(long channels) {
    long period = channels;
    while (period % LANES) period += channels;
    return period < 4 * LANES ? period * (4 * LANES / period) : period;  /* several sums at once hide the latency */
}

static long whole_vectors(long count) { return (count + LANES - 1) / LANES * LANES; }

/* This and the next return NULL where there is no memory. */
static float *zeros(long count) {
    float *all = aligned_alloc(64, whole_vectors(count) * sizeof(float));
    if (!all) return NULL;
    memset(all, 0, whole_vectors(count) * sizeof(float));
    return all;
}

static float *repeated(const float *values, long channels, long period) {
    float *all = zeros(period);
    if (!all) return NULL;
    for (long i = 0; i < period; i++) all[i] = values[i % channels];
    return all;
}

/* A counter-based random word: the finalizer of MurmurHash3 (Appleby), whose bits pass the avalanche test. */
INLINE uint32_t random_word(uint32_t seed, uint32_t counter) {
    uint32_t h = counter * 0x9e3779b9u ^ seed;
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    return h ^ h >> 16;
}

/* What dropout multiplies element `index` by. */
INLINE float kept(uint32_t seed, uint32_t index, uint32_t drop_below, float scale) {
    return random_word(seed, index) < drop_below ? 0.0f : scale;
}

/* e to the x, to 2 in the last place: 2 to a whole power times a polynomial in what is left (Cephes, expf). */
INLINE float exponential(float x) {
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    const float whole = rintf(x * 1.44269504f);
    const float r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const union { int32_t bits; float power; } two = {((int32_t)whole + 127) << 23};
    return p * two.power;
}

/* What is no number stays none, here and in every other function: the loss must tell. */
INLINE float activated(float x, const int activation) {
    switch (activation) {
        case RELU: return x < 0.0f ? 0.0f : x;
        case LEAKY_RELU: return x > 0.0f ? x : 0.01f * x;
        case HARDSWISH: return x <= -3.0f ? 0.0f : x >= 3.0f ? x : x * (x + 3.0f) * (1.0f / 6.0f);
        case SILU: return x / (1.0f + exponential(-x));
        default: return x;
    }
}

INLINE float slope_at(float x, const int activation) {
    switch (activation) {
        case RELU: return x > 0.0f ? 1.0f : 0.0f;
        case LEAKY_RELU: return x > 0.0f ? 1.0f : 0.01f;
        case HARDSWISH: return x < -3.0f ? 0.0f : x > 3.0f ? 1.0f : x * (1.0f / 3.0f) + 0.5f;
        case SILU: {
            const float sigmoid = 1.0f / (1.0f + exponential(-x));
            return sigmoid * (1.0f + x * (1.0f - sigmoid));
        }
        default: return 1.0f;
    }
}

static float dropout_scale(uint32_t drop_below) { return (float)(1.0 / (1.0 - drop_below / 4294967296.0)); }

/* ------------------------------------------------------------------------------------------------ batch norm */

/* `before` is the activation ahead of the norm, `behind` the one that follows it; NONE where there is none. */

INLINE int moments(const float *restrict x, long count, long channels, const int before, const float *shift,
                   double *sum, double *square) {
    const long period = smallest_period(channels);
    float *around = repeated(shift, channels, period);
    float *s = zeros(period), *q = zeros(period);
    if (!around || !s || !q) return free(around), free(s), free(q), NO_MEMORY;
    memset(sum, 0, channels * sizeof(double));
    memset(square, 0, channels * sizeof(double));
    for (long at = 0; at < count;) {
        const long end = count - at > LONGEST_SUM * period ? at + LONGEST_SUM * period : count;
        for (; at + period <= end; at += period)
            for (long i = 0; i < period; i++) {
                const float d = activated(x[at + i], before) - around[i];
                s[i] += d;
                q[i] += d * d;
            }
        for (long i = 0; at < end && end == count; at++, i++) {
            const float d = activated(x[at], before) - around[i];
            s[i] += d;
            q[i] += d * d;
        }
        for (long i = 0; i < period; i++) sum[i % channels] += s[i], square[i % channels] += q[i], s[i] = q[i] = 0.0f;
    }
    return free(around), free(s), free(q), 0;
}

INLINE int apply(const float *restrict x, float *restrict y, long count, long channels, const int before,
                 const int behind, const float *scale, const float *offset, const int drops, uint32_t drop_below,
                 uint32_t seed) {
    const long period = smallest_period(channels);
    float *a = repeated(scale, channels, period), *b = repeated(offset, channels, period);
    if (!a || !b) return free(a), free(b), NO_MEMORY;
    const float factor = dropout_scale(drop_below);
    for (long at = 0; at < count; at += period) {
        const long n = count - at < period ? count - at : period;
        for (long i = 0; i < n; i++) {
            const float value = activated(activated(x[at + i], before) * a[i] + b[i], behind);
            y[at + i] = drops ? value * kept(seed, (uint32_t)(at + i), drop_below, factor) : value;
        }
    }
    return free(a), free(b), 0;
}

/* The gradient that reaches the norm's output, past dropout and the activation behind it; `u` is the norm's input. */
INLINE float at_norm(float dy, float u, float a, float b, const int behind, const int drops, uint32_t index,
                     uint32_t drop_below, float factor, uint32_t seed) {
    if (drops) dy *= kept(seed, index, drop_below, factor);
    return dy * slope_at(u * a + b, behind);
}

INLINE int gradient(const float *restrict x, const float *restrict dy, float *restrict dx, long count, long channels,
                    const int before, const int behind, const float *weight, const float *bias, const float *mean,
                    const float *inverse,
                    float *dweight, float *dbias, const int drops, uint32_t drop_below, uint32_t seed) {
    const long period = smallest_period(channels);
    const double rows = (double)(count / channels);
    const float factor = dropout_scale(drop_below);
    double *sums = calloc(2 * channels, sizeof(double));
    float *per_channel = malloc(4 * channels * sizeof(float));
    if (!sums || !per_channel) return free(sums), free(per_channel), NO_MEMORY;
    float *scale = per_channel, *offset = scale + channels, *slope = offset + channels, *constant = slope + channels;
    for (long c = 0; c < channels; c++) {
        scale[c] = weight[c] * inverse[c];
        offset[c] = bias[c] - mean[c] * scale[c];
    }
    float *a = repeated(scale, channels, period), *b = repeated(offset, channels, period);
    float *m = repeated(mean, channels, period);
    float *s = zeros(period), *q = zeros(period);
    if (!a || !b || !m || !s || !q)
        return free(a), free(b), free(m), free(s), free(q), free(sums), free(per_channel), NO_MEMORY;
    for (long at = 0; at < count;) {
        const long end = count - at > LONGEST_SUM * period ? at + LONGEST_SUM * period : count;
        while (at < end) {
            const long n = count - at < period ? count - at : period;
            for (long i = 0; i < n; i++) {
                const float u = activated(x[at + i], before);
                const float g = at_norm(dy[at + i], u, a[i], b[i], behind, drops, (uint32_t)(at + i), drop_below,
                                        factor, seed);
                s[i] += g;
                q[i] += g * (u - m[i]);
            }
            at += n;
        }
        for (long i = 0; i < period; i++)
            sums[i % channels] += s[i], sums[channels + i % channels] += q[i], s[i] = q[i] = 0.0f;
    }
    for (long c = 0; c < channels; c++) {
        dbias[c] = (float)sums[c];
        dweight[c] = (float)(sums[channels + c] * inverse[c]);
        slope[c] = (float)(-(double)scale[c] * inverse[c] * inverse[c] * sums[channels + c] / rows);
        constant[c] = (float)(-(double)scale[c] * sums[c] / rows - (double)slope[c] * mean[c]);
    }
    float *k = repeated(slope, channels, period), *c = repeated(constant, channels, period);
    const int failed = !k || !c;
    for (long at = 0; !failed && at < count; at += period) {
        const long n = count - at < period ? count - at : period;
        for (long i = 0; i < n; i++) {
            const float v = x[at + i], u = activated(v, before);
            const float g = at_norm(dy[at + i], u, a[i], b[i], behind, drops, (uint32_t)(at + i), drop_below, factor,
                                    seed);
            dx[at + i] = (a[i] * g + k[i] * u + c[i]) * slope_at(v, before);
        }
    }
    free(a), free(b), free(m), free(s), free(q), free(k), free(c), free(sums), free(per_channel);
    return failed ? NO_MEMORY : 0;
}

/* One copy of the loops for each activation and each place of it, with and without dropout: a choice made inside them
 * would cost the vectors. `call` sees BEFORE, BEHIND and DROPS as constants. */
#define WITH(before, behind, call)                                                                                     \
    {                                                                                                                  \
        enum { BEFORE = before, BEHIND = behind };                                                                     \
        if (drop_below) { enum { DROPS = 1 }; call; }                                                                  \
        else { enum { DROPS = 0 }; call; }                                                                             \
        break;                                                                                                         \
    }
#define FOR_EACH_KIND(call)                                                                                            \
    switch (activation_first ? -activation : activation) {                                                             \
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

int norm_apply(const float *x, float *y, long count, long channels, int activation, int activation_first,
               const float *scale, const float *offset, uint32_t drop_below, uint32_t seed) {
    int failed;
    FOR_EACH_KIND(failed = apply(x, y, count, channels, BEFORE, BEHIND, scale, offset, DROPS, drop_below, seed))
    return failed;
}

int norm_forward(const float *x, float *y, long count, long channels, int activation, int activation_first,
                 const float *weight, const float *bias, float *running_mean, float *running_var, float momentum,
                 float epsilon, float *mean, float *inverse, uint32_t drop_below, uint32_t seed) {
    double *sums = malloc(2 * channels * sizeof(double));
    float *scale = malloc(2 * channels * sizeof(float));
    if (!sums || !scale) return free(sums), free(scale), NO_MEMORY;
    double *sum = sums, *square = sums + channels;
    float *offset = scale + channels;
    int failed;
    /* Around the running mean, so that a large mean does not cancel a small variance. */
    FOR_EACH_KIND((void)BEHIND; (void)DROPS; failed = moments(x, count, channels, BEFORE, running_mean, sum, square))
    if (failed) return free(sums), free(scale), failed;
    const double rows = (double)(count / channels);
    for (long c = 0; c < channels; c++) {
        const double shifted = sum[c] / rows, variance = fmax(square[c] / rows - shifted * shifted, 0.0);
        mean[c] = (float)(running_mean[c] + shifted);
        inverse[c] = (float)(1.0 / sqrt(variance + epsilon));
        running_mean[c] += momentum * (mean[c] - running_mean[c]);
        running_var[c] += momentum * ((float)(variance * rows / (rows > 1 ? rows - 1 : 1)) - running_var[c]);
        scale[c] = weight[c] * inverse[c];
        offset[c] = bias[c] - mean[c] * scale[c];
    }
    failed = norm_apply(x, y, count, channels, activation, activation_first, scale, offset, drop_below, seed);
    return free(sums), free(scale), failed;
}

int norm_backward(const float *x, const float *dy, float *dx, long count, long channels, int activation,
                  int activation_first, const float *weight, const float *bias, const float *mean,
                  const float *inverse, float *dweight, float *dbias, uint32_t drop_below, uint32_t seed) {
    int failed;
    FOR_EACH_KIND(failed = gradient(x, dy, dx, count, channels, BEFORE, BEHIND, weight, bias, mean, inverse, dweight,
                                    dbias, DROPS, drop_below, seed))
    return failed;
}

/* ------------------------------------------------------------------------------------ depthwise convolution */

/* GCC's and Clang's vectors, which they split where the machine's are shorter; loads and stores need no alignment. */
typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4)));

/* Copies one image into a frame `padding` wide, whose rows are `framed_row` apart. */
static void frame(const float *image, float *framed, long height, long width, long channels, long padding,
                  long framed_row) {
    for (long y = 0; y < height; y++)
        memcpy(framed + (y + padding) * framed_row + padding * channels, image + y * width * channels,
               width * channels * sizeof(float));
}

INLINE void slide(const float *framed, float *out, const float *taps, long height, long row, long framed_row,
                  long channels, const long kernel) {
    for (long i = 0; i < row; i += LANES) {
        Vector weight[kernel * kernel];
        for (long t = 0; t < kernel * kernel; t++) weight[t] = *(const Vector *)(taps + t * row + i);
        for (long y = 0; y < height; y++) {
            Vector sum = {0};
            for (long ky = 0; ky < kernel; ky++)
                for (long kx = 0; kx < kernel; kx++)
                    sum += weight[ky * kernel + kx] *
                           *(const Vector *)(framed + (y + ky) * framed_row + kx * channels + i);
            *(Vector *)(out + y * row + i) = sum;
        }
    }
}

INLINE void correlate(const float *framed, const float *dy, float *sums, long height, long row, long framed_row,
                      long channels, const long kernel) {
    for (long i = 0; i < row; i += LANES) {
        Vector sum[kernel * kernel];
        for (long t = 0; t < kernel * kernel; t++) sum[t] = *(const Vector *)(sums + t * row + i);
        for (long y = 0; y < height; y++) {
            const Vector g = *(const Vector *)(dy + y * row + i);
            for (long ky = 0; ky < kernel; ky++)
                for (long kx = 0; kx < kernel; kx++)
                    sum[ky * kernel + kx] += *(const Vector *)(framed + (y + ky) * framed_row + kx * channels + i) * g;
        }
        for (long t = 0; t < kernel * kernel; t++) *(Vector *)(sums + t * row + i) = sum[t];
    }
}

/* Slides (kernel, kernel, channels) weights over each image; flipped, it is the gradient of the images. */
int depthwise_forward(const float *x, float *y, const float *weight, long images, long height, long width,
                      long channels, long kernel, long padding, int flipped) {
    const long out_height = height + 2 * padding - kernel + 1, out_row = (width + 2 * padding - kernel + 1) * channels;
    const long row = whole_vectors(out_row), framed_row = row + (kernel - 1) * channels, num_taps = kernel * kernel;
    float *framed = zeros((height + 2 * padding) * framed_row), *out = zeros(out_height * row);
    float *taps = zeros(num_taps * row);
    if (!framed || !out || !taps) return free(framed), free(out), free(taps), NO_MEMORY;
    for (long t = 0; t < num_taps; t++)
        for (long i = 0; i < out_row; i++)
            taps[t * row + i] = weight[(flipped ? num_taps - 1 - t : t) * channels + i % channels];
    for (long n = 0; n < images; n++) {
        frame(x + n * height * width * channels, framed, height, width, channels, padding, framed_row);
        if (kernel == 3) slide(framed, out, taps, out_height, row, framed_row, channels, 3);
        else if (kernel == 5) slide(framed, out, taps, out_height, row, framed_row, channels, 5);
        else slide(framed, out, taps, out_height, row, framed_row, channels, kernel);
        for (long r = 0; r < out_height; r++)
            memcpy(y + (n * out_height + r) * out_row, out + r * row, out_row * sizeof(float));
    }
    return free(framed), free(out), free(taps), 0;
}

/* The gradient of the weights, (kernel, kernel, channels). */
int depthwise_backward_weight(const float *x, const float *dy, float *dweight, long images, long height, long width,
                              long channels, long kernel, long padding) {
    const long out_height = height + 2 * padding - kernel + 1, out_width = width + 2 * padding - kernel + 1;
    const long row = whole_vectors(out_width * channels), framed_row = row + (kernel - 1) * channels;
    const long num_taps = kernel * kernel;
    float *framed = zeros((height + 2 * padding) * framed_row), *gradients = zeros(out_height * row);
    float *sums = zeros(num_taps * row);
    double *total = calloc(num_taps * channels, sizeof(double));
    if (!framed || !gradients || !sums || !total)
        return free(framed), free(gradients), free(sums), free(total), NO_MEMORY;
    for (long n = 0; n < images; n++) {
        frame(x + n * height * width * channels, framed, height, width, channels, padding, framed_row);
        frame(dy + n * out_height * out_width * channels, gradients, out_height, out_width, channels, 0, row);
        if (kernel == 3) correlate(framed, gradients, sums, out_height, row, framed_row, channels, 3);
        else if (kernel == 5) correlate(framed, gradients, sums, out_height, row, framed_row, channels, 5);
        else correlate(framed, gradients, sums, out_height, row, framed_row, channels, kernel);
        if (n % 16 == 15 || n == images - 1) /* a few images in float, then double */
            for (long t = 0; t < num_taps; t++)
                for (long i = 0; i < row; i++) {
                    total[t * channels + i % channels] += sums[t * row + i];
                    sums[t * row + i] = 0.0f;
                }
    }
    for (long i = 0; i < num_taps * channels; i++) dweight[i] = (float)total[i];
    return free(framed), free(gradients), free(sums), free(total), 0;
}

/* -------------------------------------------------------------------------------------------- max pooling 2x2 */

INLINE float larger(float a, float b) { return a > b || a != a ? a : b; }
/* The same where no number may be missing: the extra comparison would cost the vectors of a long expression. */
INLINE float greater(float a, float b) { return a > b ? a : b; }

int max_pool_forward(const float *x, float *y, long images, long height, long width, long channels) {
    const long row = width * channels;
    float *tall = zeros(row);
    if (!tall) return NO_MEMORY;
    for (long n = 0; n < images; n++)
        for (long r = 0; r < height / 2; r++) {
            const float *upper = x + (n * height + 2 * r) * row, *lower = upper + row;
            for (long i = 0; i < row; i++) tall[i] = larger(upper[i], lower[i]);
            for (long i = 0; i < row - channels; i++) tall[i] = larger(tall[i], tall[i + channels]);
            for (long w = 0; w < width / 2; w++, y += channels)
                memcpy(y, tall + 2 * w * channels, channels * sizeof(float));
        }
    return free(tall), 0;
}

/* The gradient goes to the first of equals, as torch's does. Whole rows at once: `left` marks the left column of each
 * window, and a neighbor is the other column's element of the same row. */
int max_pool_backward(const float *x, const float *dy, float *dx, long images, long height, long width,
                      long channels) {
    const long row = width * channels, pairs = width / 2 * 2 * channels;
    float *scratch = zeros(4 * row + 4 * channels);
    if (!scratch) return NO_MEMORY;
    float *gradient = scratch, *left = gradient + row;
    float *upper = left + row + channels, *lower = upper + row + 2 * channels;  /* room for a neighbor on both sides */
    for (long i = 0; i < row; i++) left[i] = i / channels % 2 == 0;
    if (height % 2 || width % 2) memset(dx, 0, images * height * row * sizeof(float));
    for (long n = 0; n < images; n++)
        for (long r = 0; r < height / 2; r++) {
            const long start = (n * height + 2 * r) * row;
            memcpy(upper, x + start, row * sizeof(float));
            memcpy(lower, x + start + row, row * sizeof(float));
            for (long w = 0; w < width / 2; w++, dy += channels) {
                memcpy(gradient + 2 * w * channels, dy, channels * sizeof(float));
                memcpy(gradient + (2 * w + 1) * channels, dy, channels * sizeof(float));
            }
            float *restrict d_upper = dx + start, *restrict d_lower = d_upper + row;
            for (long i = 0; i < pairs; i++) {
                const float is_left = left[i], g = gradient[i], a = upper[i], b = lower[i];
                const float a_next = upper[i + channels], a_last = upper[i - channels];
                const float b_next = lower[i + channels], b_last = lower[i - channels];
                const float other_a = is_left != 0.0f ? a_next : a_last, other_b = is_left != 0.0f ? b_next : b_last;
                const float most = greater(greater(a, b), greater(other_a, other_b));
                /* In order: left above, right above, left below, right below. */
                const float before_a = is_left != 0.0f ? -INFINITY : other_a;
                const float before_b = greater(greater(a, other_a), is_left != 0.0f ? -INFINITY : other_b);
                d_upper[i] = (a == most) & (before_a < most) ? g : 0.0f;
                d_lower[i] = (b == most) & (before_b < most) ? g : 0.0f;
            }
        }
    return free(scratch), 0;
}
