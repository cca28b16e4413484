/* Runs an exported header on many images. Compiled with `-include HEADER`, and with FORWARD and PREDICT defined as the
 * header's own functions. */
#include <stdint.h>

void FORWARD(const uint8_t *pixels, float *logits);
int PREDICT(const uint8_t *pixels);

void run(const uint8_t *pixels, int64_t count, int64_t image_bytes, float *logits, int64_t classes);
void run(const uint8_t *pixels, int64_t count, int64_t image_bytes, float *logits, int64_t classes)
{
    for (int64_t i = 0; i < count; i++)
        FORWARD(pixels + i * image_bytes, logits + i * classes);
}

int predict(const uint8_t *pixels);
int predict(const uint8_t *pixels)
{
    return PREDICT(pixels);
}
