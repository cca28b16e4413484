/* Chains of layers in training and evaluation on a CPU: forward and backward, float, channels last, one thread.
 *
 * A chain is a row of stages. A stage is a convolution (depthwise or 1x1), batch norm, an activation before or behind
 * the norm, dropout and max pooling, each of which may be missing. Only what the convolutions give is kept in memory.
 * A stage makes its input of what the convolution before gave, a group of images at a time, few enough for all of it to
 * stay in cache; so a map is written once and read once forward, and read twice backward. Norms stand between passes,
 * since they must have seen all images.
 *
 * Maps are (images, height, width, channels). Compiled on first use by cpu.py, whose library chain.py calls.
 * Each function returns 0, or NO_MEMORY where it found none for its working space; its results are not to be used then. */

#include <math.h>

#include "depthwise.h"
#include "elementwise.h"
#include "pointwise.h"
#include "pool.h"
#include "stage.h"

enum { NO_MEMORY = 1 };

#define GROUP 16384      /* numbers of the largest map of a group of images */
#define LONGEST_SUM 512  /* numbers added up in float before they go to double */

/* The images of a group. */
static long group_of(const Stage *s, const Stage *before) {
    const long most = largest(image_size(s), largest(input_size(s), before ? image_size(before) : 0));
    return largest(GROUP / most, 1);
}

/* ---------------------------------------------------------------------------------------------- working space */

/* All that the passes over one stage need beside maps, in one piece of memory. */
typedef struct {
    Elementwise to_next;     /* of this stage */
    double *sum, *product;   /* of each channel */
    float *floats;
    double *doubles;
} Tables;

static int make_tables(Tables *t, const Stage *s) {
    const long period = period_of(s->channels);
    enum { KINDS = 7 };
    t->floats = zeros(KINDS * period);
    t->doubles = calloc(2 * s->channels, sizeof(double));
    if (!t->floats || !t->doubles) return NO_MEMORY;
    t->sum = t->doubles, t->product = t->doubles + s->channels;
    float *at[KINDS];
    for (int i = 0; i < KINDS; i++) at[i] = t->floats + i * period;
    t->to_next = (Elementwise){
        .channels = s->channels, .period = period, .activation = (int)s->activation,
        .activation_first = (int)s->activation_first, .drop_below = (uint32_t)s->drop_below, .seed = (uint32_t)s->seed,
        .kept_scale = (float)(1.0 / (1.0 - s->drop_below / 4294967296.0)), .scale = at[0], .offset = at[1],
        .mean = at[2], .slope = at[3], .constant = at[4], .sum = at[5], .product = at[6]};
    return 0;
}

static void free_tables(Tables *t) { free(t->floats), free(t->doubles); }

static void repeat(const Elementwise *e, float *table) {
    for (long i = e->channels; i < e->period; i++) table[i] = table[i - e->channels];
}

/* Fills the tables of the way forward, from mean and inverse. */
static void fill_forward(Tables *t, const Stage *s) {
    const Elementwise *e = &t->to_next;
    for (long c = 0; c < s->channels; c++) {
        e->scale[c] = s->has_norm ? weight_of(s, c) * s->inverse[c] : 1.0f;
        e->mean[c] = s->has_norm ? s->mean[c] : 0.0f;
        e->offset[c] = s->has_norm ? bias_of(s, c) - s->mean[c] * e->scale[c] : 0.0f;
    }
    repeat(e, e->scale), repeat(e, e->mean), repeat(e, e->offset);
}

