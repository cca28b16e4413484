#include <stdint.h>

/* A logit in units of 1/NAS_LOGIT_ONE: no floating-point unit is needed. */
#define NAS_LOGIT_ONE 4096
typedef int32_t nas_logit;

/* sum * multiplier / 2^shift, rounded, as an 8-bit number around `zero`. A negative number shifted right must keep its
 * sign, as with every compiler in use. */
static inline int8_t nas_requantize(int64_t product, int shift, int zero)
{
    const int64_t q = ((product + ((int64_t)1 << (shift - 1))) >> shift) + zero;
    return (int8_t)(q < -128 ? -128 : q > 127 ? 127 : q);
}

/* sum * multiplier / 2^shift, rounded, within 24 bits, so that a float holds every logit as it is. */
static inline nas_logit nas_scale(int32_t sum, int32_t multiplier, int shift)
{
    const int64_t q = ((int64_t)sum * multiplier + ((int64_t)1 << (shift - 1))) >> shift, most = ((int64_t)1 << 24) - 1;
    return (nas_logit)(q < -most ? -most : q > most ? most : q);
}

/* Raw pixels as 8-bit numbers: (pixel * multiplier + offset) / 2^shift, with numbers of its own for each channel. */
static inline void nas_quantize_pixels(const uint8_t *pixels, int hwc, int channels, int size,
        const int32_t *multiplier, const int32_t *offset, int shift, int8_t *y)
{
    for (int c = 0; c < channels; c++) {
        for (int i = 0; i < size; i++) {
            const int32_t pixel = pixels[hwc ? i * channels + c : c * size + i];
            y[c * size + i] = nas_requantize((int64_t)pixel * multiplier[c] + offset[c], shift, 0);
        }
    }
}

/* One output element of a convolution, before its scale. */
static inline int32_t nas_window(const int8_t *x, int x_zero, int height, int width, const int8_t *weight,
        int in_group, int top, int left, int kernel)
{
    int32_t sum = 0;
    for (int i = 0; i < in_group; i++) {
        for (int a = 0; a < kernel; a++) {
            if (top + a < 0 || top + a >= height)
                continue;
            for (int b = 0; b < kernel; b++) {
                if (left + b < 0 || left + b >= width)
                    continue;
                sum += (x[(i * height + top + a) * width + left + b] - x_zero) * weight[(i * kernel + a) * kernel + b];
            }
        }
    }
    return sum;
}

/* `y` may be `x` where kernel and groups leave each element to itself. */
static inline void nas_conv(const int8_t *x, int x_zero, int channels, int height, int width, const int8_t *weight,
        const int32_t *bias, const int32_t *multiplier, const uint8_t *shift, int8_t *y, int y_zero,
        int out_channels, int out_height, int out_width, int kernel, int stride, int padding,
        int groups)
{
    const int in_group = channels / groups, out_group = out_channels / groups;
    for (int o = 0; o < out_channels; o++) {
        const int8_t *maps = x + o / out_group * in_group * height * width;
        const int8_t *w = weight + o * in_group * kernel * kernel;
        for (int r = 0; r < out_height; r++) {
            for (int c = 0; c < out_width; c++) {
                const int32_t sum = bias[o] + nas_window(maps, x_zero, height, width, w, in_group,
                    r * stride - padding, c * stride - padding, kernel);
                y[(o * out_height + r) * out_width + c] =
                    nas_requantize((int64_t)sum * multiplier[o], shift[o], y_zero);
            }
        }
    }
}

/* The last layer: from features, with a multiplier for each class. */
static inline void nas_conv_logits(const int8_t *x, int x_zero, int features, const int8_t *weight,
        const int32_t *bias, const int32_t *multiplier, int shift, nas_logit *logits, int classes)
{
    for (int o = 0; o < classes; o++) {
        int32_t sum = bias[o];
        for (int i = 0; i < features; i++)
            sum += (x[i] - x_zero) * weight[o * features + i];
        logits[o] = nas_scale(sum, multiplier[o], shift);
    }
}

static inline void nas_max_pool(const int8_t *x, int channels, int height, int width, int8_t *y, int out_height,
        int out_width, int rows, int columns, int stride)
{
    for (int i = 0; i < channels; i++) {
        for (int r = 0; r < out_height; r++) {
            for (int c = 0; c < out_width; c++) {
                const int8_t *window = x + (i * height + r * stride) * width + c * stride;
                int8_t most = window[0];
                for (int a = 0; a < rows; a++)
                    for (int b = 0; b < columns; b++)
                        if (window[a * width + b] > most)
                            most = window[a * width + b];
                y[(i * out_height + r) * out_width + c] = most;
            }
        }
    }
}

static inline void nas_average_pool(const int8_t *x, int x_zero, int channels, int height, int width,
        const int32_t *multiplier, const uint8_t *shift, int8_t *y, int y_zero, int out_height,
        int out_width, int rows, int columns, int stride)
{
    for (int i = 0; i < channels; i++) {
        for (int r = 0; r < out_height; r++) {
            for (int c = 0; c < out_width; c++) {
                const int8_t *window = x + (i * height + r * stride) * width + c * stride;
                int32_t sum = 0;
                for (int a = 0; a < rows; a++)
                    for (int b = 0; b < columns; b++)
                        sum += window[a * width + b] - x_zero;
                y[(i * out_height + r) * out_width + c] =
                    nas_requantize((int64_t)sum * multiplier[0], shift[0], y_zero);
            }
        }
    }
}

/* The last layer: the mean of each map. */
static inline void nas_average_logits(const int8_t *x, int x_zero, int size, const int32_t *multiplier, int shift,
        nas_logit *logits, int classes)
{
    for (int o = 0; o < classes; o++) {
        int32_t sum = 0;
        for (int i = 0; i < size; i++)
            sum += x[o * size + i] - x_zero;
        logits[o] = nas_scale(sum, multiplier[0], shift);
    }
}

static inline void nas_copy(const int8_t *x, int8_t *y, int size)
{
    for (int i = 0; i < size; i++)
        y[i] = x[i];
}

static inline void nas_add(int8_t *x, int x_zero, const int8_t *y, int y_zero, const int32_t *multiplier,
        const uint8_t *shift, int zero, int size)
{
    for (int i = 0; i < size; i++) {
        const int64_t sum = (int64_t)(x[i] - x_zero) * multiplier[0] + (int64_t)(y[i] - y_zero) * multiplier[1];
        x[i] = nas_requantize(sum, shift[0], zero);
    }
}

static inline void nas_look_up(const int8_t *x, const int8_t *table, int8_t *y, int size)
{
    for (int i = 0; i < size; i++)
        y[i] = table[x[i] + 128];
}
