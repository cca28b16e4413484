/*
 * A network of $size
 * (batch norm is folded into the convolutions ahead of it).
 * Memory: $work_bytes_text bytes, static. Include this in one file; call it from one thread at a time.
 *
 *   void nas_forward(const uint8_t *pixels, float *logits);
 *   int nas_predict(const uint8_t *pixels);
 *
 * One image: $channels x $height x $width bytes, channel by channel, row by row, 0 to 255 as it is.
 * nas: $metadata
 */
#ifndef NAS_NETWORK_H
#define NAS_NETWORK_H

#define NAS_CHANNELS $channels
#define NAS_HEIGHT $height
#define NAS_WIDTH $width
#define NAS_CLASSES $classes
#define NAS_WORK_BYTES $work_bytes

#endif
