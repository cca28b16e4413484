/* Classifies the image of image.h, and checks the logits against those that were computed at the export. */
#include <stdio.h>

#include "$prefix.h"
#include "image.h"

int main(void)
{
    nas_logit logits[NAS_CLASSES];
    int differ = 0;
    nas_forward(image, logits);
    for (int i = 0; i < NAS_CLASSES; i++)
        differ |= logits[i] != expected[i];
    puts(nas_class_names[nas_largest(logits)]);
    puts(differ ? "logits DIFFER from those expected" : "logits as expected");
    return differ;
}
