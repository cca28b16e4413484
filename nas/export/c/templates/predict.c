#include <stdint.h>

#define NAS_CLASSES 10
typedef int32_t nas_logit;

void nas_forward(const uint8_t *pixels, nas_logit *logits);

/* The class: the first of the largest logits. */
static inline int nas_largest(const nas_logit *logits)
{
    int best = 0;
    for (int i = 1; i < NAS_CLASSES; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/* The class of one image. */
static inline int nas_predict(const uint8_t *pixels)
{
    nas_logit logits[NAS_CLASSES];
    nas_forward(pixels, logits);
    return nas_largest(logits);
}
