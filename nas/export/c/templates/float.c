#include <math.h>
#include <stdint.h>

/* What sums are kept in; define it as float where double is slow and the last digit may differ. */
#ifndef nas_sum
#define nas_sum double
#endif

typedef float nas_logit;

/* Raw pixels as network inputs, with one mean and std for each channel. */
static inline void nas_normalize(const uint8_t *pixels, int hwc, int channels, int size, const float *mean,
        const float *std, float *y)
{
    for (int c = 0; c < channels; c++)
        for (int i = 0; i < size; i++)
            y[c * size + i] = ((float)pixels[hwc ? i * channels + c : c * size + i] / 255.0f - mean[c]) / std[c];
}

/* Without a bias, `bias` is 0. `y` may be `x` where kernel and groups leave each element to itself. */
static inline void nas_conv(const float *x, int channels, int height, int width, const float *weight, const float *bias,
        float *y, int out_channels, int out_height, int out_width, int kernel, int stride, int padding,
        int groups)
{
    const int in_group = channels / groups, out_group = out_channels / groups;
    for (int o = 0; o < out_channels; o++) {
        const float *maps = x + o / out_group * in_group * height * width;
        const float *w = weight + o * in_group * kernel * kernel;
        for (int r = 0; r < out_height; r++) {
            for (int c = 0; c < out_width; c++) {
                nas_sum sum = bias ? (nas_sum)bias[o] : (nas_sum)0;
                for (int i = 0; i < in_group; i++) {
                    for (int a = 0; a < kernel; a++) {
                        const int row = r * stride + a - padding;
                        if (row < 0 || row >= height)
                            continue;
                        for (int b = 0; b < kernel; b++) {
                            const int column = c * stride + b - padding;
                            if (column < 0 || column >= width)
                                continue;
                            sum += (nas_sum)maps[(i * height + row) * width + column] *
                                (nas_sum)w[(i * kernel + a) * kernel + b];
                        }
                    }
                }
                y[(o * out_height + r) * out_width + c] = (float)sum;
            }
        }
    }
}

static inline void nas_max_pool(const float *x, int channels, int height, int width, float *y, int out_height,
        int out_width, int rows, int columns, int stride)
{
    for (int i = 0; i < channels; i++) {
        for (int r = 0; r < out_height; r++) {
            for (int c = 0; c < out_width; c++) {
                const float *window = x + (i * height + r * stride) * width + c * stride;
                float most = window[0];
                for (int a = 0; a < rows; a++)
                    for (int b = 0; b < columns; b++)
                        if (window[a * width + b] > most)
                            most = window[a * width + b];
                y[(i * out_height + r) * out_width + c] = most;
            }
        }
    }
}

static inline void nas_average_pool(const float *x, int channels, int height, int width, float *y, int out_height,
        int out_width, int rows, int columns, int stride)
{
    for (int i = 0; i < channels; i++) {
        for (int r = 0; r < out_height; r++) {
            for (int c = 0; c < out_width; c++) {
                const float *window = x + (i * height + r * stride) * width + c * stride;
                nas_sum sum = 0;
                for (int a = 0; a < rows; a++)
                    for (int b = 0; b < columns; b++)
                        sum += (nas_sum)window[a * width + b];
                y[(i * out_height + r) * out_width + c] = (float)(sum / (nas_sum)(rows * columns));
            }
        }
    }
}

static inline void nas_copy(const float *x, float *y, int size)
{
    for (int i = 0; i < size; i++)
        y[i] = x[i];
}

static inline void nas_add(float *x, const float *y, int size)
{
    for (int i = 0; i < size; i++)
        x[i] += y[i];
}

static inline void nas_relu(float *x, int size)
{
    for (int i = 0; i < size; i++)
        x[i] = x[i] > 0 ? x[i] : 0;
}

static inline void nas_leaky_relu(float *x, int size)
{
    for (int i = 0; i < size; i++)
        x[i] = x[i] > 0 ? x[i] : x[i] * 0.01f;
}

static inline void nas_prelu(float *x, int size, const float *slope)
{
    for (int i = 0; i < size; i++)
        x[i] = x[i] > 0 ? x[i] : x[i] * slope[0];
}

static inline void nas_silu(float *x, int size)
{
    for (int i = 0; i < size; i++)
        x[i] = x[i] / (1 + expf(-x[i]));
}

static inline void nas_gelu(float *x, int size)
{
    for (int i = 0; i < size; i++)
        x[i] = 0.5f * x[i] * (1 + erff(x[i] * 0.70710678f));
}

static inline void nas_hardswish(float *x, int size)
{
    for (int i = 0; i < size; i++)
        x[i] = x[i] <= -3 ? 0 : x[i] >= 3 ? x[i] : x[i] * (x[i] + 3) / 6;
}
