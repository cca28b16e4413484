/* $what: $class_name. */
#include <stdint.h>

/* $channels x $height x $width, channel by channel, row by row. */
static const uint8_t image[$size] = {
$pixels};

/* Its logits, in units of 1/$logit_one. */
static const int32_t expected[$classes] = {
    $expected};