/* Fills those of the norm's gradient from the sums of `pull`, and writes the gradients of its weight and bias. */
static void fill_backward(Tables *t, const Stage *s, long images) {
    const Elementwise *e = &t->to_next;
    if (!s->has_norm) return; /* scale 1, slope and constant 0 */
    const double rows = (double)(images * s->height * s->width);
    if (s->dweight) memset(s->dweight, 0, (s->scalars ? 1 : s->channels) * sizeof(float));
    if (s->dbias) memset(s->dbias, 0, (s->scalars ? 1 : s->channels) * sizeof(float));
    for (long c = 0; c < s->channels; c++) {
        const double scale = e->scale[c], inverse = s->inverse[c];
        if (s->dweight) s->dweight[s->scalars ? 0 : c] += (float)(t->product[c] * inverse);
        if (s->dbias) s->dbias[s->scalars ? 0 : c] += (float)t->sum[c];
        e->slope[c] = (float)(-scale * inverse * inverse * t->product[c] / rows);
        e->constant[c] = (float)(-scale * t->sum[c] / rows - (double)e->slope[c] * s->mean[c]);
    }
    repeat(e, e->slope), repeat(e, e->constant);
}

/* Adds up in float for a while, and then in double. */
static void flush_after(Tables *t, long *rows, long more, int last) {
    *rows += more / t->to_next.period;
    if (*rows < LONGEST_SUM && !last) return;
    flush(&t->to_next, t->sum, t->product);
    *rows = 0;
}

/* What a stage's convolution needs to be computed for a group of images. */
typedef struct {
    Window window, back;           /* of a depthwise convolution: forward, and that of its gradient */
    float *framed, *back_framed;   /* one image each */
    float *weight, *back_weight;   /* repeated, or in whole vectors */
    float *sums;                   /* of the gradient of the weight */
    double *total;
    long since_flush;              /* images */
} Convolution;

static int make_convolution(Convolution *k, const Stage *s, int backward) {
    *k = (Convolution){0};
    const long num_taps = s->kernel * s->kernel, to = s->channels, from = s->in_channels;
    if (s->convolution == DEPTHWISE) {
        k->window = window_of(s->height, s->width, to, s->kernel);
        k->framed = zeros(frame_size(k->window));
        k->weight = zeros(num_taps * k->window.row);
        if (!k->framed || !k->weight) return NO_MEMORY;
        repeat_taps(k->window, s->taps, k->weight, 0);
        if (!backward) return 0;
        k->back = window_of(s->in_height, s->in_width, to, s->kernel);
        k->back_framed = zeros(frame_size(k->back));
        k->back_weight = zeros(num_taps * k->back.row);
        k->sums = zeros(num_taps * k->window.row);
        k->total = calloc(to * num_taps, sizeof(double));
        if (!k->back_framed || !k->back_weight || !k->sums || !k->total) return NO_MEMORY;
        repeat_taps(k->back, s->taps, k->back_weight, 1);
    } else if (s->convolution == POINTWISE) {
        const long row = whole_vectors(to), back_row = whole_vectors(from);
        k->weight = zeros(from * row);
        if (!k->weight) return NO_MEMORY;
        for (long f = 0; f < from; f++)
            for (long t = 0; t < to; t++) k->weight[f * row + t] = s->taps[t * from + f];
        if (!backward) return 0;
        k->back_weight = zeros(to * back_row);
        k->sums = zeros(to * back_row);
        k->total = calloc(to * from, sizeof(double));
        if (!k->back_weight || !k->sums || !k->total) return NO_MEMORY;
        for (long t = 0; t < to; t++)
            memcpy(k->back_weight + t * back_row, s->taps + t * from, from * sizeof(float));
    }
    return 0;
}

static void free_convolution(Convolution *k) {
    free(k->framed), free(k->back_framed), free(k->weight), free(k->back_weight), free(k->sums), free(k->total);
}

static void put_in_frame(const Convolution *k, const Stage *s, const float *image) {
    (s->in_channels == s->channels ? frame : frame_repeated)(k->window, image, k->framed, s->in_height, s->in_width,
                                                             s->padding);
}

static void convolve(const Convolution *k, const Stage *s, const float *input, float *map, long images) {
    if (s->convolution == POINTWISE)
        pointwise(input, k->weight, map, images * s->height * s->width, s->in_channels, s->channels);
    for (long n = 0; s->convolution == DEPTHWISE && n < images; n++) {
        put_in_frame(k, s, input + n * input_size(s));
        slide(k->window, k->framed, k->weight, map + n * image_size(s));
    }
}

