/*
 * A network of $size
 * (batch norm is folded into the convolutions ahead of it).
 * Memory: $work_bytes_text bytes, static. Include this in one file; call it from one thread at a time.
 *
 *   int nas_predict(const uint8_t *pixels);                        the class of one image
 *   void nas_forward(const uint8_t *pixels, nas_logit *logits);    its logits, $logit
 *   int nas_largest(const nas_logit *logits);                      their class
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

/* Define it as 1 ahead of the include where the channels of a pixel lie side by side, as cameras give them. */
#ifndef NAS_HWC
#define NAS_HWC 0
#endif

/* What the constant arrays are declared with; define it to place them, with a section for example. */
#ifndef NAS_CONST
#define NAS_CONST static const
#endif

#endif
