/* Runs an exported header on many images. Compiled with `-include HEADER`, with FORWARD and PREDICT defined as the
 * header's own functions, and with LOGIT as the type of its logits and ONE as what stands for 1 in it. */
#include <stdint.h>

#ifndef LOGIT
#define LOGIT float
#define ONE 1
#endif

void FORWARD(const uint8_t *pixels, LOGIT *logits);
int PREDICT(const uint8_t *pixels);

void run(const uint8_t *pixels, int64_t count, int64_t image_bytes, float *logits, int64_t classes);
void run(const uint8_t *pixels, int64_t count, int64_t image_bytes, float *logits, int64_t classes)
{
    LOGIT found[classes];
    for (int64_t i = 0; i < count; i++) {
        FORWARD(pixels + i * image_bytes, found);
        for (int64_t c = 0; c < classes; c++)
            logits[i * classes + c] = (float)found[c] / ONE;
    }
}

int predict(const uint8_t *pixels);
int predict(const uint8_t *pixels)
{
    return PREDICT(pixels);
}
