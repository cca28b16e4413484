"""The C99 functions of the exported header, by name. `PREFIX` stands for the prefix of all its symbols.

Maps are laid out (channels, height, width), weights (out, in / groups, kernel, kernel), as torch has them.
"""

from __future__ import annotations

FLOAT = {
    "conv": """
/* Without a bias, `bias` is 0. `y` may be `x` where kernel and groups leave each element to itself. */
static void PREFIX_conv(const float *x, int channels, int height, int width, const float *weight, const float *bias,
        float *y, int out_channels, int out_height, int out_width, int kernel, int stride, int padding,
        int groups)
{
    const int in_group = channels / groups, out_group = out_channels / groups;
    for (int o = 0; o < out_channels; o++) {
        const float *maps = x + o / out_group * in_group * height * width;
        const float *w = weight + o * in_group * kernel * kernel;
        for (int r = 0; r < out_height; r++) {
            for (int c = 0; c < out_width; c++) {
                PREFIX_sum sum = bias ? bias[o] : 0;
                for (int i = 0; i < in_group; i++) {
                    for (int a = 0; a < kernel; a++) {
                        const int row = r * stride + a - padding;
                        if (row < 0 || row >= height)
                            continue;
                        for (int b = 0; b < kernel; b++) {
                            const int column = c * stride + b - padding;
                            if (column < 0 || column >= width)
                                continue;
                            sum += (PREFIX_sum)maps[(i * height + row) * width + column] *
                                (PREFIX_sum)w[(i * kernel + a) * kernel + b];
                        }
                    }
                }
                y[(o * out_height + r) * out_width + c] = (float)sum;
            }
        }
    }
}
""",
    "max_pool": """
static void PREFIX_max_pool(const float *x, int channels, int height, int width, float *y, int out_height,
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
""",
    "average_pool": """
static void PREFIX_average_pool(const float *x, int channels, int height, int width, float *y, int out_height,
        int out_width, int rows, int columns, int stride)
{
    for (int i = 0; i < channels; i++) {
        for (int r = 0; r < out_height; r++) {
            for (int c = 0; c < out_width; c++) {
                const float *window = x + (i * height + r * stride) * width + c * stride;
                PREFIX_sum sum = 0;
                for (int a = 0; a < rows; a++)
                    for (int b = 0; b < columns; b++)
                        sum += window[a * width + b];
                y[(i * out_height + r) * out_width + c] = (float)(sum / (rows * columns));
            }
        }
    }
}
""",
    "add": """
static void PREFIX_add(float *x, const float *y, int size)
{
    for (int i = 0; i < size; i++)
        x[i] += y[i];
}
""",
    "relu": """
static void PREFIX_relu(float *x, int size)
{
    for (int i = 0; i < size; i++)
        x[i] = x[i] > 0 ? x[i] : 0;
}
""",
    "leaky_relu": """
static void PREFIX_leaky_relu(float *x, int size)
{
    for (int i = 0; i < size; i++)
        x[i] = x[i] > 0 ? x[i] : x[i] * 0.01f;
}
""",
    "prelu": """
static void PREFIX_prelu(float *x, int size, const float *slope)
{
    for (int i = 0; i < size; i++)
        x[i] = x[i] > 0 ? x[i] : x[i] * slope[0];
}
""",
    "silu": """
static void PREFIX_silu(float *x, int size)
{
    for (int i = 0; i < size; i++)
        x[i] = x[i] / (1 + expf(-x[i]));
}
""",
    "gelu": """
static void PREFIX_gelu(float *x, int size)
{
    for (int i = 0; i < size; i++)
        x[i] = 0.5f * x[i] * (1 + erff(x[i] * 0.70710678f));
}
""",
    "hardswish": """
static void PREFIX_hardswish(float *x, int size)
{
    for (int i = 0; i < size; i++)
        x[i] = x[i] <= -3 ? 0 : x[i] >= 3 ? x[i] : x[i] * (x[i] + 3) / 6;
}
""",
}
NEEDS_MATH = ("silu", "gelu")

INT8 = {
    "requantized": """
/* sum * multiplier / 2^shift, rounded, as an 8-bit number around `zero`. A negative number shifted right must keep its
 * sign, as with every compiler in use. */
static int8_t PREFIX_requantized(int64_t product, int shift, int zero)
{
    const int64_t q = ((product + ((int64_t)1 << (shift - 1))) >> shift) + zero;
    return (int8_t)(q < -128 ? -128 : q > 127 ? 127 : q);
}
""",
    "window": """
/* One output element of a convolution, before its scale. */
static int32_t PREFIX_window(const int8_t *x, int x_zero, int height, int width, const int8_t *weight, int in_group,
        int top, int left, int kernel)
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
""",
    "conv": """
/* `y` may be `x` where kernel and groups leave each element to itself. */
static void PREFIX_conv(const int8_t *x, int x_zero, int channels, int height, int width, const int8_t *weight,
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
                const int32_t sum = bias[o] + PREFIX_window(maps, x_zero, height, width, w, in_group,
                    r * stride - padding, c * stride - padding, kernel);
                y[(o * out_height + r) * out_width + c] =
                    PREFIX_requantized((int64_t)sum * multiplier[o], shift[o], y_zero);
            }
        }
    }
}
""",
    "conv_logits": """
/* The last layer: from features, with a scale for each class. */
static void PREFIX_conv_logits(const int8_t *x, int x_zero, int features, const int8_t *weight, const int32_t *bias,
        const float *scale, float *logits, int classes)
{
    for (int o = 0; o < classes; o++) {
        int32_t sum = bias[o];
        for (int i = 0; i < features; i++)
            sum += (x[i] - x_zero) * weight[o * features + i];
        logits[o] = (float)sum * scale[o];
    }
}
""",
    "max_pool": FLOAT["max_pool"].replace("const float", "const int8_t").replace("float", "int8_t"),
    "average_pool": """
static void PREFIX_average_pool(const int8_t *x, int x_zero, int channels, int height, int width,
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
                    PREFIX_requantized((int64_t)sum * multiplier[0], shift[0], y_zero);
            }
        }
    }
}
""",
    "average_logits": """
/* The last layer: the mean of each map. */
static void PREFIX_average_logits(const int8_t *x, int x_zero, int size, const float *scale, float *logits, int classes)
{
    for (int o = 0; o < classes; o++) {
        int32_t sum = 0;
        for (int i = 0; i < size; i++)
            sum += x[o * size + i] - x_zero;
        logits[o] = (float)sum * scale[0];
    }
}
""",
    "add": """
static void PREFIX_add(int8_t *x, int x_zero, const int8_t *y, int y_zero, const int32_t *multiplier,
        const uint8_t *shift, int zero, int size)
{
    for (int i = 0; i < size; i++) {
        const int64_t sum = (int64_t)(x[i] - x_zero) * multiplier[0] + (int64_t)(y[i] - y_zero) * multiplier[1];
        x[i] = PREFIX_requantized(sum, shift[0], zero);
    }
}
""",
    "look_up": """
static void PREFIX_look_up(const int8_t *x, const int8_t *table, int8_t *y, int size)
{
    for (int i = 0; i < size; i++)
        y[i] = table[x[i] + 128];
}
""",
}

PREDICT = """
/* The class of one image: the first of the largest logits. */
static inline int PREFIX_predict(const uint8_t *pixels)
{
    float logits[MACRO_CLASSES];
    int best = 0;
    PREFIX_forward(pixels, logits);
    for (int i = 1; i < MACRO_CLASSES; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}
"""
