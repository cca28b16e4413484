/* Depthwise convolutions at stride 1, and those of a single input channel, which are the same on repeated pixels. */

#ifndef DEPTHWISE_H
#define DEPTHWISE_H

#include "vectors.h"

#define LARGEST_KERNEL 7 /* as chain.py has it */
#define MOST_TAPS (LARGEST_KERNEL * LARGEST_KERNEL)

/* Sizes of one convolution, from the frame of an image, whose border is 0, to an output without border. */
typedef struct {
    long kernel, channels;
    long height, out_row;             /* rows of the output, and numbers in each */
    long row, framed_row;             /* numbers in whole vectors of an output row, and in a row of the frame */
} Window;

static Window window_of(long height, long width, long channels, long kernel) {
    const long out_row = width * channels, row = whole_vectors(out_row);
    return (Window){kernel, channels, height, out_row, row, row + (kernel - 1) * channels};
}

static long frame_size(Window w) { return (w.height + w.kernel - 1) * w.framed_row; }

/* Copies an image into a frame with a border of `padding` pixels. */
static void frame(Window w, const float *image, float *framed, long height, long width, long padding) {
    for (long y = 0; y < height; y++)
        memcpy(framed + (y + padding) * w.framed_row + padding * w.channels, image + y * width * w.channels,
               width * w.channels * sizeof(float));
}

/* The same for an image of one channel, repeated for all. */
static void frame_repeated(Window w, const float *image, float *framed, long height, long width, long padding) {
    for (long y = 0; y < height; y++) {
        float *to = framed + (y + padding) * w.framed_row + padding * w.channels;
        for (long x = 0; x < width; x++)
            for (long c = 0; c < w.channels; c++) *to++ = image[y * width + x];
    }
}

/* taps[t][i]: the weight of tap t for number i of a row; weight is (channels, taps). Flipped, they make the gradient. */
static void repeat_taps(Window w, const float *weight, float *taps, int flipped) {
    const long num_taps = w.kernel * w.kernel;
    for (long t = 0; t < num_taps; t++)
        for (long i = 0; i < w.out_row; i += w.channels)
            for (long c = 0; c < w.channels; c++)
                taps[t * w.row + i + c] = weight[c * num_taps + (flipped ? num_taps - 1 - t : t)];
}

/* The last column comes first: what its vectors write behind a row is written again by the next row's first column. */
INLINE void slide_by(Window w, const float *framed, const float *taps, float *out, const long kernel) {
    for (long i = w.row - LANES; i >= 0; i -= LANES) {
        Vector weight[MOST_TAPS];
        for (long t = 0; t < kernel * kernel; t++) weight[t] = load(taps + t * w.row + i);
        /* Sums of the `kernel` output rows that the rows of the frame so far belong to; each is shared by all. */
        Vector sum[LARGEST_KERNEL];
        for (long k = 0; k < kernel; k++) sum[k] = (Vector){0};
        for (long y = 0; y < w.height + kernel - 1; y++) {
            Vector pixel[LARGEST_KERNEL];
            for (long kx = 0; kx < kernel; kx++)
                pixel[kx] = load(framed + y * w.framed_row + kx * w.channels + i);
            for (long ky = kernel - 1; ky >= 0; ky--) {
                sum[ky] = ky ? sum[ky - 1] : (Vector){0};
                for (long kx = 0; kx < kernel; kx++) sum[ky] += weight[ky * kernel + kx] * pixel[kx];
            }
            if (y >= kernel - 1) store(out + (y - kernel + 1) * w.out_row + i, sum[kernel - 1]);
        }
    }
}

/* Writes up to a vector behind the output. */
static void slide(Window w, const float *framed, const float *taps, float *out) {
    if (w.kernel == 3) slide_by(w, framed, taps, out, 3);
    else if (w.kernel == 5) slide_by(w, framed, taps, out, 5);
    else slide_by(w, framed, taps, out, w.kernel);
}

INLINE void correlate_by(Window w, const float *framed, const float *gradient, float *sums, const long kernel) {
    for (long i = 0; i < w.row; i += LANES) {
        Vector sum[MOST_TAPS];
        for (long t = 0; t < kernel * kernel; t++) sum[t] = load(sums + t * w.row + i);
        for (long y = 0; y < w.height; y++) {
            const Vector g = load(gradient + y * w.out_row + i);
            for (long ky = 0; ky < kernel; ky++)
                for (long kx = 0; kx < kernel; kx++)
                    sum[ky * kernel + kx] += load(framed + (y + ky) * w.framed_row + kx * w.channels + i) * g;
        }
        for (long t = 0; t < kernel * kernel; t++) store(sums + t * w.row + i, sum[t]);
    }
}

/* Adds the gradient of taps[t][i] to sums[t][i]; reads up to a vector behind `gradient`. */
static void correlate(Window w, const float *framed, const float *gradient, float *sums) {
    if (w.kernel == 3) correlate_by(w, framed, gradient, sums, 3);
    else if (w.kernel == 5) correlate_by(w, framed, gradient, sums, 5);
    else correlate_by(w, framed, gradient, sums, w.kernel);
}

/* Adds the sums of `correlate` to the gradient of the weights (channels, taps) and sets them to 0. */
static void flush_taps(Window w, float *sums, double *dweight) {
    const long num_taps = w.kernel * w.kernel;
    for (long t = 0; t < num_taps; t++)
        for (long i = 0; i < w.out_row; i += w.channels)
            for (long c = 0; c < w.channels; c++) dweight[c * num_taps + t] += sums[t * w.row + i + c];
    memset(sums, 0, num_taps * w.row * sizeof(float));
}

#endif