/* Adds up the gradient of the weight, of the input of a group and the gradient of its output. Either may be read up to
 * a vector behind its end. */
static void add_weight_gradient(Convolution *k, const Stage *s, const float *input, const float *gradient, long images,
                                int last) {
    const long from = s->in_channels, to = s->channels, num_taps = s->kernel * s->kernel;
    for (long n = 0; s->convolution == DEPTHWISE && n < images; n++) {
        put_in_frame(k, s, input + n * input_size(s));
        correlate(k->window, k->framed, gradient + n * image_size(s), k->sums);
        if (++k->since_flush % 16 == 0 || (last && n == images - 1)) flush_taps(k->window, k->sums, k->total);
    }
    if (s->convolution == POINTWISE) {
        pointwise_weight_gradient(input, gradient, k->sums, images * s->height * s->width, from, to);
        for (long t = 0; t < to; t++)
            for (long f = 0; f < from; f++) k->total[t * from + f] += k->sums[t * whole_vectors(from) + f];
        memset(k->sums, 0, to * whole_vectors(from) * sizeof(float));
    }
    const long count = to * (s->convolution == POINTWISE ? from : num_taps);
    for (long i = 0; last && i < count; i++) s->dtaps[i] = (float)k->total[i];
}

/* The gradient of the input of a group, of that of its output. Writes up to a vector behind it; an input of one channel
 * has as many here as the output. */
static void convolve_back(const Convolution *k, const Stage *s, const float *gradient, float *dinput, long images) {
    if (s->convolution == POINTWISE)
        pointwise(gradient, k->back_weight, dinput, images * s->height * s->width, s->channels, s->in_channels);
    for (long n = 0; s->convolution == DEPTHWISE && n < images; n++) {
        frame(k->back, gradient + n * image_size(s), k->back_framed, s->height, s->width, s->kernel - 1 - s->padding);
        slide(k->back, k->back_framed, k->back_weight, dinput + n * s->in_height * s->in_width * s->channels);
    }
}

/* ---------------------------------------------------------------------------------------------------- the passes */

/* Writes what the layer behind stage `s` reads of `images` images from `first` on, whose activated maps are left in
 * `active` where they are pooled. */
static void make_input(const Stage *s, const Tables *t, const float *map, long first, long images, float *active,
                       float *input) {
    const long size = image_size(s);
    normalize(&t->to_next, map + first * size, s->pools ? active : input, first * size, images * size);
    for (long n = 0; s->pools && n < images; n++)
        max_pool(active + n * size, input + n * pooled_size(s), s->height, s->width, s->channels);
}

/* Writes the gradient at the norm of stage `s`, of that at the input of the layer behind it. `scratch` is for pooling. */
static void pull_input(const Stage *s, const Tables *t, const float *map, const float *dinput, float *gradient,
                       long first, long images, const float *active, float *scratch) {
    const long size = image_size(s);
    for (long n = 0; s->pools && n < images; n++)
        max_pool_gradient(active + n * size, dinput + n * pooled_size(s), scratch + n * size, s->height, s->width,
                          s->channels);
    pull(&t->to_next, map + first * size, s->pools ? scratch : dinput, gradient + first * size, first * size,
         images * size);
}

/* Takes the moments of a norm and moves its running statistics; where it does not train, takes those. */
static void finish_norm(Tables *t, const Stage *s, long images, int training) {
    const double rows = (double)(images * s->height * s->width);
    for (long c = 0; s->has_norm && c < s->channels; c++) {
        if (!training) {
            s->mean[c] = s->running_mean[c];
            s->inverse[c] = (float)(1.0 / sqrt(s->running_var[c] + s->epsilon));
            continue;
        }
        const double shifted = t->sum[c] / rows, variance = fmax(t->product[c] / rows - shifted * shifted, 0.0);
        s->mean[c] = (float)(s->running_mean[c] + shifted);
        s->inverse[c] = (float)(1.0 / sqrt(variance + s->epsilon));
        s->running_mean[c] += (float)s->momentum * (s->mean[c] - s->running_mean[c]);
        s->running_var[c] +=
            (float)s->momentum * ((float)(variance * rows / (rows > 1 ? rows - 1 : 1)) - s->running_var[c]);
    }
    if (s->has_norm && training) ++*s->num_batches;
}

