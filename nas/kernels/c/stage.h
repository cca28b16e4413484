/* A convolution and what follows it up to the next one, as `_Stage` of chain.py has it, and its sizes. */

#ifndef STAGE_H
#define STAGE_H

#include <stdint.h>

enum { NO_CONVOLUTION, DEPTHWISE, POINTWISE };

typedef struct {
    int64_t convolution, kernel, padding;
    int64_t in_channels, in_height, in_width;  /* of the convolution's input */
    int64_t channels, height, width;           /* of its output; where there is none, of the chain's input */
    int64_t has_norm, activation, activation_first, pools;
    int64_t scalars;                           /* whether one number is the norm's weight, and one its bias */
    int64_t drop_below, seed;                  /* of dropout: random words below the first drop their element */
    double momentum, epsilon;
    const float *taps;                         /* weight of the convolution: (channels, taps) or (channels, in_channels) */
    const float *weight, *bias;                /* of the norm; NULL where it has none */
    float *running_mean, *running_var;
    int64_t *num_batches;
    float *dtaps, *dweight, *dbias;            /* where gradients go */
    float *map;                                /* what the convolution gives, and room for a vector */
    float *mean, *inverse;                     /* of the norm's input: for each channel, its mean and 1 / deviation */
} Stage;

static long image_size(const Stage *s) { return s->height * s->width * s->channels; }
static long input_size(const Stage *s) { return s->in_height * s->in_width * s->in_channels; }
static long pooled_size(const Stage *s) {
    return s->pools ? s->height / 2 * (s->width / 2) * s->channels : image_size(s);
}
/* What the stage's convolution gave, or the chain's input where its first stage has none. */
static float *map_of(const Stage *s, const float *x) { return s->convolution ? s->map : (float *)x; }
static long largest(long a, long b) { return a > b ? a : b; }
static float weight_of(const Stage *s, long c) { return s->weight ? s->weight[s->scalars ? 0 : c] : 1.0f; }
static float bias_of(const Stage *s, long c) { return s->bias ? s->bias[s->scalars ? 0 : c] : 0.0f; }

/* Whether what the convolution gives is what the next layer reads. */
static int is_plain(const Stage *s) { return !s->has_norm && !s->activation && !s->drop_below && !s->pools; }

#endif