/* Convolves what `before` gave, group by group, and takes the norm's moments: around the running mean, so that a large
 * mean does not cancel a small variance. */
static int forward_stage(const Stage *s, Tables *t, const Stage *before, const Tables *t_before, const float *x,
                         long images, int training) {
    const long group = group_of(s, before), size = image_size(s);
    const float *from = before ? map_of(before, x) : x;
    const int reads_map = !before || is_plain(before);
    Convolution k;
    float *active = reserve(before ? group * image_size(before) : 0), *input = reserve(group * input_size(s));
    const int failed = make_convolution(&k, s, 0) || !active || !input;
    if (s->has_norm) memcpy(t->to_next.mean, s->running_mean, s->channels * sizeof(float));
    repeat(&t->to_next, t->to_next.mean);
    long rows = 0;
    for (long first = 0; !failed && first < images; first += group) {
        const long now = images - first < group ? images - first : group;
        float *map = map_of(s, x) + first * size;
        if (s->convolution) {
            if (!reads_map) make_input(before, t_before, from, first, now, active, input);
            convolve(&k, s, reads_map ? from + first * input_size(s) : input, map, now);
        }
        if (!s->has_norm || !training) continue;
        add_moments(&t->to_next, map, now * size);
        flush_after(t, &rows, now * size, first + now == images);
    }
    if (!failed) finish_norm(t, s, images, training), fill_forward(t, s);
    free_convolution(&k), free(active), free(input);
    return failed ? NO_MEMORY : 0;
}

/* Maps x to y, what the layer behind the chain reads. In training, the norms see these images and remember them. */
int chain_forward(const Stage *stages, long count, const float *x, float *y, long images, long training) {
    Tables tables[2];
    memset(tables, 0, sizeof tables);
    int failed = 0;
    for (long i = 0; !failed && i < count; i++) {
        Tables *now = &tables[i % 2];
        free_tables(now);
        failed = make_tables(now, &stages[i]) ||
                 forward_stage(&stages[i], now, i ? &stages[i - 1] : NULL, &tables[(i + 1) % 2], x, images, training);
    }
    const Stage *last = &stages[count - 1];
    const long group = largest(GROUP / largest(image_size(last), 1), 1);
    float *active = failed ? NULL : reserve(group * image_size(last));
    failed = failed || !active;
    for (long first = 0; !failed && first < images; first += group) {
        const long now = images - first < group ? images - first : group;
        make_input(last, &tables[(count - 1) % 2], map_of(last, x), first, now, active, y + first * pooled_size(last));
    }
    free(active), free_tables(&tables[0]), free_tables(&tables[1]);
    return failed ? NO_MEMORY : 0;
}

/* The same without training, a few images at a time: there are maps of `room` images. */
int chain_evaluate(const Stage *stages, long count, const float *x, float *y, long images, long room) {
    const Stage *last = &stages[count - 1];
    const long size = stages[0].convolution ? input_size(&stages[0]) : image_size(&stages[0]);
    for (long first = 0; first < images; first += room) {
        const long now = images - first < room ? images - first : room;
        if (chain_forward(stages, count, x + first * size, y + first * pooled_size(last), now, 0)) return NO_MEMORY;
    }
    return 0;
}

/* The gradient of the chain's input, an image at a time where the channels of one must be added up. */
static void write_dx(const Stage *s, const float *dinput, float *dx, long images) {
    if (s->in_channels == s->channels || s->convolution != DEPTHWISE) {
        memcpy(dx, dinput, images * input_size(s) * sizeof(float));
        return;
    }
    for (long i = 0; i < images * input_size(s); i++) {
        dx[i] = 0.0f;
        for (long c = 0; c < s->channels; c++) dx[i] += dinput[i * s->channels + c];
    }
}

/* From `gradient` at the norm of `s` to the gradient at that of the stage before, or at the chain's input. */
static int backward_stage(const Stage *s, Tables *t, const Stage *before, Tables *t_before, const float *x,
                          const float *gradient, float *gradient_before, float *dx, long images) {
    const long group = group_of(s, before), size = image_size(s);
    const long size_before = before ? image_size(before) : 0, width_before = s->in_height * s->in_width;
    const long dinput_size = width_before * largest(s->in_channels, s->convolution == DEPTHWISE ? s->channels : 0);
    Convolution k;
    float *active = reserve(group * size_before), *scratch = reserve(group * size_before);
    float *input = reserve(group * input_size(s)), *output = reserve(group * size), *dinput = reserve(group * dinput_size);
    const int failed = make_convolution(&k, s, 1) || !active || !scratch || !input || !output || !dinput;
    if (!failed) fill_backward(t, s, images);
    long rows = 0;
    const int has_work = s->convolution || dx;
    for (long first = 0; !failed && has_work && first < images; first += group) {
        const long now = images - first < group ? images - first : group;
        const int is_last = first + now == images;
        float *doutput = s->convolution ? output : dx + first * size;
        pull_norm(&t->to_next, map_of(s, x) + first * size, gradient + first * size, doutput, now * size);
        if (!s->convolution) continue;
        if (before) make_input(before, t_before, map_of(before, x), first, now, active, input);
        else memcpy(input, x + first * input_size(s), now * input_size(s) * sizeof(float));
        add_weight_gradient(&k, s, input, doutput, now, is_last);
        if (!before && !dx) continue;
        convolve_back(&k, s, doutput, dinput, now);
        if (!before) {
            write_dx(s, dinput, dx + first * input_size(s), now);
            continue;
        }
        pull_input(before, t_before, map_of(before, x), dinput, gradient_before, first, now, active, scratch);
        flush_after(t_before, &rows, now * size_before, is_last);
    }
    free_convolution(&k), free(active), free(scratch), free(input), free(output), free(dinput);
    return failed ? NO_MEMORY : 0;
}

/* From the gradient of y to that of every weight, and of x where `dx` is not NULL. `gradients` has room for two of the
 * largest map of the chain, which are `largest_map` apart. */
int chain_backward(const Stage *stages, long count, const float *x, const float *dy, float *dx, float *gradients,
                   long largest_map, long images) {
    Tables tables[2];
    memset(tables, 0, sizeof tables);
    const Stage *last = &stages[count - 1];
    const long group = largest(GROUP / largest(image_size(last), 1), 1), pooled = pooled_size(last);
    float *active = reserve(group * image_size(last)), *scratch = reserve(group * image_size(last));
    float *input = reserve(group * pooled);
    Tables *t = &tables[(count - 1) % 2];
    int failed = !active || !scratch || !input || make_tables(t, last);
    if (!failed) fill_forward(t, last);
    long rows = 0;
    for (long first = 0; !failed && first < images; first += group) {
        const long now = images - first < group ? images - first : group;
        if (last->pools) make_input(last, t, map_of(last, x), first, now, active, input);
        pull_input(last, t, map_of(last, x), dy + first * pooled, gradients + (count - 1) % 2 * largest_map, first, now,
                   active, scratch);
        flush_after(t, &rows, now * image_size(last), first + now == images);
    }
    for (long i = count - 1; !failed && i >= 0; i--) {
        Tables *before = &tables[(i + 1) % 2];
        free_tables(before);
        memset(before, 0, sizeof *before);
        failed = i && make_tables(before, &stages[i - 1]);
        if (!failed && i) fill_forward(before, &stages[i - 1]);
        failed = failed || backward_stage(&stages[i], &tables[i % 2], i ? &stages[i - 1] : NULL, before, x,
                                          gradients + i % 2 * largest_map, gradients + (i + 1) % 2 * largest_map, dx,
                                          images);
    }
    free(active), free(scratch), free(input), free_tables(&tables[0]), free_tables(&tables[1]);
    return failed ? NO_MEMORY : 0;
}
